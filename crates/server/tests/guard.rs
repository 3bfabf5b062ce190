//! No grammar of calls admits an invalid one: a model of random logits under each dialect's grammar,
//! its calls read by the parser and judged by another validator (`boon`).
//!
//! The generations of a run are few here; ten thousand are asked for by
//! `CHELA_GUARD_RUNS=10000`.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use chela_chat::dialect::{ALL, Open};
use chela_chat::grammar::{Guarded, Specials, guard};
use chela_chat::{
    Answer, Detect, Dialect, OutputParser, ParserOptions, ReasoningMode, ReasoningStyle, ToolSet, ToolSpec,
};
use chela_engine::grammar::{Grammar, Grammars, Matcher, TokenBytes, Tokenize};
use chela_engine::tokenizer::Tokenizer;
use serde_json::{Value, json};

const END: u32 = 256;
/// Tokens after which a generation is cut.
const LIMIT: usize = 600;

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A vocabulary with what a grammar must know of it.
struct Vocabulary {
    texts: Vec<Vec<u8>>,
    weights: Vec<f64>,
    specials: Specials,
    grammars: Grammars,
    end: u32,
}

impl Vocabulary {
    fn new(tokens: Vec<(Vec<u8>, bool)>, end: u32, tokenize: Tokenize) -> Self {
        let special = tokens.iter().enumerate().filter(|(_, (_, special))| *special);
        let names = special.map(|(id, (text, _))| (String::from_utf8(text.clone()).unwrap(), id as u32));
        let specials = Specials::new(names);
        let kinds = tokens.iter().map(|(text, special)| match special {
            true => TokenBytes::Special(String::from_utf8(text.clone()).unwrap()),
            false => TokenBytes::Text(text.clone()),
        });
        let grammars = Grammars::new(kinds.collect(), &[end], tokenize).unwrap();
        // What structures an output is likelier, so that outputs end.
        let weight = |(text, special): &(Vec<u8>, bool)| match text.as_slice() {
            _ if *special => 40.0,
            [byte] if b"\"}])>|,:`\n".contains(byte) => 25.0,
            [byte] if byte.is_ascii_alphanumeric() => 3.0,
            [byte] if byte.is_ascii() => 1.5,
            [] => 0.0,
            [..] => 1.0,
        };
        let weights = tokens.iter().map(weight).collect();
        Self { weights, specials, grammars, end, texts: tokens.into_iter().map(|(text, _)| text).collect() }
    }

    /// Every byte and an end, and these markers as tokens of their own.
    fn bytes(markers: &[&str]) -> Self {
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| (vec![byte], false)).collect();
        tokens.push((b"<end of text>".to_vec(), true));
        tokens.extend(markers.iter().map(|marker| (marker.as_bytes().to_vec(), true)));
        Self::new(tokens, END, Arc::new(|text: &[u8]| text.iter().map(|byte| u32::from(*byte)).collect()))
    }

    /// The recorded model's own.
    fn tiny() -> Self {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vllm-0.32/tiny-model/tokenizer.json");
        let tokenizer = Tokenizer::from_json(&std::fs::read(path).unwrap()).unwrap();
        let ids = 0..tokenizer.vocab_size() as u32;
        let tokens = ids.map(|id| match tokenizer.is_special(id) {
            true => (tokenizer.token_to_piece(id).unwrap().into_bytes(), true),
            false => (tokenizer.token_bytes(id).unwrap_or_default(), false),
        });
        let end = tokenizer.added_token_to_id("<|im_end|>").unwrap();
        let tokens = tokens.collect();
        let encode = move |text: &[u8]| {
            tokenizer.encode(&String::from_utf8_lossy(text), false, false).unwrap_or_default()
        };
        Self::new(tokens, end, Arc::new(encode))
    }

    /// A generation under a grammar: its text, and whether it ended by itself. Here and there the
    /// model sets out to write one of `wishes`.
    fn generate(&self, matcher: &mut Matcher, random: &mut Random, wishes: &[String]) -> (String, bool) {
        let mut text = Vec::new();
        let mut wish: &[u8] = &[];
        for step in 0..LIMIT {
            let mask = matcher.mask(&[]).unwrap().to_vec();
            let allowed = |id: usize| mask[id / 32] >> (id % 32) & 1 == 1;
            if wish.is_empty() && !wishes.is_empty() && random.below(40) < if step == 0 { 15 } else { 2 } {
                wish = wishes[random.below(wishes.len())].as_bytes();
            }
            let wished = (0..self.texts.len()).filter(|id| {
                let token = &self.texts[*id];
                !token.is_empty() && wish.starts_with(token) && allowed(*id)
            });
            let chosen = match wished.max_by_key(|id| self.texts[*id].len()) {
                Some(id) => {
                    wish = &wish[self.texts[id].len()..];
                    id
                }
                None => {
                    wish = &[];
                    self.draw(&allowed, random, step)
                }
            };
            if chosen as u32 == self.end {
                return (String::from_utf8_lossy(&text).into_owned(), true);
            }
            matcher.accept(chosen as u32).unwrap();
            text.extend(&self.texts[chosen]);
        }
        (String::from_utf8_lossy(&text).into_owned(), false)
    }

    fn draw(&self, allowed: &dyn Fn(usize) -> bool, random: &mut Random, step: usize) -> usize {
        let weight = |id: usize| match id as u32 == self.end {
            true if step < 20 => 0.5,
            true => 100.0,
            false => self.weights[id],
        };
        let ids: Vec<usize> = (0..self.texts.len()).filter(|id| allowed(*id)).collect();
        assert!(!ids.is_empty(), "no token is allowed");
        let total: f64 = ids.iter().map(|id| weight(*id)).sum();
        let mut rest = (random.next() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for id in &ids {
            rest -= weight(*id);
            if rest < 0.0 {
                return *id;
            }
        }
        *ids.last().unwrap()
    }
}

