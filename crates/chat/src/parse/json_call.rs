//! Calls whose arguments are JSON: `{"name": …, "arguments": {…}}`, or a name before the JSON.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use super::reader::{Cx, NAME, SPACE, Step, find_first, resume, tail};
use super::scan::{Entry, JsonScan, Scan};
use crate::dialect::NameSyntax;
use crate::json;

const NAME_KEYS: &[&str] = &["name", "function", "tool", "tool_name"];
const ARGS_KEYS: &[&str] = &["arguments", "parameters", "args"];

/// What the JSON is.
#[derive(Debug)]
enum Payload {
    /// The whole call, or several in an array. With `exact` only the keys of a call may stand in
    /// it.
    Object { exact: bool },
    /// The arguments of the named tool.
    Args { name: String },
}

#[derive(Debug)]
enum State {
    /// Before the JSON.
    Head(Option<&'static NameSyntax>),
    /// In the JSON.
    Body(JsonScan),
    /// The JSON from `start` closed early or wrongly; the closing marker is looked for.
    Lost { start: usize, from: usize },
    /// The calls have been given; the closing marker may follow.
    Tail(usize),
}

/// Reads a call whose arguments are JSON.
#[derive(Debug)]
pub(super) struct JsonReader {
    body: usize,
    payload: Payload,
    state: State,
}

impl JsonReader {
    pub(super) fn object(body: usize, exact: bool) -> Self {
        Self { body, payload: Payload::Object { exact }, state: State::Head(None) }
    }

    pub(super) fn named(body: usize, syntax: &'static NameSyntax) -> Self {
        Self { body, payload: Payload::Args { name: String::new() }, state: State::Head(Some(syntax)) }
    }

    /// A reader of the arguments of `name` that start with the `{` at `start`.
    pub(super) fn arguments(name: String, start: usize) -> Self {
        Self { body: start, payload: Payload::Args { name }, state: State::Body(JsonScan::new(start)) }
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        if let State::Head(syntax) = self.state {
            let step = match syntax {
                None => self.object_head(cx),
                Some(syntax) => self.named_head(cx, syntax),
            };
            if let Some(step) = step {
                return step;
            }
        }
        match &mut self.state {
            State::Head(_) => Step::Wait,
            State::Body(_) => self.advance_body(cx),
            State::Lost { .. } => self.advance_lost(cx),
            State::Tail(from) => match tail(cx.text, *from, cx.form.close, cx.end) {
                Some(upto) => Step::Done(upto),
                None => Step::Wait,
            },
        }
    }

    /// Finds the opening bracket of the object or array.
    fn object_head(&mut self, cx: &Cx<'_>) -> Option<Step> {
        let at = cx.skip_space(self.body);
        match cx.text.as_bytes().get(at) {
            Some(b'{' | b'[') => {
                self.state = State::Body(JsonScan::new(at));
                None
            }
            None if !cx.end && at - self.body <= SPACE => Some(Step::Wait),
            _ => Some(Step::Reject(0)),
        }
    }

    /// Reads the name and finds the opening brace of the arguments.
    fn named_head(&mut self, cx: &mut Cx<'_>, syntax: &'static NameSyntax) -> Option<Step> {
        let head_end = find_first(cx.text, self.body, &["{"]);
        let close = find_first(cx.text, self.body, cx.form.close).filter(|_| !cx.form.close.is_empty());
        let (upto, without) = match (head_end, close) {
            (Some((brace, _)), Some((marker, _))) if marker < brace => (marker, true),
            (Some((brace, _)), _) => (brace, false),
            (None, Some((marker, _))) => (marker, true),
            (None, None) if cx.end => (cx.text.len(), true),
            (None, None) if cx.text.len() - self.body <= NAME => return Some(Step::Wait),
            (None, None) => return Some(Step::Reject(0)),
        };
        let head = &cx.text[self.body..upto];
        let name = name_in(head, syntax, without).and_then(|name| cx.accept(name));
        let Some(name) = name.filter(|_| head.len() <= NAME) else {
            return Some(Step::Reject(0));
        };
        if without {
            cx.emit.call(name, "{}");
            self.state = State::Tail(upto);
        } else {
            self.payload = Payload::Args { name: name.to_owned() };
            self.state = State::Body(JsonScan::new(upto));
        }
        None
    }

    fn advance_body(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Body(scan) = &mut self.state else {
            return Step::Wait;
        };
        let found = scan.advance(cx.text, cx.form.close, cx.first_marker, cx.end);
        if let Some(at) = self.fault(cx, usize::MAX) {
            return Step::Reject(at);
        }
        let State::Body(scan) = &self.state else {
            return Step::Wait;
        };
        let start = scan.start();
        match found {
            Scan::More if !cx.end => Step::Wait,
            Scan::More => self.at_end(cx),
            Scan::Stopped(at) => self.settle(cx, start, at, marker_end(cx, at)),
            Scan::End(at) => match self.calls(cx, &cx.text[start..at]) {
                Ok(calls) => self.give(cx, calls, at),
                Err(_) if !cx.form.close.is_empty() => {
                    self.state = State::Lost { start, from: at };
                    self.advance_lost(cx)
                }
                Err(why) => self.fail(cx, at, why),
            },
        }
    }

