//! A structured answer, with reasoning before it where the model reasons.

use serde_json::Value;

use super::lark::{ANY, Lark, Specials, any_of, string};
use super::values::json_of;
use crate::reasoning::{ReasoningMode, ReasoningStyle};

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// JSON of this schema.
    Json(Value),
    /// A match of this regular expression.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text of this grammar in llguidance's dialect of Lark.
    Lark(String),
}

/// The grammar of `answer` after free reasoning: reasoning that the prompt opened must be closed,
/// otherwise the model may open it or not.
pub fn after_reasoning(answer: &Answer, reasoning: ReasoningMode, specials: &Specials) -> String {
    let mut lark = Lark::new(specials);
    let answer = rule(&mut lark, answer);
    if reasoning == (ReasoningMode::Style { style: ReasoningStyle::Harmony, opened: false }) {
        let start = harmony(&mut lark, &answer);
        return lark.finish(&start);
    }
    let styles: Vec<_> = reasoning.styles().iter().filter_map(|style| style.markers()).collect();
    let opened = reasoning.starts_in().and_then(|style| style.markers());
    if let Some(markers) = opened {
        let inside = lark.until(ANY, markers.close);
        return lark.finish(&format!("{inside} WS? {answer}"));
    }
    let mut ways = vec![answer.clone()];
    for markers in styles {
        let open = lark.literal(markers.open);
        let inside = lark.until(ANY, markers.close);
        ways.push(format!("WS? {open} {inside} WS? {answer}"));
    }
    let start = any_of(&ways);
    lark.finish(&start)
}

/// The rule of the answer itself.
pub(super) fn rule(lark: &mut Lark<'_>, answer: &Answer) -> String {
    let body = match answer {
        Answer::Json(schema) => json_of(schema, false),
        Answer::Regex(regex) => regex_literal(regex),
        Answer::Choice(texts) => {
            let texts: Vec<_> = texts.iter().map(|text| string(text)).collect();
            texts.join(" | ")
        }
        Answer::Lark(text) => format!("%lark {{\n{text}\n}}"),
    };
    lark.rule("structured", &body)
}

/// The answer is what the final channel says.
fn harmony(lark: &mut Lark<'_>, answer: &str) -> String {
    let [channel, message, start] =
        ["<|channel|>", "<|message|>", "<|start|>assistant"].map(|marker| lark.literal(marker));
    let body = lark.until(&super::harmony::free(), "<|end|>");
    let messages = lark.name("messages");
    let other = format!("{channel} (\"analysis\" | \"commentary\") {message} {body} {start} {messages}");
    let constrain = lark.literal("<|constrain|>");
    let json = format!("(\" \"? {constrain} \"json\" | \" json\")?");
    lark.define(&messages, &format!("{other} | {channel} \"final\" {json} {message} {answer}"));
    messages
}

/// A regular expression between slashes.
fn regex_literal(regex: &str) -> String {
    let mut out = String::from("/");
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('/');
    out
}
