//! Every recorded text, whole and split everywhere, gives the same answer.
//!
//! A transcript file names its oracle or the description that its texts follow in `source`.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use chela_chat::{
    Answer, Detect, Dialect, OutputParser, ParserOptions, ReasoningMode, ReasoningStyle, ToolSet, ToolSpec,
    Utf8Chunks,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dialect: Dialect,
    source: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    text: String,
    #[serde(default)]
    want: Want,
    /// How reasoning is told; `any` if absent.
    reasoning: Option<String>,
    /// `own`: only with the dialect alone; `auto`: only with all of them.
    detect: Option<String>,
    /// Without any offered tool.
    #[serde(default)]
    no_tools: bool,
}

#[derive(Deserialize, Default, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Want {
    text: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    malformed: Vec<String>,
}

impl From<&Answer> for Want {
    fn from(answer: &Answer) -> Self {
        Self {
            text: answer.text.clone(),
            reasoning: answer.reasoning.clone(),
            calls: answer.calls.iter().map(|call| (call.name.clone(), call.arguments.clone())).collect(),
            malformed: answer.malformed.iter().map(|bad| bad.raw.clone()).collect(),
        }
    }
}

fn tools() -> ToolSet {
    let spec = |name: &str, parameters| ToolSpec { name: name.to_owned(), description: None, parameters };
    ToolSet::new([
        spec(
            "get_weather",
            json!({"type": "object", "required": ["city"], "properties": {
                "city": {"type": "string"}, "days": {"type": "integer"}}}),
        ),
        spec(
            "add",
            json!({"type": "object", "properties": {
                "a": {"type": "integer"}, "b": {"type": "integer"}}}),
        ),
        spec(
            "write",
            json!({"type": "object", "properties": {
                "path": {"type": "string"}, "content": {"type": "string"}}}),
        ),
        spec(
            "search",
            json!({"type": "object", "properties": {
                "query": {"type": "string"}, "limit": {"type": "integer"},
                "exact": {"type": "boolean"}, "score": {"type": "number"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "filter": {"type": "object"}, "note": {"type": ["string", "null"]}}}),
        ),
        spec("now", json!({"type": "object", "properties": {}})),
    ])
}

fn reasoning(name: Option<&str>) -> ReasoningMode {
    let style = |style, opened| ReasoningMode::Style { style, opened };
    match name {
        None | Some("any") => ReasoningMode::Any,
        Some("off") => ReasoningMode::Off,
        Some("think") => style(ReasoningStyle::Think, false),
        Some("think_opened") => style(ReasoningStyle::Think, true),
        Some("harmony") => style(ReasoningStyle::Harmony, false),
        Some("harmony_opened") => style(ReasoningStyle::Harmony, true),
        Some("gemma") => style(ReasoningStyle::GemmaChannel, false),
        Some("vllm_qwen3") => ReasoningMode::VllmQwen3,
        Some("vllm_deepseek_r1") => ReasoningMode::VllmDeepseekR1,
        Some(other) => panic!("unknown reasoning {other}"),
    }
}

fn files() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect()
}

impl Case {
    fn options(&self, dialect: Option<Dialect>) -> ParserOptions {
        ParserOptions {
            tools: if self.no_tools { ToolSet::default() } else { tools() },
            detect: dialect.map_or(Detect::Auto, |dialect| Detect::Only(vec![dialect])),
            reasoning: reasoning(self.reasoning.as_deref()),
            guarded: false,
        }
    }

    fn modes(&self, own: Dialect) -> Vec<Option<Dialect>> {
        match self.detect.as_deref() {
            None => vec![None, Some(own)],
            Some("own") => vec![Some(own)],
            Some("auto") => vec![None],
            Some(other) => panic!("unknown detect {other}"),
        }
    }
}

fn in_parts<'a>(options: ParserOptions, parts: impl IntoIterator<Item = &'a str>) -> Answer {
    let mut parser = OutputParser::new(options);
    let mut answer = Answer::default();
    for part in parts {
        answer.extend(parser.push(part));
    }
    answer.extend(parser.finish());
    answer
}

