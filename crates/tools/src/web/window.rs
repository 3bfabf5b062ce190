//! The part of a page that fits, and how to get at the rest.
//!
//! A fragment of the URL says where to begin: `#char=N` and `#line=N` as RFC 5147 has them for
//! plain text, here for the text of any page; else the id of an element.

use chela_agent::tool::floor;
use url::Url;

/// Bytes of a result that are kept for what is said about the page.
const SAID: usize = 300;

/// A page as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The content of `<title>`.
    pub title: String,
    /// The text.
    pub text: String,
    /// Ids of elements, and where in the text each begins, in bytes.
    pub anchors: Vec<(String, usize)>,
    /// It was HTML.
    pub is_html: bool,
    /// Only the beginning of the page was read.
    pub cut: bool,
}

impl Page {
    /// What the model reads: as much as fits, from where the fragment points to.
    ///
    /// # Errors
    /// The fragment points past the end.
    pub fn show(&self, url: &Url, fragment: Option<&str>, limit: usize) -> Result<String, String> {
        let mut head = String::new();
        if self.is_html {
            let title = &self.title[..floor(&self.title, 200)];
            head = format!("{title}\n{}\n\n", super::show(url)).trim_start().to_owned();
        }
        if self.text.trim().is_empty() {
            let why = if self.is_html { "no text; the page may need JavaScript" } else { "empty" };
            return Ok(format!("{head}({why})"));
        }
        let room = limit.saturating_sub(head.len() + super::show(url).len() + SAID).max(SAID);
        let start = self.start(url, fragment, room)?;
        let end = self.end(start, room);
        let mut text = head + self.text[start..end].trim_end_matches('\n');
        if start > 0 || end < self.text.len() {
            let count = |to: usize| self.text[..to].chars().count();
            let (from, to) = (count(start), count(end));
            let mut more = url.clone();
            more.set_fragment(Some(&format!("char={to}")));
            let more = if end < self.text.len() { format!("; for more: {more}") } else { String::new() };
            text.push_str(&format!("\n[characters {from}-{to} of {}{more}]", count(self.text.len())));
        }
        if self.cut {
            text.push_str(&format!(
                "\n[only the first {} bytes of the page were read]",
                super::body::LARGEST
            ));
        }
        Ok(text)
    }

    /// Where to begin, in bytes.
    fn start(&self, url: &Url, fragment: Option<&str>, room: usize) -> Result<usize, String> {
        let Some(fragment) = fragment else { return Ok(0) };
        let number = |text: &str| text.split([',', ';']).next().and_then(|first| first.parse::<usize>().ok());
        let found = if let Some(at) = fragment.strip_prefix("char=").and_then(number) {
            self.text.char_indices().nth(at).map(|(byte, _)| byte)
        } else if let Some(line) = fragment.strip_prefix("line=").and_then(number) {
            let starts = self.text.match_indices('\n').map(|(byte, _)| byte + 1);
            std::iter::once(0).chain(starts).nth(line)
        } else {
            return Ok(if self.text.len() <= room { 0 } else { self.anchor(url, fragment) });
        };
        found.filter(|start| *start < self.text.len()).ok_or_else(|| {
            let (chars, lines) = (self.text.chars().count(), self.text.lines().count());
            format!("error: #{fragment} is past the end; the page has {chars} characters, {lines} lines")
        })
    }

    fn anchor(&self, url: &Url, fragment: &str) -> usize {
        let mut url = url.clone();
        let found = self.anchors.iter().find(|(id, _)| {
            url.set_fragment(Some(id));
            url.fragment() == Some(fragment)
        });
        found.map_or(0, |(_, at)| floor(&self.text, *at))
    }

    /// Where to end: at a line's end, else at a word's, as far as the last quarter has one.
    fn end(&self, start: usize, room: usize) -> usize {
        if self.text.len() - start <= room {
            return self.text.len();
        }
        let end = floor(&self.text, start + room).max(start + 1);
        let end = super::ceil(&self.text, end);
        let part = &self.text[start..end];
        let late = |at: &usize| *at > room * 3 / 4;
        let at = part.rfind('\n').filter(late).or_else(|| part.rfind(' ').filter(late));
        at.map_or(end, |at| start + at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(text: &str) -> Page {
        Page { text: text.to_owned(), ..Page::default() }
    }

    fn url() -> Url {
        Url::parse("https://example.org/a").unwrap()
    }

    #[test]
    fn a_part_says_how_to_go_on() {
        let text: String = (0..200).map(|n| format!("line {n}\n")).collect();
        let first = page(&text).show(&url(), None, 900).unwrap();
        assert!(first.starts_with("line 0\n") && first.len() <= 900, "{first}");
        let (_, more) = first.split_once("for more: https://example.org/a#").unwrap();
        let second = page(&text).show(&url(), Some(more.trim_end_matches(']')), 900).unwrap();
        let last = first.lines().rev().nth(1).unwrap();
        let next = last[5..].parse::<u32>().unwrap() + 1;
        assert!(second.starts_with(&format!("line {next}\n")), "{second}");
        assert!(
            page(&text).show(&url(), Some("line=199"), 900).unwrap().starts_with("line 199\n[characters")
        );
        let past = page(&text).show(&url(), Some("char=99999"), 900).unwrap_err();
        assert!(past.contains("the page has 1690 characters, 200 lines"), "{past}");
    }

    #[test]
    fn an_anchor_counts_where_the_page_is_too_long() {
        let text = format!("{}\nhere it is", "x ".repeat(1_000));
        let anchors = vec![("Ende é".to_owned(), 2_001)];
        let long = Page { anchors, ..page(&text) };
        let mut at = url();
        at.set_fragment(Some("Ende é"));
        assert!(long.show(&url(), at.fragment(), 900).unwrap().starts_with("here it is"));
        assert!(long.show(&url(), at.fragment(), 9_000).unwrap().starts_with("x x"));
        assert!(long.show(&url(), Some("none"), 900).unwrap().starts_with("x x"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn all_parts_together_are_the_page(text in "[a\u{e9}\u{1f980} \n]{0,3000}", limit in 0_usize..1500) {
            let page = page(&text);
            let (mut at, mut whole) = (0, String::new());
            while at < text.len() {
                let end = page.end(at, limit.max(SAID));
                prop_assert!(end > at && end - at <= limit.max(SAID) + 4);
                whole.push_str(&text[at..end]);
                at = end;
            }
            prop_assert_eq!(whole, text);
        }
    }
}
