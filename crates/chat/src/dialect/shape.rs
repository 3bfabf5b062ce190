//! The one exact way in which a grammar makes a model write a form, spelled out from its table.
//!
//! Grammars are written from these patterns and the guarded reader reads by them, so that what the
//! one admits the other understands.

use super::{Body, Form, NameEnd, NameSyntax, Open, Parallel, ParamSyntax, ToolDialect};

/// Optional white space in a pattern.
pub(crate) const GAP: char = '\0';

/// Where a group of calls may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Wherever its marker stands.
    Anywhere,
    /// As the first thing in an answer.
    Start,
    /// At the beginning of a line.
    Line,
}

/// How the arguments of a call are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Args {
    /// A JSON object.
    Json,
    /// An element for each parameter.
    Params(&'static ParamSyntax),
    /// `{key:value}` with strings between these markers.
    Gemma(&'static str),
    /// Python keyword arguments, without the parentheses.
    Python,
}

/// The patterns of a form. A group of calls is `open lead call (between call)* end`, and a call is
/// `before name after arguments close`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) place: Place,
    /// The marker, without gaps; empty where the head of the first call is the trigger.
    pub(crate) open: &'static str,
    pub(crate) lead: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) args: Args,
    pub(crate) close: String,
    /// `None` where each call has a group of its own.
    pub(crate) between: Option<String>,
    pub(crate) end: String,
    /// What may follow the end of the group and belongs to it.
    pub(crate) tail: &'static [&'static str],
    /// Whether the name stands in a JSON string.
    pub(crate) quoted: bool,
    /// Whether `:` and a running number follow the name.
    pub(crate) counted: bool,
    /// Whether nothing but the end of the answer may follow the group.
    pub(crate) last: bool,
}

/// The shapes of `form`, the preferred one first. None for Harmony, whose calls are messages.
pub(crate) fn shapes(table: &ToolDialect, form: &'static Form) -> Vec<Shape> {
    let (place, open) = match form.open {
        Open::Marker(marker) => (Place::Anywhere, marker),
        Open::Start => (Place::Start, ""),
        Open::Rest => (Place::Line, ""),
    };
    let between = match table.parallel {
        Parallel::Repeat(_) => None,
        Parallel::Inside(text) => Some(gaps(text)),
    };
    let shape = Shape {
        place,
        open,
        lead: String::new(),
        before: String::new(),
        after: String::new(),
        args: Args::Json,
        close: String::new(),
        between,
        end: String::new(),
        tail: &[],
        quoted: false,
        counted: false,
        last: place != Place::Anywhere,
    };
    let close = form.close.first().copied().unwrap_or_default();
    match &form.body {
        Body::Harmony => Vec::new(),
        Body::Object(syntax) if syntax.array => {
            let object = object(shape, syntax.args_key);
            let between = Some("\0,\0".to_owned());
            vec![Shape {
                lead: "\0[\0".into(),
                end: "\0]".into(),
                tail: form.close,
                last: true,
                between,
                ..object
            }]
        }
        Body::Object(syntax) => {
            let inside = shape.between.is_some();
            let object = object(shape, syntax.args_key);
            match inside {
                // What closes it is the end of the message.
                true => vec![Shape { lead: "\0".into(), tail: form.close, last: true, ..object }],
                false => vec![Shape { lead: "\0".into(), end: format!("\0{close}"), ..object }],
            }
        }
        Body::Fenced => fenced(shape),
        Body::NameThenJson(syntax) => named(shape, form, syntax, close),
        Body::Params(syntax) => params(shape, form, syntax, close),
        Body::Gemma { quote } => {
            vec![Shape { before: "call:".into(), args: Args::Gemma(quote), end: close.into(), ..shape }]
        }
        Body::Python { list } => {
            let (lead, end) = if *list { ("[", "]") } else { ("\0", "\0") };
            let end = format!("{end}{close}");
            let python = Shape { after: "(".into(), args: Args::Python, close: ")".into(), ..shape };
            vec![Shape { lead: lead.into(), end, ..python }]
        }
    }
}

/// White space that is more than a single space or line break stays as it is; around other text it
/// is free.
fn gaps(between: &str) -> String {
    match between.trim() {
        "" => between.to_owned(),
        text => format!("{GAP}{text}{GAP}"),
    }
}

