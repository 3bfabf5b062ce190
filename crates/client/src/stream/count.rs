//! Counting tokens with the server's own tokenizer.

use chela_openai::tokenize::TokenizeRequest;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use super::facts::{Facts, ToolRoute};
use super::turn::{TokenCount, Turn};
use super::{Timing, wire};
use crate::catalog::Model;
use crate::catalog::providers::TokenizeApi;

/// Largest answer: a token list of a long prompt.
const ANSWER_LIMIT: usize = 32 << 20;

/// Tokens of the prompt as the request would render it; `None` where the server does not count.
pub async fn count(turn: &Turn, model: &Model, facts: &Facts, timing: &Timing) -> Option<TokenCount> {
    let request = wire::request(turn, model, facts, 1);
    let tokens = match model.provider.row.tokenize? {
        TokenizeApi::Vllm => {
            let body = TokenizeRequest {
                model: Some(model.reference.model.clone()),
                messages: Some(request.messages),
                tools: request.tools,
                chat_template_kwargs: request.chat_template_kwargs,
                ..TokenizeRequest::default()
            };
            let answer: Counted = ask(model, "/tokenize", &body, timing).await?;
            answer.count
        }
        TokenizeApi::Llamacpp => {
            let mut body = json!({"messages": request.messages});
            for (key, value) in [
                ("tools", serde_json::to_value(&request.tools).ok()?),
                ("chat_template_kwargs", serde_json::to_value(&request.chat_template_kwargs).ok()?),
            ] {
                if !value.is_null() {
                    body[key] = value;
                }
            }
            let rendered: Rendered = ask(model, "/apply-template", &body, timing).await?;
            let body = json!({"content": rendered.prompt, "add_special": true, "parse_special": true});
            let answer: Listed = ask(model, "/tokenize", &body, timing).await?;
            answer.tokens.len() as u64
        }
    };
    Some(TokenCount { tokens: u32::try_from(tokens).ok()?, exact: true })
}

/// What vLLM says of a prompt; its list of tokens, as long as the prompt, is not kept.
#[derive(Deserialize)]
struct Counted {
    count: u64,
}

/// A prompt that llama.cpp has rendered.
#[derive(Deserialize)]
struct Rendered {
    prompt: String,
}

/// llama.cpp's tokens, which are counted and take no memory.
#[derive(Deserialize)]
struct Listed {
    tokens: Vec<IgnoredAny>,
}

async fn ask<T: DeserializeOwned>(
    model: &Model,
    path: &str,
    body: &impl Serialize,
    timing: &Timing,
) -> Option<T> {
    let endpoint = &model.provider;
    let request = endpoint.post(endpoint.root(path), serde_json::to_vec(body).ok()?.into());
    let answer = async {
        let response = endpoint.transport.send(request).await.ok()?;
        if !response.status.is_success() {
            return None;
        }
        serde_json::from_slice(&response.bytes(ANSWER_LIMIT).await.ok()?).ok()
    };
    timeout(timing.check_limit, answer).await.ok().flatten()
}

/// Whether the chat template leaves the tools out of the prompt: counted with and without them
/// it has the same length.
pub async fn template_drops_tools(
    turn: &Turn,
    model: &Model,
    facts: &Facts,
    timing: &Timing,
) -> Option<bool> {
    let with = count(turn, model, facts, timing).await?;
    let bare = Turn { tools: Vec::new(), ..turn.clone() };
    let without = count(&bare, model, &Facts { tools: ToolRoute::Native, ..facts.clone() }, timing).await?;
    Some(with.tokens == without.tokens)
}
