//! Server-sent events (WHATWG HTML, 9.2 "Server-sent events"): an incremental
//! decoder without I/O, and the encoder.
//!
//! Two departures from the standard. An event that the end of the stream cuts
//! before its blank line is delivered by [`Decoder::finish`], not discarded,
//! since servers leave out the last newlines. A field `error` is data under the
//! name `error`: llama.cpp reported failures so until 2025. `id` and `retry`
//! fields are ignored: nobody resumes a completion.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem;

/// Longest event by default, in bytes: room for a whole long answer in one event.
pub const DEFAULT_LIMIT: usize = 32 << 20;

/// The data of the event that ends a completion stream.
pub const DONE: &str = "[DONE]";

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Data lines, joined with `\n`, and the event's name if it has one.
    /// Bytes that are not UTF-8 read as U+FFFD, as the standard demands.
    Data {
        /// Value of the `event` field.
        name: Option<String>,
        /// Value of the `data` fields.
        data: String,
    },
    /// A comment line, without its colon: a keep-alive.
    Comment(String),
}

/// An event grew over the decoder's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {limit} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// Cuts a byte stream into [`Event`]s, whatever the splits between pushes.
///
/// ```
/// use chela_openai::sse::{Decoder, Event};
/// let mut decoder = Decoder::new();
/// decoder.push(b"data: {\"a\"")?;
/// assert_eq!(decoder.next_event(), None);
/// decoder.push(b":1}\n\n")?;
/// let event = Event::Data { name: None, data: r#"{"a":1}"#.into() };
/// assert_eq!(decoder.next_event(), Some(event));
/// # Ok::<(), chela_openai::sse::TooLong>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The line begun and not yet ended.
    line: Vec<u8>,
    /// The last byte was `\r`: a `\n` that follows belongs to it.
    after_cr: bool,
    /// A byte order mark may still come.
    at_start: bool,
    name: Option<String>,
    data: String,
    has_data: bool,
    ready: VecDeque<Event>,
    failed: Option<TooLong>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with [`DEFAULT_LIMIT`].
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// A decoder that fails on an event, or line, of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            name: None,
            data: String::new(),
            has_data: false,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes the next bytes; the events they complete wait in [`Decoder::next_event`].
    ///
    /// # Errors
    /// [`TooLong`], from then on always. Events completed before it can still
    /// be taken.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        while !bytes.is_empty() {
            if mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() + self.data.len() > self.limit {
                return self.fail();
            }
            match end {
                None => {
                    self.line.extend_from_slice(part);
                    return Ok(());
                }
                Some(end) => {
                    self.after_cr = bytes[end] == b'\r';
                    if self.line.is_empty() {
                        self.end_line(part);
                    } else {
                        let mut line = mem::take(&mut self.line);
                        line.extend_from_slice(part);
                        self.end_line(&line);
                        line.clear();
                        self.line = line;
                    }
                    bytes = &bytes[end + 1..];
                }
            }
        }
        Ok(())
    }

    /// Ends the stream: a line or event without its last newline is complete now.
    ///
    /// # Errors
    /// [`TooLong`] if the stream had failed with it.
    pub fn finish(&mut self) -> Result<(), TooLong> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if !self.line.is_empty() {
            let line = mem::take(&mut self.line);
            self.end_line(&line);
        }
        self.dispatch();
        Ok(())
    }

    /// The next event completed so far.
    pub fn next_event(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn fail(&mut self) -> Result<(), TooLong> {
        let failed = TooLong { limit: self.limit };
        self.failed = Some(failed);
        self.line = Vec::new();
        self.data = String::new();
        Err(failed)
    }

    fn end_line(&mut self, mut line: &[u8]) {
        if mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch();
            return;
        }
        let line: Cow<str> = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.ready.push_back(Event::Comment(value.to_owned())),
            "data" | "error" => {
                if field == "error" {
                    self.name = Some(field.to_owned());
                }
                if mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => self.name = Some(value.to_owned()),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = self.name.take();
        if mem::take(&mut self.has_data) {
            self.ready.push_back(Event::Data {
                name: name.filter(|n| !n.is_empty()),
                data: mem::take(&mut self.data),
            });
        }
    }
}

/// Appends an event: one `data:` line per line of the data, then a blank line.
pub fn encode_data(out: &mut String, name: Option<&str>, data: &str) {
    if let Some(name) = name {
        out.push_str("event: ");
        out.push_str(name);
        out.push('\n');
    }
    for line in data.split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// Appends a comment, as servers send it to keep a silent connection alive.
pub fn encode_comment(out: &mut String, text: &str) {
    for line in text.split(['\n', '\r']) {
        out.push_str(": ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// `data: {json}\n\n` of a value.
///
/// # Errors
/// Only if the value itself refuses to serialise.
pub fn encode_json(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    let mut out = String::from("data: ");
    out.push_str(&serde_json::to_string(value)?);
    out.push_str("\n\n");
    Ok(out)
}