/// Tools with all that schemas of tools have in them.
fn catalogue() -> Vec<ToolSpec> {
    let spec = |name: &str, parameters: Value| ToolSpec { name: name.into(), description: None, parameters };
    vec![
        spec("now", json!({"type": "object", "properties": {}})),
        spec("now_utc", json!(null)),
        spec(
            "read",
            json!({"type": "object", "required": ["path"], "properties": {
            "path": {"type": "string", "description": "where"}, "offset": {"type": "integer", "minimum": 1},
            "limit": {"type": "integer", "minimum": 1, "maximum": 2000}}}),
        ),
        spec(
            "edit",
            json!({"type": "object", "required": ["path", "edits"], "additionalProperties": false,
            "properties": {"path": {"type": "string", "minLength": 1}, "edits": {"type": "array", "minItems": 1,
            "items": {"type": "object", "required": ["old", "new"], "properties": {"old": {"type": "string"},
                "new": {"type": "string"}, "all": {"type": "boolean"}}}}}}),
        ),
        spec(
            "memory",
            json!({"type": "object", "required": ["action", "text"], "properties": {
            "action": {"type": "string", "enum": ["add", "search"]}, "text": {"type": "string"}}}),
        ),
        spec(
            "optional",
            json!({"type": "object", "properties": {
            "name": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null},
            "count": {"anyOf": [{"type": "integer", "minimum": 10}, {"type": "null"}]},
            "mixed": {"type": ["string", "integer"], "minimum": 5},
            "flag": {"type": ["boolean", "null"]}}}),
        ),
        spec(
            "refs",
            json!({"type": "object", "required": ["level", "where"], "properties": {
            "level": {"$ref": "#/$defs/Level"}, "where": {"$ref": "#/$defs/Place"},
            "maybe": {"anyOf": [{"$ref": "#/$defs/Level"}, {"type": "null"}]}},
            "$defs": {"Level": {"enum": ["low", "high"], "type": "string"},
                "Place": {"type": "object", "required": ["lat", "lon"], "properties": {
                    "lat": {"type": "number", "minimum": -90, "maximum": 90},
                    "lon": {"type": "number", "minimum": -180, "maximum": 180}}}}}),
        ),
        spec(
            "typed",
            json!({"type": "object", "required": ["id", "code"], "properties": {
            "id": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"}, "code": {"type": "string", "maxLength": 4},
            "day": {"type": "string", "format": "date"}, "ratio": {"type": "number"},
            "kind": {"const": "fixed"}, "pick": {"enum": [1, "one", null, true]}}}),
        ),
        spec(
            "free",
            json!({"type": "object", "required": ["data"], "properties": {"data": {},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "list": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            "object": {"type": "object"}}}),
        ),
        spec(
            "tree",
            json!({"type": "object", "properties": {"root": {"$ref": "#/definitions/node"}},
            "definitions": {"node": {"type": "object", "required": ["v"], "properties": {
                "v": {"type": "integer"}, "next": {"type": "array", "items": {"$ref": "#/definitions/node"}}}}}}),
        ),
        spec("a-b.c", json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}}})),
    ]
}

