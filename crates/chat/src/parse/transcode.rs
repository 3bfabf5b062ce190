//! Turns guarded arguments into JSON text while they are being written.

use serde_json::Value;

use super::scan::{JsonScan, Scan, Stop, stop_at};
use crate::dialect::shape::{Args, Fit, fit};
use crate::dialect::{ParamSyntax, ValueKind};
use crate::json::{dumps, string_body};
use crate::schema;
use crate::tools::ToolSpec;

/// What a transcoder finds: the end of the arguments, or why they cannot be read.
pub(super) type Found = Option<Result<usize, &'static str>>;

/// One call's arguments on their way to JSON.
#[derive(Debug)]
pub(super) enum Transcoder {
    Json(Json),
    Params(Params),
    Literal(Literal),
}

impl Transcoder {
    /// For arguments that begin at `at`, of `tool`.
    pub(super) fn new(args: Args, at: usize, tool: Option<&ToolSpec>) -> Self {
        match args {
            Args::Json => Transcoder::Json(Json { at, scan: None, sent: at }),
            Args::Params(syntax) => {
                let tool = tool.cloned();
                Transcoder::Params(Params { syntax, tool, at, state: Param::Next, first: true })
            }
            Args::Gemma(quote) => Transcoder::Literal(Literal::new(at, Some(quote))),
            Args::Python => Transcoder::Literal(Literal::new(at, None)),
        }
    }

    /// Goes on over `text`, and adds to `out` the JSON that is certain.
    pub(super) fn advance(&mut self, text: &str, end: bool, out: &mut String) -> Found {
        match self {
            Transcoder::Json(json) => json.advance(text, end, out),
            Transcoder::Params(params) => params.advance(text, end, out),
            Transcoder::Literal(literal) => literal.advance(text, end, out),
        }
    }
}

/// JSON as it is.
#[derive(Debug)]
pub(super) struct Json {
    at: usize,
    scan: Option<JsonScan>,
    sent: usize,
}

impl Json {
    fn advance(&mut self, text: &str, end: bool, out: &mut String) -> Found {
        if self.scan.is_none() {
            let rest = &text[self.at..];
            let trimmed = rest.trim_start();
            match trimmed.chars().next() {
                Some('{') => {
                    self.sent = self.at + rest.len() - trimmed.len();
                    self.scan = Some(JsonScan::new(self.sent));
                }
                Some(_) => return Some(Err("the arguments must be a JSON object")),
                None => return None,
            }
        }
        let scan = self.scan.as_mut()?;
        let found = scan.advance(text, &[], false, end);
        let upto = scan.at();
        out.push_str(&text[self.sent..upto]);
        self.sent = upto;
        match found {
            Scan::End(at) => Some(Ok(at)),
            _ => None,
        }
    }
}

/// Elements with one parameter each.
#[derive(Debug)]
pub(super) struct Params {
    syntax: &'static ParamSyntax,
    tool: Option<ToolSpec>,
    at: usize,
    state: Param,
    first: bool,
}

#[derive(Debug)]
enum Param {
    /// Before a parameter or the end.
    Next,
    /// In a value.
    Value {
        key: String,
        how: How,
    },
    Done,
}

/// How a value becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is a string: given as it comes.
    Text,
    /// It is JSON: given as it comes.
    Json,
    /// Only the whole of it tells.
    BySchema,
}

impl Params {
    fn advance(&mut self, text: &str, end: bool, out: &mut String) -> Found {
        loop {
            match &self.state {
                Param::Next => match self.next(text, end, out) {
                    Some(found) => return found,
                    None => continue,
                },
                Param::Value { .. } => {
                    if !self.value(text, out) {
                        return None;
                    }
                }
                Param::Done => return Some(Ok(self.at)),
            }
        }
    }

