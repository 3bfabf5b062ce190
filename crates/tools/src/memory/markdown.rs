//! Notes in Markdown: each item of a list is one, and each paragraph.

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// File and line, as in `memory/2026-11-25.md:3`.
    pub origin: String,
    /// What it says.
    pub text: String,
    /// The same with the heading that it stands under.
    pub whole: String,
}

/// The notes of a file that is called `name`.
pub(super) fn notes(name: &str, content: &str) -> Vec<Note> {
    let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".md");
    let mut reader = Reader { name, stem, heading: String::new(), open: None, notes: Vec::new() };
    let mut blank = true;
    for (at, line) in content.lines().enumerate() {
        reader.line(at + 1, line, blank);
        blank = line.trim().is_empty();
    }
    reader.close();
    reader.notes
}

struct Reader<'a> {
    name: &'a str,
    stem: &'a str,
    heading: String,
    /// The note that is being read: its first line and its text.
    open: Option<(usize, String)>,
    notes: Vec<Note>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str, after_blank: bool) {
        let text = line.trim();
        let indented = line.starts_with([' ', '\t']) && self.open.is_some();
        if text.is_empty() {
            return;
        }
        if let Some(heading) = heading(line) {
            self.close();
            // A file of a day has the day for its heading, which its name says already.
            self.heading = if heading == self.stem { String::new() } else { heading.to_owned() };
            return;
        }
        let goes_on = indented || (!after_blank && item(line).is_none());
        if let (true, Some((_, open))) = (goes_on, &mut self.open) {
            open.push('\n');
            open.push_str(text);
            return;
        }
        self.close();
        self.open = Some((number, item(line).unwrap_or(text).to_owned()));
    }

    fn close(&mut self) {
        let Some((line, text)) = self.open.take() else { return };
        if text.is_empty() || text.chars().all(|c| !c.is_alphanumeric()) {
            return;
        }
        let whole = match self.heading.as_str() {
            "" => text.clone(),
            heading => format!("{heading}: {text}"),
        };
        self.notes.push(Note { origin: format!("{}:{line}", self.name), text, whole });
    }
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    ((1..=6).contains(&level) && rest.starts_with(' ')).then(|| rest.trim().trim_end_matches('#').trim())
}

/// What stands behind a bullet or a number.
fn item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let bullet = ["- ", "* ", "+ "].iter().find_map(|bullet| line.strip_prefix(bullet));
    let numbered = || {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == line.len() {
            None
        } else {
            rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))
        }
    };
    bullet.or_else(numbered).map(str::trim)
}

/// The line of a list that a note becomes; what follows a line break is indented, so that it
/// stays inside.
pub(super) fn line(time: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("- {time} {}\n", lines.join("\n  "))
}

/// True where a note that stands there says the same as a new text.
pub(super) fn same(there: &str, text: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (there, text) = (plain(there), plain(text));
    let timed = there.split_once(' ').filter(|(time, _)| time.len() == 5 && time.as_bytes()[2] == b':');
    there == text || timed.is_some_and(|(_, rest)| rest == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_and_paragraphs_are_notes() {
        let content = "# Me\n\nI live in Graz.\nSince 2019.\n\n## Likes ##\n- tea\n- caf\u{e9}s,\n  small ones\n\n  \
                       and quiet\n* [ ] walks\n1. bread\n2) rye\n\n---\n\nThe end.\n";
        let found: Vec<(String, String)> =
            notes("MEMORY.md", content).into_iter().map(|note| (note.origin, note.whole)).collect();
        let want = [
            ("MEMORY.md:3", "Me: I live in Graz.\nSince 2019."),
            ("MEMORY.md:7", "Likes: tea"),
            ("MEMORY.md:8", "Likes: caf\u{e9}s,\nsmall ones\nand quiet"),
            ("MEMORY.md:12", "Likes: [ ] walks"),
            ("MEMORY.md:13", "Likes: bread"),
            ("MEMORY.md:14", "Likes: rye"),
            ("MEMORY.md:18", "Likes: The end."),
        ];
        let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn a_day_is_no_heading_of_its_notes() {
        let found = notes("memory/2026-11-25.md", "# 2026-11-25\n\n- 10:00 tea\n");
        assert_eq!(
            (found[0].whole.as_str(), found[0].origin.as_str()),
            ("10:00 tea", "memory/2026-11-25.md:3")
        );
        assert!(same(&found[0].text, "tea ") && !same(&found[0].text, "te"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever the text, it is read back as the one note that it was.
        #[test]
        fn what_is_written_is_one_note(text in "[a#\\-*1. \n\u{e9}]{1,60}") {
            prop_assume!(text.chars().any(char::is_alphanumeric));
            let content = format!("# 2026-11-25\n\n- 09:00 before\n{}- 11:00 after\n", line("10:00", text.trim()));
            let found = notes("2026-11-25.md", &content);
            prop_assert_eq!(found.len(), 3, "{:?}", found);
            prop_assert!(same(&found[1].text, &text), "{:?}", found);
        }
    }
}
