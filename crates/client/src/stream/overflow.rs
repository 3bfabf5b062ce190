//! What servers say when a request does not fit the window, and what can be learned from it.

use chela_openai::error::{ErrorCode, WireError};

/// A request that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// The window, where the message names it.
    pub window: Option<u32>,
    /// Tokens of the prompt, where the message names them.
    pub prompt: Option<u32>,
    /// The prompt alone is too long, whatever room the answer is given.
    pub prompt_alone: bool,
}

/// Words that mark an overflow, in lower case. Sources: vLLM 0.6 to 0.32, SGLang, llama.cpp,
/// LM Studio, LiteLLM and OpenAI.
const MARKS: [&str; 12] = [
    "maximum context length",
    "model's context length",
    "context length exceeded",
    "context_length_exceeded",
    "exceeds the available context size",
    "exceed_context_size",
    "greater than max_model_len",
    "max_tokens must be at least 1",
    "max_completion_tokens must be at least 1",
    "context the overflows",
    "context window",
    "greater than the context length",
];

/// Phrases that a window follows.
const WINDOW_AFTER: [&str; 9] = [
    "maximum context length is",
    "maximum context length of",
    "context length is only",
    "context length of only",
    "max_model_len=",
    "max_model_len (",
    "available context size (",
    "model's context length (",
    "n_ctx:",
];

/// Phrases that the prompt's tokens follow.
const PROMPT_AFTER: [&str; 8] = [
    "prompt contains at least",
    "prompt contains",
    "your request has",
    "you passed",
    "the input (",
    "request (",
    "a total of",
    "you requested",
];

/// Read an overflow from an error; `None` if it is something else.
pub fn overflow(error: &WireError) -> Option<Overflow> {
    let text = error.message.to_ascii_lowercase();
    let coded = matches!(&error.code, Some(ErrorCode::Text(code)) if code == "context_length_exceeded")
        || error.kind.as_deref() == Some("exceed_context_size_error");
    if !coded && error.n_ctx.is_none() && !MARKS.iter().any(|mark| text.contains(mark)) {
        return None;
    }
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let window =
        error.n_ctx.map(narrow).or_else(|| WINDOW_AFTER.iter().find_map(|mark| number_after(&text, mark)));
    let prompt = error.n_prompt_tokens.map(narrow).or_else(|| prompt_tokens(&text));
    let said = text.contains("without any output tokens")
        || text.contains("must be at least 1, got")
        || text.contains("reduce the length of the input prompt")
        || text.contains("exceeds the available context size")
        || text.contains("is longer than");
    let prompt_alone = said || matches!((prompt, window), (Some(prompt), Some(window)) if prompt >= window);
    Some(Overflow { window, prompt, prompt_alone })
}

/// The prompt's share: `(8000 in the messages, 4345 in the completion)` names it apart from
/// the sum before it.
fn prompt_tokens(text: &str) -> Option<u32> {
    for mark in [" in the messages", " tokens from the input messages", " in the input"] {
        if let Some(number) = text.find(mark).and_then(|at| number_before(&text[..at])) {
            return Some(number);
        }
    }
    PROMPT_AFTER.iter().find_map(|mark| {
        let number = number_after(text, mark)?;
        // `prompt contains 540050 characters` counts something else.
        let rest = &text[text.find(mark)? + mark.len()..];
        let unit =
            rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == ',').trim_start();
        (!unit.starts_with("character")).then_some(number)
    })
}

fn number_after(text: &str, mark: &str) -> Option<u32> {
    let rest = text[text.find(mark)? + mark.len()..].trim_start();
    let digits: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn number_before(text: &str) -> Option<u32> {
    let digits = text.len() - text.bytes().rev().take_while(u8::is_ascii_digit).count();
    text[digits..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Option<Overflow> {
        overflow(&WireError { message: message.to_owned(), ..WireError::default() })
    }

    #[test]
    fn messages_of_real_servers() {
        let all = |window, prompt, prompt_alone| Some(Overflow { window, prompt, prompt_alone });
        let table = [
            // vLLM 0.32, recorded
            (
                "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 \
                 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of \
                 the input prompt. (parameter=input_tokens, value=1025)",
                all(Some(1024), Some(1025), true),
            ),
            (
                "This model's maximum context length is 1024 tokens. However, your prompt contains 540050 characters \
                 (more than 32768 characters, which is the upper bound for 1024 input tokens). Please reduce the \
                 length of the input prompt. (parameter=input_text, value=540050)",
                all(Some(1024), None, true),
            ),
            (
                "max_tokens=5000 cannot be greater than max_model_len=1024. Please request fewer output tokens. \
                 (parameter=max_tokens, value=5000)",
                all(Some(1024), None, false),
            ),
            ("max_tokens must be at least 1, got 0.", all(None, None, true)),
            // vLLM before 0.11
            (
                "This model's maximum context length is 8192 tokens. However, you requested 12345 tokens (8000 in \
                 the messages, 4345 in the completion). Please reduce the length of the messages or completion.",
                all(Some(8192), Some(8000), false),
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is \
                 8192 tokens and your request has 1345 input tokens (8192 > 8192 - 1345). None",
                all(Some(8192), Some(1345), false),
            ),
            // vLLM 0.11 to 0.14
            (
                "You passed 9001 input tokens and requested 100 output tokens. However, the model's context length \
                 is only 8192 tokens, resulting in a maximum input length of 8092 tokens.",
                all(Some(8192), Some(9001), true),
            ),
            // SGLang
            (
                "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a \
                 total of 12345 tokens: 8000 tokens from the input messages and 4345 tokens for the completion.",
                all(Some(8192), Some(8000), false),
            ),
            (
                "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
                all(Some(8192), Some(9000), true),
            ),
            // llama.cpp
            (
                "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
                all(Some(8192), Some(9000), true),
            ),
            // LM Studio
            (
                "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with \
                 context length of only 4096 tokens, which is not enough.",
                all(Some(4096), None, false),
            ),
        ];
        for (message, want) in table {
            assert_eq!(said(message), want, "{message}");
        }
    }

    #[test]
    fn figures_in_fields_win() {
        let error = WireError {
            message: "the request exceeds the available context size".to_owned(),
            n_ctx: Some(4096),
            n_prompt_tokens: Some(5000),
            ..WireError::default()
        };
        let want = Overflow { window: Some(4096), prompt: Some(5000), prompt_alone: true };
        assert_eq!(overflow(&error), Some(want));
    }

    #[test]
    fn other_errors_are_no_overflow() {
        for message in
            ["Unauthorized", "temperature must be in [0, 2], got 2.5.", "The model `x` does not exist."]
        {
            assert_eq!(said(message), None, "{message}");
        }
    }
}
