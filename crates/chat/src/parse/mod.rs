//! The incremental parser of what a model writes.

mod emit;
mod fenced;
mod gemma;
mod guarded;
mod harmony;
mod json_call;
mod params;
mod parser;
mod python;
mod reader;
mod scan;
mod transcode;

use crate::dialect::Dialect;
use crate::reasoning::ReasoningMode;
use crate::tools::ToolSet;

pub use parser::OutputParser;

/// A part of an answer, in the order in which the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text for the user.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// A tool call begins. Its name is final.
    ToolCallStart {
        /// Position of the call in the answer, from 0.
        index: usize,
        /// The tool's name as the model wrote it, without a `functions.` prefix.
        name: String,
    },
    /// More of the arguments of the call that is open.
    ToolCallArgs {
        /// The call's index.
        index: usize,
        /// JSON text; all deltas of a call together are one JSON value.
        delta: String,
    },
    /// The call is complete and its arguments are valid JSON.
    ToolCallEnd {
        /// The call's index.
        index: usize,
    },
    /// Text that is a tool call by its markers and cannot be read as one.
    Malformed {
        /// The call that this takes back, where pieces of it have been given already.
        index: Option<usize>,
        /// What the model wrote, markers included.
        raw: String,
        /// What is wrong with it, in words for a model.
        why: String,
    },
}

/// Which tool-call dialects a parser recognises.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Detect {
    /// All of them, each by its markers.
    #[default]
    Auto,
    /// These only.
    Only(Vec<Dialect>),
}

/// What a parser needs to know about the request.
#[derive(Debug, Clone, Default)]
pub struct ParserOptions {
    /// The tools that the request offers. Without any, no text is a tool call.
    pub tools: ToolSet,
    /// The dialects that are recognised.
    pub detect: Detect,
    /// What counts as reasoning.
    pub reasoning: ReasoningMode,
    /// Whether a [grammar](crate::grammar) guards the calls. Then a call is what it admits, and the
    /// arguments are given as they come; otherwise a call is given when it is complete and valid, so
    /// that nothing broken gets out and small faults are repaired.
    pub guarded: bool,
}

/// A tool call in a complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallText {
    /// The tool's name.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
}

/// A call that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What the model wrote, markers included.
    pub raw: String,
    /// What is wrong with it.
    pub why: String,
}

/// A complete answer: the fold of its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// All text.
    pub text: String,
    /// All reasoning.
    pub reasoning: String,
    /// The calls in their order.
    pub calls: Vec<CallText>,
    /// What looked like calls and could not be read.
    pub malformed: Vec<Malformed>,
}

impl Answer {
    /// Adds the next piece.
    pub fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text += &text,
            Piece::Reasoning(text) => self.reasoning += &text,
            Piece::ToolCallStart { name, .. } => self.calls.push(CallText { name, arguments: String::new() }),
            Piece::ToolCallArgs { delta, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments += &delta;
                }
            }
            Piece::ToolCallEnd { .. } => {}
            Piece::Malformed { index, raw, why } => {
                if index.is_some() {
                    self.calls.pop();
                }
                self.malformed.push(Malformed { raw, why });
            }
        }
    }
}

impl Extend<Piece> for Answer {
    fn extend<T: IntoIterator<Item = Piece>>(&mut self, pieces: T) {
        pieces.into_iter().for_each(|piece| self.add(piece));
    }
}

impl FromIterator<Piece> for Answer {
    fn from_iter<T: IntoIterator<Item = Piece>>(pieces: T) -> Self {
        let mut answer = Answer::default();
        answer.extend(pieces);
        answer
    }
}
