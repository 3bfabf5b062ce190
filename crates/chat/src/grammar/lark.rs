//! Writes llguidance's dialect of Lark: rules, terminals, and texts cut at special tokens.

use std::fmt::Write as _;

use crate::dialect::shape::GAP;

/// The special tokens of a vocabulary: the texts that are one token which no other text gives.
#[derive(Debug, Clone, Default)]
pub struct Specials(Vec<(String, u32)>);

/// A part of a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Token(u32),
}

impl Specials {
    /// From the texts and ids of a vocabulary's special tokens.
    pub fn new(tokens: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut all: Vec<_> = tokens.into_iter().filter(|(text, _)| !text.is_empty()).collect();
        all.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self(all)
    }

    /// The token that `text` is.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.0.iter().find(|(special, _)| special == text).map(|(_, id)| *id)
    }

    /// `text` cut at the special tokens in it, the leftmost and then the longest first.
    pub(super) fn cut(&self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut plain = 0;
        let mut at = 0;
        while at < text.len() {
            let Some((special, id)) = self.0.iter().find(|(special, _)| text[at..].starts_with(special))
            else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            if plain < at {
                parts.push(Part::Text(text[plain..at].to_owned()));
            }
            parts.push(Part::Token(*id));
            at += special.len();
            plain = at;
        }
        if plain < at {
            parts.push(Part::Text(text[plain..].to_owned()));
        }
        parts
    }
}

/// Any text, special tokens excepted.
pub(super) const ANY: &str = "/(?s:.*)/";

/// Rules and terminals under names of their own.
#[derive(Debug)]
pub(super) struct Lark<'a> {
    text: String,
    next: usize,
    pub(super) specials: &'a Specials,
}

impl<'a> Lark<'a> {
    pub(super) fn new(specials: &'a Specials) -> Self {
        // White space between the parts of a call; bounded, so that a weak model gets on.
        Self { text: "WS: /[ \\t\\r\\n]{1,8}/\n".to_owned(), next: 0, specials }
    }

    pub(super) fn finish(self, start: &str) -> String {
        format!("start: {start}\n{}", self.text)
    }

    /// A name that is not used yet.
    pub(super) fn name(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}_{}", self.next)
    }

    /// Adds the rule `name: body`.
    pub(super) fn define(&mut self, name: &str, body: &str) {
        let _ = writeln!(self.text, "{name}: {body}");
    }

    /// Adds a rule with this body and gives its name.
    pub(super) fn rule(&mut self, prefix: &str, body: &str) -> String {
        let name = self.name(prefix);
        self.define(&name, body);
        name
    }

    /// Adds a terminal with this body and gives its name.
    pub(super) fn terminal(&mut self, body: &str) -> String {
        let name = self.name("T");
        self.define(&name, body);
        name
    }

    /// Text that matches `body` (of terminals) up to the first `suffix`, which is part of it.
    pub(super) fn lazy(&mut self, body: &str, suffix: &str) -> String {
        let body = self.terminal(body);
        let name = self.name("lazy");
        let _ = writeln!(self.text, "{name}[suffix={}]: {body}", string(suffix));
        name
    }

    /// The pattern `text`, gaps and special tokens included, as a sequence.
    pub(super) fn literal(&self, text: &str) -> String {
        let mut out = Vec::new();
        for (i, piece) in text.split(GAP).enumerate() {
            if i > 0 {
                out.push("WS?".to_owned());
            }
            out.extend(self.specials.cut(piece).iter().map(part));
        }
        match out.is_empty() {
            true => "\"\"".to_owned(),
            false => out.join(" "),
        }
    }

    /// Text that matches `body` up to the marker `close`; the marker is part of the rule.
    ///
    /// Where the marker has special tokens in it, text before the first of them ends nothing by
    /// itself.
    pub(super) fn until(&mut self, body: &str, close: &str) -> String {
        let cut = self.specials.cut(close);
        match cut.split_first() {
            None => self.rule("text", body),
            Some((Part::Text(_), [])) => self.lazy(body, close),
            Some((Part::Token(_), _)) => {
                let text = self.terminal(body);
                let close = self.literal(close);
                self.rule("text", &format!("{text} {close}"))
            }
            Some((Part::Text(head), rest)) => {
                let piece = self.lazy(body, head);
                let rest: Vec<_> = rest.iter().map(part).collect();
                let rest = rest.join(" ");
                if body != ANY {
                    // Pieces could not be held to it together.
                    return self.rule("text", &format!("{piece} {rest}"));
                }
                let name = self.name("text");
                self.define(&name, &format!("{piece} ({rest} | {name})"));
                name
            }
        }
    }

    /// A sequence of `items`, of which those that are not required may be left out, with
    /// `separator` between those that are there. The sequence may be empty only if no item is
    /// required.
    pub(super) fn ordered(&mut self, items: &[(String, bool)], separator: &str) -> String {
        let mut first = "\"\"".to_owned();
        let mut rest = "\"\"".to_owned();
        for (item, required) in items.iter().rev() {
            let (skip_first, skip_rest) = (first.clone(), rest.clone());
            let begin = format!("{item} {rest}");
            let more = format!("{separator} {item} {rest}");
            let optional = |body: String, skip: &str| match required {
                true => body,
                false => format!("{body} | {skip}"),
            };
            first = self.rule("first", &optional(begin, &skip_first));
            rest = self.rule("rest", &optional(more, &skip_rest));
        }
        first
    }
}

fn part(part: &Part) -> String {
    match part {
        Part::Text(text) => string(text),
        Part::Token(id) => token(*id),
    }
}

/// A special token.
pub(super) fn token(id: u32) -> String {
    format!("<[{id}]>")
}

/// `text` as a Lark string.
pub(super) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// `text` as it stands in a regular expression between slashes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => {
                if "\\.+*?()|[]{}^$#&-~/".contains(c) {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}

/// The alternatives in parentheses.
pub(super) fn any_of(alternatives: &[String]) -> String {
    match alternatives {
        [only] => only.clone(),
        all => format!("({})", all.join(" | ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_cut_at_special_tokens() {
        let specials = Specials::new([("<a>".to_owned(), 7), ("<a><b>".to_owned(), 8)]);
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(specials.cut("x<a>y"), [text("x"), Part::Token(7), text("y")]);
        assert_eq!(specials.cut("<a><b>"), [Part::Token(8)]);
        assert_eq!(specials.cut(""), []);
        let lark = Lark::new(&specials);
        assert_eq!(lark.literal("é<a>\0\"\n"), "\"é\" <[7]> WS? \"\\\"\\n\"");
    }

    #[test]
    fn strings_and_expressions_are_escaped() {
        assert_eq!(string("a\"\\\u{7f}"), "\"a\\\"\\\\\\u007f\"");
        assert_eq!(escaped("a/<\n.\u{1}é"), "a\\/<\\n\\.\\x01é");
    }
}
