//! Full-text search over notes. The notes are elsewhere; the index lives in memory and is made
//! anew when they change.

use std::path::PathBuf;

use rusqlite::{Connection, params};

use crate::StoreError;

/// Words that say nothing about what a note is about.
const COMMON: &[&str] = &[
    "am", "an", "as", "at", "be", "by", "do", "he", "hi", "if", "in", "is", "it", "me", "my", "no", "of",
    "ok", "on", "or", "so", "to", "up", "us", "we", "about", "all", "also", "and", "any", "are", "but",
    "can", "could", "did", "does", "for", "from", "get", "had", "has", "have", "her", "him", "his", "how",
    "into", "its", "just", "know", "let", "like", "made", "make", "may", "more", "much", "need", "not",
    "now", "off", "one", "our", "out", "over", "please", "should", "some", "tell", "than", "that", "the",
    "their", "them", "then", "there", "these", "they", "this", "use", "used", "user", "want", "was", "were",
    "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
];

/// An index of notes, each known by its place in the list that it was made of.
#[derive(Debug)]
pub struct NoteIndex {
    connection: Connection,
    notes: usize,
}

/// A note in which some of the words occur.
#[derive(Debug, Clone, PartialEq)]
pub struct NoteHit {
    /// Its place in the list, from 0.
    pub note: usize,
    /// How many of the words occur.
    pub words: usize,
    /// The share of all words that occur, from 0 to 1; a rare word counts more than a common one.
    pub share: f64,
}

impl NoteIndex {
    /// The index of these texts.
    ///
    /// # Errors
    /// SQLite failed.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, StoreError> {
        let connection = Connection::open_in_memory().map_err(failed)?;
        // Porter's stemmer helps with English and leaves other languages as they are.
        let table = "CREATE VIRTUAL TABLE note USING fts5 (text, detail = column, \
                     tokenize = 'porter unicode61 remove_diacritics 2');\nBEGIN";
        connection.execute_batch(table).map_err(failed)?;
        let mut notes = 0;
        {
            let insert = "INSERT INTO note (rowid, text) VALUES (?1, ?2)";
            let mut insert = connection.prepare(insert).map_err(failed)?;
            for text in texts {
                insert.execute(params![notes as i64, spaced(text)]).map_err(failed)?;
                notes += 1;
            }
        }
        connection.execute_batch("COMMIT").map_err(failed)?;
        Ok(Self { connection, notes })
    }

    /// The notes in which any of the words occur, the best first; of two equally good ones the
    /// later one. A word of four letters or more may go on.
    ///
    /// # Errors
    /// SQLite failed.
    pub fn search(&self, words: &[String]) -> Result<Vec<NoteHit>, StoreError> {
        let mut found = vec![(0_usize, 0_f64); self.notes];
        let mut all = 0_f64;
        let mut statement =
            self.connection.prepare("SELECT rowid FROM note WHERE note MATCH ?1").map_err(failed)?;
        for word in words {
            let open = if word.chars().count() >= 4 { "*" } else { "" };
            let query = format!("\"{}\"{open}", word.replace('"', ""));
            let rows = statement.query_map([query], |row| row.get::<_, i64>(0)).map_err(failed)?;
            let rows: Vec<i64> = rows.collect::<Result<_, _>>().map_err(failed)?;
            // The weight of BM25 in the form that stays above zero.
            // A word that no note has counts like one that a single note has.
            let (total, with) = (self.notes as f64, rows.len().max(1) as f64);
            let weight = (1.0 + (total - with + 0.5) / (with + 0.5)).ln();
            all += weight;
            for row in rows {
                if let Some((words, score)) = usize::try_from(row).ok().and_then(|at| found.get_mut(at)) {
                    *words += 1;
                    *score += weight;
                }
            }
        }
        let hit = |(note, (words, score)): (usize, (usize, f64))| NoteHit { note, words, share: score / all };
        let mut hits: Vec<NoteHit> =
            found.into_iter().enumerate().map(hit).filter(|hit| hit.words > 0).collect();
        hits.sort_by(|a, b| b.share.total_cmp(&a.share).then(b.note.cmp(&a.note)));
        Ok(hits)
    }
}

/// The words of a text that a search can go by, each once, in small letters: no single letters,
/// and no common words where there are others.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let spaced = spaced(text).to_lowercase();
    for word in spaced.split(|c: char| !c.is_alphanumeric()) {
        let long = word.chars().count() > 1 || word.starts_with(stands_alone);
        if long && !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    let telling: Vec<String> =
        words.iter().filter(|word| !COMMON.contains(&word.as_str())).cloned().collect();
    if telling.is_empty() { words } else { telling }
}

/// Scripts that write no spaces: each of their characters becomes a word.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for c in text.chars() {
        match stands_alone(c) {
            true => spaced.extend([' ', c, ' ']),
            false => spaced.push(c),
        }
    }
    spaced
}

fn stands_alone(c: char) -> bool {
    // Thai, Lao; kana; ideographs with their extensions.
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

fn failed(cause: rusqlite::Error) -> StoreError {
    StoreError::Sqlite { path: PathBuf::from(":memory:"), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(notes: &[&str], query: &str) -> Vec<usize> {
        let index = NoteIndex::new(notes.iter().copied()).unwrap();
        index.search(&words(query)).unwrap().into_iter().map(|hit| hit.note).collect()
    }

    #[test]
    fn words_are_found_in_other_forms_and_languages() {
        let notes = [
            "The dog is called Rex.",
            "Anna's birthday: 3 May. She likes caf\u{e9}s.",
            "Der Hund hei\u{df}t Bello.",
            "\u{732b}\u{306e}\u{540d}\u{524d}\u{306f}\u{30bf}\u{30de}",
        ];
        let table: &[(&str, &[usize])] = &[
            ("What's my dog called?", &[0]),
            ("dogs", &[0]),
            ("ANNA", &[1]),
            ("cafe", &[1]),
            ("birthdays of Anna", &[1]),
            ("Hunde", &[2]),
            ("Hund", &[2]),
            ("\u{732b}", &[3]),
            ("\" OR 1=1 NEAR(", &[]),
            ("*", &[]),
            ("", &[]),
            ("the", &[0]),
        ];
        for (query, want) in table {
            assert_eq!(found(&notes, query), *want, "{query}");
        }
    }

    #[test]
    fn more_and_rarer_words_come_first_and_of_equals_the_newest() {
        let notes = ["tea with milk", "tea", "coffee with milk", "tea with lemon and milk"];
        assert_eq!(found(&notes, "lemon tea"), [3, 1, 0]);
        assert_eq!(found(&notes, "tea milk"), [3, 0, 2, 1]);
        let index = NoteIndex::new(notes).unwrap();
        let hits = index.search(&words("tea milk")).unwrap();
        assert_eq!((hits[0].words, hits[0].share), (2, 1.0));
        assert!(hits[3].share < 0.6, "{hits:?}");
    }

    #[test]
    fn what_a_search_goes_by() {
        assert_eq!(words("What is my dog's name?"), ["dog", "name"]);
        assert_eq!(words("what was that"), ["what", "was", "that"]);
        assert_eq!(words("tea TEA a"), ["tea"]);
    }
}