    /// The text ended inside the JSON.
    fn at_end(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Body(scan) = &self.state else {
            return Step::Wait;
        };
        let start = scan.start();
        if scan.in_string()
            && let Some((at, after)) = find_first(cx.text, start, cx.form.close)
        {
            return self.settle(cx, start, at, after);
        }
        // All that misses is the brace of the call's own object.
        let args = scan
            .entries()
            .iter()
            .find(|entry| ARGS_KEYS.contains(&&cx.text[entry.key.0..entry.key.1]) && entry.start.is_some());
        let complete = match (&self.payload, args.and_then(|entry| entry.end)) {
            (Payload::Object { exact: false }, Some(end)) => Some(end),
            _ => None,
        };
        if let Some(end) = complete
            && let Ok(calls) = self.calls(cx, &cx.text[start..end])
        {
            return self.give(cx, calls, cx.text.len());
        }
        let why = "the answer ended inside the call".to_owned();
        self.fail(cx, cx.text.len(), why)
    }

    /// The closing marker stands at `at`, though the JSON is not closed or not right.
    fn settle(&mut self, cx: &mut Cx<'_>, start: usize, at: usize, after: usize) -> Step {
        match self.calls(cx, &cx.text[start..at]) {
            Ok(calls) => self.give(cx, calls, at),
            Err(why) => self.fail(cx, after, why),
        }
    }

    fn advance_lost(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Lost { start, from } = &mut self.state else {
            return Step::Wait;
        };
        let start = *start;
        if let Some((at, after)) = find_first(cx.text, *from, cx.form.close) {
            return self.settle(cx, start, at, after);
        }
        *from = resume(cx.text, *from, cx.form.close);
        if cx.end {
            let upto = cx.text.len();
            return self.settle(cx, start, upto, upto);
        }
        Step::Wait
    }

    /// Gives complete calls, and looks for the marker.
    fn give(&mut self, cx: &mut Cx<'_>, calls: Vec<Call>, from: usize) -> Step {
        let accepted: Option<Vec<_>> = calls.iter().map(|call| cx.accept(&call.name)).collect();
        let Some(names) = accepted else {
            return Step::Reject(from);
        };
        for (name, call) in names.into_iter().zip(&calls) {
            cx.emit.call(name, &call.arguments);
        }
        self.state = State::Tail(from);
        self.advance(cx)
    }

    fn fail(&self, cx: &Cx<'_>, upto: usize, why: String) -> Step {
        let named = match &self.payload {
            Payload::Args { .. } => true,
            Payload::Object { exact: true } => false,
            Payload::Object { exact: false } => {
                NAME_KEYS[..1].iter().chain(ARGS_KEYS).any(|key| cx.text[..upto].contains(key))
            }
        };
        if named { Step::Broken { upto, why } } else { Step::Reject(0) }
    }

    /// Where one of the first `upto` entries shows that this is not a call: where a call needs no
    /// marker, a key that no call has or a name that is not offered; in reasoning the latter.
    fn fault(&self, cx: &Cx<'_>, upto: usize) -> Option<usize> {
        let (Payload::Object { exact }, State::Body(scan)) = (&self.payload, &self.state) else {
            return None;
        };
        let mut entries = scan.entries().iter().take(upto);
        entries.find_map(|entry| entry_fault(cx, entry, *exact))
    }

