//! Harmony: an answer is a row of messages, each with a header, and calls are messages to a tool.
//! Source: OpenAI's openai-harmony format guide.

use super::calls::Calls;
use super::lark::ANY;
use crate::dialect::shape::Args;
use crate::reasoning::ReasoningStyle;

/// The rule of an answer after the prompt's `<|start|>assistant`.
pub(super) fn write(calls: &mut Calls<'_, '_>) -> String {
    let opened = calls.of.reasoning.starts_in() == Some(ReasoningStyle::Harmony);
    let [channel, message, end, start, call] =
        ["<|channel|>", "<|message|>", "<|end|>", "<|start|>assistant", "<|call|>"]
            .map(|marker| calls.lark.literal(marker));
    let body = calls.lark.until(ANY, "<|end|>");
    let messages = calls.lark.name("messages");
    let next = format!("{start} {messages}");

    // The recipient stands after the channel, or in the role before it.
    let constrain = calls.lark.literal("<|constrain|>");
    let json = format!("(WS? {constrain}? \"json\")?");
    let after = match calls.of.parallel {
        true => format!("({next} | \"\")"),
        false => String::new(),
    };
    let mut ways = Vec::new();
    for index in 0..calls.tools.len() {
        let arguments = calls.arguments(index, Args::Json);
        let name = calls.lark.literal(&format!("to=functions.{}", calls.tools[index].spec.name));
        ways.push(format!("{channel} \"commentary \" {name} {json} {message} {arguments} {call} {after}"));
        ways.push(format!("\" \" {name} {channel} \"commentary\" {json} {message} {arguments} {call} {after}"));
    }
    let preface = format!("{channel} (\"analysis\" | \"commentary\") {message} {body} {next}");
    ways.push(preface);
    if !calls.of.required {
        let text = calls.lark.terminal(ANY);
        let ends = calls.lark.literal("<|return|>");
        ways.push(format!("{channel} \"final\" {json} {message} {text} ({end} | {ends})?"));
    }
    calls.lark.define(&messages, &ways.join(" | "));
    match opened {
        true => calls.lark.rule("opened", &format!("{body} {next}")),
        false => messages,
    }
}
