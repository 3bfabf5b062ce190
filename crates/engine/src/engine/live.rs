//! One sequence between the scheduler and its reader.

use std::sync::Arc;
use std::time::Instant;

use chela_kernels::Kernels;

use super::request::{Request, ThinkingBudget};
use super::stream::{Delta, FinishReason, Sender, Usage};
use crate::grammar::{GrammarError, Matcher};
use crate::sampler::{Logprobs, Sampled, Sampler, StopText, TokenMask, logprobs};
use crate::tokenizer::{Detokenizer, Tokenizer};

/// Tokens of the prompt from which the detokenizer learns where it stands.
const CONTEXT: usize = 16;

/// A sequence's state outside the scheduler.
pub(super) struct Live {
    pub request: Arc<Request>,
    pub index: usize,
    pub sender: Sender,
    sampler: Sampler,
    matcher: Option<Matcher>,
    detokenizer: Detokenizer,
    text: StopText,
    thinking: Option<Thinking>,
    eos: Option<u32>,
    /// Ids that end the output besides `eos`.
    stops: Vec<u32>,
    /// Most tokens to generate.
    limit: usize,
    prompt_logprobs: Vec<Option<Logprobs>>,
    kernels: Kernels,
    pub cached: usize,
    submitted: Instant,
    started: Option<Instant>,
    first: Option<Instant>,
}

/// What a sequence needs besides its request.
pub(super) struct Setup<'a> {
    pub tokenizer: &'a Arc<Tokenizer>,
    pub eos: Option<u32>,
    /// Ids by which the model ends an output.
    pub ends: &'a [u32],
    pub window: usize,
    pub bad_words: Vec<Vec<u32>>,
    pub matcher: Option<Matcher>,
    pub sender: Sender,
    pub submitted: Instant,
    pub key: u64,
    pub kernels: Kernels,
}

impl Live {
    pub(super) fn new(request: Arc<Request>, index: usize, setup: Setup) -> Self {
        let (params, prompt) = (&request.params, &request.prompt);
        let mut stops = params.stop_token_ids.clone();
        if !params.ignore_eos {
            stops.extend(setup.ends.iter().filter(|id| Some(**id) != setup.eos));
        }
        let masked = stops.iter().copied().chain(setup.eos).collect();
        let context = &prompt[prompt.len().saturating_sub(CONTEXT)..];
        let room = setup.window - prompt.len();
        Self {
            index,
            sampler: Sampler::new(params.clone(), prompt, setup.bad_words, masked, setup.key, setup.kernels),
            matcher: setup.matcher,
            detokenizer: Detokenizer::after(setup.tokenizer.clone(), params.skip_special_tokens, context),
            text: StopText::new(params.stop.clone(), params.include_stop),
            thinking: request.thinking.clone().map(Thinking::new),
            eos: setup.eos.filter(|_| !params.ignore_eos),
            stops,
            limit: params.max_tokens.map_or(room, |max| max.min(room)),
            prompt_logprobs: if Self::wants_prompt(&request, index) { vec![None] } else { Vec::new() },
            kernels: setup.kernels,
            cached: 0,
            sender: setup.sender,
            submitted: setup.submitted,
            started: None,
            first: None,
            request,
        }
    }

    /// Whether this sequence is the one that computes log-probabilities of the prompt.
    pub(super) fn wants_prompt(request: &Request, index: usize) -> bool {
        index == 0 && request.params.prompt_logprobs.is_some()
    }

    /// The sequence got a place. True the first time.
    pub(super) fn start(&mut self, cached: usize) -> bool {
        let first = self.started.is_none();
        if first {
            self.started = Some(Instant::now());
            self.cached = cached;
        }
        first
    }

    /// Takes the logits after the prompt's token at `position`.
    pub(super) fn prompt_row(&mut self, position: usize, logits: &[f32]) {
        let (prompt, count) = (&self.request.prompt, self.request.params.prompt_logprobs);
        if let (Some(count), Some(next)) = (count, prompt.get(position + 1))
            && self.prompt_logprobs.len() == position + 1
        {
            self.prompt_logprobs.push(Some(logprobs(self.kernels, logits, *next, count as usize)));
            if self.prompt_logprobs.len() == prompt.len() {
                self.sender.prompt_logprobs(std::mem::take(&mut self.prompt_logprobs));
            }
        }
    }

    /// Chooses the next token; `None` if no token is wanted.
    pub(super) fn sample(&mut self, logits: &mut [f32]) -> Result<Option<Sampled>, GrammarError> {
        if self.limit == 0 {
            return Ok(None);
        }
        let mask = match &mut self.matcher {
            Some(matcher) => Some(matcher.mask(&self.request.params.stop_token_ids)?),
            None => None,
        };
        // In the middle of a call the end of reasoning has to wait.
        let fits = |token: u32| mask.is_none_or(|mask| allows(mask, token));
        if let Some(token) = self.thinking.as_mut().and_then(|thinking| thinking.forced(fits)) {
            let count = self.request.params.logprobs;
            let logprobs = count.map(|count| logprobs(self.kernels, logits, token, count as usize));
            return Ok(Some(Sampled { token, logprobs }));
        }
        Ok(Some(self.sampler.sample(logits, mask)))
    }

