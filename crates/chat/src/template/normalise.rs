//! Changes a conversation so that a strict template takes it.

use serde_json::{Map, Value, json};

use super::TemplateFacts;
use super::facts::Roles;
use crate::dialect::{Dialect, write_calls};
use crate::json;
use crate::render::result_text;

/// What stands between texts that are put together.
const BETWEEN: &str = "\n\n";

/// The conversation as the template takes it, changed no more than its facts demand:
/// `developer` becomes `system`, later system messages join the first one, a system text goes to
/// the first user message, messages of one role that follow one another become one, results
/// without a call and user turns that are missing are given as user messages, content that is
/// null becomes empty, parts become text, calls that the template leaves out become text, and the arguments of calls become objects; a template
/// that takes one call a message, nine characters of an id, or only answers after results gets
/// them so.
pub fn normalise(messages: &[Value], facts: &TemplateFacts) -> Vec<Value> {
    let mut out: Vec<Value> = messages.iter().map(|message| plain(message, facts)).collect();
    let roles = facts.roles;
    if !facts.calls {
        calls_to_text(&mut out, facts.dialect);
    }
    if !roles.system_anywhere {
        gather_system(&mut out);
    }
    if !roles.system {
        system_to_user(&mut out);
    }
    if !roles.orphan_results || !roles.user_after_result {
        orphans_to_user(&mut out);
    }
    if roles.needs_user && !out.iter().any(|message| role(message) == "user") {
        let at = usize::from(out.first().is_some_and(|first| role(first) == "system"));
        out.insert(at, json!({"role": "user", "content": ""}));
    }
    if !roles.repeated {
        merge_repeated(&mut out);
    }
    if !roles.several_calls {
        single_calls(&mut out);
    }
    if !roles.user_after_result {
        answer_results(&mut out);
    }
    if !roles.assistant_first {
        let at = usize::from(out.first().is_some_and(|first| role(first) == "system"));
        if out.get(at).is_some_and(|first| role(first) == "assistant") {
            out.insert(at, json!({"role": "user", "content": ""}));
        }
    }
    if !roles.empty_assistant {
        fill_assistants(&mut out);
    }
    out
}

fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

fn has_calls(message: &Value) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

/// One message by itself.
fn plain(message: &Value, facts: &TemplateFacts) -> Value {
    let mut message = message.clone();
    let Value::Object(fields) = &mut message else { return message };
    if fields.get("role").and_then(Value::as_str) == Some("developer") && !facts.roles.developer {
        fields.insert("role".into(), "system".into());
    }
    match fields.get("content") {
        // It is known of user messages alone whether their parts are read.
        Some(Value::Array(parts))
            if !facts.parts || fields.get("role").and_then(Value::as_str) != Some("user") =>
        {
            let text = text_of_parts(parts);
            fields.insert("content".into(), text.into());
        }
        // Only the assistant says nothing beside a call, and templates know it of it alone.
        Some(Value::Null) | None
            if !facts.null_content || fields.get("role").and_then(Value::as_str) != Some("assistant") =>
        {
            fields.insert("content".into(), "".into());
        }
        _ => {}
    }
    let empty = |calls: &Value| calls.is_null() || calls.as_array().is_some_and(Vec::is_empty);
    if fields.get("tool_calls").is_some_and(empty) {
        fields.shift_remove("tool_calls");
    }
    if !facts.roles.long_ids {
        short_ids(fields);
    }
    if let Some(Value::Array(calls)) = fields.get_mut("tool_calls") {
        calls.iter_mut().for_each(object_arguments);
    }
    message
}

/// Templates want the arguments as an object; the wire has them as text. Text that is no object
/// becomes an empty one, as vLLM has it.
fn object_arguments(call: &mut Value) {
    if let Some(arguments) = call.pointer_mut("/function/arguments")
        && let Some(text) = arguments.as_str()
    {
        let object = json::parse(text).filter(Value::is_object);
        *arguments = object.unwrap_or_else(|| Value::Object(Map::new()));
    }
}

/// Shortens the ids of calls and results to their last nine letters and digits.
fn short_ids(fields: &mut Map<String, Value>) {
    let shorten = |id: &mut Value| {
        let plain: Vec<char> =
            id.as_str().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
        let last: String = plain[plain.len().saturating_sub(9)..].iter().collect();
        *id = format!("{last:0>9}").into();
    };
    if fields.get("role").and_then(Value::as_str) == Some("tool") {
        shorten(fields.entry("tool_call_id").or_insert(Value::Null));
    }
    if let Some(Value::Array(calls)) = fields.get_mut("tool_calls") {
        let calls = calls.iter_mut().filter_map(Value::as_object_mut);
        calls.for_each(|call| shorten(call.entry("id").or_insert(Value::Null)));
    }
}

fn text_of_parts(parts: &[Value]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Value::String(text) => Some(text.as_str()),
        part => part.get("text").and_then(Value::as_str),
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// The text of a message, whatever its shape.
fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => text_of_parts(parts),
        _ => String::new(),
    }
}

/// Appends the content of `next` to that of `message`.
fn append(message: &mut Value, next: &Value) {
    let content = match (message.get("content"), next.get("content")) {
        (Some(Value::Array(first)), Some(Value::Array(second))) => {
            Value::Array(first.iter().chain(second).cloned().collect())
        }
        _ => {
            let texts = [text_of(message), text_of(next)];
            let texts: Vec<_> = texts.iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
            texts.join(BETWEEN).into()
        }
    };
    if let Value::Object(fields) = message {
        fields.insert("content".into(), content);
    }
}