    /// A parameter, or the end. `None` to go on, else what is found.
    fn next(&mut self, text: &str, end: bool, out: &mut String) -> Option<Found> {
        let rest = &text[self.at..];
        let trimmed = rest.trim_start();
        let at = self.at + rest.len() - trimmed.len();
        match stop_at(trimmed.as_bytes(), &[self.syntax.param_open]) {
            Stop::Whole => {}
            Stop::Part if !end => return Some(None),
            _ => {
                self.at = at;
                out.push_str(if self.first { "{}" } else { "}" });
                self.state = Param::Done;
                return None;
            }
        }
        let start = at + self.syntax.param_open.len();
        let line = if self.syntax.trim_newline { "\n" } else { "" };
        let mut open = false;
        let key_ends = self.syntax.key_end.iter();
        let mut found: Option<(usize, usize, ValueKind)> = None;
        for key_end in key_ends {
            let Some(len) = text[start..].find(key_end.marker) else { continue };
            let head = match self.syntax.value_open {
                Some(value) => format!("{}\0{value}{line}", key_end.marker),
                None => format!("{}{line}", key_end.marker),
            };
            match fit(&head, &text[start + len..]) {
                Fit::Whole(head) if found.is_none_or(|(known, ..)| len < known) => {
                    found = Some((len, start + len + head, key_end.value));
                }
                Fit::Part => open = true,
                _ => {}
            }
        }
        let Some((len, value, kind)) = found else {
            let wait = !end && (open || text.len() - start <= super::reader::NAME);
            return Some(if wait { None } else { Some(Err("a parameter cannot be read")) });
        };
        let key = text[start..start + len].to_owned();
        let how = self.how(&key, kind);
        out.push_str(if self.first { "{" } else { ", " });
        self.first = false;
        out.push_str(&dumps(&Value::from(key.as_str())));
        out.push_str(": ");
        if how == How::Text {
            out.push('"');
        }
        self.at = value;
        self.state = Param::Value { key, how };
        None
    }

    fn how(&self, key: &str, kind: ValueKind) -> How {
        let declared = self.tool.as_ref().and_then(|tool| Some((tool, tool.parameter(key)?)));
        let types = declared.map(|(tool, part)| schema::types_in(&tool.parameters, part)).unwrap_or_default();
        match kind {
            ValueKind::Text => How::Text,
            ValueKind::Json => How::Json,
            ValueKind::BySchema if types.is_empty() || types == ["string"] => How::Text,
            ValueKind::BySchema => How::BySchema,
        }
    }

    /// Gives what is certain of a value; true when it has ended.
    fn value(&mut self, text: &str, out: &mut String) -> bool {
        let Param::Value { key, how } = &self.state else { return true };
        let line = if self.syntax.trim_newline { "\n" } else { "" };
        let close = format!("{line}{}", self.syntax.param_close);
        let rest = &text[self.at..];
        let found = rest.find(&close);
        let certain = match found {
            Some(at) => at,
            None if *how == How::BySchema => return false,
            // As much as cannot be the beginning of the marker.
            None => (0..close.len().min(rest.len() + 1))
                .rev()
                .find(|len| close.is_char_boundary(*len) && rest.ends_with(&close[..*len]))
                .map_or(rest.len(), |len| rest.len() - len),
        };
        let part = &rest[..certain];
        match how {
            How::Text => string_body(out, part),
            How::Json => out.push_str(part),
            How::BySchema => {
                let declared = self.tool.as_ref().and_then(|tool| tool.parameter(key));
                let root = self.tool.as_ref().map_or(&Value::Null, |tool| &tool.parameters);
                out.push_str(&dumps(&schema::value_from_text(root, declared, part)));
            }
        }
        if found.is_none() {
            self.at += certain;
            return false;
        }
        if *how == How::Text {
            out.push('"');
        }
        self.at += certain + close.len();
        self.state = Param::Next;
        true
    }
}

/// Python's keyword arguments, or Gemma's notation.
#[derive(Debug)]
pub(super) struct Literal {
    at: usize,
    /// Gemma's marker around strings; in Python they are quoted.
    quote: Option<&'static str>,
    /// The brackets that are open, of the JSON that is given.
    stack: Vec<u8>,
    in_string: bool,
    started: bool,
    /// Whether a key is expected.
    key: bool,
}

impl Literal {
    fn new(at: usize, quote: Option<&'static str>) -> Self {
        Self { at, quote, stack: Vec::new(), in_string: false, started: false, key: false }
    }

    fn python(&self) -> bool {
        self.quote.is_none()
    }

