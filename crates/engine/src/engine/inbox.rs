//! The bounded way of requests into the engine thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::request::{Request, SubmitError};
use super::stream::{Sender, lock};
use crate::grammar::Matcher;
use crate::scheduler::Admission;

/// A checked request on its way.
pub(super) struct Job {
    pub request: Request,
    pub bad_words: Vec<Vec<u32>>,
    /// One per sequence, if the request has a grammar.
    pub matchers: Vec<Matcher>,
    pub sender: Sender,
    pub submitted: Instant,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    woken: bool,
    stopped: bool,
}

/// Shared by the engine, its thread and every handle.
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    admission: Mutex<Admission>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("admission", &self.admission).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(admission: Admission) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), admission: Mutex::new(admission) }
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), SubmitError> {
        let mut state = lock(&self.state);
        if state.stopped {
            return Err(SubmitError::Stopped);
        }
        let n = job.request.params.n;
        lock(&self.admission).enter(n, n * job.request.prompt.len())?;
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// One sequence of the queue has started or was cancelled.
    pub(super) fn leave(&self, tokens: usize) {
        lock(&self.admission).leave(tokens);
    }

    pub(super) fn waiting(&self) -> usize {
        lock(&self.admission).requests()
    }

    pub(super) fn wake(&self) {
        lock(&self.state).woken = true;
        self.arrived.notify_one();
    }

    /// New jobs, after waiting for one, for a call of `wake` or for the end if `wait` is set; `None`
    /// at the end.
    pub(super) fn take(&self, wait: bool) -> Option<VecDeque<Job>> {
        let mut state = lock(&self.state);
        while wait && state.jobs.is_empty() && !state.woken && !state.stopped {
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.woken = false;
        (!state.stopped).then(|| std::mem::take(&mut state.jobs))
    }

    /// Refuses what comes and fails what waits.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        for job in state.jobs.drain(..) {
            job.sender.fail("the engine stopped before the request began");
        }
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn stopped(&self) -> bool {
        lock(&self.state).stopped
    }
}
