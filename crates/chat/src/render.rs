//! Tools, calls and results as plain text, for servers whose chat template drops them.

use chela_openai::chat::{Content, Message, ToolCall};
use serde_json::{Map, Value, json};

use crate::dialect::{Body, Dialect, Open, write_calls};
use crate::json::{dumps, parse};
use crate::tools::ToolSet;

/// The part of a system text that offers `tools` and says how they are called, in the syntax of
/// `dialect`. Empty without tools.
pub fn tools_text(dialect: Dialect, tools: &ToolSet) -> String {
    if tools.is_empty() {
        return String::new();
    }
    let declarations: Vec<_> = tools
        .iter()
        .map(|tool| {
            let mut function = Map::new();
            function.insert("name".into(), tool.name.as_str().into());
            if let Some(description) = &tool.description {
                function.insert("description".into(), description.as_str().into());
            }
            if !tool.parameters.is_null() {
                function.insert("parameters".into(), tool.parameters.clone());
            }
            dumps(&json!({"type": "function", "function": function}))
        })
        .collect();
    let placeholder = json!({"argument": "value"});
    let args = placeholder.as_object().cloned().unwrap_or_default();
    let form = write_calls(dialect, &[("tool_name", &args)]);
    let alone = match dialect.table().forms.first().map(|form| (&form.open, &form.body)) {
        Some((Open::Marker(_), _)) => "",
        Some((_, Body::Fenced)) => " Nothing may follow it.",
        _ => " Write nothing else then.",
    };
    format!(
        "# Tools\n\nThese tools can be called, each given with the JSON Schema of its arguments:\n\
         <tools>\n{}\n</tools>\n\nTo call a tool, write exactly this, with the tool's name and its \
         arguments:\n{form}\nThe result comes in the next message.{alone} Call a tool only if it helps; \
         otherwise answer in words.",
        declarations.join("\n")
    )
}

/// Calls that the assistant made, in the syntax of `dialect`. Arguments that are no JSON object
/// are given as they are, under the key `arguments`.
pub fn calls_text(dialect: Dialect, calls: &[ToolCall]) -> String {
    let read = |call: &ToolCall| match parse(&call.function.arguments) {
        Some(Value::Object(map)) => map,
        _ if call.function.arguments.trim().is_empty() => Map::new(),
        _ => [("arguments".to_owned(), call.function.arguments.as_str().into())].into_iter().collect(),
    };
    let args: Vec<_> = calls.iter().map(read).collect();
    let calls: Vec<_> =
        calls.iter().zip(&args).map(|(call, args)| (call.function.name.as_str(), args)).collect();
    write_calls(dialect, &calls)
}

/// The result of a call, for a user message.
pub fn result_text(name: Option<&str>, result: &str) -> String {
    match name {
        Some(name) => format!("<tool_response name=\"{name}\">\n{result}\n</tool_response>"),
        None => format!("<tool_response>\n{result}\n</tool_response>"),
    }
}

/// A conversation without tools in it, for a server that drops them: they are offered in the
/// system message, calls stand in the assistant's text, and results are user messages. Results
/// that follow one another share one message.
pub fn without_tools(messages: &[Message], dialect: Dialect, tools: &ToolSet) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut names: Vec<(&str, &str)> = Vec::new();
    let mut after_result = false;
    for message in messages {
        let mut plain = Message { tool_calls: Vec::new(), tool_call_id: None, ..message.clone() };
        if !message.tool_calls.is_empty() {
            names.extend(
                message.tool_calls.iter().map(|call| (call.id.as_str(), call.function.name.as_str())),
            );
            let calls = calls_text(dialect, &message.tool_calls);
            plain.content = Some(Content::Text(join(&message.text(), &calls)));
        }
        if message.role == "tool" {
            let id = message.tool_call_id.as_deref();
            let called = names.iter().rev().find(|(known, _)| Some(*known) == id).map(|(_, name)| *name);
            let text = result_text(called.or(message.name.as_deref()), &message.text());
            match out.last_mut().filter(|_| after_result) {
                Some(last) => last.content = Some(Content::Text(join(&last.text(), &text))),
                None => out.push(Message::user(text)),
            }
        } else {
            out.push(plain);
        }
        after_result = message.role == "tool";
    }
    let offer = tools_text(dialect, tools);
    if offer.is_empty() {
        return out;
    }
    match out.first_mut().filter(|first| matches!(first.role.as_str(), "system" | "developer")) {
        Some(first) => first.content = Some(Content::Text(format!("{}\n\n{offer}", first.text()))),
        None => out.insert(0, Message::system(offer)),
    }
    out
}

fn join(first: &str, second: &str) -> String {
    match first.is_empty() {
        true => second.to_owned(),
        false => format!("{first}\n{second}"),
    }
}
