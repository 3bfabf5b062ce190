//! From a row of logits to a token.
//!
//! [`SamplingParams`] says how, [`Sampler`] holds one sequence's state and does it. The order is vLLM's:
//! grammar mask, (raw log-probabilities are taken here), allowed ids, bad words, minimum length, bias,
//! penalties; then greedy choice, or temperature, min-p, top-k, top-p and a draw. A draw depends on the
//! seed and the token's index alone, so that neither batching nor preemption changes it.

mod params;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use chela_kernels::Kernels;

pub use params::{ParamError, SamplingParams};
pub use stop::StopText;

/// A token with its log-probability before any processing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub token: u32,
    /// Natural logarithm of its probability; `-inf` when a mask excludes it.
    pub logprob: f32,
    /// 1 for the likeliest token. Tokens of equal probability share the rank of the last among them.
    pub rank: u32,
}

/// Log-probabilities at one position.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// The token that stands there.
    pub chosen: Candidate,
    /// The likeliest tokens, best first; as many as were asked for.
    pub top: Vec<Candidate>,
}

/// A token and what was asked about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Token id.
    pub token: u32,
    /// Present if log-probabilities were asked for.
    pub logprobs: Option<Logprobs>,
}

/// One bit per token id, least significant first, as a grammar computes it: 1 allows the token.
pub type TokenMask = [u32];

/// The state of one sequence's sampling.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    prompt: BTreeSet<u32>,
    counts: BTreeMap<u32, u32>,
    output: Vec<u32>,
    bad_words: Vec<Vec<u32>>,
    ends: Vec<u32>,
    key: u64,
    kernels: Kernels,
}

impl Sampler {
    /// A sampler for a sequence after `prompt`. `bad_words` are the token sequences of the parameter of
    /// that name, `ends` the ids that are masked below the minimum length, and `key` the random key.
    #[must_use]
    pub fn new(
        params: SamplingParams,
        prompt: &[u32],
        bad_words: Vec<Vec<u32>>,
        ends: Vec<u32>,
        key: u64,
        kernels: Kernels,
    ) -> Self {
        let penalised = params.repetition_penalty != 1.0;
        Self {
            prompt: if penalised { prompt.iter().copied().collect() } else { BTreeSet::new() },
            counts: BTreeMap::new(),
            output: Vec::new(),
            bad_words,
            ends,
            key,
            kernels,
            params,
        }
    }

    /// Tokens accepted so far.
    #[must_use]
    pub fn output(&self) -> &[u32] {
        &self.output
    }

    /// Chooses the next token; `logits` has one value per token of the vocabulary and is used up.
    #[must_use]
    pub fn sample(&self, logits: &mut [f32], mask: Option<&TokenMask>) -> Sampled {
        if let Some(mask) = mask {
            for (i, logit) in logits.iter_mut().enumerate() {
                if mask.get(i / 32).is_none_or(|word| word >> (i % 32) & 1 == 0) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        // What a grammar leaves over may be just what another rule forbids; then the grammar wins.
        let masked = (mask.is_some() && self.forbids()).then(|| logits.to_vec());
        let raw = self.params.logprobs.map(|_| logits.to_vec());
        self.process(logits);
        if let Some(masked) = masked
            && logits.iter().all(|logit| *logit == f32::NEG_INFINITY)
        {
            logits.copy_from_slice(&masked);
        }
        let token = self.choose(logits);
        let (Some(count), Some(raw)) = (self.params.logprobs, raw) else {
            return Sampled { token, logprobs: None };
        };
        Sampled { token, logprobs: Some(logprobs(self.kernels, &raw, token, count as usize)) }
    }

    /// Takes a token into the output: a sampled one or one that a grammar forced.
    pub fn accept(&mut self, token: u32) {
        *self.counts.entry(token).or_insert(0) += 1;
        self.output.push(token);
    }

    /// Whether a rule of the request excludes tokens now.
    fn forbids(&self) -> bool {
        let p = &self.params;
        p.allowed_token_ids.is_some() || !self.bad_words.is_empty() || self.output.len() < p.min_tokens
    }

    fn process(&self, logits: &mut [f32]) {
        let p = &self.params;
        if let Some(allowed) = &p.allowed_token_ids {
            let kept: Vec<_> =
                allowed.iter().filter_map(|&id| Some((id, *logits.get(id as usize)?))).collect();
            logits.fill(f32::NEG_INFINITY);
            kept.into_iter().for_each(|(id, logit)| logits[id as usize] = logit);
        }
        for word in &self.bad_words {
            if let Some((last, head)) = word.split_last()
                && self.output.ends_with(head)
            {
                set(logits, *last, f32::NEG_INFINITY);
            }
        }
        if self.output.len() < p.min_tokens {
            self.ends.iter().for_each(|&id| set(logits, id, f32::NEG_INFINITY));
        }
        for &(id, bias) in &p.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        self.penalise(logits);
    }

    /// Repetition counts prompt and output, presence and frequency count the output alone.
    fn penalise(&self, logits: &mut [f32]) {
        let p = &self.params;
        if p.repetition_penalty != 1.0 {
            let fresh = self.counts.keys().filter(|id| !self.prompt.contains(id));
            for &id in self.prompt.iter().chain(fresh) {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit = if *logit > 0.0 {
                        *logit / p.repetition_penalty
                    } else {
                        *logit * p.repetition_penalty
                    };
                }
            }
        }
        if p.presence_penalty != 0.0 || p.frequency_penalty != 0.0 {
            for (&id, &count) in &self.counts {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit -= p.frequency_penalty * count as f32 + p.presence_penalty;
                }
            }
        }
    }

