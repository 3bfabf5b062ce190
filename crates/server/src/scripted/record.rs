//! What a scripted server was asked, and how each answer ended.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use chela_openai::chat::ChatRequest;
use http::{HeaderMap, Method};
use http_body::{Frame, SizeHint};
use serde_json::Value;
use tokio::sync::watch;

use super::turn::Canned;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
    /// When its head had arrived.
    pub at: Instant,
    /// When its answer ended, if it has.
    pub ended: Option<Instant>,
    pub(super) end: End,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Complete,
    ClosedEarly,
}

impl Recorded {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as a chat request.
    ///
    /// # Errors
    /// It is none.
    pub fn chat(&self) -> Result<ChatRequest, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// A header as text; empty if it is absent or no text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Whether the whole answer was handed to the connection.
    pub fn completed(&self) -> bool {
        self.end == End::Complete
    }

    /// Whether the client closed the connection before the answer's end.
    pub fn closed_early(&self) -> bool {
        self.end == End::ClosedEarly
    }
}

/// The list of requests; every change wakes those who wait on it.
#[derive(Debug)]
pub(super) struct Log {
    list: Mutex<Vec<Recorded>>,
    changed: watch::Sender<()>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { list: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(self: &Arc<Self>, request: Recorded) -> Exchange {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(request);
        let index = list.len() - 1;
        drop(list);
        self.changed.send_replace(());
        Exchange { log: self.clone(), index, ended: false, control: Arc::default() }
    }

    fn end(&self, index: usize, end: End) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list[index].end = end;
        list[index].ended = Some(Instant::now());
        drop(list);
        self.changed.send_replace(());
    }

    /// Waits until the requests are as wanted.
    pub(super) async fn wait_for(
        &self,
        limit: Duration,
        wanted: impl Fn(&[Recorded]) -> bool,
    ) -> Result<Vec<Recorded>, Vec<Recorded>> {
        let mut changed = self.changed.subscribe();
        let waited = tokio::time::timeout(limit, async {
            loop {
                let all = self.all();
                if wanted(&all) {
                    return all;
                }
                // the sender lives as long as self
                let _ = changed.changed().await;
            }
        });
        waited.await.map_err(|_| self.all())
    }
}

/// How a backend's stream bends the HTTP answer that it is part of.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) cut: Mutex<Option<Cut>>,
    /// Sent in place of what the router answers.
    pub(super) replacement: Mutex<Option<Canned>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The connection breaks.
    Abort,
    /// The body ends.
    End,
}

/// One request while it is answered; dropped before its end it counts as closed early.
#[derive(Debug)]
pub(super) struct Exchange {
    log: Arc<Log>,
    index: usize,
    ended: bool,
    pub(super) control: Arc<Control>,
}

impl Exchange {
    fn end(&mut self, end: End) {
        if !self.ended {
            self.ended = true;
            self.log.end(self.index, end);
        }
    }

    /// The body that tells when it has been sent.
    pub(super) fn watch(self, body: Body) -> Body {
        Body::new(Watched { body, exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(End::ClosedEarly);
    }
}

#[derive(Debug)]
struct Watched {
    body: Body,
    exchange: Exchange,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let cut = *this.exchange.control.cut.lock().unwrap_or_else(PoisonError::into_inner);
        match cut {
            Some(Cut::Abort) => {
                this.exchange.end(End::Complete);
                let error = std::io::Error::other("the script breaks the connection");
                return Poll::Ready(Some(Err(axum::Error::new(error))));
            }
            Some(Cut::End) => {
                this.exchange.end(End::Complete);
                return Poll::Ready(None);
            }
            None => {}
        }
        let complete = match &polled {
            Poll::Ready(None) => true,
            // a client may hang up after the last byte, before hyper asks for more
            Poll::Ready(Some(Ok(frame))) => {
                this.body.is_end_stream()
                    || frame.data_ref().is_some_and(|data| data.ends_with(b"[DONE]\n\n"))
            }
            _ => false,
        };
        if complete {
            this.exchange.end(End::Complete);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
