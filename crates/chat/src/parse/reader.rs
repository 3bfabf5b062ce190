//! What the outer parser and the readers of single calls say to each other.

use super::emit::Emitter;
use super::fenced::FencedReader;
use super::gemma::GemmaReader;
use super::guarded::GuardedReader;
use super::harmony::HarmonyReader;
use super::json_call::JsonReader;
use super::params::ParamsReader;
use super::python::PythonReader;
use crate::dialect::shape::Shape;
use crate::dialect::{Body, Form, Open, bare_name};
use crate::tools::ToolSet;

/// White space that is waited through before a marker is taken as missing.
pub(super) const SPACE: usize = 256;
/// The longest tool name, and the longest head before the arguments.
pub(super) const NAME: usize = 512;

/// The text and the circumstances of a candidate. Offsets are relative to its first byte.
pub(super) struct Cx<'a> {
    /// From the first byte of the candidate to the end of what has arrived.
    pub(super) text: &'a str,
    /// Whether nothing more will arrive.
    pub(super) end: bool,
    pub(super) tools: &'a ToolSet,
    /// Whether only an offered name makes a call: in reasoning, and without a marker.
    pub(super) offered_only: bool,
    /// Whether the first end marker ends the call, even inside a string.
    pub(super) first_marker: bool,
    /// Whether a grammar guards the calls.
    pub(super) guarded: bool,
    pub(super) form: &'static Form,
    pub(super) emit: &'a mut Emitter,
}

impl Cx<'_> {
    /// The tool's name without a prefix, if a call of that name may stand here.
    pub(super) fn accept<'n>(&self, name: &'n str) -> Option<&'n str> {
        let name = bare_name(name, self.tools);
        let known = !self.offered_only || self.tools.offers(name);
        (!name.is_empty() && known).then_some(name)
    }

    /// The offset of the first byte at or after `from` that is not white space. At the end of
    /// what has arrived that is the text's length.
    pub(super) fn skip_space(&self, from: usize) -> usize {
        let rest = &self.text[from..];
        from + rest.len() - rest.trim_start().len()
    }
}

/// What a reader found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It takes more text to tell, or the call goes on. Never at the end of all text.
    Wait,
    /// This is not a call. At least so many bytes are plain text.
    Reject(usize),
    /// The calls in so many bytes have been given.
    Done(usize),
    /// So many bytes were to be a call.
    Broken { upto: usize, why: String },
    /// A Harmony message without a call begins after so many bytes.
    Message { upto: usize, reasoning: bool },
}

/// A reader of one form.
#[derive(Debug)]
pub(super) enum Reader {
    Json(JsonReader),
    Params(ParamsReader),
    Gemma(GemmaReader),
    Python(PythonReader),
    Harmony(HarmonyReader),
    Fenced(FencedReader),
    Guarded(Box<GuardedReader>),
}

impl Reader {
    /// A reader of `form` whose body begins at `body`.
    pub(super) fn new(form: &'static Form, body: usize) -> Self {
        match &form.body {
            Body::Object(_) => Reader::Json(JsonReader::object(body, form.open == Open::Start)),
            Body::NameThenJson(syntax) => Reader::Json(JsonReader::named(body, syntax)),
            Body::Params(syntax) => Reader::Params(ParamsReader::new(body, syntax)),
            Body::Gemma { quote } => Reader::Gemma(GemmaReader::new(body, quote)),
            Body::Python { .. } => Reader::Python(PythonReader::new(body, form.open == Open::Rest)),
            Body::Harmony => Reader::Harmony(HarmonyReader::new()),
            Body::Fenced => Reader::Fenced(FencedReader::new()),
        }
    }

    /// A reader of a form that a grammar guards.
    pub(super) fn guarded(shape: &Shape) -> Self {
        Reader::Guarded(Box::new(GuardedReader::new(shape.clone(), shape.open.len())))
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        match self {
            Reader::Json(reader) => reader.advance(cx),
            Reader::Params(reader) => reader.advance(cx),
            Reader::Gemma(reader) => reader.advance(cx),
            Reader::Python(reader) => reader.advance(cx),
            Reader::Harmony(reader) => reader.advance(cx),
            Reader::Fenced(reader) => reader.advance(cx),
            Reader::Guarded(reader) => reader.advance(cx),
        }
    }
}

/// After a call's body: the end of its closing marker, `from` where there is none, `None` while
/// that is open. One closing brace too many before the marker belongs to the call.
pub(super) fn tail(text: &str, from: usize, closes: &[&str], end: bool) -> Option<usize> {
    if closes.is_empty() {
        return Some(from);
    }
    let rest = &text[from..];
    let after = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '}');
    let skipped = rest.len() - after.len();
    match super::scan::stop_at(after.as_bytes(), closes) {
        super::scan::Stop::Whole => {
            closes.iter().find(|close| after.starts_with(**close)).map(|close| from + skipped + close.len())
        }
        super::scan::Stop::Part if !end && skipped <= SPACE => None,
        _ => Some(from),
    }
}

/// The first of `markers` in `text` at or after `from`: where it begins and ends.
pub(super) fn find_first(text: &str, from: usize, markers: &[&str]) -> Option<(usize, usize)> {
    markers
        .iter()
        .filter_map(|marker| {
            let at = from + text[from..].find(marker)?;
            Some((at, at + marker.len()))
        })
        .min()
}

/// The offset from which a search for `markers` goes on when more text has come: so far back that
/// a marker across the border is found.
pub(super) fn resume(text: &str, from: usize, markers: &[&str]) -> usize {
    let longest = markers.iter().map(|m| m.len()).max().unwrap_or(1);
    let mut at = text.len().saturating_sub(longest).max(from);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
