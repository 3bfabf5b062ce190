//! Where a value stands in the config: `models.providers.vllm.models[0].id`.

use std::fmt;
use std::str::FromStr;

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// The key of an object.
    Key(String),
    /// The place in a list, counted from 0.
    Index(usize),
}

/// The way from the top of the config to one value.
///
/// Written as keys joined by dots, list places in brackets, and keys that hold a dot, a bracket or
/// a quote as a quoted string in brackets: `agents.defaults.models["vllm/Qwen2.5"]`. What
/// [`fmt::Display`] writes, [`FromStr`] reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(pub Vec<Segment>);

/// A key path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a key path: {reason} at character {at}; expected keys joined by dots, like \
     models.providers.vllm.models[0].id, and keys with dots quoted, like \
     agents.defaults.models[\"vllm/Qwen2.5\"]"
)]
pub struct BadKeyPath {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// The character at which it goes wrong, counted from 1.
    pub at: usize,
}

impl KeyPath {
    /// The path of the `len` first segments.
    pub fn prefix(&self, len: usize) -> KeyPath {
        KeyPath(self.0[..len.min(self.0.len())].to_vec())
    }

    /// This path with one more key.
    pub fn key(&self, key: &str) -> KeyPath {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.to_owned()));
        path
    }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ':' | '@'))
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_bare(key) => {
                    let dot = if n == 0 { "" } else { "." };
                    write!(f, "{dot}{key}")?;
                }
                Segment::Key(key) => write!(f, "[{}]", serde_json::Value::from(key.as_str()))?,
            }
        }
        Ok(())
    }
}

impl FromStr for KeyPath {
    type Err = BadKeyPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut reader = Reader { text, at: 0 };
        let mut segments = Vec::new();
        loop {
            match reader.peek() {
                Some('[') => segments.push(reader.bracket()?),
                _ => segments.push(reader.bare()?),
            }
            match reader.peek() {
                None => return Ok(KeyPath(segments)),
                Some('[') => {}
                Some('.') => {
                    reader.at += 1;
                    if reader.peek() == Some('[') {
                        return Err(reader.error("a bracket after a dot"));
                    }
                }
                Some(_) => return Err(reader.error("no dot after a bracket")),
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, reason: &'static str) -> BadKeyPath {
        BadKeyPath { text: self.text.to_owned(), reason, at: self.text[..self.at].chars().count() + 1 }
    }

    fn bare(&mut self) -> Result<Segment, BadKeyPath> {
        let rest = self.rest();
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        if key.is_empty() {
            return Err(self.error("an empty key"));
        }
        if let Some(bad) = key.find([']', '"', '\'']) {
            self.at += bad;
            return Err(self.error("a bracket or quote inside a key"));
        }
        self.at += end;
        Ok(Segment::Key(key))
    }

    fn bracket(&mut self) -> Result<Segment, BadKeyPath> {
        self.at += 1;
        let segment = match self.peek() {
            Some('"') => {
                let mut stream = serde_json::Deserializer::from_str(self.rest()).into_iter();
                match stream.next() {
                    Some(Ok(key)) => {
                        let read = stream.byte_offset();
                        self.at += read;
                        Segment::Key(key)
                    }
                    _ => return Err(self.error("a quoted key that does not end")),
                }
            }
            _ => {
                let rest = self.rest();
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let Ok(index) = rest[..end].parse() else {
                    return Err(self.error("neither a list place nor a quoted key in brackets"));
                };
                self.at += end;
                Segment::Index(index)
            }
        };
        if self.peek() != Some(']') {
            return Err(self.error("a bracket that is not closed"));
        }
        self.at += 1;
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_cannot_be_read_say_where() {
        let table = [
            ("", "an empty key", 1),
            ("a..b", "an empty key", 3),
            ("a.", "an empty key", 3),
            ("a[", "neither a list place nor a quoted key in brackets", 3),
            ("a[-1]", "neither a list place nor a quoted key in brackets", 3),
            ("a[1", "a bracket that is not closed", 4),
            ("a[\"x]", "a quoted key that does not end", 3),
            ("a]b", "a bracket or quote inside a key", 2),
            ("a[0]b", "no dot after a bracket", 5),
            ("a.[0]", "a bracket after a dot", 3),
            ("a[99999999999999999999999]", "neither a list place nor a quoted key in brackets", 3),
        ];
        for (text, reason, at) in table {
            let error = text.parse::<KeyPath>().unwrap_err();
            assert_eq!((error.reason, error.at), (reason, at), "{text}");
        }
    }

    #[test]
    fn slashes_are_read_in_quotes_and_bare() {
        let path: KeyPath = "agents.defaults.models[\"vllm/*\"].params".parse().unwrap();
        assert_eq!(path.0[3], Segment::Key("vllm/*".into()));
        assert_eq!(path, "agents.defaults.models.vllm/*.params".parse().unwrap());
        assert_eq!(path.to_string(), "agents.defaults.models[\"vllm/*\"].params");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(segments in prop::collection::vec(
            prop_oneof![any::<String>().prop_map(Segment::Key), (0usize..1000).prop_map(Segment::Index)], 1..6)
        ) {
            let path = KeyPath(segments);
            prop_assert_eq!(path.to_string().parse::<KeyPath>().unwrap(), path);
        }

        #[test]
        fn reading_never_panics(text in any::<String>()) {
            let _ = text.parse::<KeyPath>();
        }
    }
}
