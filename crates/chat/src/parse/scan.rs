//! Finds the end of a JSON value in text that is still arriving.

/// Where a scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// The value goes on.
    More,
    /// The value ended; the offset is the first byte after it.
    End(usize),
    /// An end marker stands at this offset, outside any string, before the value was closed.
    Stopped(usize),
}

/// An entry of the outermost object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key, quotes excluded.
    pub(super) key: (usize, usize),
    /// Where the value starts, once it has.
    pub(super) start: Option<usize>,
    /// Where the value ends, once it has.
    pub(super) end: Option<usize>,
}

/// A resumable scanner over an object or array. It looks at every byte once. It follows brackets
/// and strings only, so that it also finds its way through what merely resembles JSON.
#[derive(Debug)]
pub(super) struct JsonScan {
    start: usize,
    at: usize,
    stack: Vec<u8>,
    quote: Option<u8>,
    escape: bool,
    key: Option<(usize, usize)>,
    key_start: usize,
    in_value: bool,
    entries: Vec<Entry>,
}

impl JsonScan {
    /// A scan of the value whose opening bracket stands at `start`.
    pub(super) fn new(start: usize) -> Self {
        Self {
            start,
            at: start,
            stack: Vec::new(),
            quote: None,
            escape: false,
            key: None,
            key_start: 0,
            in_value: false,
            entries: Vec::new(),
        }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// How far the scan has come.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn in_string(&self) -> bool {
        self.quote.is_some()
    }

    /// The entries of the outermost object so far, the unfinished one included.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Goes on over `text`, of which everything up to [`Self::at`] is known already. `stops` end
    /// the scan outside strings, and with `anywhere` inside them too. At the `end` of all text a
    /// marker that is not complete is none.
    pub(super) fn advance(&mut self, text: &str, stops: &[&str], anywhere: bool, end: bool) -> Scan {
        let bytes = text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if self.quote.is_none() || anywhere {
                match stop_at(&bytes[self.at..], stops) {
                    Stop::Whole => return Scan::Stopped(self.at),
                    Stop::Part if !end => return Scan::More,
                    _ => {}
                }
            }
            let here = self.at;
            self.at += 1;
            if let Some(quote) = self.quote {
                self.string_byte(byte, quote, here);
            } else if self.structure_byte(byte, here) {
                return Scan::End(self.at);
            }
        }
        Scan::More
    }

    fn string_byte(&mut self, byte: u8, quote: u8, here: usize) {
        if self.escape {
            self.escape = false;
        } else if byte == b'\\' {
            self.escape = true;
        } else if byte == quote {
            self.quote = None;
            if self.stack.as_slice() == b"{" {
                if self.in_value {
                    self.end_value(here + 1);
                } else {
                    self.key = Some((self.key_start, here));
                }
            }
        }
    }

    /// Takes a byte outside strings; true if it closes the outermost bracket.
    fn structure_byte(&mut self, byte: u8, here: usize) -> bool {
        let outer = self.stack.as_slice() == b"{";
        if outer
            && self.in_value
            && !byte.is_ascii_whitespace()
            && let Some(entry) = self.entries.last_mut()
        {
            entry.start.get_or_insert(here);
        }
        match byte {
            b'"' | b'\'' => {
                self.quote = Some(byte);
                self.key_start = here + 1;
            }
            b'{' | b'[' => self.stack.push(byte),
            b'}' | b']' => {
                let opener = if byte == b'}' { b'{' } else { b'[' };
                // A bracket that was never closed is closed by the one around it.
                if let Some(depth) = self.stack.iter().rposition(|open| *open == opener) {
                    if outer {
                        self.end_value(here);
                    }
                    self.stack.truncate(depth);
                    if self.stack.is_empty() {
                        return true;
                    }
                    if self.stack.as_slice() == b"{" {
                        self.end_value(here + 1);
                    }
                }
            }
            b':' if outer && !self.in_value => {
                if let Some(key) = self.key.take() {
                    self.in_value = true;
                    self.entries.push(Entry { key, start: None, end: None });
                }
            }
            b',' if outer => {
                self.end_value(here);
                self.in_value = false;
            }
            _ => {}
        }
        false
    }

    fn end_value(&mut self, here: usize) {
        if self.in_value
            && let Some(entry) = self.entries.last_mut()
            && entry.start.is_some()
        {
            entry.end.get_or_insert(here);
        }
    }
}

/// Whether one of `markers` stands at the beginning of `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Whole,
    /// All of `bytes` could be the beginning of one.
    Part,
    None,
}

pub(super) fn stop_at(bytes: &[u8], markers: &[&str]) -> Stop {
    let mut found = Stop::None;
    for marker in markers {
        if bytes.starts_with(marker.as_bytes()) {
            return Stop::Whole;
        }
        if marker.as_bytes().starts_with(bytes) {
            found = Stop::Part;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, stops: &[&str]) -> (Scan, JsonScan) {
        let mut scan = JsonScan::new(0);
        let mut last = Scan::More;
        for upto in 1..=text.len() {
            last = scan.advance(&text[..upto], stops, false, false);
            if last != Scan::More {
                break;
            }
        }
        (last, scan)
    }

    #[test]
    fn ends_and_stops() {
        let table: &[(&str, Scan)] = &[
            (r#"{"a": {"b": "}"}} "#, Scan::End(17)),
            (r#"[1, [2]]x"#, Scan::End(8)),
            (r#"{"a": [1}"#, Scan::End(9)),
            (r#"{"a": "\"}"}"#, Scan::End(12)),
            (r#"{"a": "</c>"}"#, Scan::End(13)),
            (r#"{"a": {</c>"#, Scan::Stopped(7)),
            (r#"{"a": <"#, Scan::More),
        ];
        for (text, want) in table {
            assert_eq!(scan(text, &["</c>"]).0, *want, "{text}");
        }
    }

    #[test]
    fn entries_of_the_outer_object() {
        let text = r#"{"name": "f", "n":1 ,"arguments": {"a": {"name": 2}}, "z": [1]}"#;
        let (end, scan) = scan(text, &[]);
        assert_eq!(end, Scan::End(text.len()));
        let got: Vec<_> = scan
            .entries()
            .iter()
            .map(|e| (&text[e.key.0..e.key.1], text[e.start.unwrap()..e.end.unwrap()].trim()))
            .collect();
        assert_eq!(
            got,
            [("name", "\"f\""), ("n", "1"), ("arguments", r#"{"a": {"name": 2}}"#), ("z", "[1]")]
        );
    }
}
