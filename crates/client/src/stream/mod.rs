//! Asking a model and streaming its answer.
//!
//! [`ModelClient::stream`] takes a [`Turn`] and gives an [`EventStream`] of [`ModelEvent`]s. There
//! is no second way: a complete answer is the fold of the stream ([`fold`]).

mod assemble;
mod attempt;
mod client;
mod count;
mod emit;
mod facts;
mod fold;
mod liveness;
mod overflow;
mod recover;
mod retry;
mod turn;
mod wire;

use std::time::Duration;

pub use self::client::ModelClient;
pub use self::emit::EventStream;
pub use self::facts::{Facts, Field, Reasoning, ToolRoute};
pub(crate) use self::facts::{forget as forget_facts, kept as kept_facts};
pub use self::fold::{Answer, Call, fold};
pub use self::turn::{ModelError, ModelEvent, Notice, Provenance, Thinking, TokenCount, Turn};
pub(crate) use self::wire::RESERVED;
pub use self::wire::estimate;

/// Intervals, handed in so that tests need not wait.
#[derive(Clone, Debug)]
pub struct Timing {
    /// First pause before a retry; doubled for each further one.
    pub backoff: Duration,
    /// How often a silent server is asked whether it lives.
    pub check: Duration,
    /// Time for the answer to such a question.
    pub check_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(500),
            check: liveness::CHECK,
            check_limit: Duration::from_secs(10),
        }
    }
}
