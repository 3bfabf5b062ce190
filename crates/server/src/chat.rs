//! `POST /v1/chat/completions`: pieces to chunks, chunks to an answer or a stream.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::Response;
use chela_openai::chat::{ChatChunk, ChatCompletion, ChunkChoice, Delta, Fold, FunctionDelta, ToolCallDelta};
use chela_openai::sse;
use chela_openai::usage::Usage;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::backend::{Part, Piece, Pieces};
use crate::error::{ApiError, json};
use crate::metrics::Running;
use crate::router::{App, Options, ReasoningField};
use crate::validate::{self, Validated, body};

/// Answers one request.
///
/// # Errors
/// Everything that can be told before the first token.
pub(crate) async fn answer(app: &App, headers: &HeaderMap, bytes: &[u8]) -> Result<Response, ApiError> {
    let request = body::read(headers, bytes)?;
    let validated = validate::chat(request, headers, &app.backend.models())?;
    let running = app.metrics.start();
    let stream = validated.request.stream.unwrap_or(false);
    let writer = Writer::new(&validated, &app.options);
    let pieces = app.backend.submit(validated).await?;
    if stream {
        Ok(event_stream(writer, pieces, running, app.options.keep_alive))
    } else {
        let answer = whole(writer, pieces, &running).await?;
        Ok(json(StatusCode::OK, &answer))
    }
}

/// The whole answer is the fold of the stream.
async fn whole(
    mut writer: Writer,
    mut pieces: Pieces,
    running: &Running,
) -> Result<ChatCompletion, ApiError> {
    let mut fold = Fold::new();
    while let Some(piece) = pieces.next().await {
        if let Some(chunk) = writer.piece(piece?, running) {
            fold.push(chunk);
        }
    }
    writer.finish(running)?;
    let mut answer = fold.finish();
    let mut usage = writer.usage;
    // a whole answer says null where a stream says nothing
    usage.prompt_tokens_details.get_or_insert(None);
    usage.completion_tokens_details.get_or_insert(None);
    answer.usage = Some(usage);
    answer.system_fingerprint = Some(writer.fingerprint);
    Ok(answer)
}

