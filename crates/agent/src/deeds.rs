//! Answers that tell of deeds. A small model that was told an error may still answer in the words for
//! success; where every change of a turn failed, or where nothing was run of which it tells, such an
//! answer is not taken.

/// Words with which a deed is told.
const DEEDS: &[&str] = &[
    "added", "appended", "changed", "copied", "created", "deleted", "edited", "fixed", "inserted", "made",
    "moved", "noted", "removed", "renamed", "replaced", "saved", "set", "stored", "updated", "wrote",
    "written",
];
/// Words that may stand before.
const BEFORE: &[&str] = &[
    "i",
    "i've",
    "have",
    "successfully",
    "just",
    "now",
    "ok",
    "okay",
    "the",
    "file",
    "is",
    "was",
    "has",
    "been",
];
/// Words of an answer that tells what went wrong.
const DENIALS: &[&str] = &[
    "not", "cannot", "can't", "couldn't", "didn't", "doesn't", "wasn't", "unable", "failed", "error",
    "refused", "nothing", "already", "no", "same",
];

/// What the calls of a turn did.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    /// Calls of tools that can change something: those that failed, and the others.
    changes: u32,
    failed_changes: u32,
    /// Calls that only look: those that failed, and the others.
    looks: u32,
    failed_looks: u32,
    /// A command ran, in this turn or before it.
    ran: bool,
}

/// What an answer says against its turn's deeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untruth {
    /// It tells a change, and every change failed, or every call.
    Changed,
    /// It tells of a command, and none ran.
    Ran,
}

impl Deeds {
    /// None yet; `ran` tells whether a command ran before this turn.
    pub fn new(ran: bool) -> Self {
        Self { ran, ..Self::default() }
    }

    /// Takes down one call. One that `failed` did nothing.
    pub fn note(&mut self, tool: &str, read_only: bool, failed: bool) {
        match (read_only, failed) {
            (true, false) => self.looks += 1,
            (true, true) => self.failed_looks += 1,
            (false, false) => self.changes += 1,
            (false, true) => self.failed_changes += 1,
        }
        self.ran |= tool == "exec" && !failed;
    }

    /// What is wrong with an answer. One that was given without any call is not doubted, and what was read
    /// may tell of deeds and commands.
    pub fn untruth(&self, answer: &str) -> Option<Untruth> {
        let failed = self.failed_changes + if self.looks == 0 { self.failed_looks } else { 0 };
        if self.changes == 0 && failed > 0 && tells(answer) {
            return Some(Untruth::Changed);
        }
        let tried = self.changes + self.failed_changes > 0;
        (tried && !self.ran && self.looks == 0 && tells_of_command(answer)).then_some(Untruth::Ran)
    }
}

impl Untruth {
    /// What the user is told.
    pub fn told(self) -> &'static str {
        match self {
            Self::Changed => "the model says that it is done, but its calls failed: nothing was changed",
            Self::Ran => "the model tells what a command printed, but no command ran",
        }
    }

    /// What the model is told.
    pub fn nudge(self) -> &'static str {
        match self {
            Self::Changed => {
                "That is not so: the calls failed and nothing was changed. Say what went wrong, or do it."
            }
            Self::Ran => "That is not so: no command ran. Say what you did, or run it.",
        }
    }
}

/// Whether an answer begins by telling of a command that ran.
fn tells_of_command(answer: &str) -> bool {
    let lower = answer.trim_start().to_lowercase();
    ["the command ran", "the command printed", "i ran "].iter().any(|words| lower.starts_with(words))
}

/// Whether an answer begins by telling a deed and nowhere says that something stood in the way.
fn tells(answer: &str) -> bool {
    let lower = answer.to_lowercase();
    let words = || lower.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty());
    let first = words().take(8).find(|word| !BEFORE.contains(word));
    first.is_some_and(|word| DEEDS.contains(&word)) && !words().any(|word| DENIALS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_is_told_by_how_an_answer_begins() {
        for answer in [
            "Changed 80 to 81 in a.txt.",
            "I've updated `a.txt` with the new port.",
            "OK, I have successfully saved the file.",
            "The file has been deleted.",
            "**Created** notes.txt",
        ] {
            assert!(tells(answer), "{answer}");
        }
        for answer in [
            "",
            "Done.",
            "a.txt says: Changed everything.",
            "I could not write a.txt: it is a folder.",
            "I changed nothing.",
            "Set up as it was already; there is an error in line 3.",
            "What shall I write?",
            "The edit was refused.",
        ] {
            assert!(!tells(answer), "{answer}");
        }
    }

    #[test]
    fn a_command_is_told_only_where_one_ran_or_something_was_read() {
        let deeds = |calls: &[(&str, bool, bool)]| {
            let mut deeds = Deeds::new(false);
            calls.iter().for_each(|(tool, read_only, failed)| deeds.note(tool, *read_only, *failed));
            deeds
        };
        let (told, wrote, read, ran) = (
            "The command ran and printed 4.",
            ("write", false, false),
            ("read", true, false),
            ("exec", false, false),
        );
        assert_eq!(deeds(&[("read", true, true), wrote]).untruth(told), Some(Untruth::Ran));
        assert_eq!(deeds(&[("exec", false, true)]).untruth("I ran it."), Some(Untruth::Ran));
        for calls in [&[][..], &[("read", true, true)], &[read, wrote], &[wrote, ran]] {
            assert_eq!(deeds(calls).untruth(told), None, "{calls:?}");
        }
        assert_eq!(deeds(&[wrote]).untruth("Wrote a.txt."), None);
        assert_eq!(Deeds { ran: true, ..deeds(&[wrote]) }.untruth(told), None, "it ran in an earlier turn");
        assert_eq!(deeds(&[("edit", false, true)]).untruth("Changed a to b."), Some(Untruth::Changed));
        assert_eq!(deeds(&[("edit", false, true), wrote]).untruth("Changed a to b."), None);
        assert_eq!(deeds(&[("read", true, true)]).untruth("Wrote a.txt."), Some(Untruth::Changed));
        assert_eq!(deeds(&[("read", true, true), read]).untruth("Added dark mode in 2.0."), None);
    }
}
