//! An answer as server-sent events, whatever its chunks are.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::Response;
use chela_openai::sse;
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::backend::{Piece, Pieces};
use crate::error::ApiError;
use crate::metrics::Running;

/// Makes chunks of pieces.
pub(crate) trait Chunks: Send + 'static {
    /// What is sent.
    type Chunk: Serialize + Send;

    /// Chunks that need no piece.
    fn begin(&mut self) -> Vec<Self::Chunk>;

    /// The chunks of a piece, if it shows.
    fn piece(&mut self, piece: Piece) -> Vec<Self::Chunk>;

    /// The chunk after the last piece, if it was asked for.
    ///
    /// # Errors
    /// The backend ended without saying why a choice ended.
    fn end(&mut self) -> Result<Option<Self::Chunk>, ApiError>;
}

struct State<C> {
    chunks: C,
    /// None once the last event is queued.
    pieces: Option<Pieces>,
    running: Running,
    queue: VecDeque<String>,
    /// When the last event or comment went out.
    sent: Instant,
    keep_alive: Duration,
}

/// Events while pieces come, comments while they do not. The headers go out at once.
pub(crate) fn answer<C: Chunks>(
    mut chunks: C,
    pieces: Pieces,
    running: Running,
    keep_alive: Duration,
) -> Response {
    let queue = chunks.begin().iter().map(event).collect();
    let state = State { chunks, pieces: Some(pieces), running, queue, sent: Instant::now(), keep_alive };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        state.sent = Instant::now();
        Some((Ok::<_, Infallible>(Bytes::from(event)), state))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

impl<C: Chunks> State<C> {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let pieces = self.pieces.as_mut()?;
            // Pieces that do not show do not put the comment off: the wall clock decides.
            let silence = self.keep_alive.saturating_sub(self.sent.elapsed());
            let Ok(next) = tokio::time::timeout(silence, pieces.next()).await else {
                let mut comment = String::new();
                sse::encode_comment(&mut comment, "keep-alive");
                return Some(comment);
            };
            match next {
                Some(Ok(piece)) => {
                    self.running.piece(&piece);
                    self.queue.extend(self.chunks.piece(piece).iter().map(event));
                }
                Some(Err(error)) => self.close(Err(error)),
                None => {
                    let end = self.chunks.end();
                    self.close(end);
                }
            }
        }
    }

    fn close(&mut self, end: Result<Option<C::Chunk>, ApiError>) {
        self.pieces = None;
        match end {
            Ok(last) => self.queue.extend(last.iter().map(event)),
            Err(error) => {
                self.running.failed();
                self.queue.push_back(event(error.body()));
            }
        }
        let mut done = String::new();
        sse::encode_data(&mut done, None, sse::DONE);
        self.queue.push_back(done);
    }
}

/// The wire types always serialise; a mistake ends the stream as an error event.
fn event(value: &impl Serialize) -> String {
    sse::encode_json(value).unwrap_or_else(|error| {
        let body = serde_json::json!({"error": {"message": error.to_string()}});
        format!("data: {body}\n\n")
    })
}
