//! Tools for models whose server cannot carry them: rendered into the system text, the calls read
//! from the answer's text.

use chela_openai::chat::{Content, Message, Tool};
use serde_json::{Value, json};

use super::facts::ToolRoute;
use crate::catalog::{Model, family};

/// Parser of a vLLM that serves a family nobody knows: the most common syntax.
const USUAL_PARSER: &str = "hermes";

const HEAD: &str = "# Tools\n\nThe functions that you can call, as JSON Schema, one a line:\n<tools>\n";
const TAIL: &str = "</tools>\n\nTo call one, write its name and arguments as JSON between these tags, and nothing after \
                    them:\n<tool_call>\n{\"name\": \"NAME\", \"arguments\": {}}\n</tool_call>\nThe result comes back \
                    between <tool_response> tags.";

/// The conversation with its tools, calls and results as text.
pub fn render_tools(messages: &[Message], tools: &[Tool]) -> Vec<Message> {
    let mut section = String::from(HEAD);
    for tool in tools {
        let function = &tool.function;
        let line = json!({
            "name": function.name,
            "description": function.description,
            "parameters": function.parameters,
        });
        section.push_str(&line.to_string());
        section.push('\n');
    }
    section.push_str(TAIL);
    let mut rendered: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let rest = match messages.split_first() {
        Some((system, rest)) if system.role == "system" => {
            rendered.push(Message::system(format!("{}\n\n{section}", system.text())));
            rest
        }
        _ => {
            rendered.push(Message::system(section));
            messages
        }
    };
    let mut after_result = false;
    for message in rest {
        let is_result = message.role == "tool";
        if !is_result {
            rendered.push(render(message));
        } else if let (true, Some(last)) = (after_result, rendered.last_mut()) {
            // Results of one round stand in one message: templates want the roles to alternate.
            last.content = Some(Content::Text(format!("{}\n{}", last.text(), response(message))));
        } else {
            rendered.push(Message::user(response(message)));
        }
        after_result = is_result;
    }
    rendered
}

fn response(message: &Message) -> String {
    format!("<tool_response>\n{}\n</tool_response>", message.text())
}

/// A message with its calls as text.
fn render(message: &Message) -> Message {
    if message.tool_calls.is_empty() {
        return message.clone();
    }
    let mut parts: Vec<String> = Vec::new();
    if !message.text().is_empty() {
        parts.push(message.text().into_owned());
    }
    for call in &message.tool_calls {
        let raw = &call.function.arguments;
        let arguments = serde_json::from_str(raw).unwrap_or_else(|_| Value::String(raw.clone()));
        let call = json!({"name": call.function.name, "arguments": arguments});
        parts.push(format!("<tool_call>\n{call}\n</tool_call>"));
    }
    Message { content: Some(Content::Text(parts.join("\n"))), tool_calls: Vec::new(), ..message.clone() }
}

/// One line for the user: what is done instead, and the flag that the server lacks.
pub fn advice(model: &Model, route: ToolRoute, lacks_parser: bool) -> String {
    let how = match route {
        ToolRoute::Rendered => "tools are written into the system text and calls read from the answer's text",
        ToolRoute::Text | ToolRoute::Native => "tool calls are read from the answer's text",
    };
    let name = &model.reference;
    if lacks_parser {
        let parser = family(&name.model, model.root.as_deref()).and_then(|family| family.parser.as_deref());
        return format!(
            "{name}: the server was started without a tool-call parser; {how}. Started with \
             --enable-auto-tool-choice --tool-call-parser {}, it would guarantee them",
            parser.unwrap_or(USUAL_PARSER)
        );
    }
    format!("{name}: the server does not take tools for this model; {how}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chela_openai::chat::{FunctionDef, ToolCall};

    #[test]
    fn calls_and_results_become_text_and_roles_alternate() {
        let tool = FunctionDef { name: "read".to_owned(), ..FunctionDef::default() };
        let messages = [
            Message::user("both"),
            Message::assistant_calls(
                Some("Yes.".to_owned()),
                vec![ToolCall::new("1", "read", "{\"path\":\"a\"}"), ToolCall::new("2", "read", "not json")],
            ),
            Message::tool("1", "A"),
            Message::tool("2", "B"),
        ];
        let rendered = render_tools(&messages, &[tool.into()]);
        let roles: Vec<_> = rendered.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert!(rendered[2].text().contains("{\"name\":\"read\",\"arguments\":{\"path\":\"a\"}}"));
        assert!(rendered[2].text().starts_with("Yes.") && rendered[2].tool_calls.is_empty());
        assert!(rendered[3].text().contains("A") && rendered[3].text().contains("B"));
    }
}
