//! How to sample, and what is out of range.

use crate::formats::GenerationDefaults;

/// A request's sampling parameters; the names and ranges are those of vLLM.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Sequences to generate from the prompt, at least 1.
    pub n: usize,
    /// Most tokens to generate; `None` for the rest of the window. 0 only computes the prompt.
    pub max_tokens: Option<usize>,
    /// Tokens before which neither an end id nor a stop string ends the sequence.
    pub min_tokens: usize,
    /// Divides the logits; 0 is the greedy choice.
    pub temperature: f32,
    /// Keeps the likeliest tokens that together reach this probability, in `(0, 1]`.
    pub top_p: f32,
    /// Keeps so many of the likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Drops tokens less likely than this share of the likeliest one, in `[0, 1]`.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or output; above 0.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens in the output, in `[-2, 2]`.
    pub presence_penalty: f32,
    /// Subtracted once per occurrence in the output, in `[-2, 2]`.
    pub frequency_penalty: f32,
    /// Added to the logits of these ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// Makes the output reproducible; sequence `i` of `n` uses `seed + i`.
    pub seed: Option<u64>,
    /// Log-probabilities of each sampled token and so many alternatives.
    pub logprobs: Option<u32>,
    /// Log-probabilities of each prompt token and so many alternatives.
    pub prompt_logprobs: Option<u32>,
    /// Texts that end the output.
    pub stop: Vec<String>,
    /// Ids that end the output, besides the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Whether the text that ended the output is part of it.
    pub include_stop: bool,
    /// Whether the model's end ids are ordinary tokens.
    pub ignore_eos: bool,
    /// Texts that must not occur.
    pub bad_words: Vec<String>,
    /// The only ids that may occur.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Whether special tokens are left out of the text.
    pub skip_special_tokens: bool,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            n: 1,
            max_tokens: None,
            min_tokens: 0,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
            logprobs: None,
            prompt_logprobs: None,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            include_stop: false,
            ignore_eos: false,
            bad_words: Vec::new(),
            allowed_token_ids: None,
            skip_special_tokens: true,
        }
    }
}

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} must be {expected}, got {got}")]
pub struct ParamError {
    /// Which parameter.
    pub name: &'static str,
    /// Its range.
    pub expected: String,
    /// What it was.
    pub got: String,
}

/// Below this temperature the choice is greedy, as in vLLM.
const GREEDY_TEMPERATURE: f32 = 1e-5;

impl SamplingParams {
    /// Parameters of the greedy choice.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// What a model's files recommend, and the defaults beyond that.
    #[must_use]
    pub fn recommended(by: &GenerationDefaults) -> Self {
        let base = Self::default();
        let or = |value: Option<f64>, default: f32| value.map_or(default, |v| v as f32);
        Self {
            max_tokens: by.max_new_tokens.and_then(|n| usize::try_from(n).ok()),
            temperature: or(by.temperature, base.temperature),
            top_p: or(by.top_p, base.top_p),
            top_k: by.top_k.map_or(base.top_k, |k| u32::try_from(k).unwrap_or(0)),
            min_p: or(by.min_p, base.min_p),
            repetition_penalty: or(by.repetition_penalty, base.repetition_penalty),
            ..base
        }
    }

    /// Whether the likeliest token is always taken.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_TEMPERATURE
    }

    /// Checks every range, ids against a vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// The first parameter that is out of its range.
    pub fn validate(&self, vocab: usize) -> Result<(), ParamError> {
        let ranges: [(&'static str, f32, &str, bool); 7] = [
            ("temperature", self.temperature, "in [0, 2]", (0.0..=2.0).contains(&self.temperature)),
            ("top_p", self.top_p, "in (0, 1]", self.top_p > 0.0 && self.top_p <= 1.0),
            ("min_p", self.min_p, "in [0, 1]", (0.0..=1.0).contains(&self.min_p)),
            (
                "repetition_penalty",
                self.repetition_penalty,
                "finite and above 0",
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                "in [-2, 2]",
                (-2.0..=2.0).contains(&self.presence_penalty),
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                "in [-2, 2]",
                (-2.0..=2.0).contains(&self.frequency_penalty),
            ),
            ("n", self.n as f32, "at least 1", self.n >= 1),
        ];
        for (name, got, expected, ok) in ranges {
            if !ok {
                return Err(ParamError { name, expected: expected.into(), got: got.to_string() });
            }
        }
        if let Some(max) = self.max_tokens
            && self.min_tokens > max
        {
            return Err(ParamError {
                name: "min_tokens",
                expected: format!("at most max_tokens = {max}"),
                got: self.min_tokens.to_string(),
            });
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(ParamError {
                name: "stop",
                expected: "without empty strings".into(),
                got: "\"\"".into(),
            });
        }
        self.validate_ids(vocab)
    }

    fn validate_ids(&self, vocab: usize) -> Result<(), ParamError> {
        let lists: [(&'static str, Vec<u32>); 3] = [
            ("logit_bias", self.logit_bias.iter().map(|(id, _)| *id).collect()),
            ("stop_token_ids", self.stop_token_ids.clone()),
            ("allowed_token_ids", self.allowed_token_ids.clone().unwrap_or_default()),
        ];
        for (name, ids) in lists {
            if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
                let expected = format!("token ids below {vocab}");
                return Err(ParamError { name, expected, got: id.to_string() });
            }
        }
        if self.allowed_token_ids.as_ref().is_some_and(Vec::is_empty) {
            let expected = "absent or not empty".into();
            return Err(ParamError { name: "allowed_token_ids", expected, got: "[]".into() });
        }
        Ok(())
    }
}
