//! The bound of the queue before the scheduler.

/// The queue is full; the request may be sent again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{requests} requests with {tokens} prompt tokens wait already; at most {max_requests} and {max_tokens} may"
)]
pub struct QueueFull {
    /// Sequences that wait.
    pub requests: usize,
    /// Prompt tokens of these.
    pub tokens: usize,
    /// Most sequences that may wait.
    pub max_requests: usize,
    /// Most prompt tokens that may wait.
    pub max_tokens: usize,
}

/// Counts the sequences that have been accepted and have never run. A preempted sequence does not
/// come back here: it was accepted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    max_requests: usize,
    max_tokens: usize,
    requests: usize,
    tokens: usize,
}

impl Admission {
    /// A queue of at most `max_requests` sequences and `max_tokens` prompt tokens.
    #[must_use]
    pub fn new(max_requests: usize, max_tokens: usize) -> Self {
        Self { max_requests, max_tokens, requests: 0, tokens: 0 }
    }

    /// Books `requests` sequences with `tokens` prompt tokens in all. An empty queue takes any request,
    /// however long.
    ///
    /// # Errors
    /// If they do not fit; then nothing is booked.
    pub fn enter(&mut self, requests: usize, tokens: usize) -> Result<(), QueueFull> {
        let full = self.requests + requests > self.max_requests || self.tokens + tokens > self.max_tokens;
        if full && self.requests > 0 {
            return Err(QueueFull {
                requests: self.requests,
                tokens: self.tokens,
                max_requests: self.max_requests,
                max_tokens: self.max_tokens,
            });
        }
        self.requests += requests;
        self.tokens += tokens;
        Ok(())
    }

    /// One sequence has left the queue.
    pub fn leave(&mut self, tokens: usize) {
        self.requests -= 1;
        self.tokens -= tokens;
    }

    /// Sequences that wait.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_in_requests_and_in_tokens() {
        let mut queue = Admission::new(2, 100);
        queue.enter(1, 500).unwrap();
        assert!(queue.enter(1, 1).is_err());
        queue.leave(500);
        queue.enter(1, 60).unwrap();
        assert!(queue.enter(1, 41).is_err());
        queue.enter(1, 40).unwrap();
        let full = queue.enter(1, 0).unwrap_err();
        assert_eq!((full.requests, full.tokens), (2, 100));
    }
}
