//! Every recorded exchange of vLLM 0.32, replayed against `chela serve` started with the same flags.
//!
//! `tests/fixtures/vllm-0.32/differences.json` names what is left out or answered otherwise on purpose.
//! Any other difference fails, and so does an entry that makes none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::served::{Answer, Server, recordings};

/// Largest difference of log-probabilities above -6: vLLM computed the model in bf16 throughout.
const NEAR: f64 = 0.12;

/// The sets, and the flags with which vLLM was started.
const SETS: [(&str, &[&str]); 6] = [
    ("s0_noflags", &[]),
    ("s1_errors", HERMES),
    ("s1_hermes", HERMES),
    ("s1_misc", HERMES),
    ("s1_named", HERMES),
    ("s1_tools", HERMES),
];
const HERMES: &[&str] = &["--enable-auto-tool-choice", "--tool-call-parser", "hermes"];
const REASONING: &[&str] = &[
    "--enable-auto-tool-choice",
    "--tool-call-parser",
    "hermes",
    "--reasoning-parser",
    "qwen3",
    "--api-key",
    "secret",
    "--enable-prompt-tokens-details",
    "--enable-request-id-headers",
    "--enable-per-request-metrics",
];

/// What is different on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Differences {
    /// In every answer: a path of the answer, and why.
    everywhere: BTreeMap<String, String>,
    /// Requests to routes that are not offered.
    left_out: BTreeMap<String, String>,
    /// Requests that are answered otherwise.
    different: BTreeMap<String, Different>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Different {
    /// Where the answers differ, beginnings of paths.
    at: Vec<String>,
    why: String,
}

struct Replay {
    differences: Differences,
    used: BTreeSet<String>,
    wrong: Vec<String>,
    compared: usize,
}

#[test]
fn every_recorded_request_is_answered_as_vllm_answered_it() {
    let file = recordings().join("differences.json");
    let differences: Differences = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut replay = Replay { differences, used: BTreeSet::new(), wrong: Vec::new(), compared: 0 };
    let plain = Server::tiny(&[]);
    let hermes = Server::tiny(HERMES);
    for (set, flags) in SETS {
        replay.set(set, if flags.is_empty() { &plain } else { &hermes });
    }
    drop((plain, hermes));
    replay.set("s2_reasoning_auth", &Server::tiny(REASONING));
    replay.end();
}

impl Replay {
    fn set(&mut self, set: &str, server: &Server) {
        let folder = recordings().join(set);
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                Some(name.strip_suffix(".request.http")?.to_owned())
            })
            .collect();
        names.sort();
        for name in names {
            let request = fs::read(folder.join(format!("{name}.request.http"))).unwrap();
            let recorded = fs::read(folder.join(format!("{name}.response.http"))).unwrap();
            let answer = server.send(&request);
            self.compare(&format!("{set}/{name}"), &request, &Answer::parse(&recorded), &answer);
        }
    }

    fn compare(&mut self, name: &str, request: &[u8], recorded: &Answer, answer: &Answer) {
        if self.differences.left_out.contains_key(name) {
            self.used.insert(name.to_owned());
            // without the key nobody learns which paths there are
            if !matches!(answer.status, 404 | 401) {
                self.wrong
                    .push(format!("{name} is left out, and answered {}: {}", answer.status, answer.body));
            }
            return;
        }
        self.compared += 1;
        let body = request.windows(4).position(|w| w == b"\r\n\r\n").map_or(&[][..], |at| &request[at + 4..]);
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let drawn = asked["temperature"].as_f64().is_none_or(|t| t > 0.0) && asked.is_object();
        let (mut want, mut got) = (plain(recorded, drawn), plain(answer, drawn));
        if !request.to_ascii_lowercase().windows(14).any(|w| w == b"x-request-id: ") {
            for side in [&mut want, &mut got] {
                let id = side.pointer_mut("/headers/x-request-id");
                // random, where none was sent
                if let Some(id) = id.filter(|id| id.as_str().is_some_and(|id| id.len() == 32)) {
                    *id = "HEX".into();
                }
            }
        }
        let mut found = Vec::new();
        match recorded.status == answer.status {
            true => diff("", &want, &got, &mut found),
            false => found.push((
                "status".to_owned(),
                (
                    format!("{} {}", recorded.status, recorded.body),
                    format!("{} {}", answer.status, answer.body),
                ),
            )),
        }
        let everywhere = &self.differences.everywhere;
        let used = &mut self.used;
        found.retain(|(path, _)| {
            let general = everywhere.keys().find(|key| path_ends(path, key));
            used.extend(general.cloned());
            general.is_none()
        });
        let allowed = self.differences.different.get(name);
        let mut kept = BTreeSet::new();
        found.retain(|(path, _)| {
            let at = allowed.and_then(|allowed| allowed.at.iter().find(|at| path.starts_with(at.as_str())));
            kept.extend(at.cloned());
            at.is_none()
        });
        if let Some(allowed) = allowed {
            self.used.insert(name.to_owned());
            for at in allowed.at.iter().filter(|at| !kept.contains(*at)) {
                self.wrong.push(format!("{name} is said to differ at {at:?}, and does not"));
            }
        }
        for (path, (want, got)) in found {
            self.wrong.push(format!("{name} {path}\n    vLLM  {want}\n    chela {got}"));
        }
    }

    fn end(self) {
        let Differences { everywhere, left_out, different } = &self.differences;
        let mut wrong = self.wrong;
        for (name, why) in everywhere.iter().chain(left_out) {
            assert!(!why.is_empty(), "{name} has no reason");
        }
        assert!(different.values().all(|entry| !entry.why.is_empty() && !entry.at.is_empty()));
        let named = everywhere.keys().chain(left_out.keys()).chain(different.keys());
        for name in named.filter(|name| !self.used.contains(*name)) {
            wrong.push(format!("{name} stands in differences.json, and makes no difference"));
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(self.compared > 180, "{}", self.compared);
    }
}