#[test]
fn each_transcript_reads_as_wanted() {
    let mut failures = Vec::new();
    for file in files() {
        assert!(!file.source.is_empty());
        for case in &file.cases {
            for mode in case.modes(file.dialect) {
                let answer = OutputParser::parse(case.options(mode), &case.text);
                let got = Want::from(&answer);
                if got != case.want {
                    failures.push(format!(
                        "{:?} / {} / {mode:?}\n  text {:?}\n  want {:?}\n  got  {got:?}",
                        file.dialect, case.name, case.text, case.want
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_split_reads_the_same() {
    for file in files() {
        for case in &file.cases {
            for mode in case.modes(file.dialect) {
                let whole = OutputParser::parse(case.options(mode), &case.text);
                let label = format!("{:?} / {} / {mode:?}", file.dialect, case.name);
                let chars: Vec<_> = case.text.split_inclusive(|_| true).collect();
                assert_eq!(in_parts(case.options(mode), chars), whole, "{label}");
                for (at, _) in case.text.char_indices() {
                    let (a, b) = case.text.split_at(at);
                    assert_eq!(in_parts(case.options(mode), [a, b]), whole, "{label} at {at}");
                }
            }
        }
    }
}

#[test]
fn bytes_arrive_one_by_one() {
    for file in files() {
        for case in &file.cases {
            let whole = OutputParser::parse(case.options(None), &case.text);
            let mut parser = OutputParser::new(case.options(None));
            let mut chunks = Utf8Chunks::new();
            let mut answer = Answer::default();
            for byte in case.text.as_bytes() {
                answer.extend(parser.push(&chunks.push(&[*byte])));
            }
            answer.extend(parser.push(&chunks.finish()));
            answer.extend(parser.finish());
            assert_eq!(answer, whole, "{:?} / {}", file.dialect, case.name);
        }
    }
}

#[test]
fn enough_transcripts() {
    let spine = [
        Dialect::Hermes,
        Dialect::QwenXml,
        Dialect::Llama3Json,
        Dialect::Mistral,
        Dialect::Harmony,
        Dialect::Gemma4,
        Dialect::Json,
    ];
    for dialect in spine {
        let count: usize =
            files().iter().filter(|file| file.dialect == dialect).map(|file| file.cases.len()).sum();
        assert!(count >= 30, "{dialect:?} has {count}");
    }
}

/// Fragments that the markers of all dialects can be made from.
const FRAGMENTS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "<function=get_weather>",
    "</function>",
    "<parameter=city>",
    "</parameter>",
    "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}",
    "{\"name\": ",
    "\"add\"",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ", ",
    "\n",
    " ",
    "text",
    "é🦀",
    "```",
    "```json\n",
    "<think>",
    "</think>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "get_weather",
    "<|channel|>",
    "analysis",
    "<|message|>",
    "<|end|>",
    "<|start|>assistant",
    "commentary to=functions.add ",
    "<|call|>",
    " to=functions.",
    "<seed:think>",
    "</seed:think>",
    "[THINK]",
    "[/THINK]",
    "<|tool_call>call:add{a:1",
    "<|tool_call>",
    "call:now{",
    "<tool_call|>",
    "<|\"|>",
    "<|python_tag|>",
    "[add(a=1)]",
    "[add(a=)]",
    "(",
    ")",
    "<arg_key>a</arg_key>",
    "<arg_value>1",
    "</arg_value>",
    "add\n",
    "functools",
    "; ",
    "<",
    "<|",
    "<function_calls>",
    "</function_calls>",
    "now()",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|channel>thought\n",
    "<channel|>",
    "<minimax:tool_call>",
    "<invoke name=\"add\">",
    "</invoke>",
    "</minimax:tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "functions.add:0",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "\"arguments\": {\"a\": 1",
    "\\",
    "null",
    "```tool_code\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_reads_the_same_in_any_split(
        parts in prop::collection::vec(prop::sample::select(FRAGMENTS), 1..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        mode in 0..5usize,
    ) {
        let text = parts.concat();
        let modes = [None, Some("vllm_qwen3"), Some("think_opened"), Some("off"), Some("harmony_opened")];
        let options = || ParserOptions {
            tools: tools(),
            detect: Detect::Auto,
            reasoning: reasoning(modes[mode]),
            guarded: false,
        };
        let whole = OutputParser::parse(options(), &text);
        // Text that no grammar has guarded does no harm where one should have.
        in_parts(ParserOptions { guarded: true, ..options() }, text.split_inclusive(|_| true));
        let chars: Vec<_> = text.split_inclusive(|_| true).collect();
        prop_assert_eq!(&in_parts(options(), chars), &whole);
        let boundaries: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        let mut at: Vec<_> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&in_parts(options(), pieces), &whole);
        // Where nothing is a call and reasoning is off, nothing is taken out of the text.
        let plain = whole.calls.is_empty() && whole.malformed.is_empty() && !text.contains("<|message|>");
        if plain && modes[mode] == Some("off") {
            prop_assert_eq!(&whole.text, &text);
        }
        for call in &whole.calls {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&call.arguments).is_ok());
        }
    }
}

/// A megabyte that is held back, one character at a time, takes no more than linear time.
#[test]
fn long_answers_take_linear_time() {
    let filler = "x".repeat(300_000);
    let spaces = " ".repeat(300_000);
    let texts = [
        format!(
            "<tool_call>{{\"name\": \"write\", \"arguments\": {{\"content\": \"{filler}\"}}}}</tool_call>"
        ),
        format!("<tool_call><function=write><parameter=content>{filler}</parameter></function></tool_call>"),
        format!("<tool_call>{{\"name\": \"write\", \"arguments\": {{\"content\": \"{filler}"),
        "<tool_call>".repeat(30_000),
        "{\"name\": \"now\", \"arguments\": {}}\n".repeat(10_000) + "and text",
        "```json\n{\"name\": \"now\", \"arguments\": {}}\n```\n".repeat(6_000) + "and text",
        format!("<tool_call>{spaces}"),
        format!("<tool_call>{{\"name\": \"now\", \"arguments\": {{}}}}{spaces}</tool_call>"),
        "<tool_call>{\"name\": \"write\", \"arguments\": {\"content\": \"}}</tool_call>".repeat(4_000),
        "[TOOL_CALLS]now[ARGS]{}".repeat(10_000),
        "<|channel|>".repeat(20_000),
        "[add(a=1), ".repeat(20_000),
        "{".repeat(200_000),
        "[".repeat(200_000),
        "<function=now>\n".repeat(10_000),
        "<|tool_call>call:now{".repeat(10_000),
    ];
    for text in texts {
        let started = std::time::Instant::now();
        let options = ParserOptions { tools: tools(), ..Default::default() };
        in_parts(options, text.split_inclusive(|_| true));
        let seconds = started.elapsed().as_secs_f64();
        // Quadratic work on these sizes takes minutes.
        assert!(seconds < 20.0, "{} took {seconds} s", &text[..40]);
    }
}