/// Events while pieces come, comments while they do not.
fn event_stream(
    writer: Writer,
    pieces: Pieces,
    running: Running,
    keep_alive: std::time::Duration,
) -> Response {
    struct State {
        writer: Writer,
        /// None once the last event is queued.
        pieces: Option<Pieces>,
        running: Running,
        queue: VecDeque<String>,
    }
    let mut state = State {
        queue: writer.roles().map(|chunk| event(&chunk)).collect(),
        writer,
        pieces: Some(pieces),
        running,
    };
    state.queue.retain(|event| !event.is_empty());
    let events = stream::unfold(state, move |mut state| async move {
        loop {
            if let Some(event) = state.queue.pop_front() {
                return Some((Ok::<_, Infallible>(Bytes::from(event)), state));
            }
            let pieces = state.pieces.as_mut()?;
            let Ok(next) = tokio::time::timeout(keep_alive, pieces.next()).await else {
                let mut comment = String::new();
                sse::encode_comment(&mut comment, "keep-alive");
                state.queue.push_back(comment);
                continue;
            };
            let end = match next {
                Some(Ok(piece)) => {
                    let chunk = state.writer.piece(piece, &state.running);
                    state.queue.extend(chunk.map(|chunk| event(&chunk)));
                    continue;
                }
                Some(Err(error)) => Err(error),
                None => state.writer.finish(&state.running),
            };
            state.pieces = None;
            match end {
                Ok(usage) => state.queue.extend(usage.map(|chunk| event(&chunk))),
                Err(error) => state.queue.push_back(event(error.body())),
            }
            let mut done = String::new();
            sse::encode_data(&mut done, None, sse::DONE);
            state.queue.push_back(done);
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

/// The wire types always serialise; a mistake ends the stream as an error event.
fn event(value: &impl serde::Serialize) -> String {
    sse::encode_json(value).unwrap_or_else(|error| {
        let body = serde_json::json!({"error": {"message": error.to_string()}});
        format!("data: {body}\n\n")
    })
}

/// Writes the chunks of one answer, in vLLM's order and with its nulls.
struct Writer {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    reasoning: ReasoningField,
    include_reasoning: bool,
    include_usage: bool,
    continuous_usage: bool,
    /// Choices that have not ended.
    open: Vec<u32>,
    usage: Usage,
}

impl Writer {
    fn new(validated: &Validated, options: &Options) -> Self {
        let request = &validated.request;
        let wanted = request.stream_options.unwrap_or_default();
        let choices = u32::try_from(request.n.unwrap_or(1)).unwrap_or(1);
        Self {
            id: validated.id.clone(),
            created: validated.created,
            model: validated.model.id.clone(),
            fingerprint: options.fingerprint.clone(),
            reasoning: options.reasoning,
            include_reasoning: request.include_reasoning.unwrap_or(true),
            include_usage: wanted.include_usage.unwrap_or(false),
            continuous_usage: wanted.continuous_usage_stats.unwrap_or(false),
            open: (0..choices).collect(),
            usage: Usage::default(),
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: self.continuous_usage.then(|| self.usage.clone()),
            ..ChatChunk::default()
        }
    }

    /// The first chunk of each choice.
    fn roles(&self) -> impl Iterator<Item = ChatChunk> {
        self.open.iter().map(|&index| {
            let delta = Delta {
                role: Some("assistant".into()),
                content: Some(Some(String::new())),
                ..Delta::default()
            };
            let choice = ChunkChoice { index, delta, ..ChunkChoice::default() };
            ChatChunk { prompt_token_ids: Some(None), prompt_text: Some(None), ..self.chunk(vec![choice]) }
        })
    }

    /// The chunk of a piece, if it shows.
    fn piece(&mut self, piece: Piece, running: &Running) -> Option<ChatChunk> {
        let choice = match piece {
            Piece::Usage(usage) => {
                self.usage = usage;
                return None;
            }
            Piece::Delta { choice, part, tokens } => ChunkChoice {
                index: choice,
                delta: self.delta(part)?,
                logprobs: tokens.logprobs,
                token_ids: Some(tokens.ids),
                ..ChunkChoice::default()
            },
            Piece::End { choice, reason, stop } => {
                running.finished(reason.as_str());
                self.open.retain(|&open| open != choice);
                ChunkChoice {
                    index: choice,
                    finish_reason: Some(reason),
                    stop_reason: Some(stop),
                    token_ids: Some(None),
                    ..ChunkChoice::default()
                }
            }
        };
        let mut chunk = self.chunk(vec![choice]);
        let last = self.open.is_empty() && !self.include_usage;
        if last {
            chunk.system_fingerprint = Some(self.fingerprint.clone());
        }
        Some(chunk)
    }

    fn delta(&self, part: Part) -> Option<Delta> {
        let call =
            |call: ToolCallDelta| Delta { content: Some(None), tool_calls: vec![call], ..Delta::default() };
        Some(match part {
            Part::Text(text) => Delta { content: Some(Some(text)), ..Delta::default() },
            Part::Reasoning(_) if !self.include_reasoning => return None,
            Part::Reasoning(text) => Delta {
                reasoning_content: match self.reasoning {
                    ReasoningField::Reasoning => None,
                    _ => Some(Some(text.clone())),
                },
                reasoning: match self.reasoning {
                    ReasoningField::ReasoningContent => None,
                    _ => Some(Some(text)),
                },
                ..Delta::default()
            },
            Part::CallStart { call: index, id, name } => call(ToolCallDelta {
                id: Some(id),
                kind: Some("function".into()),
                index: Some(index),
                function: Some(FunctionDelta { name: Some(name), arguments: None }),
            }),
            Part::CallArguments { call: index, json } => call(ToolCallDelta {
                index: Some(index),
                function: Some(FunctionDelta { name: None, arguments: Some(json) }),
                ..ToolCallDelta::default()
            }),
        })
    }

    /// The usage chunk, if it was asked for.
    ///
    /// # Errors
    /// The backend ended without saying why a choice ended.
    fn finish(&mut self, running: &Running) -> Result<Option<ChatChunk>, ApiError> {
        if let Some(choice) = self.open.first() {
            return Err(ApiError::internal(format!(
                "the answer broke off: choice {choice} has no finish reason"
            )));
        }
        running.used(&self.usage);
        Ok(self.include_usage.then(|| ChatChunk {
            usage: Some(self.usage.clone()),
            system_fingerprint: Some(self.fingerprint.clone()),
            ..self.chunk(Vec::new())
        }))
    }
}
