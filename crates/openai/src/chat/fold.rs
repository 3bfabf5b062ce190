//! The fold of a stream.

use super::message::ToolCall;
use super::response::{ChatChunk, ChatCompletion, Choice, ChunkChoice, Logprobs, ToolCallDelta};

/// Adds the chunks of a stream up to the whole answer.
///
/// `tool_calls` of the result hold what the stream said, valid or not. The
/// choices come in the order of their index.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    whole: ChatCompletion,
    /// Per choice, the index on the wire of each call so far.
    slots: Vec<Vec<Option<u32>>>,
}

impl Fold {
    /// An empty answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one chunk.
    pub fn push(&mut self, chunk: ChatChunk) {
        let whole = &mut self.whole;
        if whole.id.is_empty() {
            whole.id = chunk.id;
        }
        if whole.model.is_empty() {
            whole.model = chunk.model;
        }
        if whole.created == 0 {
            whole.created = chunk.created;
        }
        keep_last(&mut whole.usage, chunk.usage);
        keep_last(&mut whole.system_fingerprint, chunk.system_fingerprint);
        keep_last(&mut whole.metrics, chunk.metrics);
        keep_last(&mut whole.timings, chunk.timings);
        keep_last(&mut whole.prompt_token_ids, chunk.prompt_token_ids.flatten());
        keep_last(&mut whole.prompt_text, chunk.prompt_text.flatten());
        for part in chunk.choices {
            self.push_choice(part);
        }
    }

    /// The answer so far.
    pub fn finish(self) -> ChatCompletion {
        let mut whole = self.whole;
        whole.object = "chat.completion".into();
        whole.choices.sort_by_key(|choice| choice.index);
        whole
    }

    fn push_choice(&mut self, part: ChunkChoice) {
        let choices = &mut self.whole.choices;
        let at = match choices.iter().position(|c| c.index == part.index) {
            Some(at) => at,
            None => {
                choices.push(Choice { index: part.index, ..Choice::default() });
                self.slots.push(Vec::new());
                choices.len() - 1
            }
        };
        let choice = &mut choices[at];
        let message = &mut choice.message;
        append(&mut message.reasoning, part.delta.reasoning_text());
        append(&mut message.content, part.delta.text());
        append(&mut message.refusal, part.delta.refusal.as_deref().unwrap_or(""));
        for call in part.delta.tool_calls {
            push_call(&mut message.tool_calls, &mut self.slots[at], call);
        }
        if let Some(Logprobs { content: Some(more) }) = part.logprobs {
            choice.logprobs.get_or_insert_default().content.get_or_insert_default().extend(more);
        }
        if let Some(more) = part.token_ids.flatten() {
            choice.token_ids.get_or_insert_default().extend(more);
        }
        keep_last(&mut choice.finish_reason, part.finish_reason);
        keep_last(&mut choice.stop_reason, part.stop_reason.flatten());
    }
}

fn keep_last<T>(field: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *field = new;
    }
}

/// Text stays null until there is some.
fn append(field: &mut Option<String>, more: &str) {
    if !more.is_empty() {
        field.get_or_insert_default().push_str(more);
    }
}

/// Finds the call that a piece belongs to: by index; without one, a new id or
/// name begins a call and anything else goes on with the last. A new id under
/// an index that is taken begins a call too (servers that send index 0 always).
fn push_call(calls: &mut Vec<ToolCall>, slots: &mut Vec<Option<u32>>, part: ToolCallDelta) {
    let id = part.id.filter(|id| !id.is_empty());
    let (name, arguments) = part.function.map_or((None, None), |f| (f.name, f.arguments));
    let name = name.filter(|name| !name.is_empty());
    let known = match part.index {
        Some(index) => slots.iter().rposition(|slot| *slot == Some(index)),
        None if id.is_none() && name.is_none() => calls.len().checked_sub(1),
        None => id.as_ref().and_then(|id| calls.iter().rposition(|call| call.id == *id)),
    };
    let known = known.filter(|&at| {
        let other_id = id.as_ref().is_some_and(|id| !calls[at].id.is_empty() && calls[at].id != *id);
        !(other_id && name.is_some())
    });
    let at = known.unwrap_or_else(|| {
        calls.push(ToolCall::new("", "", ""));
        slots.push(part.index);
        calls.len() - 1
    });
    let call = &mut calls[at];
    if let Some(id) = id {
        call.id = id;
    }
    if let Some(kind) = part.kind.filter(|kind| !kind.is_empty()) {
        call.kind = kind;
    }
    match name {
        // repeated with every piece by some servers
        Some(name) if call.function.name != name => call.function.name.push_str(&name),
        _ => {}
    }
    if let Some(arguments) = arguments {
        call.function.arguments.push_str(&arguments);
    }
}
