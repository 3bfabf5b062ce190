//! How many tokens a request has, before it is sent.

use crate::model::Request;

/// Counts tokens: by what the server said of the last request where it can, else by the ratio
/// of tokens to bytes that the requests so far had.
#[derive(Debug, Clone, PartialEq)]
pub struct Meter {
    tokens_per_byte: f64,
    known: Option<Known>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    weight: usize,
    tokens: u64,
}

/// A count and whether the server made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Prompt tokens.
    pub tokens: u64,
    /// True where the server counted exactly this.
    pub exact: bool,
}

impl Default for Meter {
    /// Starts with 0.3 tokens per byte: English prose has about 0.23 (four bytes to a token),
    /// code and JSON up to 0.35. Too high costs an early compaction, too low an overflow.
    fn default() -> Self {
        Self { tokens_per_byte: 0.3, known: None }
    }
}

impl Meter {
    /// Learns from what a server said of a request of this weight.
    pub fn learn(&mut self, weight: usize, prompt_tokens: u64) {
        if prompt_tokens == 0 || weight == 0 {
            return;
        }
        self.known = Some(Known { weight, tokens: prompt_tokens });
        // Outside of these bounds the server counted something else than text.
        self.tokens_per_byte = (prompt_tokens as f64 / weight as f64).clamp(0.1, 1.5);
    }

    /// The tokens of `request`.
    #[must_use]
    pub fn count(&self, request: &Request) -> Count {
        let weight = request.weight();
        match self.known {
            Some(known) if known.weight == weight => Count { tokens: known.tokens, exact: true },
            Some(known) if known.weight < weight => {
                Count { tokens: known.tokens + self.tokens(weight - known.weight), exact: false }
            }
            _ => Count { tokens: self.tokens(weight), exact: false },
        }
    }

    /// Tokens of this many bytes.
    #[must_use]
    pub fn tokens(&self, bytes: usize) -> u64 {
        (bytes as f64 * self.tokens_per_byte).ceil() as u64
    }

    /// Bytes of this many tokens.
    #[must_use]
    pub fn bytes(&self, tokens: u64) -> usize {
        (tokens as f64 / self.tokens_per_byte) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chela_protocol::Thinking;

    use super::*;
    use crate::transcript::Message;

    fn request(bytes: usize) -> Request {
        Request {
            messages: vec![Message::System("x".repeat(bytes))],
            tools: Arc::from(""),
            may_call: true,
            thinking: Thinking::Off,
            max_tokens: None,
            prompt: None,
        }
    }

    #[test]
    fn what_the_server_said_is_exact_and_what_follows_is_measured_by_it() {
        let mut meter = Meter::default();
        let first = request(984);
        assert_eq!(first.weight(), 1_000);
        assert_eq!(meter.count(&first), Count { tokens: 300, exact: false });
        meter.learn(first.weight(), 250);
        assert_eq!(meter.count(&first), Count { tokens: 250, exact: true });
        assert_eq!(meter.count(&request(1_984)), Count { tokens: 500, exact: false });
        // After a compaction the request is smaller than the known one.
        assert_eq!(meter.count(&request(384)), Count { tokens: 100, exact: false });
        assert_eq!((meter.tokens(4), meter.bytes(10)), (1, 40));
    }

    #[test]
    fn a_server_that_counts_nothing_teaches_nothing() {
        let mut meter = Meter::default();
        meter.learn(1_000, 0);
        assert_eq!(meter, Meter::default());
    }
}