    /// Reads `text` as the calls or the arguments that it is to be; small faults are repaired.
    fn calls(&self, cx: &Cx<'_>, text: &str) -> Result<Vec<Call>, String> {
        match &self.payload {
            Payload::Args { name } => {
                let arguments = match serde_json::from_str::<&RawValue>(text) {
                    Ok(raw) => raw.get().to_owned(),
                    Err(error) => json::parse_lenient(text)
                        .filter(Value::is_object)
                        .map(|value| json::dumps(&value))
                        .ok_or_else(|| format!("the arguments are not valid JSON: {error}"))?,
                };
                Ok(vec![Call { name: name.clone(), arguments }])
            }
            Payload::Object { exact } => calls_in(text, *exact || cx.offered_only),
        }
    }
}

fn marker_end(cx: &Cx<'_>, at: usize) -> usize {
    find_first(cx.text, at, cx.form.close).map_or(at, |(_, after)| after)
}

/// Where an entry shows that its object is not a call: the offset after the fault.
pub(super) fn entry_fault(cx: &Cx<'_>, entry: &Entry, exact: bool) -> Option<usize> {
    let key = &cx.text[entry.key.0..entry.key.1];
    if exact && !matches!(key, "name" | "arguments" | "parameters" | "type" | "id") {
        return Some(entry.key.1);
    }
    if key != "name" || !cx.offered_only {
        return None;
    }
    let (start, end) = (entry.start?, entry.end?);
    match json::parse(&cx.text[start..end]) {
        Some(Value::String(name)) if cx.accept(&name).is_some() => None,
        _ => Some(end),
    }
}

/// The name in the text before the arguments.
fn name_in<'a>(head: &'a str, syntax: &NameSyntax, without_args: bool) -> Option<&'a str> {
    let head = head.trim_start();
    let rest = match head.strip_prefix(syntax.prefix) {
        Some(rest) => rest,
        None if syntax.prefix_optional => head,
        None => return None,
    };
    let after = syntax.after.iter().filter_map(|after| rest.find(after)).min();
    let name = match after {
        Some(at) => &rest[..at],
        None if syntax.after_required || without_args => return None,
        None => rest,
    };
    let mut name = name.trim();
    if syntax.counted
        && let Some((before, number)) = name.rsplit_once(':')
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        name = before;
    }
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// A call as read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: String,
}

/// The calls in a JSON object or array. With `exact`, nothing but a call's own keys may stand in
/// an object.
pub(super) fn calls_in(text: &str, exact: bool) -> Result<Vec<Call>, String> {
    let not_json = |error: serde_json::Error| format!("the call is not valid JSON: {error}");
    let text = text.trim();
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) if text.starts_with('[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
            if items.is_empty() {
                return Err("the list of calls is empty".to_owned());
            }
            items.iter().map(|item| call_in(item.get(), exact)).collect()
        }
        Ok(_) => call_in(text, exact).map(|call| vec![call]),
        Err(error) => match json::parse_lenient(text).ok_or_else(|| not_json(error))? {
            Value::Array(items) if !items.is_empty() => {
                items.into_iter().map(|item| call_of(item, exact)).collect()
            }
            value => call_of(value, exact).map(|call| vec![call]),
        },
    }
}

/// A call in valid JSON: its arguments are the very bytes that the model wrote.
fn call_in(text: &str, exact: bool) -> Result<Call, String> {
    let map: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|_| "a call must be a JSON object".to_owned())?;
    let args = ARGS_KEYS[..2].iter().find_map(|key| map.get(*key));
    let name = map.get("name").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match (name, args) {
        (Some(name), Some(args)) if args.get().starts_with('{') => {
            check_keys(&value, exact)?;
            Ok(Call { name, arguments: args.get().to_owned() })
        }
        _ => call_of(value, exact),
    }
}

fn check_keys(value: &Value, exact: bool) -> Result<(), String> {
    let known = |key: &str| matches!(key, "name" | "arguments" | "parameters" | "type" | "id");
    match value.as_object() {
        Some(map) if exact && !map.keys().all(|key| known(key)) => {
            Err("a call has only the keys name and arguments".to_owned())
        }
        _ => Ok(()),
    }
}

/// A call in a JSON value. Read too: the OpenAI shape with `function` inside, the arguments as a
/// string of JSON, arguments beside the name, and no arguments at all.
fn call_of(value: Value, exact: bool) -> Result<Call, String> {
    check_keys(&value, exact)?;
    let Value::Object(mut map) = value else {
        return Err("a call must be a JSON object".to_owned());
    };
    if let Some(Value::Object(_)) = map.get("function") {
        return call_of(map.remove("function").unwrap_or_default(), exact);
    }
    let name = NAME_KEYS
        .iter()
        .find(|key| map.get(**key).is_some_and(Value::is_string))
        .and_then(|key| map.shift_remove(*key));
    let Some(Value::String(name)) = name else {
        return Err("the call has no \"name\"".to_owned());
    };
    let args = ARGS_KEYS.iter().find_map(|key| map.shift_remove(*key));
    let arguments = match args {
        Some(Value::Object(args)) => Value::Object(args),
        Some(Value::Null) => Value::Object(Map::new()),
        Some(Value::String(text)) => match json::parse(&text) {
            Some(Value::Object(inner)) => Value::Object(inner),
            _ if text.trim().is_empty() => Value::Object(Map::new()),
            _ => return Err("\"arguments\" must be a JSON object".to_owned()),
        },
        Some(_) => return Err("\"arguments\" must be a JSON object".to_owned()),
        None if exact => return Err("the call has no \"arguments\"".to_owned()),
        None => {
            map.shift_remove("type");
            map.shift_remove("id");
            Value::Object(map)
        }
    };
    Ok(Call { name, arguments: json::dumps(&arguments) })
}
