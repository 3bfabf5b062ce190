//! How tokens and their log-probabilities stand on the wire.

use chela_engine::sampler::{Candidate, Logprobs};
use chela_engine::tokenizer::Tokenizer;
use chela_openai::chat::{PromptLogprobs, TokenLogprob, TopLogprob};
use serde_json::{Map, Value, json};

/// What stands for minus infinity, as in vLLM.
const LEAST: f64 = -9999.0;

/// Writes tokens.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// Whether a token is named `token_id:N`.
    pub(super) as_ids: bool,
    /// Alternatives in a list; all where it is none.
    pub(super) top: Option<usize>,
}

impl Writer<'_> {
    fn text(&self, id: u32) -> String {
        match self.as_ids {
            true => format!("token_id:{id}"),
            false => self.tokenizer.decode(&[id], false),
        }
    }

    fn bytes(&self, id: u32) -> Vec<u8> {
        match self.tokenizer.token_bytes(id) {
            Some(bytes) if !self.tokenizer.is_special(id) => bytes,
            _ => self.tokenizer.decode(&[id], false).into_bytes(),
        }
    }

    /// A token that was sampled, with its rivals: the token itself first, as vLLM has it.
    pub(super) fn token(&self, logprobs: &Logprobs) -> TokenLogprob {
        let all = candidates(logprobs);
        let shown = all.take(self.top.unwrap_or(usize::MAX));
        TokenLogprob {
            token: self.text(logprobs.chosen.token),
            logprob: finite(&logprobs.chosen),
            bytes: Some(self.bytes(logprobs.chosen.token)),
            top_logprobs: shown
                .map(|candidate| TopLogprob {
                    token: self.text(candidate.token),
                    logprob: finite(candidate),
                    bytes: Some(self.bytes(candidate.token)),
                })
                .collect(),
        }
    }

    /// The first token of an echoed prompt, which has no probability.
    pub(super) fn first(&self, id: u32) -> TokenLogprob {
        TokenLogprob { token: self.text(id), bytes: Some(self.bytes(id)), ..TokenLogprob::default() }
    }

    /// `prompt_logprobs`.
    pub(super) fn prompt(&self, logprobs: &[Option<Logprobs>]) -> PromptLogprobs {
        let row = |candidate: &Candidate| {
            let token = self.tokenizer.decode(&[candidate.token], false);
            let value = json!({
                "logprob": finite(candidate), "rank": candidate.rank, "decoded_token": token});
            (candidate.token.to_string(), value)
        };
        let rows = |logprobs: &Logprobs| candidates(logprobs).map(row).collect::<Map<String, Value>>();
        logprobs.iter().map(|position| position.as_ref().map(rows)).collect()
    }
}

/// The chosen token, then the likeliest others.
fn candidates(logprobs: &Logprobs) -> impl Iterator<Item = &Candidate> {
    let chosen = &logprobs.chosen;
    let others = logprobs.top.iter().filter(move |candidate| candidate.token != chosen.token);
    std::iter::once(chosen).chain(others)
}

fn finite(candidate: &Candidate) -> f64 {
    f64::from(candidate.logprob).max(LEAST)
}
