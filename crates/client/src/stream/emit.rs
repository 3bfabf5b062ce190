//! The stream that a turn is read from.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::turn::{ModelError, ModelEvent, Notice};

/// Events that may wait for a slow reader before the connection is no longer read.
const AHEAD: usize = 64;

/// Hands events to the stream.
#[derive(Debug)]
pub struct Emitter {
    events: mpsc::Sender<Result<ModelEvent, ModelError>>,
    started: AtomicBool,
}

impl Emitter {
    /// Whether a part of the answer was handed on, so that no other answer may follow it.
    pub fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Hand on one event.
    pub async fn event(&self, event: ModelEvent) {
        if matches!(event, ModelEvent::Text(_) | ModelEvent::Reasoning(_) | ModelEvent::ToolCallStart { .. })
        {
            self.started.store(true, Ordering::Relaxed);
        }
        self.send(Ok(event)).await;
    }

    /// Hand on a notice.
    pub async fn notice(&self, notice: Notice) {
        tracing::info!(%notice, "model request");
        self.send(Ok(ModelEvent::Notice(notice))).await;
    }

    /// Hand on the error that ends the stream.
    pub async fn error(&self, error: ModelError) {
        self.send(Err(error)).await;
    }

    async fn send(&self, item: Result<ModelEvent, ModelError>) {
        // Fails only when the reader is gone, and then this future is dropped with it.
        let _ = self.events.send(item).await;
    }
}

/// The events of one answer: any number of `Ok`, the last of them
/// [`ModelEvent::Done`], or else one `Err` at the end.
///
/// The request is driven by reading the stream; nothing runs beside it. Dropping the stream, or
/// cancelling its token, closes the connection at once.
pub struct EventStream {
    driver: Option<BoxFuture<'static, ()>>,
    events: mpsc::Receiver<Result<ModelEvent, ModelError>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl EventStream {
    /// A stream driven by the future that `drive` makes of its emitter.
    pub fn new<F>(cancel: CancellationToken, drive: impl FnOnce(Emitter) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(AHEAD);
        let emitter = Emitter { events: sender, started: AtomicBool::new(false) };
        Self {
            driver: Some(Box::pin(drive(emitter))),
            events,
            cancelled: Box::pin(cancel.cancelled_owned()),
            ended: false,
        }
    }

    fn hand_out(&mut self, item: Result<ModelEvent, ModelError>) -> Poll<Option<<Self as Stream>::Item>> {
        if matches!(item, Err(_) | Ok(ModelEvent::Done { .. })) {
            self.driver = None;
            self.ended = true;
        }
        Poll::Ready(Some(item))
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Stream for EventStream {
    type Item = Result<ModelEvent, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.cancelled.as_mut().poll(context).is_ready() {
            return self.hand_out(Err(ModelError::Cancelled));
        }
        if let Poll::Ready(Some(item)) = self.events.poll_recv(context) {
            return self.hand_out(item);
        }
        if let Some(driver) = self.driver.as_mut()
            && driver.as_mut().poll(context).is_ready()
        {
            self.driver = None;
        }
        match self.events.poll_recv(context) {
            Poll::Ready(Some(item)) => self.hand_out(item),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
