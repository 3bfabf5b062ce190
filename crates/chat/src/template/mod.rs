//! Chat templates, rendered as Hugging Face transformers renders them.
//!
//! [`ChatTemplate`] compiles a template and renders a conversation; [`TemplateFacts`] is what can
//! be learned by rendering small conversations with it; [`normalise`] changes a conversation so
//! that the template takes it.

mod facts;
mod jinja;
mod normalise;
mod python;

use jiff::civil::DateTime;
use serde_json::{Map, Value};

pub use facts::{Roles, TemplateFacts};
pub use normalise::normalise;

/// A compiled chat template with the tokenizer's special tokens.
#[derive(Debug)]
pub struct ChatTemplate {
    env: minijinja::Environment<'static>,
    source: String,
    specials: Map<String, Value>,
}

/// What a template is rendered with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// The messages, each an object with `role` and `content`, as the template is to see them.
    pub messages: &'a [Value],
    /// The tools in OpenAI's shape.
    pub tools: Option<&'a [Value]>,
    /// Documents with `title` and `text`.
    pub documents: Option<&'a [Value]>,
    /// Whether the text ends with the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Whether the text ends inside the last message, so that the model goes on with it.
    pub continue_final_message: bool,
    /// Further variables, as in `chat_template_kwargs`; these win over the special tokens.
    pub kwargs: Option<&'a Map<String, Value>>,
    /// What `strftime_now` tells. Without it the function is not defined, which templates allow
    /// for.
    pub now: Option<DateTime>,
}

/// Why a template could not be compiled or rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is not valid.
    #[error("the chat template is not valid: {0}")]
    Syntax(String),
    /// The template itself refused the conversation.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// Rendering failed.
    #[error("the chat template cannot be rendered: {0}")]
    Render(String),
    /// `continue_final_message` without a final message that can be continued.
    #[error("the final message cannot be continued: {0}")]
    Continue(&'static str),
    /// A `chat_template` that is neither a string nor a list of named templates.
    #[error("chat_template must be a string or a list of {{name, template}}; {0}")]
    Choice(String),
}

/// Marks the end of the message that is continued.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// Compiles `source`. `specials` are the tokenizer's special tokens by name: `bos_token`,
    /// `eos_token` and so on.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn new(source: &str, specials: Map<String, Value>) -> Result<Self, TemplateError> {
        let env = jinja::environment(source).map_err(|error| TemplateError::Syntax(error.to_string()))?;
        Ok(Self { env, source: source.to_owned(), specials })
    }

    /// Compiles the template that tokenizer_config.json's `chat_template` gives: a string, or a
    /// list of named ones, of which `tool_use` is taken where tools are given and `default`
    /// otherwise.
    ///
    /// # Errors
    /// [`TemplateError::Choice`] if the value is neither or has no fitting template, and
    /// [`TemplateError::Syntax`].
    pub fn choose(
        chat_template: &Value,
        tools: bool,
        specials: Map<String, Value>,
    ) -> Result<Self, TemplateError> {
        let named = |wanted: &str| {
            let mut list = chat_template.as_array().into_iter().flatten();
            let entry = list.find(|entry| entry.get("name").and_then(Value::as_str) == Some(wanted))?;
            entry.get("template").and_then(Value::as_str)
        };
        let source = match chat_template {
            Value::String(source) => Some(source.as_str()),
            Value::Array(_) => named("tool_use").filter(|_| tools).or_else(|| named("default")),
            other => {
                let got = crate::schema::type_of(other);
                return Err(TemplateError::Choice(format!("got {got}")));
            }
        };
        match source {
            Some(source) => Self::new(source, specials),
            None => Err(TemplateError::Choice("the list has no \"default\"".to_owned())),
        }
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text for the model.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] if the template calls `raise_exception`,
    /// [`TemplateError::Render`] if it fails otherwise, and [`TemplateError::Continue`].
    pub fn render(&self, input: &Input<'_>) -> Result<String, TemplateError> {
        let mut messages: Vec<Value> = input.messages.iter().map(alias_reasoning).collect();
        let continued = if input.continue_final_message { Some(mark_final(&mut messages)?) } else { None };
        let text =
            jinja::render(&self.env, &self.specials, input, &messages).map_err(
                |error| match jinja::refusal(&error) {
                    Some(message) => TemplateError::Refused(message),
                    None => TemplateError::Render(jinja::describe(&error)),
                },
            )?;
        match continued {
            Some(last) => cut_at_mark(text, &last),
            None => Ok(text),
        }
    }
}

/// Gives a message's reasoning under every name that templates read it by.
fn alias_reasoning(message: &Value) -> Value {
    let Value::Object(fields) = message else { return message.clone() };
    let names = ["reasoning_content", "thinking", "reasoning"];
    let Some(reasoning) = names.iter().filter_map(|name| fields.get(*name)).find(|value| !value.is_null())
    else {
        return message.clone();
    };
    let mut out = Map::new();
    out.insert("thinking".to_owned(), reasoning.clone());
    out.extend(fields.clone());
    out.insert("reasoning_content".to_owned(), reasoning.clone());
    Value::Object(out)
}

/// Marks the end of the last message's text, and gives that text.
fn mark_final(messages: &mut [Value]) -> Result<String, TemplateError> {
    let last = messages.last_mut().ok_or(TemplateError::Continue("there is none"))?;
    let text = match last.get_mut("content") {
        Some(Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        other => other,
    };
    match text {
        Some(Value::String(text)) => {
            let before = text.clone();
            text.push_str(CONTINUE);
            Ok(before)
        }
        _ => Err(TemplateError::Continue("it has no text")),
    }
}

fn cut_at_mark(text: String, last: &str) -> Result<String, TemplateError> {
    let mark = CONTINUE.trim_end();
    match text.rfind(mark) {
        Some(at) if text.contains(last.trim()) => {
            let head = &text[..at];
            // A template that trims its messages has trimmed the mark's space too.
            let kept = if text[at..].starts_with(CONTINUE) { head } else { head.trim_end() };
            Ok(kept.to_owned())
        }
        _ => Err(TemplateError::Continue("the template leaves its text out")),
    }
}