fn object(shape: Shape, args_key: &str) -> Shape {
    Shape {
        before: "{\0\"name\"\0:\0\"".into(),
        after: format!("\"\0,\0\"{args_key}\"\0:\0"),
        close: "\0}".into(),
        quoted: true,
        ..shape
    }
}

fn fenced(shape: Shape) -> Vec<Shape> {
    let object = object(shape, "arguments");
    let fence = "```json\n\0";
    let fenced = Shape {
        before: format!("{fence}{}", object.before),
        close: format!("{}\n```", object.close),
        ..object.clone()
    };
    vec![fenced, object]
}

fn named(shape: Shape, form: &'static Form, syntax: &NameSyntax, close: &str) -> Vec<Shape> {
    let after = syntax.after.last().copied().unwrap_or_default();
    // A fence that the separator opens is closed on a line of its own.
    let line = if after.contains("```") { "\n" } else { "" };
    let plain = Shape {
        before: syntax.prefix.into(),
        counted: syntax.counted,
        close: format!("{line}{close}"),
        ..shape
    };
    let mut all = grouped(Shape { after: after.into(), ..plain.clone() }, form);
    if !syntax.after_required {
        all.extend(grouped(plain, form));
    }
    all
}

fn params(shape: Shape, form: &'static Form, syntax: &'static ParamSyntax, close: &str) -> Vec<Shape> {
    let head = match syntax.name_end {
        NameEnd::Marker(marker) => marker,
        NameEnd::Space => "",
    };
    let plain =
        Shape { after: format!("{head}{GAP}"), args: Args::Params(syntax), close: close.into(), ..shape };
    grouped(plain, form)
}

/// A shape in its form's section, and by itself where the section may be missing.
fn grouped(shape: Shape, form: &'static Form) -> Vec<Shape> {
    let Some(section) = &form.section else {
        return vec![Shape { between: None, ..shape }];
    };
    let gap = if section.lines { "\0" } else { "" };
    let inner = shape.open;
    let between = match section.each {
        true => None,
        false => Some(shape.between.clone().unwrap_or_else(|| "\0".to_owned())),
    };
    let inside = Shape {
        open: section.open,
        lead: gap.into(),
        before: format!("{inner}{}", shape.before),
        end: format!("{gap}{}", section.close),
        between,
        ..shape.clone()
    };
    match section.required {
        true => vec![inside],
        false => vec![inside, Shape { between: None, ..shape }],
    }
}

/// How a pattern fits the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It fits so many bytes.
    Whole(usize),
    /// The whole text may be the beginning of it.
    Part,
    No,
}

/// Matches `pattern` at the beginning of `text`. A gap takes all the white space that there is.
pub(crate) fn fit(pattern: &str, text: &str) -> Fit {
    let mut rest = text;
    for (i, piece) in pattern.split(GAP).enumerate() {
        if i > 0 && !piece.starts_with(char::is_whitespace) {
            rest = rest.trim_start();
        } else if i > 0 {
            // The gap gives back the white space that the pattern wants after it.
            let trimmed = rest.trim_start();
            let space = &rest[..rest.len() - trimmed.len()];
            match space.rfind(piece.chars().next().unwrap_or(' ')) {
                Some(at) => rest = &rest[at..],
                None if trimmed.is_empty() => return Fit::Part,
                None => return Fit::No,
            }
        }
        match rest.strip_prefix(piece) {
            Some(after) => rest = after,
            None if piece.starts_with(rest) => return Fit::Part,
            None => return Fit::No,
        }
    }
    Fit::Whole(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ALL;

    #[test]
    fn patterns_fit_with_and_without_white_space() {
        let table = [
            ("a\0b", "ab", Fit::Whole(2)),
            ("a\0b", "a \n bc", Fit::Whole(5)),
            ("a\0b", "a ", Fit::Part),
            ("a\0b", "ac", Fit::No),
            ("a\0b", "", Fit::Part),
            ("}\0\n```", "}\n```", Fit::Whole(5)),
            ("}\0\n```", "}\n\n```", Fit::Whole(6)),
            ("}\0\n```", "} ```", Fit::No),
            ("a\0", "a  b", Fit::Whole(3)),
        ];
        for (pattern, text, want) in table {
            assert_eq!(fit(pattern, text), want, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn every_form_but_harmonys_has_a_shape() {
        for dialect in ALL {
            let table = dialect.table();
            for form in table.forms {
                let none = matches!(form.body, Body::Harmony);
                assert_eq!(shapes(table, form).is_empty(), none, "{dialect:?}");
            }
        }
    }
}
