//! Normalizers and pre-tokenizers: what happens to a text before the merges.

use std::{borrow::Cow, ops::Range};

use fancy_regex::Regex;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use super::{
    TokenizerError,
    scan::Words,
    unicode::{Classes, NUMBER},
};

/// Something to look for in a text.
pub(super) enum Pattern {
    /// A known pattern, which leaves no gaps.
    Words(&'static Words),
    /// Any other, by the regex engine.
    Regex(Box<Regex>),
    /// A text.
    Literal(String),
    /// Single characters.
    Chars(fn(char) -> bool),
}

/// A match, or the text between two.
type Found = (Range<usize>, bool);

impl Pattern {
    /// A regular expression: a known one is scanned by hand.
    pub(super) fn regex(pattern: &str) -> Result<Self, TokenizerError> {
        if let Some(words) = Words::find(pattern) {
            return Ok(Self::Words(words));
        }
        let regex = Regex::new(pattern).map_err(|error| TokenizerError::Unsupported {
            component: "pattern",
            name: format!("{pattern:?}"),
            hint: error.to_string(),
        })?;
        Ok(Self::Regex(Box::new(regex)))
    }

    pub(super) fn digits() -> Self {
        Self::Chars(|c| Classes::get().of(c) & NUMBER != 0)
    }

    /// Cut a text into matches and what is between them, in order.
    fn find(&self, text: &str) -> Result<Vec<Found>, TokenizerError> {
        let mut found = Vec::new();
        let mut done = 0;
        let mut matched = |range: Range<usize>| {
            if done < range.start {
                found.push((done..range.start, false));
            }
            done = range.end;
            found.push((range, true));
        };
        match self {
            Self::Words(words) => {
                let mut start = 0;
                words.cut(text, |end| {
                    matched(start..end);
                    start = end;
                });
            }
            Self::Regex(regex) => {
                for found in regex.find_iter(text) {
                    let found = found.map_err(|error| TokenizerError::Pattern {
                        pattern: regex.as_str().to_owned(),
                        reason: error.to_string(),
                    })?;
                    matched(found.start()..found.end());
                }
            }
            Self::Literal(literal) if literal.is_empty() => {}
            Self::Literal(literal) => {
                for (start, found) in text.match_indices(literal.as_str()) {
                    matched(start..start + found.len());
                }
            }
            Self::Chars(wanted) => {
                for (start, found) in text.match_indices(wanted) {
                    matched(start..start + found.len());
                }
            }
        }
        if done < text.len() {
            found.push((done..text.len(), false));
        }
        Ok(found)
    }
}

/// A step of normalization.
pub(super) enum Normalizer {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Prepend(String),
    Replace(Pattern, String),
}

impl Normalizer {
    pub(super) fn apply<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, TokenizerError> {
        // The normalizers borrow where nothing changes; an owned text then stays as it is.
        let canonical = |normalized: Cow<'_, str>| match normalized {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(same) if same.len() == text.len() => None,
            Cow::Borrowed(part) => Some(part.to_owned()),
        };
        let changed = match self {
            Self::Nfc => canonical(ComposingNormalizerBorrowed::new_nfc().normalize(&text)),
            Self::Nfkc => canonical(ComposingNormalizerBorrowed::new_nfkc().normalize(&text)),
            Self::Nfd => canonical(DecomposingNormalizerBorrowed::new_nfd().normalize(&text)),
            Self::Nfkd => canonical(DecomposingNormalizerBorrowed::new_nfkd().normalize(&text)),
            Self::Prepend(prefix) => (!text.is_empty()).then(|| format!("{prefix}{text}")),
            Self::Replace(pattern, by) => {
                let mut out = String::with_capacity(text.len());
                for (range, matched) in pattern.find(&text)? {
                    out.push_str(if matched { by } else { &text[range] });
                }
                Some(out)
            }
        };
        Ok(changed.map_or(text, Cow::Owned))
    }
}

