//! The JSON Schema Test Suite against the masks of [`Grammars`]: every valid instance can be written,
//! every invalid one cannot, or the schema is refused by name. What differs is listed in `known.json`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use chela_engine::grammar::{Grammar, Grammars, Matcher, TokenBytes};
use serde::Deserialize;
use serde_json::Value;

const END: u32 = 256;
/// Orders of an instance's properties that are tried: a grammar has them in the schema's order.
const ORDERS: usize = 150;

#[derive(Deserialize)]
struct Group {
    description: String,
    schema: Value,
    tests: Vec<(String, Value, bool)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    differences: Vec<Difference>,
    refused: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    reason: String,
    #[serde(default)]
    admitted: Vec<String>,
    #[serde(default)]
    blocked: Vec<String>,
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-suite").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every byte, and an end.
fn bytes() -> Grammars {
    let mut tokens: Vec<_> = (0..=255u8).map(|byte| TokenBytes::Text(vec![byte])).collect();
    tokens.push(TokenBytes::Special("<end>".into()));
    let tokenize = Arc::new(|text: &[u8]| text.iter().map(|byte| u32::from(*byte)).collect());
    Grammars::new(tokens, &[END], tokenize).unwrap()
}

/// `parts` one after the other, each in one of its ways.
fn joined(parts: &[Vec<String>]) -> Vec<String> {
    let mut all = vec![String::new()];
    for (at, part) in parts.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let longer = all.iter().flat_map(|text| part.iter().map(move |way| format!("{text}{comma}{way}")));
        all = longer.take(ORDERS).collect();
    }
    all
}

/// The texts of a value, by the order of its properties.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            let parts: Vec<_> = items.iter().map(texts).collect();
            joined(&parts).into_iter().map(|text| format!("[{text}]")).collect()
        }
        Value::Object(map) => {
            let entries: Vec<Vec<String>> = map
                .iter()
                .map(|(key, value)| {
                    let key = Value::from(key.as_str());
                    texts(value).into_iter().map(|text| format!("{key}:{text}")).collect()
                })
                .collect();
            let mut orders = Vec::new();
            permute(&entries, &mut Vec::new(), &mut orders);
            orders.into_iter().map(|text| format!("{{{text}}}")).collect()
        }
        other => vec![other.to_string()],
    }
}

fn permute(entries: &[Vec<String>], chosen: &mut Vec<usize>, out: &mut Vec<String>) {
    if out.len() >= ORDERS {
        return;
    }
    if chosen.len() == entries.len() {
        let parts: Vec<_> = chosen.iter().map(|at| entries[*at].clone()).collect();
        out.extend(joined(&parts));
        return;
    }
    for at in 0..entries.len() {
        if !chosen.contains(&at) {
            chosen.push(at);
            permute(entries, chosen, out);
            chosen.pop();
        }
    }
}

/// Whether the masks let `text` be written, and then the end.
fn writes(mut matcher: Matcher, text: &str) -> bool {
    let mut allows = |token: u32| {
        let mask = matcher.mask(&[]).unwrap();
        let allowed = mask[token as usize / 32] >> (token % 32) & 1 == 1;
        if allowed && token != END {
            matcher.accept(token).unwrap();
        }
        allowed
    };
    text.bytes().all(|byte| allows(u32::from(byte))) && allows(END)
}

/// Whether a refusal says what of the schema it is about.
fn names_its_reason(schema: &Value, reason: &str) -> bool {
    match schema {
        Value::Object(map) => {
            // A schema that nothing satisfies has no keyword to blame.
            reason.contains("Unsatisfiable")
                || map
                    .iter()
                    .any(|(key, value)| reason.contains(key.as_str()) || names_its_reason(value, reason))
        }
        Value::Array(items) => items.iter().any(|item| names_its_reason(item, reason)),
        Value::String(text) => !text.is_empty() && reason.contains(text.as_str()),
        Value::Bool(false) => reason.contains("false"),
        _ => false,
    }
}

#[test]
fn the_suite_in_both_directions() {
    let suite: BTreeMap<String, Vec<Group>> = read("draft2020-12.json");
    let known: Known = read("known.json");
    assert!(known.differences.iter().all(|difference| !difference.reason.is_empty()));
    let listed = |part: fn(&Difference) -> &Vec<String>| -> BTreeSet<String> {
        known.differences.iter().flat_map(part).cloned().collect()
    };
    let grammars = bytes();
    let (mut refused, mut admitted, mut blocked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut judged = 0;
    for (file, groups) in &suite {
        for group in groups {
            let name = format!("{file} / {}", group.description);
            let matcher = match grammars.compile(&Grammar::JsonSchema(group.schema.clone())) {
                Ok(matcher) => matcher,
                Err(error) => {
                    assert!(names_its_reason(&group.schema, &error.reason), "{name}: {error}");
                    refused.insert(name);
                    continue;
                }
            };
            for (test, data, valid) in &group.tests {
                judged += 1;
                let writable = texts(data).iter().any(|text| writes(matcher.copy(), text));
                match (writable, valid) {
                    (true, false) => admitted.insert(format!("{name} / {test}")),
                    (false, true) => blocked.insert(format!("{name} / {test}")),
                    _ => false,
                };
            }
        }
    }
    assert!(judged > 1000, "{judged}");
    for (what, found, listed) in [
        ("refused", refused, known.refused.clone()),
        ("admitted, though invalid", admitted, listed(|difference| &difference.admitted)),
        ("blocked, though valid", blocked, listed(|difference| &difference.blocked)),
    ] {
        let new: Vec<_> = found.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&found).collect();
        assert!(new.is_empty(), "{what}, and not listed: {new:#?}");
        assert!(gone.is_empty(), "listed as {what}, which it is no longer: {gone:#?}");
    }
}
