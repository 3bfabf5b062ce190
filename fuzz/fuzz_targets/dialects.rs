//! Any text, cut at any two characters, is the same answer in every dialect; nothing panics, and the
//! arguments of every call are JSON.
#![no_main]

use chela_chat::{Answer, Detect, Dialect, OutputParser, ParserOptions, ToolSet, ToolSpec};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const DIALECTS: [Option<Dialect>; 12] = [
    None,
    Some(Dialect::Hermes),
    Some(Dialect::QwenXml),
    Some(Dialect::Llama3Json),
    Some(Dialect::Mistral),
    Some(Dialect::Harmony),
    Some(Dialect::Gemma4),
    Some(Dialect::FunctionGemma),
    Some(Dialect::Json),
    Some(Dialect::Pythonic),
    Some(Dialect::DeepseekV31),
    Some(Dialect::Glm45),
];

fn answer(dialect: Option<Dialect>, parts: &[&str]) -> Answer {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}, "n": {"type": "integer"}}});
    let specs = ["read", "ls"].map(|name| ToolSpec { name: name.into(), description: None, parameters: schema.clone() });
    let detect = dialect.map_or(Detect::Auto, |d| Detect::Only(vec![d]));
    let mut parser = OutputParser::new(ParserOptions { tools: ToolSet::new(specs), detect, ..Default::default() });
    let mut answer = Answer::default();
    for part in parts {
        parser.push(part).into_iter().for_each(|piece| answer.add(piece));
    }
    parser.finish().into_iter().for_each(|piece| answer.add(piece));
    answer
}

fuzz_target!(|input: (u8, usize, usize, &str)| {
    let (dialect, a, b, text) = input;
    let dialect = DIALECTS[dialect as usize % DIALECTS.len()];
    let cut = |at: usize| {
        let mut at = at % (text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (a, b) = (cut(a).min(cut(b)), cut(a).max(cut(b)));
    let whole = answer(dialect, &[text]);
    assert_eq!(whole, answer(dialect, &[&text[..a], &text[a..b], &text[b..]]));
    for call in &whole.calls {
        assert!(serde_json::from_str::<serde_json::Value>(&call.arguments).is_ok(), "{call:?}");
    }
});
