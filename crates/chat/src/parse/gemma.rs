//! Gemma's `call:name{key:value}`.

use serde_json::{Map, Value};

use super::reader::{Cx, NAME, Step, find_first, tail};
use super::scan::{Stop, stop_at};
use crate::json;

const CALL: &str = "call:";

#[derive(Debug)]
enum State {
    Head,
    Body,
    Tail(usize),
    /// It cannot be read; the closing marker may follow.
    Bad(usize),
}

/// Reads one call in Gemma's notation.
#[derive(Debug)]
pub(super) struct GemmaReader {
    body: usize,
    quote: &'static str,
    state: State,
    name: String,
    start: usize,
    at: usize,
    depth: usize,
    in_string: bool,
}

impl GemmaReader {
    pub(super) fn new(body: usize, quote: &'static str) -> Self {
        Self {
            body,
            quote,
            state: State::Head,
            name: String::new(),
            start: 0,
            at: 0,
            depth: 0,
            in_string: false,
        }
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        if matches!(self.state, State::Head)
            && let Some(step) = self.head(cx)
        {
            return step;
        }
        if matches!(self.state, State::Body)
            && let Some(step) = self.scan(cx)
        {
            return step;
        }
        match self.state {
            State::Tail(from) => match tail(cx.text, from, cx.form.close, cx.end) {
                Some(upto) => Step::Done(upto),
                None => Step::Wait,
            },
            State::Bad(from) => match tail(cx.text, from, cx.form.close, cx.end) {
                Some(upto) => {
                    Step::Broken { upto, why: format!("the arguments of {} cannot be read", self.name) }
                }
                None => Step::Wait,
            },
            _ => Step::Wait,
        }
    }

    fn head(&mut self, cx: &Cx<'_>) -> Option<Step> {
        let at = cx.skip_space(self.body);
        let rest = &cx.text[at..];
        let wait = (!cx.end && cx.text.len() - self.body <= NAME).then_some(Step::Wait);
        let otherwise = Some(wait.unwrap_or(Step::Reject(0)));
        let Some(after) = rest.strip_prefix(CALL) else {
            return if CALL.starts_with(rest) { otherwise } else { Some(Step::Reject(0)) };
        };
        let Some(brace) = after.find('{') else {
            return if after.contains('<') { Some(Step::Reject(0)) } else { otherwise };
        };
        let name = after[..brace].trim();
        if name.contains(|c: char| c.is_whitespace() || c == '<') {
            return Some(Step::Reject(0));
        }
        match cx.accept(name) {
            Some(name) => {
                self.name = name.to_owned();
                self.start = at + CALL.len() + brace;
                self.at = self.start;
                self.state = State::Body;
                None
            }
            None => Some(Step::Reject(0)),
        }
    }

    /// Finds the closing brace.
    fn scan(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let bytes = cx.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match stop_at(&bytes[self.at..], &[self.quote]) {
                Stop::Whole => {
                    self.in_string = !self.in_string;
                    self.at += self.quote.len();
                    continue;
                }
                Stop::Part if !cx.end => return Some(Step::Wait),
                _ => {}
            }
            if !self.in_string || cx.first_marker {
                match stop_at(&bytes[self.at..], cx.form.close) {
                    Stop::Whole => return self.finish(cx, self.at),
                    Stop::Part if !cx.end => return Some(Step::Wait),
                    _ => {}
                }
            }
            self.at += 1;
            match byte {
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if !self.in_string && self.depth == 0 {
                return self.finish(cx, self.at);
            }
        }
        if !cx.end {
            return Some(Step::Wait);
        }
        let upto = find_first(cx.text, self.start, cx.form.close).map_or(cx.text.len(), |(_, after)| after);
        Some(Step::Broken { upto, why: "the answer ended inside the call".to_owned() })
    }

    fn finish(&mut self, cx: &mut Cx<'_>, at: usize) -> Option<Step> {
        let mut notation = Notation { text: &cx.text[self.start..at], quote: self.quote };
        match notation.object(0).filter(|_| notation.text.trim().is_empty()) {
            Some(args) => {
                cx.emit.call(&self.name, &json::dumps(&Value::Object(args)));
                self.state = State::Tail(at);
                None
            }
            None => {
                self.state = State::Bad(at);
                None
            }
        }
    }
}

/// Reads values in Gemma's notation.
struct Notation<'a> {
    text: &'a str,
    quote: &'static str,
}

impl<'a> Notation<'a> {
    fn space(&mut self) {
        self.text = self.text.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        match self.text.strip_prefix(token) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Map<String, Value>> {
        if depth > 64 || !self.eat("{") {
            return None;
        }
        let mut map = Map::new();
        while !self.eat("}") {
            let key = match self.string()? {
                Some(key) => key,
                None => {
                    let end = self.text.find(':')?;
                    let key = self.text[..end].trim().trim_matches('"').to_owned();
                    self.text = &self.text[end..];
                    key
                }
            };
            if !self.eat(":") {
                return None;
            }
            map.insert(key, self.value(depth + 1)?);
            if !self.eat(",") && !self.text.starts_with('}') {
                return None;
            }
        }
        Some(map)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if let Some(text) = self.string()? {
            return Some(Value::String(text));
        }
        match self.text.chars().next()? {
            '{' => self.object(depth).map(Value::Object),
            '[' => self.array(depth),
            '"' => {
                let mut stream = serde_json::Deserializer::from_str(self.text).into_iter::<String>();
                let text = stream.next()?.ok()?;
                self.text = &self.text[stream.byte_offset()..];
                Some(Value::String(text))
            }
            _ => {
                let end = self.text.find([',', '}', ']'])?;
                let word = self.text[..end].trim();
                self.text = &self.text[end..];
                Some(json::parse(word).unwrap_or_else(|| Value::String(word.to_owned())))
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        if depth > 64 || !self.eat("[") {
            return None;
        }
        let mut items = Vec::new();
        while !self.eat("]") {
            items.push(self.value(depth + 1)?);
            if !self.eat(",") && !self.text.starts_with(']') {
                return None;
            }
        }
        Some(Value::Array(items))
    }

    /// A string between quote markers. The outer `None` is one that is never closed.
    fn string(&mut self) -> Option<Option<String>> {
        if !self.eat(self.quote) {
            return Some(None);
        }
        let end = self.text.find(self.quote)?;
        let text = self.text[..end].to_owned();
        self.text = &self.text[end + self.quote.len()..];
        Some(Some(text))
    }
}
