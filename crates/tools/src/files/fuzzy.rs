//! Finding the text that a model means. Exactly first; then line by line, forgiving what models
//! get wrong when they copy: white space at line ends, indentation, typographic characters,
//! escaped line breaks. A forgiving match counts only if there is one.

use std::ops::Range;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// One place.
    Once {
        /// Its bytes.
        range: Range<usize>,
        /// What to put there: the new text, in the indentation of the place.
        new: String,
        /// What had to be forgiven, in words.
        how: Option<&'static str>,
    },
    /// Several places, by their first lines from 1.
    Many {
        /// The lines.
        lines: Vec<usize>,
    },
    /// None. The most similar place, if any is similar: first line and text.
    Nowhere {
        /// The place.
        near: Option<(usize, String)>,
    },
}

type Fold = fn(&str) -> String;

const STAGES: &[(&str, Fold)] = &[
    ("ignoring white space at line ends", |line| line.trim_end().to_owned()),
    ("ignoring indentation", |line| line.trim().to_owned()),
    ("ignoring white space and typographic characters", |line| plain(line)),
];

/// Finds `old` in `text`.
pub(super) fn find(text: &str, old: &str, new: &str) -> Found {
    match exact(text, old) {
        Found::Once { range, .. } => Found::Once { range, new: new.to_owned(), how: None },
        Found::Nowhere { .. } => forgiving(text, old, new),
        many => many,
    }
}

fn exact(text: &str, old: &str) -> Found {
    let hits: Vec<usize> = text.match_indices(old).map(|(at, _)| at).take(9).collect();
    match hits.as_slice() {
        [] => Found::Nowhere { near: None },
        [at] => Found::Once { range: *at..at + old.len(), new: String::new(), how: None },
        many => Found::Many { lines: many.iter().map(|at| line_of(text, *at)).collect() },
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn forgiving(text: &str, old: &str, new: &str) -> Found {
    let lines = lines(text);
    for (how, fold) in STAGES {
        match by_lines(&lines, old, *fold) {
            Hits::One(range) => return replace(text, &lines, range, old, new, how),
            Hits::Many(lines) => return Found::Many { lines },
            Hits::None => {}
        }
    }
    // `\n` written as two characters, in both texts.
    if old.contains("\\n") || old.contains("\\\"") {
        let (old, new) = (unescape(old), unescape(new));
        if let Found::Once { range, .. } = exact(text, &old) {
            return Found::Once { range, new, how: Some("with its escapes resolved") };
        }
    }
    Found::Nowhere { near: nearest(&lines, old) }
}

/// The lines with the places of their bytes, line ends not included.
fn lines(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.strip_suffix('\n').unwrap_or(line);
        lines.push((at..at + bare.len(), bare));
        at += line.len();
    }
    lines
}

enum Hits {
    None,
    One(Range<usize>),
    Many(Vec<usize>),
}

/// The lines of `old`, without empty ones at its ends.
fn wanted(old: &str) -> Vec<&str> {
    let lines: Vec<&str> = old.lines().collect();
    let filled = |line: &&str| !line.trim().is_empty();
    let first = lines.iter().position(filled).unwrap_or(0);
    let last = lines.iter().rposition(filled).map_or(0, |at| at + 1);
    lines.get(first..last).unwrap_or_default().to_vec()
}

fn by_lines(lines: &[(Range<usize>, &str)], old: &str, fold: Fold) -> Hits {
    let wanted: Vec<String> = wanted(old).into_iter().map(fold).collect();
    if wanted.is_empty() || wanted.len() > lines.len() {
        return Hits::None;
    }
    let folded: Vec<String> = lines.iter().map(|(_, line)| fold(line)).collect();
    let hits: Vec<usize> = folded
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| *window == wanted.as_slice())
        .map(|(at, _)| at)
        .take(9)
        .collect();
    match hits.as_slice() {
        [] => Hits::None,
        [at] => Hits::One(*at..at + wanted.len()),
        many => Hits::Many(many.iter().map(|at| at + 1).collect()),
    }
}

/// Replaces whole lines; the new text takes over the place's indentation.
fn replace(
    text: &str,
    lines: &[(Range<usize>, &str)],
    hit: Range<usize>,
    old: &str,
    new: &str,
    how: &'static str,
) -> Found {
    let start = lines[hit.start].0.start;
    let end = lines[hit.end - 1].0.end;
    let from = wanted(old).into_iter().next().map_or("", indentation);
    let to = indentation(lines[hit.start].1);
    let new = reindent(like(old, new), from, to);
    let mut range = start..end;
    if new.is_empty() && text[end..].starts_with('\n') {
        // A line that is replaced by nothing goes with its line end.
        range.end += 1;
    }
    Found::Once { range, new, how: Some(how) }
}

/// `new` without as many empty lines at its ends as the match left out of `old`.
fn like<'a>(old: &str, new: &'a str) -> &'a str {
    let before = old.len() - old.trim_start_matches('\n').len();
    let after = old.len() - old.trim_end_matches('\n').len();
    let mut text = new;
    (0..before).for_each(|_| text = text.strip_prefix('\n').unwrap_or(text));
    (0..after).for_each(|_| text = text.strip_suffix('\n').unwrap_or(text));
    text
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

fn reindent(text: &str, from: &str, to: &str) -> String {
    if from == to {
        return text.to_owned();
    }
    let line = |line: &str| match line.strip_prefix(from) {
        Some(rest) if !line.trim().is_empty() => format!("{to}{rest}"),
        _ => line.to_owned(),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// A line without differences that only a printer sees.
fn plain(line: &str) -> String {
    let fold = |c: char| match c {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' => '\'',
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2033}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
        other => other,
    };
    let text: String = line.chars().map(fold).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"")
}

/// The place with the most lines in common, if at least a third are.
fn nearest(lines: &[(Range<usize>, &str)], old: &str) -> Option<(usize, String)> {
    const SHOWN: usize = 12;
    let wanted: Vec<String> = wanted(old).into_iter().map(plain).collect();
    if wanted.is_empty() || lines.is_empty() || wanted.len() * lines.len() > 4_000_000 {
        return None;
    }
    let folded: Vec<String> = lines.iter().map(|(_, line)| plain(line)).collect();
    let score = |at: usize| {
        let pairs = wanted.iter().zip(&folded[at..]);
        pairs.map(|(a, b)| similarity(a, b)).sum::<f64>() / wanted.len() as f64
    };
    let (at, best) = (0..folded.len()).map(|at| (at, score(at))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    if best < 0.34 {
        return None;
    }
    let end = (at + wanted.len().min(SHOWN)).min(lines.len());
    let text: Vec<&str> = lines[at..end].iter().map(|(_, line)| *line).collect();
    Some((at + 1, text.join("\n")))
}

/// 1 for equal lines, less for those that share their words.
fn similarity(a: &str, b: &str) -> f64 {
    if a == b {
        return if a.is_empty() { 0.1 } else { 1.0 };
    }
    let words =
        |text: &str| text.split_whitespace().map(str::to_owned).collect::<std::collections::HashSet<_>>();
    let (a, b) = (words(a), words(b));
    let common = a.intersection(&b).count();
    match a.len().max(b.len()) {
        0 => 0.0,
        longest => 0.9 * common as f64 / longest as f64,
    }
}