    /// Takes a chosen token into the output.
    pub(super) fn accept(&mut self, sampled: Option<Sampled>) -> Result<Delta, GrammarError> {
        let mut delta = Delta { index: self.index, ..Delta::default() };
        let Some(Sampled { token, logprobs }) = sampled else {
            delta.finish = Some((FinishReason::Length, self.usage()));
            return Ok(delta);
        };
        self.first.get_or_insert_with(Instant::now);
        self.sampler.accept(token);
        if let Some(thinking) = &mut self.thinking {
            thinking.accept(token, self.sampler.output());
        }
        delta.tokens.push(token);
        delta.logprobs.extend(logprobs);
        let params = &self.request.params;
        let count = self.sampler.output().len();
        // Nothing can follow the end of a grammar, whatever the request says about lengths.
        let over = self.matcher.as_ref().is_some_and(Matcher::is_finished);
        let armed = count >= params.min_tokens || over;
        let end = match token {
            _ if !armed => None,
            _ if over => Some(FinishReason::EndToken(Some(token).filter(|id| self.stops.contains(id)))),
            token if Some(token) == self.eos => Some(FinishReason::EndToken(None)),
            token if self.stops.contains(&token) => Some(FinishReason::EndToken(Some(token))),
            _ => None,
        };
        let mut finish = end.clone();
        if end.is_none() || params.include_stop {
            let piece = self.detokenizer.push(token);
            let inside = self.request.stop_at_ends && self.matcher.as_ref().is_some_and(|m| !m.may_end());
            let (text, stop) =
                if inside { (self.text.pass(&piece), None) } else { self.text.push(&piece, armed) };
            delta.text = text;
            if let (None, Some(stop)) = (&end, stop) {
                finish = Some(FinishReason::StopString(params.stop[stop].clone()));
            }
        }
        if finish.is_none() && count == self.limit {
            finish = Some(FinishReason::Length);
        }
        match &finish {
            // Text held back for a stop string that did not come is text after all.
            Some(FinishReason::EndToken(_) | FinishReason::Length) => delta.text += &self.text.finish(),
            Some(FinishReason::StopString(_)) => {}
            None => {
                if let Some(matcher) = &mut self.matcher {
                    matcher.accept(token)?;
                }
            }
        }
        delta.finish = finish.map(|reason| (reason, self.usage()));
        Ok(delta)
    }

    fn usage(&self) -> Usage {
        let now = Instant::now();
        let since = |at: Option<Instant>| at.unwrap_or(now).duration_since(self.submitted);
        Usage {
            prompt_tokens: self.request.prompt.len(),
            cached_tokens: self.cached,
            completion_tokens: self.sampler.output().len(),
            queued: since(self.started),
            first_token: since(self.first),
            total: since(None),
        }
    }
}

/// Whether a mask allows a token.
fn allows(mask: &TokenMask, token: u32) -> bool {
    mask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}

/// Counts reasoning and forces its end.
struct Thinking {
    budget: ThinkingBudget,
    open: bool,
    used: usize,
    /// Tokens of the end mark forced so far.
    forced: usize,
}

impl Thinking {
    fn new(budget: ThinkingBudget) -> Self {
        Self { open: budget.open, used: 0, forced: 0, budget }
    }

    /// The token that must come now, if it `fits`.
    fn forced(&mut self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        if !self.open || self.used < self.budget.tokens {
            return None;
        }
        let token = self.budget.end.get(self.forced).copied().filter(|token| fits(*token))?;
        self.forced += 1;
        Some(token)
    }

    fn accept(&mut self, token: u32, output: &[u32]) {
        let mark = |mark: &[u32]| !mark.is_empty() && output.ends_with(mark);
        if self.open {
            self.used += 1;
            if mark(&self.budget.end) {
                self.open = false;
            }
        } else if mark(&self.budget.start) {
            (self.open, self.used, self.forced) = (true, 0, 0);
        }
        debug_assert!(output.last() == Some(&token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_thinking_is_forced_at_its_budget() {
        let budget = ThinkingBudget { tokens: 3, start: vec![1], end: vec![8, 9], open: false };
        let mut t = Thinking::new(budget.clone());
        let mut output = vec![];
        let mut forced = vec![];
        for free in [5, 1, 5, 5, 5, 5, 5, 5, 1, 8, 9, 5, 5, 5] {
            let token = t.forced(|_| true).inspect(|f| forced.push(*f)).unwrap_or(free);
            output.push(token);
            t.accept(token, &output);
        }
        assert_eq!(output, [5, 1, 5, 5, 5, 8, 9, 5, 1, 8, 9, 5, 5, 5]);
        assert_eq!(forced, [8, 9]);

        let mut open = Thinking::new(ThinkingBudget { tokens: 0, open: true, ..budget });
        assert_eq!(open.forced(|_| false), None);
        assert_eq!(open.forced(|_| true), Some(8));
    }
}
