//! The loop breaker: a model that repeats itself is told so, then has to answer, then is
//! stopped. It looks across tools, at what was called and at what came of it.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// How many calls back it looks.
const MEMORY: usize = 32;
/// The same call with the same result: at this many times a hint, then an answer is demanded.
const SAME_HINT: usize = 3;
const SAME_STOP: usize = 5;
/// The same call with changing results, as in polling.
const CALL_HINT: usize = 8;
const CALL_STOP: usize = 14;
/// Errors in a row, whatever was called.
const ERRORS_HINT: usize = 5;
const ERRORS_STOP: usize = 10;

/// What has to happen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Go,
    /// The result carries this hint.
    Hint(String),
    /// The result carries this hint, and the next request allows no calls.
    Answer(String),
}

/// Watches the calls of one turn.
#[derive(Debug, Default)]
pub struct Breaker {
    seen: VecDeque<(u64, u64)>,
    errors: usize,
}

impl Breaker {
    /// Takes note of one call and its result.
    pub fn observe(&mut self, tool: &str, arguments: &str, result: &str, error: bool) -> Advice {
        let call = hash(&(tool, arguments));
        let both = hash(&(call, result));
        self.seen.push_back((call, both));
        if self.seen.len() > MEMORY {
            self.seen.pop_front();
        }
        self.errors = if error { self.errors + 1 } else { 0 };
        let same = self.seen.iter().filter(|seen| seen.1 == both).count();
        let calls = self.seen.iter().filter(|seen| seen.0 == call).count();
        if same >= SAME_STOP {
            return Advice::Answer(demand(&format!("this call has given the same result {same} times")));
        }
        if calls >= CALL_STOP {
            return Advice::Answer(demand(&format!("this call was made {calls} times")));
        }
        if self.errors >= ERRORS_STOP {
            return Advice::Answer(demand(&format!("the last {} calls failed", self.errors)));
        }
        if same >= SAME_HINT {
            return Advice::Hint(format!(
                "[You made this very call {same} times with the same result. Do something else, \
                 or answer with what you know.]"
            ));
        }
        if calls >= CALL_HINT {
            return Advice::Hint(format!(
                "[You made this very call {calls} times. Do something else, or answer.]"
            ));
        }
        if self.errors >= ERRORS_HINT {
            return Advice::Hint(format!(
                "[The last {} calls failed. Read the errors, try another way, or say what stands \
                 in the way.]",
                self.errors
            ));
        }
        Advice::Go
    }
}

fn demand(what: &str) -> String {
    format!(
        "[Stop: {what}. No more calls are possible. Answer now with what you know, and say what \
         you could not do.]"
    )
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stages of a run of calls: `.` goes, `h` hints, `A` demands an answer.
    fn stages(calls: impl IntoIterator<Item = (&'static str, String, String, bool)>) -> String {
        let mut breaker = Breaker::default();
        let stage = |(tool, arguments, result, error): (&str, String, String, bool)| match breaker
            .observe(tool, &arguments, &result, error)
        {
            Advice::Go => '.',
            Advice::Hint(_) => 'h',
            Advice::Answer(_) => 'A',
        };
        calls.into_iter().map(stage).collect()
    }

    #[test]
    fn stages_by_kind_of_repetition() {
        let same = (0..6).map(|_| ("ls", "{}".to_owned(), "a".to_owned(), false));
        assert_eq!(stages(same), "..hhAA");
        let polling = (0..15).map(|at| ("exec", "date".to_owned(), at.to_string(), false));
        assert_eq!(stages(polling), ".......hhhhhhAA");
        let failing = (0..11).map(|at| ("read", at.to_string(), at.to_string(), true));
        assert_eq!(stages(failing), "....hhhhhAA");
        let busy = (0..40).map(|at| ("read", at.to_string(), at.to_string(), false));
        assert_eq!(stages(busy), ".".repeat(40));
        // Two calls in turn are each a repetition.
        let turns = (0..10).map(|at| ("read", (at % 2).to_string(), "same".to_owned(), false));
        assert_eq!(stages(turns), "....hhhhAA");
        // A success between failures ends the row of failures.
        let mixed = (0..12).map(|at| ("read", at.to_string(), at.to_string(), at % 4 != 3));
        assert_eq!(stages(mixed), ".".repeat(12));
    }
}
