//! Harmony: an answer is a row of messages, each with a header, and calls are messages to a tool.
//! Source: OpenAI's openai-harmony format guide.

use super::calls::Calls;
use super::lark::{ANY, escaped};
use crate::dialect::shape::Args;
use crate::reasoning::ReasoningStyle;

/// Text of a message: nothing in it may look like a header.
pub(super) fn free() -> String {
    let marks = ["<|channel|>", "<|start|>", "<|message|>", "<|call|>", "<|return|>", " to=functions."];
    let marks = marks.map(escaped).join("|");
    format!("{ANY} & ~/(?s:.*)({marks})(?s:.*)/")
}

/// The rule of an answer after the prompt's `<|start|>assistant`.
pub(super) fn write(calls: &mut Calls<'_, '_>) -> String {
    let opened = calls.of.reasoning.starts_in() == Some(ReasoningStyle::Harmony);
    let [channel, message, end, start, call] =
        ["<|channel|>", "<|message|>", "<|end|>", "<|start|>assistant", "<|call|>"]
            .map(|marker| calls.lark.literal(marker));
    let free = free();
    let body = calls.lark.until(&free, "<|end|>");
    let messages = calls.lark.name("messages");
    let next = format!("{start} {messages}");

    // The recipient stands after the channel, or in the role before it.
    let constrain = calls.lark.literal("<|constrain|>");
    let json = format!("(\" \"? {constrain} \"json\" | \" json\")?");
    let after = match calls.of.parallel {
        true => format!("({next} | \"\")"),
        false => String::new(),
    };
    let mut ways = Vec::new();
    for index in 0..calls.tools.len() {
        let arguments = calls.arguments(index, Args::Json);
        let name = calls.lark.literal(&format!("to=functions.{}", calls.tools[index].spec.name));
        ways.push(format!("{channel} \"commentary \" {name} {json} {message} {arguments} {call} {after}"));
        ways.push(format!(
            "\" \" {name} {channel} \"commentary\" {json} {message} {arguments} {call} {after}"
        ));
    }
    let preface = format!("{channel} (\"analysis\" | \"commentary\") {message} {body} {next}");
    ways.push(preface);
    if !calls.of.required {
        let text = match calls.of.answer {
            Some(structured) => super::answer::rule(calls.lark, structured),
            None => calls.lark.terminal(&free),
        };
        let ends = calls.lark.literal("<|return|>");
        ways.push(format!("{channel} \"final\" {json} {message} {text} ({end} | {ends})?"));
    }
    calls.lark.define(&messages, &ways.join(" | "));
    match opened {
        true => calls.lark.rule("opened", &format!("{body} {next}")),
        false => messages,
    }
}
