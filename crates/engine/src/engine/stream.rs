//! The way of a request's output from the engine thread to its reader.
//!
//! A mailbox never makes the engine wait: what is not read yet is joined to what comes, so that it
//! holds at most one request's whole output.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::sampler::Logprobs;

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end id of the model or one of the request; the id when the request or the model's
    /// generation defaults named it, `None` for the tokenizer's own end of sequence.
    EndToken(Option<u32>),
    /// This stop string.
    StopString(String),
    /// The token limit or the window.
    Length,
}

/// Counts and times of a finished sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that came from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated, an end token included.
    pub completion_tokens: usize,
    /// From submission to the first step with this sequence.
    pub queued: Duration,
    /// From submission to the first token.
    pub first_token: Duration,
    /// From submission to the end.
    pub total: Duration,
}

/// New tokens of one sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Which of the request's `n` sequences.
    pub index: usize,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Text that is certain now; it may lag behind the tokens.
    pub text: String,
    /// One per token, if asked for.
    pub logprobs: Vec<Logprobs>,
    /// Set when the sequence has ended.
    pub finish: Option<(FinishReason, Usage)>,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The first sequence's prompt is under way.
    Prompt {
        /// Tokens computed or found in the cache.
        done: usize,
        /// All its tokens.
        total: usize,
        /// Those found in the cache.
        cached: usize,
    },
    /// Log-probabilities of the prompt's tokens; the first has none. Comes before any token.
    PromptLogprobs(Vec<Option<Logprobs>>),
    /// New tokens.
    Delta(Delta),
    /// The request has failed; nothing follows.
    Failed(String),
}

#[derive(Debug, Default)]
struct Mail {
    prompt: Option<(usize, usize, usize)>,
    prompt_logprobs: Option<Vec<Option<Logprobs>>>,
    deltas: VecDeque<Delta>,
    failed: Option<String>,
    /// Sequences that have not ended.
    open: usize,
    abandoned: bool,
    waker: Option<Waker>,
}

impl Mail {
    fn pop(&mut self) -> Option<Output> {
        if let Some((done, total, cached)) = self.prompt.take() {
            return Some(Output::Prompt { done, total, cached });
        }
        if let Some(logprobs) = self.prompt_logprobs.take() {
            return Some(Output::PromptLogprobs(logprobs));
        }
        let delta = self.deltas.pop_front().map(Output::Delta);
        delta.or_else(|| self.failed.take().map(Output::Failed))
    }

    fn ended(&self) -> bool {
        self.open == 0
    }
}

#[derive(Debug, Default)]
struct Shared {
    mail: Mutex<Mail>,
    arrived: Condvar,
}

/// The engine's end.
#[derive(Clone, Debug)]
pub(super) struct Sender(Arc<Shared>);

/// The reader's end. Dropping it cancels the request before the engine's next step.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    wake_engine: Arc<super::inbox::Inbox>,
}

/// Both ends of a mailbox for `n` sequences.
pub(super) fn mailbox(n: usize, inbox: Arc<super::inbox::Inbox>) -> (Sender, Handle) {
    let shared = Arc::new(Shared::default());
    lock(&shared.mail).open = n;
    (Sender(shared.clone()), Handle { shared, wake_engine: inbox })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    fn change(&self, change: impl FnOnce(&mut Mail)) {
        let mut mail = lock(&self.0.mail);
        change(&mut mail);
        let waker = mail.waker.take();
        drop(mail);
        self.0.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn prompt(&self, done: usize, total: usize, cached: usize) {
        self.change(|mail| mail.prompt = Some((done, total, cached)));
    }

    pub(super) fn prompt_logprobs(&self, logprobs: Vec<Option<Logprobs>>) {
        self.change(|mail| mail.prompt_logprobs = Some(logprobs));
    }

    /// Delivers a delta, joined to an unread one of the same sequence.
    pub(super) fn delta(&self, delta: Delta) {
        self.change(|mail| {
            if delta.finish.is_some() {
                mail.open = mail.open.saturating_sub(1);
            }
            match mail.deltas.iter_mut().rev().find(|d| d.index == delta.index) {
                Some(unread) => {
                    unread.tokens.extend(delta.tokens);
                    unread.text.push_str(&delta.text);
                    unread.logprobs.extend(delta.logprobs);
                    unread.finish = delta.finish;
                }
                None => mail.deltas.push_back(delta),
            }
        });
    }

    pub(super) fn fail(&self, reason: &str) {
        self.change(|mail| {
            if mail.open > 0 {
                mail.open = 0;
                mail.failed = Some(reason.to_owned());
            }
        });
    }

    /// Whether nobody waits for more: the reader is gone, or the request has failed.
    pub(super) fn abandoned(&self) -> bool {
        let mail = lock(&self.0.mail);
        mail.abandoned || mail.ended()
    }
}

impl Handle {
    /// Waits for the next output; `None` after the last.
    pub fn recv(&mut self) -> Option<Output> {
        let mut mail = lock(&self.shared.mail);
        loop {
            if let Some(output) = mail.pop() {
                return Some(output);
            }
            if mail.ended() {
                return None;
            }
            mail = self.shared.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Handle::recv`], but gives up after `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`] when nothing came in time.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Output>, TimedOut> {
        let until = Instant::now() + timeout;
        let mut mail = lock(&self.shared.mail);
        loop {
            if let Some(output) = mail.pop() {
                return Ok(Some(output));
            }
            if mail.ended() {
                return Ok(None);
            }
            let left = until.checked_duration_since(Instant::now()).ok_or(TimedOut)?;
            let waited = self.shared.arrived.wait_timeout(mail, left);
            mail = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next output for an asynchronous reader: the content of a `poll_next`.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Output>> {
        let mut mail = lock(&self.shared.mail);
        if let Some(output) = mail.pop() {
            return Poll::Ready(Some(output));
        }
        if mail.ended() {
            return Poll::Ready(None);
        }
        mail.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut mail = lock(&self.shared.mail);
        mail.abandoned = true;
        let open = !mail.ended();
        drop(mail);
        if open {
            self.wake_engine.wake();
        }
    }
}

/// Nothing came in time; the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no output within the given time")]
pub struct TimedOut;