/// Whether the last segments of `path` are those of `end`, numbers aside.
fn path_ends(path: &str, end: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split('.').filter(|word| word.parse::<usize>().is_err()).map(str::to_owned).collect()
    };
    words(path).ends_with(&words(end))
}

/// An answer without what chance and time decide.
fn plain(answer: &Answer, drawn: bool) -> Value {
    let kind = answer.header("content-type").to_owned();
    let body = if kind.starts_with("text/event-stream") {
        stream(&answer.body, drawn)
    } else {
        match serde_json::from_str(&answer.body) {
            Ok(value) => calm(value, "", drawn),
            Err(_) => Value::from(answer.body.as_str()),
        }
    };
    let mut headers = Map::new();
    for name in ["allow", "location", "x-request-id"] {
        if !answer.header(name).is_empty() {
            // the address is the server's own
            let value = answer.header(name).trim_start_matches("http://127.0.0.1:8000");
            headers.insert(name.into(), value.into());
        }
    }
    json!({"status": answer.status, "type": kind, "headers": headers, "body": body})
}

/// Replaces ids, times and, where an answer was drawn, its text.
fn calm(value: Value, key: &str, drawn: bool) -> Value {
    match value {
        Value::Object(map) => {
            let calm = |(key, value): (String, Value)| {
                let value = calm(value, &key, drawn);
                (key, value)
            };
            let mut map: Map<String, Value> = map.into_iter().map(calm).collect();
            // sent under both names, and it must be the same
            if map.get("reasoning_content") == map.get("reasoning") {
                map.shift_remove("reasoning_content");
            }
            Value::Object(map)
        }
        Value::Array(items) => items.into_iter().map(|item| calm(item, key, drawn)).collect(),
        Value::String(text) => match key {
            "id" => text
                .rsplit_once('-')
                .filter(|(_, end)| is_hex(end))
                .map_or(text.clone(), |(kind, _)| format!("{kind}-HEX"))
                .into(),
            "content" | "text" | "reasoning" | "token" if drawn => "DRAWN".into(),
            _ => text.into(),
        },
        Value::Number(_) if matches!(key, "created" | "logprob") && drawn || key == "created" => {
            "NUMBER".into()
        }
        Value::Number(_) if key.ends_with("_ms") || key == "tokens_per_second" => "NUMBER".into(),
        Value::Number(_) if matches!(key, "completion_tokens" | "total_tokens") && drawn => "NUMBER".into(),
        other => other,
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A stream as the list of its chunks, in which chunks of the same kind that follow one another are
/// one: how many tokens an event has is a matter of time.
fn stream(body: &str, drawn: bool) -> Value {
    let mut chunks: Vec<Value> = Vec::new();
    for event in body.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')) {
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"));
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            chunks.push(data.into());
            continue;
        };
        let mut chunk = chunk;
        if chunk["choices"].as_array().is_some_and(|choices| !choices.is_empty())
            && let Some(usage) = chunk.get_mut("usage").and_then(Value::as_object_mut)
        {
            // what was generated so far is a matter of time
            for key in ["completion_tokens", "total_tokens"] {
                usage.insert(key.into(), "NUMBER".into());
            }
            if let Some(details) = usage.get_mut("completion_tokens_details").and_then(Value::as_object_mut) {
                details.insert("reasoning_tokens".into(), "NUMBER".into());
            }
        }
        chunks.extend(split_end(chunk));
    }
    // Choices are interleaved by chance, in order within themselves.
    chunks.sort_by_key(|chunk| {
        let place = chunk.pointer("/choices/0/index").and_then(Value::as_u64);
        let role = chunk.pointer("/choices/0/delta/role").is_some();
        (chunk.is_string(), place.is_none(), if role { None } else { place })
    });
    let mut merged: Vec<Value> = Vec::new();
    for chunk in chunks {
        match merged.last_mut().filter(|last| same_kind(last, &chunk)) {
            Some(last) => append(last, &chunk),
            None => merged.push(chunk),
        }
    }
    merged.into_iter().map(|chunk| calm(chunk, "", drawn)).collect()
}

