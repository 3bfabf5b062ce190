//! Calls with one element per parameter.

use serde_json::Value;

use super::json_call::JsonReader;
use super::reader::{Cx, NAME, SPACE, Step, find_first, resume, tail};
use super::scan::{Stop, stop_at};
use crate::dialect::{NameEnd, Open, ParamSyntax, ValueKind};
use crate::json;
use crate::schema;

#[derive(Debug)]
enum State {
    Name,
    /// Between parameters.
    Next(usize),
    /// In a value.
    Value {
        key: String,
        kind: ValueKind,
        start: usize,
        from: usize,
    },
    /// The arguments turned out to be JSON.
    Json(JsonReader),
    /// It is no call after all; the closing marker is looked for.
    Lost(usize),
    Tail(usize),
}

/// Reads a call whose parameters are elements.
#[derive(Debug)]
pub(super) struct ParamsReader {
    body: usize,
    syntax: &'static ParamSyntax,
    state: State,
    name: String,
    args: String,
}

/// Whether a marker really ends a value.
enum Follows {
    Yes,
    No,
    Wait,
}

impl ParamsReader {
    pub(super) fn new(body: usize, syntax: &'static ParamSyntax) -> Self {
        Self { body, syntax, state: State::Name, name: String::new(), args: String::new() }
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        loop {
            let step = match &mut self.state {
                State::Name => self.name(cx),
                State::Next(at) => {
                    let at = cx.skip_space(*at);
                    self.next(cx, at)
                }
                State::Value { .. } => self.value(cx),
                State::Json(reader) => Some(reader.advance(cx)),
                State::Lost(_) => Some(self.lost(cx)),
                State::Tail(from) => Some(match tail(cx.text, *from, cx.form.close, cx.end) {
                    Some(upto) => Step::Done(upto),
                    None => Step::Wait,
                }),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn name(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let start = cx.skip_space(self.body);
        let rest = &cx.text[start..];
        let found = match self.syntax.name_end {
            NameEnd::Marker(marker) => rest.find(marker).map(|at| (at, at + marker.len())),
            NameEnd::Space => rest.find(|c: char| c.is_whitespace() || c == '<').map(|at| (at, at)),
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
        let Some((end, after)) = found else {
            let marker = match self.syntax.name_end {
                NameEnd::Marker(marker) => marker,
                NameEnd::Space => "",
            };
            let odd = rest.contains(|c: char| !plain(c) && !marker.contains(c) && c != '"');
            let wait = !cx.end && !odd && cx.text.len() - self.body <= NAME;
            return Some(if wait { Step::Wait } else { Step::Reject(0) });
        };
        let name = rest[..end].trim().trim_matches('"');
        let accepted = cx.accept(name).filter(|_| name.chars().all(plain));
        let Some(name) = accepted else {
            return Some(Step::Reject(0));
        };
        if self.syntax.name_end == NameEnd::Space {
            // Nothing else tells this form from a text: a parameter or the end must follow.
            let next = &cx.text[cx.skip_space(start + after)..];
            let param = [self.syntax.param_open];
            let known = [stop_at(next.as_bytes(), &param), stop_at(next.as_bytes(), cx.form.close)];
            if !known.contains(&Stop::Whole) {
                let held = cx.text.len() - self.body;
                let wait = known.contains(&Stop::Part) && !cx.end && held <= 2 * NAME;
                return Some(if wait { Step::Wait } else { Step::Reject(0) });
            }
        } else if matches!(cx.form.open, Open::Marker(marker) if cx.text.starts_with(marker))
            && !cx.tools.offers(name)
        {
            // Without the group's marker only an offered name counts.
            return Some(Step::Reject(0));
        }
        self.name = name.to_owned();
        self.state = State::Next(start + after);
        None
    }

    fn next(&mut self, cx: &mut Cx<'_>, at: usize) -> Option<Step> {
        self.state = State::Next(at);
        let rest = &cx.text[at..];
        let bytes = rest.as_bytes();
        if rest.starts_with(self.syntax.param_open) {
            return self.key(cx, at + self.syntax.param_open.len());
        }
        if rest.starts_with('{') && self.args.is_empty() {
            self.state = State::Json(JsonReader::arguments(self.name.clone(), at));
            return None;
        }
        let group = cx.form.section.as_ref().map_or("", |section| section.close);
        let ends = stop_at(bytes, cx.form.close);
        let group_ends = stop_at(bytes, std::slice::from_ref(&group));
        if ends == Stop::Whole || (group_ends == Stop::Whole && !group.is_empty()) {
            return self.finish(cx, at);
        }
        if rest.is_empty() && cx.end {
            return self.finish(cx, at);
        }
        let param = stop_at(bytes, &[self.syntax.param_open]);
        if !cx.end && [param, ends, group_ends].contains(&Stop::Part) {
            return Some(Step::Wait);
        }
        self.state = State::Lost(at);
        None
    }

    fn key(&mut self, cx: &Cx<'_>, start: usize) -> Option<Step> {
        let rest = &cx.text[start..];
        let found = self
            .syntax
            .key_end
            .iter()
            .filter_map(|end| Some((rest.find(end.marker)?, end)))
            .min_by_key(|(at, end)| (*at, std::cmp::Reverse(end.marker.len())));
        let Some((at, end)) = found.filter(|(at, _)| *at <= NAME) else {
            if !cx.end && rest.len() <= NAME {
                return Some(Step::Wait);
            }
            self.state = State::Lost(start);
            return None;
        };
        let key = rest[..at].trim().trim_matches('"').to_owned();
        let mut value = start + at + end.marker.len();
        if let Some(open) = self.syntax.value_open {
            value = cx.skip_space(value);
            match stop_at(&cx.text.as_bytes()[value..], &[open]) {
                Stop::Whole => value += open.len(),
                Stop::Part if !cx.end && value - start <= 2 * NAME => return Some(Step::Wait),
                _ => {
                    self.state = State::Lost(value);
                    return None;
                }
            }
        }
        self.state = State::Value { key, kind: end.value, start: value, from: value };
        None
    }

    /// Looks for the end of the value: the closing marker, if what comes after it can stand
    /// there; or the end of the call, where the closing marker was left out.
    fn value(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let State::Value { key, kind, start, from } = &mut self.state else {
            return None;
        };
        let mut markers = vec![self.syntax.param_close];
        markers.extend(cx.form.close);
        let Some((at, after)) = find_first(cx.text, *from, &markers) else {
            if cx.end {
                let why = format!("the answer ended inside the value of {key}");
                return Some(Step::Broken { upto: cx.text.len(), why });
            }
            *from = resume(cx.text, *from, &markers);
            return Some(Step::Wait);
        };
        let closed = cx.text[at..].starts_with(self.syntax.param_close);
        match follows(cx, self.syntax, after, closed) {
            Follows::Wait => return Some(Step::Wait),
            Follows::No => {
                *from = after;
                return None;
            }
            Follows::Yes => {}
        }
        let (end, next) = if closed {
            (at, after)
        } else {
            let open = format!("\n{}", self.syntax.param_open);
            let end = cx.text[*start..at].find(&open).map_or(at, |cut| *start + cut);
            (end, end)
        };
        let mut text = &cx.text[*start..end];
        if self.syntax.trim_newline {
            text = text.strip_prefix("\r\n").or(text.strip_prefix('\n')).unwrap_or(text);
            text = text.strip_suffix("\r\n").or(text.strip_suffix('\n')).unwrap_or(text);
        }
        let tool = cx.tools.get(&self.name);
        let declared = tool.and_then(|tool| tool.parameter(key));
        let root = tool.map_or(&Value::Null, |tool| &tool.parameters);
        let value = match kind {
            ValueKind::Text => Value::String(text.to_owned()),
            ValueKind::Json => json::parse(text).unwrap_or_else(|| Value::String(text.to_owned())),
            ValueKind::BySchema => schema::value_from_text(root, declared, text),
        };
        self.args += if self.args.is_empty() { "{" } else { ", " };
        self.args += &json::dumps(&Value::String(std::mem::take(key)));
        self.args += ": ";
        self.args += &json::dumps(&value);
        self.state = State::Next(next);
        None
    }

    fn finish(&mut self, cx: &mut Cx<'_>, at: usize) -> Option<Step> {
        self.args += if self.args.is_empty() { "{}" } else { "}" };
        cx.emit.call(&self.name, &self.args);
        self.state = State::Tail(at);
        None
    }

    fn lost(&mut self, cx: &Cx<'_>) -> Step {
        let State::Lost(from) = &mut self.state else {
            return Step::Wait;
        };
        let why = format!("the parameters of {} cannot be read", self.name);
        if let Some((_, upto)) = find_first(cx.text, *from, cx.form.close) {
            return Step::Broken { upto, why };
        }
        *from = resume(cx.text, *from, cx.form.close);
        if cx.end {
            return Step::Broken { upto: cx.text.len(), why };
        }
        Step::Wait
    }
}

/// Whether what stands at `at`, after a marker, can stand there if the marker is meant as one.
fn follows(cx: &Cx<'_>, syntax: &ParamSyntax, at: usize, closed: bool) -> Follows {
    if cx.first_marker || (!closed && cx.form.section.is_none()) {
        return Follows::Yes;
    }
    let next = cx.skip_space(at);
    let rest = &cx.text.as_bytes()[next..];
    if rest.is_empty() && cx.end {
        return Follows::Yes;
    }
    let mut markers = Vec::new();
    if closed {
        markers.push(syntax.param_open);
        markers.extend(cx.form.close);
    }
    if let Some(section) = &cx.form.section {
        markers.push(section.close);
        if !closed {
            markers.push(section.open);
            if let Open::Marker(open) = cx.form.open {
                markers.push(open);
            }
        }
    }
    match stop_at(rest, &markers) {
        Stop::Whole => Follows::Yes,
        Stop::Part if !cx.end && next - at <= SPACE => Follows::Wait,
        Stop::Part if rest.is_empty() => Follows::Yes,
        _ => Follows::No,
    }
}
