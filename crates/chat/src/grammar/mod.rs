//! Grammars that guard tool calls, from the same tables that the parser reads them by.
//!
//! [`guard`] leaves text and reasoning free until a call begins and then admits nothing but a call of
//! an offered tool with arguments of its schema, written as the model's family writes it. The
//! grammar is text in llguidance's dialect of Lark; [`OutputParser`](crate::OutputParser) with
//! [`guarded`](crate::ParserOptions::guarded) reads exactly what it admits. [`after_reasoning`] puts
//! a structured answer behind free reasoning.

mod answer;
mod calls;
mod gbnf;
mod harmony;
mod lark;
mod schema;
mod values;

use std::collections::BTreeMap;

pub use answer::{Answer, after_reasoning};
pub(crate) use calls::written_name;
pub use gbnf::gbnf_to_lark;
pub use lark::Specials;
pub use schema::close as close_objects;

use crate::dialect::Dialect;
use crate::reasoning::ReasoningMode;
use crate::tools::{ToolSet, ToolSpec};
use schema::Level;

/// What is guarded.
#[derive(Debug, Clone)]
pub struct Guarded<'a> {
    /// How the model writes calls.
    pub dialect: Dialect,
    /// The tools that may be called; with a named tool choice that one alone.
    pub tools: &'a ToolSet,
    /// The names of the tools whose schema must be enforced as a whole.
    pub strict: &'a [&'a str],
    /// Whether the answer must be a call.
    pub required: bool,
    /// Whether there may be more than one call.
    pub parallel: bool,
    /// What the text of the answer must be where it calls nothing; `None` for free text.
    pub answer: Option<&'a Answer>,
    /// What counts as reasoning.
    pub reasoning: ReasoningMode,
    /// The special tokens of the vocabulary.
    pub specials: &'a Specials,
}

/// A grammar for an answer with calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The grammar.
    pub lark: String,
    /// By the tool's name, the schema keywords that the grammar does not enforce.
    pub dropped: BTreeMap<String, Vec<String>>,
}

/// Why calls cannot be guarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// A tool asks for `strict`, and its schema cannot be enforced.
    #[error("the parameters of the strict tool {tool} cannot be enforced: {reason}")]
    Strict {
        /// The tool's name.
        tool: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// The grammar as a whole was refused.
    #[error("the tools cannot be guarded: {0}")]
    Whole(String),
}

/// The grammar for a request with tools. `check` says whether a grammar can be enforced; a schema
/// that cannot is loosened until it can, and what that lost is named.
///
/// # Errors
/// If a strict tool's schema cannot be enforced, or nothing can.
pub fn guard(
    of: &Guarded<'_>,
    check: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<Guard, GuardError> {
    let level = |tool: &ToolSpec| match of.strict.contains(&tool.name.as_str()) {
        true => Level::Strict,
        false => Level::Enforceable,
    };
    let mut levels: Vec<Level> = of.tools.iter().map(level).collect();
    let first = build(of, of.tools, &levels);
    if let Some((tool, keywords)) = strict_loss(of, &first) {
        let reason = format!("{} is not supported", keywords.join(", "));
        return Err(GuardError::Strict { tool, reason });
    }
    if check(&first.lark).is_ok() {
        return Ok(first);
    }
    // One of the tools is at fault: each is looked at by itself.
    for (tool, level) in of.tools.iter().zip(&mut levels) {
        let alone = ToolSet::new([tool.clone()]);
        while let Err(reason) = check(&build(of, &alone, &[*level]).lark) {
            *level = match *level {
                Level::Strict => {
                    return Err(GuardError::Strict { tool: tool.name.clone(), reason });
                }
                Level::Enforceable => Level::Shape,
                Level::Shape => Level::Object,
                Level::Object => return Err(GuardError::Whole(reason)),
            };
        }
    }
    let loosened = build(of, of.tools, &levels);
    check(&loosened.lark).map_err(GuardError::Whole)?;
    Ok(loosened)
}

fn strict_loss(of: &Guarded<'_>, guard: &Guard) -> Option<(String, Vec<String>)> {
    let (tool, keywords) = guard.dropped.iter().find(|(tool, _)| of.strict.contains(&tool.as_str()))?;
    Some((tool.clone(), keywords.clone()))
}

fn build(of: &Guarded<'_>, tools: &ToolSet, levels: &[Level]) -> Guard {
    let mut dropped = BTreeMap::new();
    let lark = calls::write(of, tools, levels, &mut dropped);
    Guard { lark, dropped }
}