/// A step of pre-tokenization.
pub(super) enum Step {
    /// Cut at a pattern. `invert` takes what is between matches for the matches.
    Split { pattern: Pattern, behavior: Behavior, invert: bool },
    /// Put a space before every piece that does not start with one.
    PrefixSpace,
    /// Let a character stand for spaces, put one before the text, cut before each.
    Metaspace { replacement: char, prepend: Prepend, split: bool },
}

/// What becomes of the matches of a split.
#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
pub(super) enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// Where [`Step::Metaspace`] puts its character.
#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Prepend {
    Always,
    First,
    Never,
}

/// A text in pieces.
pub(super) struct Pieces<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) ranges: Vec<Range<usize>>,
    /// Whether the first piece starts where the whole input does.
    pub(super) at_start: bool,
}

impl Step {
    pub(super) fn apply(&self, pieces: &mut Pieces<'_>) -> Result<(), TokenizerError> {
        match self {
            Self::Split { pattern, behavior, invert } => split(pieces, pattern, *behavior, *invert),
            Self::PrefixSpace => {
                rebuild(pieces, |piece, _, out| {
                    if !piece.starts_with(' ') {
                        out.push(' ');
                    }
                    out.push_str(piece);
                });
                Ok(())
            }
            Self::Metaspace { replacement, prepend, split: cut } => {
                rebuild(pieces, |piece, first, out| {
                    let prefix = match prepend {
                        Prepend::Always => true,
                        Prepend::First => first,
                        Prepend::Never => false,
                    };
                    if prefix && !piece.starts_with([' ', *replacement]) {
                        out.push(*replacement);
                    }
                    let chars = piece.chars();
                    out.extend(chars.map(|c| if c == ' ' { *replacement } else { c }));
                });
                if *cut {
                    let pattern = Pattern::Literal(replacement.to_string());
                    split(pieces, &pattern, Behavior::MergedWithNext, false)?;
                }
                Ok(())
            }
        }
    }
}

/// Write every piece anew; `write` gets the piece and whether it starts the whole input.
fn rebuild(pieces: &mut Pieces<'_>, write: impl Fn(&str, bool, &mut String)) {
    let mut out = String::with_capacity(pieces.text.len() + pieces.ranges.len());
    for (place, range) in pieces.ranges.iter_mut().enumerate() {
        let start = out.len();
        let first = place == 0 && pieces.at_start;
        write(&pieces.text[range.clone()], first, &mut out);
        *range = start..out.len();
    }
    pieces.text = Cow::Owned(out);
}

fn split(
    pieces: &mut Pieces<'_>,
    pattern: &Pattern,
    behavior: Behavior,
    invert: bool,
) -> Result<(), TokenizerError> {
    let start = pieces.ranges.first().map(|range| range.start);
    let mut ranges = Vec::with_capacity(pieces.ranges.len());
    for range in &pieces.ranges {
        let base = range.start;
        let mut found = pattern.find(&pieces.text[range.clone()])?;
        for (_, matched) in &mut found {
            *matched ^= invert;
        }
        let cut = join(found, behavior);
        let cut = cut.filter(|range| !range.is_empty());
        ranges.extend(cut.map(|range| base + range.start..base + range.end));
    }
    pieces.at_start &= ranges.first().map(|range| range.start) == start;
    pieces.ranges = ranges;
    Ok(())
}

fn join(found: Vec<Found>, behavior: Behavior) -> impl Iterator<Item = Range<usize>> {
    let mut out: Vec<Found> = Vec::with_capacity(found.len());
    for (range, matched) in found {
        let previous = out.last_mut();
        let previous = previous.filter(|(_, was)| match behavior {
            Behavior::Removed | Behavior::Isolated => false,
            // A match goes with the text before it, not with the match before it.
            Behavior::MergedWithPrevious => matched && !*was,
            Behavior::MergedWithNext => *was && !matched,
            Behavior::Contiguous => *was == matched,
        });
        match previous {
            Some((last, was)) => {
                last.end = range.end;
                *was = matched;
            }
            None => out.push((range, matched)),
        }
    }
    let kept = move |(_, matched): &Found| behavior != Behavior::Removed || !matched;
    out.into_iter().filter(kept).map(|(range, _)| range)
}
