//! Answers that tell of deeds. A small model that was told an error may still answer in the words for
//! success; where every change of a turn failed, such an answer is not taken.

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

/// Whether an answer begins by telling a deed and nowhere says that something stood in the way.
pub(crate) fn tells(answer: &str) -> bool {
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
}
