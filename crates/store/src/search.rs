//! Full-text search over what was said.

use chela_protocol::{Item, SessionId};

/// One place where the words stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The session.
    pub session: SessionId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Which of its items, from 0.
    pub item: u64,
    /// When that was written, in milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// The words around, the found ones between `[` and `]`.
    pub excerpt: String,
}

/// What of an item is searched.
pub(crate) fn text_of(item: &Item) -> Option<String> {
    let text = match item {
        Item::User { text, attachments, .. } => {
            let parts = attachments.iter().map(|a| a.text.as_str());
            std::iter::once(text.as_str()).chain(parts).collect::<Vec<_>>().join("\n")
        }
        Item::Assistant { text, calls, .. } => {
            let calls = calls.iter().map(|c| format!("{} {}", c.name, c.arguments));
            std::iter::once(text.clone()).chain(calls).collect::<Vec<_>>().join("\n")
        }
        Item::ToolResult { content, .. } => content.clone(),
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The words of a person as a query of FTS5: each has to occur, the last one may go on.
pub(crate) fn query(words: &str) -> Option<String> {
    let quoted: Vec<String> =
        words.split_whitespace().map(|w| format!("\"{}\"", w.replace('"', "\"\""))).collect();
    (!quoted.is_empty()).then(|| quoted.join(" ") + "*")
}