    fn choose(&self, logits: &mut [f32]) -> u32 {
        if self.params.is_greedy() {
            return self.kernels.argmax(logits).unwrap_or(0) as u32;
        }
        let draw = uniform(self.key, self.output.len() as u64);
        draw_token(self.kernels, &self.params, logits, draw)
    }
}

fn set(logits: &mut [f32], id: u32, value: f32) {
    if let Some(logit) = logits.get_mut(id as usize) {
        *logit = value;
    }
}

/// Temperature, min-p, top-k and top-p, then inversion of the cumulative distribution at `draw`.
fn draw_token(kernels: Kernels, params: &SamplingParams, logits: &mut [f32], draw: f64) -> u32 {
    let scale = 1.0 / params.temperature;
    logits.iter_mut().for_each(|l| *l *= scale);
    let Some(best) = kernels.argmax(logits).filter(|i| logits[*i] > f32::NEG_INFINITY) else { return 0 };
    kernels.softmax(logits);
    let probabilities = &*logits;
    let mut floor = params.min_p * probabilities[best];
    let top_k = params.top_k as usize;
    if top_k > 0 && top_k < probabilities.len() {
        let kth = kernels.top_k(probabilities, top_k).last().map_or(0.0, |i| probabilities[*i]);
        floor = floor.max(kth);
    }
    if floor <= 0.0 && params.top_p >= 1.0 {
        return invert(probabilities, draw);
    }
    let keep = |floor: f32| {
        let all = probabilities.iter().enumerate().filter(move |(_, p)| **p >= floor && **p > 0.0);
        all.map(|(i, p)| (i as u32, f64::from(*p))).collect::<Vec<_>>()
    };
    // Without a floor, what is below this cut adds up to less than 1 - top_p and is dropped anyhow; so
    // only the rest has to be sorted.
    let cut = (1.0 - params.top_p) / probabilities.len() as f32;
    let mut kept = keep(if floor > 0.0 { floor } else { cut });
    let sum = |kept: &[(u32, f64)]| kept.iter().map(|(_, p)| p).sum::<f64>();
    if params.top_p < 1.0 {
        let target = f64::from(params.top_p) * if floor > 0.0 { sum(&kept) } else { 1.0 };
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        // Only so much of a flat distribution is sorted as the target needs.
        let mut head = 256;
        while head < kept.len() {
            kept.select_nth_unstable_by(head, order);
            if sum(&kept[..head]) >= target {
                kept.truncate(head);
            }
            head *= 8;
        }
        kept.sort_unstable_by(order);
        let mut mass = 0.0;
        let enough = kept.iter().position(|(_, p)| {
            mass += p;
            mass >= target
        });
        kept.truncate(enough.map_or(kept.len(), |i| i + 1));
    }
    let mut rest = draw * sum(&kept);
    for (id, p) in &kept {
        rest -= p;
        if rest < 0.0 {
            return *id;
        }
    }
    kept.last().map_or(best as u32, |(id, _)| *id)
}

/// The index at which the running sum passes `draw` times the whole.
fn invert(probabilities: &[f32], draw: f64) -> u32 {
    const RUN: usize = 256;
    let sum = |run: &[f32]| {
        let mut lanes = [0f32; 16];
        for part in run.chunks(16) {
            lanes.iter_mut().zip(part).for_each(|(lane, p)| *lane += p);
        }
        lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>()
    };
    let runs: Vec<f64> = probabilities.chunks(RUN).map(sum).collect();
    let mut rest = draw * runs.iter().sum::<f64>();
    let mut last = 0;
    for (i, (run, total)) in probabilities.chunks(RUN).zip(&runs).enumerate() {
        if rest >= *total {
            rest -= total;
            continue;
        }
        for (j, p) in run.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            last = i * RUN + j;
            rest -= f64::from(*p);
            if rest < 0.0 {
                return last as u32;
            }
        }
    }
    last as u32
}

/// Log-probabilities of `chosen` and of the `top` likeliest tokens under raw logits.
#[must_use]
pub fn logprobs(kernels: Kernels, logits: &[f32], chosen: u32, top: usize) -> Logprobs {
    let log_sum = kernels.log_sum_exp(logits);
    let candidate = |token: u32| {
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let rank = logits.iter().filter(|l| **l >= logit).count() as u32;
        Candidate { token, logprob: logit - log_sum, rank }
    };
    let top = kernels.top_k(logits, top.min(logits.len()));
    Logprobs { chosen: candidate(chosen), top: top.into_iter().map(|i| candidate(i as u32)).collect() }
}

/// A 64-bit mix (the finaliser of SplitMix64, Steele et al., 2014).
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The random number of index `counter` under `key`, in `[0, 1)`.
fn uniform(key: u64, counter: u64) -> f64 {
    (mix(mix(key) ^ mix(counter.wrapping_add(1) << 1)) >> 11) as f64 / (1u64 << 53) as f64
}