struct Judge {
    tools: ToolSet,
    schemas: boon::Schemas,
    indexes: Vec<boon::SchemaIndex>,
}

impl Judge {
    fn new(tools: Vec<ToolSpec>) -> Self {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.set_default_draft(boon::Draft::V2020_12);
        compiler.enable_format_assertions();
        let mut indexes = Vec::new();
        for (at, tool) in tools.iter().enumerate() {
            let name = format!("http://chela.test/{at}.json");
            let schema = match &tool.parameters {
                Value::Null => json!({"type": "object"}),
                schema => schema.clone(),
            };
            compiler.add_resource(&name, schema).unwrap();
            indexes.push(compiler.compile(&name, &mut schemas).unwrap());
        }
        Self { tools: ToolSet::new(tools), schemas, indexes }
    }

    fn fault(&self, answer: &Answer) -> Option<String> {
        if let Some(bad) = answer.malformed.first() {
            return Some(format!("malformed: {}", bad.why));
        }
        answer.calls.iter().find_map(|call| {
            let Some(at) = self.tools.iter().position(|tool| tool.name == call.name) else {
                return Some(format!("no tool {}", call.name));
            };
            let args: Value = match serde_json::from_str(&call.arguments) {
                Ok(args) => args,
                Err(error) => return Some(format!("{}: {error}: {}", call.name, call.arguments)),
            };
            let verdict = self.schemas.validate(&args, self.indexes[at]);
            verdict.err().map(|error| format!("{}: {}: {error}", call.name, call.arguments))
        })
    }
}

/// All texts that a table has in it as markers.
fn markers(dialect: Dialect) -> Vec<&'static str> {
    let mut all = Vec::new();
    for form in dialect.table().forms {
        if let Open::Marker(marker) = form.open {
            all.push(marker);
        }
        all.extend(form.close);
        all.extend(form.section.iter().flat_map(|section| [section.open, section.close]));
    }
    match dialect {
        Dialect::Harmony => all.extend(["<|message|>", "<|constrain|>"]),
        Dialect::Gemma4 => all.push("<|\"|>"),
        Dialect::FunctionGemma => all.push("<escape>"),
        Dialect::DeepseekV3 | Dialect::DeepseekV31 => all.push("<\u{ff5c}tool\u{2581}sep\u{ff5c}>"),
        Dialect::Mistral => all.push("[ARGS]"),
        Dialect::KimiK2 => all.push("<|tool_call_argument_begin|>"),
        Dialect::DeepseekDsml => all = vec!["\u{ff5c}DSML\u{ff5c}"],
        _ => {}
    }
    let plain = |marker: &&str| !marker.contains(['\n', '=']) && !marker.starts_with([' ', '`']);
    all.retain(plain);
    all.sort_unstable();
    all.dedup();
    all
}

/// What a model may set out to write.
fn wishes(dialect: Dialect, tools: &ToolSet) -> Vec<String> {
    let args = serde_json::Map::new();
    let mut all: Vec<String> = markers(dialect).into_iter().map(str::to_owned).collect();
    for tool in tools {
        all.push(chela_chat::dialect::write_calls(dialect, &[(&tool.name, &args)]));
        all.push(format!("\n{}", all.last().unwrap()));
    }
    all.extend(["<think>", "</think>", "{\"name\": \"", "[", "```json\n{"].map(str::to_owned));
    all
}

fn in_parts(options: ParserOptions, text: &str, random: &mut Random) -> Answer {
    let mut parser = OutputParser::new(options);
    let mut answer = Answer::default();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = (1 + random.below(9)).min(rest.len());
        while !rest.is_char_boundary(at) {
            at += 1;
        }
        answer.extend(parser.push(&rest[..at]));
        rest = &rest[at..];
    }
    answer.extend(parser.finish());
    answer
}

#[derive(Default, Debug)]
struct Counts {
    generations: usize,
    calls: usize,
    cut: usize,
}

