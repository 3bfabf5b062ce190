//! Calls written as Python: `[f(a=1), g(b="x")]`, or one call a line.

use serde_json::{Map, Value};

use super::json_call::Call;
use super::reader::{Cx, NAME, Step, find_first, tail};
use super::scan::{Stop, stop_at};
use crate::json;
use crate::tools::ToolSet;

const FENCE: &str = "```";
const LABELS: &[&str] = &["tool_code", "python", "py"];

#[derive(Debug)]
enum State {
    Head,
    Body,
    Tail(usize),
    /// It cannot be read; the closing marker may follow.
    Bad(usize),
}

/// Reads calls written as Python.
#[derive(Debug)]
pub(super) struct PythonReader {
    body: usize,
    /// Without markers: a list or a fence that is the whole rest of the answer, with offered
    /// names.
    bare: bool,
    fenced: bool,
    state: State,
    start: usize,
    at: usize,
    depth: usize,
    list: bool,
    quote: Option<u8>,
    escape: bool,
    held: Vec<Call>,
}

impl PythonReader {
    pub(super) fn new(body: usize, bare: bool) -> Self {
        Self {
            body,
            bare,
            fenced: false,
            state: State::Head,
            start: 0,
            at: 0,
            depth: 0,
            list: false,
            quote: None,
            escape: false,
            held: Vec::new(),
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
            State::Tail(from) if self.bare => self.bare_tail(cx, from),
            State::Tail(from) => match tail(cx.text, from, cx.form.close, cx.end) {
                Some(upto) => Step::Done(upto),
                None => Step::Wait,
            },
            State::Bad(from) => match tail(cx.text, from, cx.form.close, cx.end) {
                Some(upto) => Step::Broken {
                    upto,
                    why: "the calls cannot be read as Python with literal arguments".to_owned(),
                },
                None => Step::Wait,
            },
            _ => Step::Wait,
        }
    }

    /// What must stand first: a fence where there is no other marker, then `[` and a name and
    /// `(`, or a name and `(`.
    fn head(&mut self, cx: &Cx<'_>) -> Option<Step> {
        let mut at = cx.skip_space(self.body);
        if self.bare && cx.text[at..].starts_with('`') {
            let Some((line, _)) = cx.text[at..].split_once('\n') else {
                let wait = !cx.end && cx.text.len() - at <= 16;
                return Some(if wait { Step::Wait } else { Step::Reject(0) });
            };
            let label = line.strip_prefix(FENCE).unwrap_or("x").trim();
            if !LABELS.contains(&label) {
                return Some(Step::Reject(0));
            }
            self.fenced = true;
            at = cx.skip_space(at + line.len() + 1);
        }
        let rest = &cx.text[at..];
        let inner = rest.strip_prefix('[').unwrap_or(rest).trim_start();
        let name_len = inner
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-')))
            .unwrap_or(inner.len());
        if name_len == inner.len() && !cx.end && cx.text.len() - self.body <= NAME {
            return Some(Step::Wait);
        }
        let list = rest.starts_with('[');
        let called = name_len > 0 && inner[name_len..].starts_with('(');
        let name = &inner[..name_len];
        let offered = cx.accept(name).is_some() || (self.fenced && name == "print");
        if !called || !offered || (self.bare && !self.fenced && !list) {
            return Some(Step::Reject(0));
        }
        self.list = list;
        self.start = at;
        self.at = at;
        self.state = State::Body;
        None
    }

    /// Finds the end of the list, or of the lines.
    fn scan(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let bytes = cx.text.as_bytes();
        let stops: &[&str] = if self.fenced { &[FENCE] } else { cx.form.close };
        while let Some(&byte) = bytes.get(self.at) {
            if self.quote.is_none() || cx.first_marker {
                match stop_at(&bytes[self.at..], stops) {
                    Stop::Whole => return self.finish(cx, self.at),
                    Stop::Part if !cx.end => return Some(Step::Wait),
                    _ => {}
                }
            }
            self.at += 1;
            if let Some(quote) = self.quote {
                if self.escape {
                    self.escape = false;
                } else if byte == b'\\' {
                    self.escape = true;
                } else if byte == quote {
                    self.quote = None;
                }
                continue;
            }
            match byte {
                b'"' | b'\'' => self.quote = Some(byte),
                b'(' | b'[' | b'{' => self.depth += 1,
                b')' | b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 && self.list {
                        return self.finish(cx, self.at);
                    }
                }
                _ => {}
            }
        }
        if !cx.end {
            return Some(Step::Wait);
        }
        // Lines may end with the answer; a list or a call that is still open was cut.
        if self.depth == 0 && self.quote.is_none() {
            return self.finish(cx, self.at);
        }
        let why = "the answer ended inside the call".to_owned();
        Some(match find_first(cx.text, self.start, cx.form.close) {
            _ if self.bare => Step::Reject(cx.text.len()),
            Some((_, upto)) => Step::Broken { upto, why },
            None => Step::Broken { upto: cx.text.len(), why },
        })
    }

    fn finish(&mut self, cx: &mut Cx<'_>, at: usize) -> Option<Step> {
        let calls = calls_in(&cx.text[self.start..at], cx.tools)
            .filter(|calls| !calls.is_empty() && calls.iter().all(|call| cx.accept(&call.name).is_some()));
        let Some(calls) = calls else {
            if self.bare {
                return Some(Step::Reject(at));
            }
            self.state = State::Bad(at);
            return None;
        };
        if self.bare {
            self.held = calls;
        } else {
            give(cx, &calls);
        }
        self.state = State::Tail(at);
        None
    }

    /// Without markers only the end of the answer may follow, after the end of the fence.
    fn bare_tail(&mut self, cx: &mut Cx<'_>, from: usize) -> Step {
        let at = cx.skip_space(from);
        self.state = State::Tail(at);
        let rest = &cx.text[at..];
        if self.fenced && rest.starts_with(FENCE) {
            self.fenced = false;
            return self.bare_tail(cx, at + FENCE.len());
        }
        let fence_open = self.fenced && FENCE.starts_with(rest);
        if !rest.is_empty() && (cx.end || !fence_open) {
            return Step::Reject(at);
        }
        if !cx.end {
            return Step::Wait;
        }
        give(cx, &self.held);
        Step::Done(at)
    }
}