/// A chunk that ends a choice and carries its last text, as two: the text may also come before.
fn split_end(mut chunk: Value) -> Vec<Value> {
    let Some(choice) = chunk.pointer_mut("/choices/0").and_then(Value::as_object_mut) else {
        return vec![chunk];
    };
    if choice.get("finish_reason").is_none_or(Value::is_null) {
        return vec![chunk];
    }
    let mut before = choice.clone();
    before.insert("finish_reason".into(), Value::Null);
    if choice.contains_key("text") {
        before.insert("stop_reason".into(), Value::Null);
        choice.insert("text".into(), "".into());
    } else {
        before.shift_remove("stop_reason");
        choice.insert("delta".into(), json!({}));
    }
    choice.insert("logprobs".into(), Value::Null);
    choice.insert("token_ids".into(), Value::Null);
    let mut first = chunk.clone();
    first["choices"] = json!([before]);
    if let Some(first) = first.as_object_mut() {
        first.shift_remove("system_fingerprint");
    }
    let empty = first.pointer("/choices/0/delta").map_or_else(
        || first.pointer("/choices/0/text") == Some(&"".into()),
        |delta| delta.as_object().is_none_or(|delta| delta.values().all(|v| v == "" || v.is_null())),
    );
    let details = ["logprobs", "token_ids"].iter().any(|key| !first["choices"][0][*key].is_null());
    if empty && !details { vec![chunk] } else { vec![first, chunk] }
}

fn same_kind(last: &Value, next: &Value) -> bool {
    let shape = |chunk: &Value| {
        let choice = chunk.pointer("/choices/0")?;
        let delta = choice.get("delta").and_then(Value::as_object);
        let call = choice.pointer("/delta/tool_calls/0");
        if choice.get("finish_reason").is_some_and(|reason| !reason.is_null())
            || call.is_some_and(|call| call.get("id").is_some())
            || delta.is_some_and(|delta| delta.contains_key("role"))
        {
            return None;
        }
        let keys: Vec<String> = delta.map(|delta| delta.keys().cloned().collect()).unwrap_or_default();
        Some((choice.get("index").cloned(), keys, call.map(|call| call["index"].clone())))
    };
    shape(last).is_some() && shape(last) == shape(next)
}

/// Adds a chunk to one of the same kind.
fn append(last: &mut Value, next: &Value) {
    const TEXTS: [&str; 5] = ["content", "reasoning", "reasoning_content", "text", "arguments"];
    match (last, next) {
        (Value::Object(last), Value::Object(next)) => {
            for (key, value) in next {
                match last.get_mut(key) {
                    Some(kept) if key == "usage" => *kept = value.clone(),
                    Some(Value::String(kept)) if TEXTS.contains(&key.as_str()) => {
                        kept.push_str(value.as_str().unwrap_or_default());
                    }
                    Some(kept) => append(kept, value),
                    None => {
                        last.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(last), Value::Array(next))
            if next.first().is_some_and(|n| n.get("index").is_some()) =>
        {
            last.iter_mut().zip(next).for_each(|(last, next)| append(last, next));
        }
        (Value::Array(last), Value::Array(next)) => last.extend(next.iter().cloned()),
        (last @ Value::Null, next) => *last = next.clone(),
        _ => {}
    }
}

/// Where two values differ.
fn diff(path: &str, want: &Value, got: &Value, found: &mut Vec<(String, (String, String))>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for key in want.keys().chain(got.keys().filter(|key| !want.contains_key(*key))) {
                match (want.get(key), got.get(key)) {
                    (Some(want), Some(got)) => diff(&at(key), want, got, found),
                    (want, got) => {
                        let show = |value: Option<&Value>| value.map_or("absent".into(), Value::to_string);
                        found.push((at(key), (show(want), show(got))));
                    }
                }
            }
            if want.len() == got.len()
                && !want.keys().eq(got.keys())
                && want.keys().all(|k| got.contains_key(k))
                && !path.contains("logprobs")
            {
                found.push((at("order"), (format!("{:?}", want.keys()), format!("{:?}", got.keys()))));
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            for (index, (want, got)) in want.iter().zip(got).enumerate() {
                diff(&at(&index.to_string()), want, got, found);
            }
        }
        (Value::Number(_), Value::Number(_)) if path.contains("logprob") => {
            let (want_f, got_f) = (want.as_f64().unwrap(), got.as_f64().unwrap());
            let rank = path.ends_with("rank");
            let near = (want_f - got_f).abs();
            if !(near < NEAR || want_f < -6.0 && near < 1.0 || rank && near <= 1.0 + want_f / 8.0) {
                found.push((path.to_owned(), (want.to_string(), got.to_string())));
            }
        }
        _ if want == got => {}
        _ => found.push((path.to_owned(), (want.to_string(), got.to_string()))),
    }
}
