//! One choice of an answer while it grows.

use chela_chat::{OutputParser, Piece as Read};
use chela_engine::engine::{Delta, FinishReason};
use chela_engine::sampler::Logprobs;

use super::model::Model;
use super::prompt::{Reading, marks};
use super::tokens::Writer;
use crate::backend::{Part, Tokens};
use crate::validate::random_id;

/// One choice under way.
pub(super) struct Choice {
    /// Tokens generated.
    pub(super) tokens: u64,
    /// Calls begun.
    pub(super) calls: u32,
    /// Details of tokens that have given no part yet.
    pub(super) pending: Tokens,
    pub(super) reasoning: Reasoning,
    parser: Option<OutputParser>,
    /// White space that is text unless a call follows it; none is held where no call can come.
    space: Option<String>,
    /// Whether white space before the text is dropped: the text is held to a form and has not begun.
    trim: bool,
    begun: bool,
}

/// Counts the tokens between the marks of reasoning.
#[derive(Clone, Default)]
pub(super) struct Reasoning {
    /// Tokens inside.
    pub(super) tokens: u64,
    open: Vec<u32>,
    close: Vec<u32>,
    inside: bool,
}

/// A part with the details of its tokens.
type Grown = (Part, Tokens);

impl Choice {
    pub(super) fn new(model: &Model, reading: &Reading) -> Self {
        let parser = reading.parser.clone().map(OutputParser::new);
        let calls = reading.parser.as_ref().is_some_and(|options| !options.tools.is_empty());
        Self {
            tokens: 0,
            calls: 0,
            pending: Tokens::default(),
            reasoning: parser.as_ref().map_or_else(Reasoning::default, |p| Reasoning::new(model, p)),
            space: (parser.is_some() && calls).then(String::new),
            parser,
            trim: reading.exact,
            begun: false,
        }
    }

    /// What stands before the generated text with `echo`, once.
    pub(super) fn echo(
        &mut self,
        reading: &Reading,
        ids: &[u32],
        logprobs: &[Option<Logprobs>],
        writer: Writer<'_>,
    ) -> Vec<Grown> {
        if std::mem::replace(&mut self.begun, true) || (reading.before.is_empty() && !reading.echo_tokens) {
            return Vec::new();
        }
        let mut tokens = Tokens::default();
        if reading.echo_tokens && reading.top.is_some() {
            let rows = ids.iter().enumerate().map(|(at, id)| match logprobs.get(at) {
                Some(Some(logprobs)) => writer.token(logprobs),
                _ => writer.first(*id),
            });
            tokens.logprobs = Some(rows.collect());
        }
        vec![(Part::Text(reading.before.clone()), tokens)]
    }

    /// Takes what the engine generated.
    pub(super) fn grow(&mut self, delta: &Delta, reading: &Reading, writer: Writer<'_>) -> Vec<Grown> {
        self.tokens += delta.tokens.len() as u64;
        let ended = matches!(&delta.finish, Some((FinishReason::EndToken(_), _)));
        let text_tokens = delta.tokens.len().saturating_sub(usize::from(ended));
        self.reasoning.take(&delta.tokens[..text_tokens]);
        if reading.return_ids {
            self.pending.ids.get_or_insert_default().extend(&delta.tokens);
        }
        if !delta.logprobs.is_empty() {
            let rows = delta.logprobs.iter().map(|logprobs| writer.token(logprobs));
            self.pending.logprobs.get_or_insert_default().extend(rows);
        }
        self.pending.count += delta.tokens.len() as u64;
        let Some(parser) = &mut self.parser else {
            let last = delta.text.is_empty() && delta.finish.is_some();
            let text = Part::Text(delta.text.clone());
            return if last { Vec::new() } else { vec![(text, std::mem::take(&mut self.pending))] };
        };
        let mut read = parser.push(&delta.text);
        if delta.finish.is_some() {
            read.extend(parser.finish());
        }
        let mut parts: Vec<Part> = read.into_iter().filter_map(|piece| self.part(piece, reading)).collect();
        if delta.finish.is_some() && self.calls == 0 {
            let space = self.space.take().filter(|space| !space.is_empty());
            parts.extend(space.map(Part::Text));
        }
        parts.into_iter().map(|part| (part, std::mem::take(&mut self.pending))).collect()
    }

    /// What a piece of the parser is on the wire.
    fn part(&mut self, piece: Read, reading: &Reading) -> Option<Part> {
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        match piece {
            Read::Text(text) | Read::Malformed { index: None, raw: text, .. } => {
                let text = if self.trim { text.trim_start().to_owned() } else { text };
                if text.is_empty() {
                    return None;
                }
                self.trim = false;
                let Some(space) = &mut self.space else { return Some(Part::Text(text)) };
                if text.trim().is_empty() {
                    space.push_str(&text);
                    return None;
                }
                Some(Part::Text(std::mem::take(space) + &text))
            }
            Read::Reasoning(text) => Some(Part::Reasoning(text)),
            Read::ToolCallStart { index, name } => {
                self.calls += 1;
                if let Some(space) = &mut self.space {
                    space.clear();
                }
                let call = number(index);
                Some(Part::CallStart { call, id: reading.call_id(&name, call), name })
            }
            Read::ToolCallArgs { index, delta } => {
                Some(Part::CallArguments { call: number(index), json: delta })
            }
            // Pieces of it were sent because a grammar vouches for it: only the end of the answer cut it.
            Read::Malformed { index: Some(_), .. } | Read::ToolCallEnd { .. } => None,
        }
    }
}

impl Reading {
    /// The id of a call, in the family's form.
    fn call_id(&self, name: &str, call: u32) -> String {
        match self.counted_ids {
            true => format!("functions.{name}:{call}"),
            false => format!("chatcmpl-tool-{}", random_id()),
        }
    }
}

impl Reasoning {
    fn new(model: &Model, parser: &OutputParser) -> Self {
        let id = |text: &str| model.engine.tokenizer().added_token_to_id(text);
        let (open, close) = marks(model.style);
        Self {
            tokens: 0,
            open: id(open).into_iter().collect(),
            close: [close, "<tool_call>"].into_iter().filter_map(id).collect(),
            inside: parser.in_reasoning(),
        }
    }

    fn take(&mut self, ids: &[u32]) {
        for id in ids {
            if self.open.contains(id) {
                self.inside = true;
            } else if self.close.contains(id) {
                self.inside = false;
            } else if self.inside {
                self.tokens += 1;
            }
        }
    }
}
