use std::time::Duration;

use crate::scheduler::Load;

/// Counts of an engine. Totals are since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Places and blocks in use.
    pub load: Load,
    /// Sequences accepted that have never run.
    pub waiting_new: usize,
    /// Steps computed.
    pub steps: u64,
    /// Time spent in steps.
    pub busy: Duration,
    /// Prompt tokens of sequences that began to run.
    pub prompt_tokens: u64,
    /// Those of them found in the prefix cache.
    pub cached_tokens: u64,
    /// Tokens computed that belong to a prompt or, after a preemption, were computed before.
    pub prefilled_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Times that a sequence lost its place for want of memory.
    pub preemptions: u64,
    /// Sequences that ended by an end token or a stop string.
    pub finished_stop: u64,
    /// Sequences that ended at their limit.
    pub finished_length: u64,
    /// Sequences whose reader went away.
    pub cancelled: u64,
    /// Sequences that failed.
    pub failed: u64,
    /// Seconds that one prompt token takes now, for estimates; 0 until one was computed.
    pub seconds_per_prompt_token: f64,
}
