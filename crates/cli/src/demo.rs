//! The demo model: a very small language model that is part of this program. `demo-model/` makes it.

use chela_engine::formats::{FormatError, Source};
use chela_protocol::Provenance;

use crate::in_process::LOCAL;

/// Its id, behind `local/`.
pub const ID: &str = "demo";
/// The model as it is named.
pub const REFERENCE: &str = "local/demo";
/// What it says of what it cannot do; it was trained to.
const DECLINES: &str =
    "I cannot do that: I am a very small demo model for files, commands, web pages and notes.";

/// Said where it stands in for a model that nobody chose.
pub const STANDS_IN: &str = "no model is configured: the demo model answers, a very small one that is part of chela; \
     `chela setup` connects a larger one";
/// Said where it could not do what was asked.
pub const OUTGROWN: &str =
    "this takes a larger model: `chela setup` connects a server's, or a model file of yours";
/// Beside its name in lists.
pub const WHAT: &str = "the demo model: very small, part of chela; it reads, searches, writes and edits files, runs commands, \
     keeps notes";

/// A GGUF file aligns its tensors from its beginning.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../demo-model/demo.gguf"));

/// Its file.
pub fn source() -> Result<Source, FormatError> {
    Source::of_program(REFERENCE, &FILE.0)
}

/// Bytes of its file.
pub fn size() -> u64 {
    FILE.0.len() as u64
}

/// Whether it answered, and said that it cannot do what was asked.
pub fn declined(who: &Provenance, answer: &str) -> bool {
    who.provider == LOCAL && who.model == ID && answer.contains(DECLINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_words_are_those_in_training() {
        let exam = include_str!("../../../demo-model/exam/generated.jsonl");
        let line = exam.lines().find(|line| line.contains("\"intent\":\"decline\"")).unwrap();
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        let who = |provider: &str| Provenance {
            provider: provider.to_owned(),
            model: ID.to_owned(),
            endpoint: String::new(),
            local: true,
        };
        let answer = request["answer"].as_str().unwrap();
        assert!(declined(&who(LOCAL), answer));
        assert!(!declined(&who(LOCAL), "notes.txt says: hello"));
        assert!(!declined(&who("vllm"), answer));
    }
}
