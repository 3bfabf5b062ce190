//! From the parameters of the wire to those of the engine.

use chela_engine::formats::GenerationDefaults;
use chela_engine::sampler::SamplingParams;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::validate::sampled::Sampled;

/// What stands in for parameters that a request leaves out: first the server's own, then the model's.
pub(super) struct Defaults<'a> {
    pub(super) model: &'a GenerationDefaults,
    pub(super) server: &'a Map<String, Value>,
}

impl Defaults<'_> {
    fn number(&self, name: &str, asked: Option<f64>, model: Option<f64>, otherwise: f64) -> f32 {
        let own = || self.server.get(name).and_then(Value::as_f64);
        asked.or_else(own).or(model).unwrap_or(otherwise) as f32
    }

    /// Tokens to generate where the request does not say.
    pub(super) fn max_tokens(&self) -> Option<u64> {
        let own = self.server.get("max_new_tokens").or_else(|| self.server.get("max_tokens"));
        own.and_then(Value::as_u64).or(self.model.max_new_tokens)
    }
}

/// The engine's parameters.
///
/// # Errors
/// 400 for ids beyond the vocabulary.
pub(super) fn params(
    request: &Sampled,
    defaults: &Defaults,
    vocab: usize,
) -> Result<SamplingParams, ApiError> {
    let model = defaults.model;
    let top_k = request.top_k.or_else(|| defaults.server.get("top_k").and_then(Value::as_i64));
    let top_k = top_k.or_else(|| model.top_k.and_then(|k| i64::try_from(k).ok())).unwrap_or(0);
    let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let params = SamplingParams {
        n: size(request.n.unwrap_or(1)),
        max_tokens: request.max_tokens.map(size),
        min_tokens: size(request.min_tokens.unwrap_or(0)),
        temperature: defaults.number("temperature", request.temperature, model.temperature, 1.0),
        top_p: defaults.number("top_p", request.top_p, model.top_p, 1.0),
        top_k: u32::try_from(top_k.max(0)).unwrap_or(u32::MAX),
        min_p: defaults.number("min_p", request.min_p, model.min_p, 0.0),
        repetition_penalty: defaults.number(
            "repetition_penalty",
            request.repetition_penalty,
            model.repetition_penalty,
            1.0,
        ),
        presence_penalty: defaults.number("presence_penalty", request.presence_penalty, None, 0.0),
        frequency_penalty: defaults.number("frequency_penalty", request.frequency_penalty, None, 0.0),
        logit_bias: bias(request, vocab)?,
        seed: request.seed.map(|seed| seed as u64), // the same 64 bits
        logprobs: None,
        prompt_logprobs: request.prompt_logprobs.map(count),
        stop: request.stop.clone().unwrap_or_default(),
        stop_token_ids: ids("stop_token_ids", request.stop_token_ids.as_deref(), vocab)?,
        include_stop: request.include_stop_str_in_output.unwrap_or(false),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        bad_words: request.bad_words.clone().unwrap_or_default(),
        allowed_token_ids: match &request.allowed_token_ids {
            None => None,
            Some(list) => Some(ids("allowed_token_ids", Some(list), vocab)?),
        },
        skip_special_tokens: request.skip_special_tokens.unwrap_or(true),
    };
    if params.n > 1 && params.is_greedy() {
        let message = format!("n must be 1 when using greedy sampling, got {}.", params.n);
        return Err(ApiError::bad_request(None, message));
    }
    if params.allowed_token_ids.as_ref().is_some_and(Vec::is_empty) {
        let message = "allowed_token_ids is not None and empty!";
        return Err(ApiError::bad_request(Some("allowed_token_ids"), message));
    }
    Ok(params)
}

/// A count; what is below zero has been refused before.
pub(super) fn size(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn bias(request: &Sampled, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(bias) = &request.logit_bias else { return Ok(Vec::new()) };
    let listed: Vec<i64> = bias.keys().filter_map(|key| key.trim().parse().ok()).collect();
    let ids = ids("logit_bias", Some(&listed), vocab)?;
    // vLLM's range.
    Ok(ids.into_iter().zip(bias.values().map(|bias| bias.clamp(-100.0, 100.0) as f32)).collect())
}

fn ids(field: &str, listed: Option<&[i64]>, vocab: usize) -> Result<Vec<u32>, ApiError> {
    let listed = listed.unwrap_or_default();
    let inside = |id: &i64| u32::try_from(*id).ok().filter(|id| (*id as usize) < vocab);
    let outside: Vec<i64> = listed.iter().copied().filter(|id| inside(id).is_none()).collect();
    if outside.is_empty() {
        return Ok(listed.iter().filter_map(inside).collect());
    }
    let message = format!(
        "token_id(s) {outside:?} in {field} contain out-of-vocab token ids. Vocabulary size: {vocab} \
         (parameter={field}, value={outside:?})"
    );
    Err(ApiError::bad_request(Some(field), message))
}
