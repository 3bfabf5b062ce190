//! Bytes to text where a chunk may end inside a character.

/// Turns a stream of byte chunks into text and holds an incomplete UTF-8 sequence back until the
/// rest of it arrives. Bytes that can never become a character turn into U+FFFD, as in
/// [`String::from_utf8_lossy`].
#[derive(Debug, Default, Clone)]
pub struct Utf8Chunks {
    held: Vec<u8>,
}

impl Utf8Chunks {
    /// A decoder that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `bytes` and returns all the text that is complete. At most three bytes stay held.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            match std::str::from_utf8(&self.held[at..]) {
                Ok(valid) => {
                    text.push_str(valid);
                    at = self.held.len();
                }
                Err(error) => {
                    let upto = at + error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.held[at..upto]));
                    at = upto;
                    match error.error_len() {
                        Some(bad) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            at += bad;
                        }
                        None => break,
                    }
                }
            }
        }
        self.held.drain(..at);
        text
    }

    /// Ends the stream: an incomplete sequence that is still held becomes one U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_gives_the_text() {
        let text = "a\u{e9}\u{20ac}\u{1f980} <tool_call>\u{ff5c}";
        let bytes = text.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut chunks = Utf8Chunks::new();
                let mut got = chunks.push(&bytes[..first]);
                got += &chunks.push(&bytes[first..second]);
                got += &chunks.push(&bytes[second..]);
                got += &chunks.finish();
                assert_eq!(got, text);
            }
        }
    }

    #[test]
    fn bad_bytes_become_the_replacement_character() {
        let mut chunks = Utf8Chunks::new();
        assert_eq!(chunks.push(b"a\xffb\xc3"), "a\u{fffd}b");
        assert_eq!(chunks.finish(), "\u{fffd}");
        assert_eq!(chunks.finish(), "");
    }
}