fn give(cx: &mut Cx<'_>, calls: &[Call]) {
    for call in calls {
        let name = cx.accept(&call.name).unwrap_or(&call.name);
        cx.emit.call(name, &call.arguments);
    }
}

/// Reads calls in a list, one a line, or inside a `print`.
fn calls_in(text: &str, tools: &ToolSet) -> Option<Vec<Call>> {
    let mut literal = Literal { text };
    let list = literal.eat("[");
    let mut calls = Vec::new();
    loop {
        literal.space();
        if literal.text.is_empty() || (list && literal.eat("]")) {
            break;
        }
        calls.push(literal.call(tools)?);
        while literal.eat(",") || literal.eat(";") {}
    }
    literal.text.trim().is_empty().then_some(calls)
}

/// Reads Python literals.
struct Literal<'a> {
    text: &'a str,
}

impl<'a> Literal<'a> {
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

    fn name(&mut self) -> Option<&'a str> {
        self.space();
        let text = self.text;
        let len =
            text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(text.len());
        self.text = &text[len..];
        (len > 0).then(|| &text[..len])
    }

    fn call(&mut self, tools: &ToolSet) -> Option<Call> {
        let name = self.name()?;
        if !self.eat("(") {
            return None;
        }
        if name == "print" && !tools.offers("print") {
            let call = self.call(tools)?;
            return self.eat(")").then_some(call);
        }
        let spec = tools.get(crate::dialect::bare_name(name, tools));
        let mut names = spec.into_iter().flat_map(|spec| spec.parameter_names());
        let mut args = Map::new();
        while !self.eat(")") {
            let before = self.text;
            let key = self.name().map(str::to_owned);
            match key {
                Some(key) if self.eat("=") => {
                    args.insert(key, self.value(0)?);
                }
                // Positional: the schema's order names it.
                _ => {
                    self.text = before;
                    let value = self.value(0)?;
                    args.insert(names.next()?.to_owned(), value);
                }
            }
            if !self.eat(",") && !self.text.starts_with(')') {
                return None;
            }
        }
        Some(Call { name: name.to_owned(), arguments: json::dumps(&Value::Object(args)) })
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > 64 {
            return None;
        }
        self.space();
        match self.text.chars().next()? {
            '{' => self.dict(depth),
            '[' => self.items(depth, "[", "]"),
            '(' => self.items(depth, "(", ")"),
            '"' | '\'' => self.string().map(Value::String),
            _ => {
                let text = self.text;
                let len = text
                    .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')))
                    .unwrap_or(text.len());
                self.text = &text[len..];
                json::parse(&text[..len])
            }
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.eat("{");
        let mut map = Map::new();
        while !self.eat("}") {
            self.space();
            let key = self.string()?;
            if !self.eat(":") {
                return None;
            }
            map.insert(key, self.value(depth + 1)?);
            if !self.eat(",") && !self.text.starts_with('}') {
                return None;
            }
        }
        Some(Value::Object(map))
    }

    fn items(&mut self, depth: usize, open: &str, close: &str) -> Option<Value> {
        self.eat(open);
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value(depth + 1)?);
            if !self.eat(",") && !self.text.starts_with(close) {
                return None;
            }
        }
        Some(Value::Array(items))
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let triple = String::from(quote).repeat(3);
        let (body, close) = match self.text.strip_prefix(triple.as_str()) {
            Some(body) => (body, triple),
            None => (&self.text[1..], String::from(quote)),
        };
        let mut out = String::new();
        let mut chars = body.char_indices();
        while let Some((at, c)) = chars.next() {
            if body[at..].starts_with(close.as_str()) {
                self.text = &body[at + close.len()..];
                return Some(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                '\n' => {}
                escaped @ ('\\' | '\'' | '"') => out.push(escaped),
                other => {
                    out.push('\\');
                    out.push(other);
                }
            }
        }
        None
    }
}