/// Generations of one dialect; the faults that were found.
fn fuzz(
    dialect: Dialect,
    vocabulary: &Vocabulary,
    runs: usize,
    seed: u64,
    counts: &mut Counts,
) -> Vec<String> {
    let mut random = Random(seed);
    let mut faults = Vec::new();
    let per_grammar = 12;
    for _ in 0..runs.div_ceil(per_grammar) {
        let mut tools = catalogue();
        while tools.len() > 3 {
            tools.swap_remove(random.below(tools.len()));
        }
        let judge = Judge::new(tools);
        let (required, parallel) = (random.below(2) == 0, random.below(3) > 0);
        let think = |opened| ReasoningMode::Style { style: ReasoningStyle::Think, opened };
        let reasoning = match (dialect, random.below(4)) {
            (Dialect::Harmony, _) => ReasoningMode::Style { style: ReasoningStyle::Harmony, opened: false },
            (_, 0) => think(true),
            (_, 1) => think(false),
            (_, 2) => ReasoningMode::Off,
            _ => ReasoningMode::VllmQwen3,
        };
        let of = Guarded {
            dialect,
            tools: &judge.tools,
            strict: &[],
            required,
            parallel,
            answer: None,
            reasoning,
            specials: &vocabulary.specials,
        };
        let compile = |lark: &str| vocabulary.grammars.compile(&Grammar::Lark(lark.to_owned()));
        let guard = guard(&of, &mut |lark| compile(lark).map(drop).map_err(|e| e.reason)).unwrap();
        let wishes = wishes(dialect, &judge.tools);
        for _ in 0..per_grammar {
            let mut matcher = compile(&guard.lark).unwrap();
            let (text, whole) = vocabulary.generate(&mut matcher, &mut random, &wishes);
            let options = |guarded| ParserOptions {
                tools: judge.tools.clone(),
                detect: Detect::Only(vec![dialect]),
                reasoning,
                guarded,
            };
            counts.generations += 1;
            let read = OutputParser::parse(options(true), &text);
            let split = in_parts(options(true), &text, &mut random);
            let mut fault = (split != read).then(|| format!("a split reads otherwise: {split:?}"));
            if !whole {
                counts.cut += 1;
            } else {
                counts.calls += read.calls.len();
                let expected = match (required, read.calls.len(), parallel) {
                    (true, 0, _) => Some("no call, though one is required".to_owned()),
                    (_, 2.., false) => Some("more than one call".to_owned()),
                    _ => judge.fault(&read),
                };
                fault = fault.or(expected);
            }
            if let Some(fault) = fault {
                let how = format!("{reasoning:?} required {required} parallel {parallel}");
                faults.push(format!("{dialect:?} {how}\n  {fault}\n  text {text:?}\n  read {read:?}"));
            }
        }
    }
    faults
}

fn runs() -> usize {
    std::env::var("CHELA_GUARD_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(600)
}

fn report(name: &str, faults: &[String], counts: &Counts) {
    let shown = faults.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
    assert!(faults.is_empty(), "{name}: {} faults in {counts:?}\n{shown}", faults.len());
    assert!(counts.calls * 3 > counts.generations, "{name}: too few calls to tell: {counts:?}");
}

/// Markers as text, then as special tokens.
#[test]
fn no_invalid_call_over_bytes() {
    let plain = Vocabulary::bytes(&[]);
    let (mut faults, mut counts) = (Vec::new(), Counts::default());
    let each = runs() / ALL.len() / 2;
    for (at, dialect) in ALL.iter().enumerate() {
        faults.extend(fuzz(*dialect, &plain, each, at as u64, &mut counts));
        let special = Vocabulary::bytes(&markers(*dialect));
        faults.extend(fuzz(*dialect, &special, each, 1000 + at as u64, &mut counts));
    }
    println!("{counts:?}");
    report("bytes", &faults, &counts);
}

#[test]
fn no_invalid_call_over_a_real_vocabulary() {
    let tiny = Vocabulary::tiny();
    let (mut faults, mut counts) = (Vec::new(), Counts::default());
    for (at, dialect) in ALL.iter().enumerate() {
        faults.extend(fuzz(*dialect, &tiny, runs() / ALL.len() / 4, 2000 + at as u64, &mut counts));
    }
    println!("{counts:?}");
    report("tiny", &faults, &counts);
}