    fn advance(&mut self, text: &str, end: bool, out: &mut String) -> Found {
        if !self.started && self.python() {
            out.push('{');
            self.stack.push(b'(');
            self.key = true;
        }
        self.started = true;
        loop {
            let rest = &text[self.at..];
            let c = rest.chars().next()?;
            let taken = match (self.in_string, self.quote) {
                (true, Some(quote)) => self.gemma_string(rest, quote, end, out),
                (true, None) => self.python_string(rest, out),
                (false, _) => match self.token(rest, c, end, out) {
                    Ok(Some(len)) => Some(len),
                    Ok(None) => None,
                    // The end: a Python call leaves its closing parenthesis to what follows.
                    Err(len) => return Some(Ok(self.at + len)),
                },
            };
            match taken {
                Some(0) => return Some(Err("the arguments cannot be read")),
                Some(len) => self.at += len,
                None => return None,
            }
        }
    }

    /// Takes text of a string: how much, or `None` to wait.
    fn gemma_string(&mut self, rest: &str, quote: &str, end: bool, out: &mut String) -> Option<usize> {
        match stop_at(rest.as_bytes(), &[quote]) {
            Stop::Whole => {
                self.in_string = false;
                out.push('"');
                Some(quote.len())
            }
            Stop::Part if !end => None,
            _ => {
                let skip = rest.chars().next().map_or(0, char::len_utf8);
                let first = quote.chars().next().unwrap_or_default();
                let len = rest[skip..].find(first).map_or(rest.len(), |at| skip + at);
                string_body(out, &rest[..len]);
                Some(len)
            }
        }
    }

    fn python_string(&mut self, rest: &str, out: &mut String) -> Option<usize> {
        let len = rest.find(['"', '\\']).unwrap_or(rest.len());
        if len > 0 {
            string_body(out, &rest[..len]);
            return Some(len);
        }
        if rest.starts_with('"') {
            self.in_string = false;
            out.push('"');
            return Some(1);
        }
        let escaped = rest[1..].chars().next()?;
        match escaped {
            '\'' => out.push('\''),
            'n' | 't' | 'r' | '"' | '\\' => out.extend(['\\', escaped]),
            other => string_body(out, &format!("\\{other}")),
        }
        Some(1 + escaped.len_utf8())
    }

    /// Takes a token outside of strings. `Err` at the end, with the bytes up to it.
    fn token(&mut self, rest: &str, c: char, end: bool, out: &mut String) -> Result<Option<usize>, usize> {
        if let Some(quote) = self.quote {
            match stop_at(rest.as_bytes(), &[quote]) {
                Stop::Whole => {
                    self.in_string = true;
                    self.key = false;
                    out.push('"');
                    return Ok(Some(quote.len()));
                }
                Stop::Part if !end => return Ok(None),
                _ => {}
            }
        }
        match c {
            '"' if self.python() => {
                self.in_string = true;
                self.key = false;
                out.push('"');
            }
            '{' | '[' => {
                self.stack.push(c as u8);
                self.key = c == '{';
                out.push(c);
            }
            ')' if self.stack.len() == 1 => {
                out.push('}');
                return Err(0);
            }
            '}' | ']' => {
                self.stack.pop();
                self.key = false;
                out.push(c);
                if self.stack.is_empty() {
                    return Err(1);
                }
            }
            ',' => {
                self.key = !matches!(self.stack.last(), Some(b'['));
                out.push_str(", ");
            }
            ':' | '=' => out.push_str(": "),
            c if c.is_whitespace() => {}
            _ => return Ok(self.word(rest, end, out)),
        }
        Ok(Some(c.len_utf8()))
    }

    /// A bare key, a number, or the name of a constant.
    fn word(&mut self, rest: &str, end: bool, out: &mut String) -> Option<usize> {
        let stops: &[char] = match self.key {
            true => &[':', '='],
            false => &[',', ')', ']', '}', ' ', '\n'],
        };
        let len = match rest.find(stops) {
            Some(len) => len,
            None if end => rest.len(),
            None => return None,
        };
        let word = &rest[..len];
        match word {
            _ if self.key => out.push_str(&dumps(&Value::from(word.trim()))),
            "True" => out.push_str("true"),
            "False" => out.push_str("false"),
            "None" => out.push_str("null"),
            word => out.push_str(word),
        }
        self.key = false;
        Some(len)
    }
}