/// Joins every system message to the first, at the front.
fn gather_system(messages: &mut Vec<Value>) {
    let is_system = |message: &Value| matches!(role(message), "system" | "developer");
    let Some(first) = messages.iter().position(is_system) else { return };
    if first == 0 && !messages[1..].iter().any(is_system) {
        return;
    }
    let mut system = messages.remove(first);
    let mut rest = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        if is_system(&message) { append(&mut system, &message) } else { rest.push(message) }
    }
    messages.push(system);
    messages.append(&mut rest);
}

/// Puts the system text before that of the first user message.
fn system_to_user(messages: &mut Vec<Value>) {
    if messages.first().map(role) != Some("system") {
        return;
    }
    let mut system = messages.remove(0);
    match messages.iter_mut().find(|message| role(message) == "user") {
        Some(user) => {
            append(&mut system, user);
            if let (Value::Object(fields), Some(content)) = (user, system.get("content")) {
                fields.insert("content".into(), content.clone());
            }
        }
        None => messages.insert(0, json!({"role": "user", "content": text_of(&system)})),
    }
}

/// Gives results that answer no call as user messages: those without calls before them, and those
/// whose id none of these calls has.
fn orphans_to_user(messages: &mut [Value]) {
    let mut called: Vec<Value> = Vec::new();
    for message in messages {
        if role(message) == "tool" {
            let id = message.get("tool_call_id").filter(|id| !id.is_null());
            let known = id.is_none_or(|id| called.contains(id));
            if called.is_empty() || !known {
                let name = message.get("name").and_then(Value::as_str);
                *message = json!({"role": "user", "content": result_text(name, &text_of(message))});
            }
            continue;
        }
        let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        called = calls.map(|call| call.get("id").cloned().unwrap_or_default()).collect();
    }
}

/// Makes one message of several of the same role. Results stay apart: each answers its own call.
fn merge_repeated(messages: &mut Vec<Value>) {
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        let Some(last) = out.last_mut().filter(|last| role(last) == role(&message) && role(last) != "tool")
        else {
            out.push(message);
            continue;
        };
        append(last, &message);
        if let Some(Value::Array(calls)) = message.get("tool_calls")
            && let Value::Object(fields) = last
        {
            match fields.get_mut("tool_calls") {
                Some(Value::Array(known)) => known.extend(calls.iter().cloned()),
                _ => {
                    fields.insert("tool_calls".into(), Value::Array(calls.clone()));
                }
            }
        }
    }
    *messages = out;
}

/// Writes calls into the assistant's text, and results into user messages.
fn calls_to_text(messages: &mut [Value], dialect: Option<Dialect>) {
    let mut names: Vec<(Value, String)> = Vec::new();
    for message in messages {
        if role(message) == "tool" {
            let id = message.get("tool_call_id");
            let name = names.iter().rev().find(|(known, _)| Some(known) == id).map(|(_, name)| name.as_str());
            *message = json!({"role": "user", "content": result_text(name, &text_of(message))});
            continue;
        }
        let text = text_of(message);
        let Value::Object(fields) = message else { continue };
        let Some(Value::Array(calls)) = fields.shift_remove("tool_calls") else { continue };
        let function = |call: &Value| {
            let name = call.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
            let arguments = call.pointer("/function/arguments").and_then(Value::as_object);
            (name.to_owned(), arguments.cloned().unwrap_or_default())
        };
        let read: Vec<_> = calls.iter().map(function).collect();
        let known = calls.iter().zip(&read);
        names.extend(
            known.map(|(call, (name, _))| (call.get("id").cloned().unwrap_or_default(), name.clone())),
        );
        let written: Vec<_> = read.iter().map(|(name, args)| (name.as_str(), args)).collect();
        let written = write_calls(dialect.unwrap_or(Dialect::Json), &written);
        let content = if text.is_empty() { written } else { format!("{text}\n{written}") };
        fields.insert("content".into(), content.into());
    }
}

/// Gives each call a message of its own, with its result after it.
fn single_calls(messages: &mut Vec<Value>) {
    let mut out = Vec::with_capacity(messages.len());
    let mut rest = std::mem::take(messages).into_iter().peekable();
    while let Some(message) = rest.next() {
        let calls = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
        if calls.len() < 2 {
            out.push(message);
            continue;
        }
        let mut results = Vec::new();
        while let Some(result) = rest.next_if(|next| role(next) == "tool") {
            results.push(result);
        }
        for (index, call) in calls.into_iter().enumerate() {
            let answers = |result: &Value| result.get("tool_call_id") == call.get("id");
            let result = results.iter().position(answers).map(|at| results.remove(at));
            let mut single = message.clone();
            single["tool_calls"] = Value::Array(vec![call]);
            if index > 0 {
                single["content"] = "".into();
            }
            out.push(single);
            out.extend(result);
        }
        out.append(&mut results);
    }
    *messages = out;
}

/// Puts an empty answer between a call or its result and the next user message, for templates
/// that count the messages in between as none.
fn answer_results(messages: &mut Vec<Value>) {
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        let open = out.last().is_some_and(|last| role(last) == "tool" || has_calls(last));
        if open && role(&message) == "user" {
            out.push(json!({"role": "assistant", "content": ""}));
        }
        out.push(message);
    }
    *messages = out;
}

/// Puts a space where an assistant's message would be empty.
fn fill_assistants(messages: &mut [Value]) {
    for message in messages {
        if role(message) == "assistant" && !has_calls(message) && text_of(message).is_empty() {
            message["content"] = " ".into();
        }
    }
}

impl Default for Roles {
    /// What the strictest templates take.
    fn default() -> Self {
        Self {
            system: true,
            system_anywhere: false,
            developer: false,
            repeated: false,
            orphan_results: false,
            assistant_first: false,
            needs_user: true,
            user_after_result: false,
            empty_assistant: false,
            several_calls: false,
            long_ids: false,
        }
    }
}
