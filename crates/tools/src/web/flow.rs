//! Text as it grows: white space is collapsed, blocks stand apart, lists and quotes are indented.

use url::Url;

/// A longer address is left out of the text.
const LONGEST_LINK: usize = 200;

/// The text so far, and what is open.
pub(super) struct Flow<'a> {
    base: &'a Url,
    out: String,
    /// A space is due before the next word.
    space: bool,
    /// Line ends that are due before the next word: 1 ends the line, 2 leaves one blank.
    breaks: usize,
    /// The next number of each open list; none for bullets.
    lists: Vec<Option<i64>>,
    quotes: usize,
    pre: usize,
    /// A mark that stands before the next word: a bullet, a heading's signs.
    mark: String,
    /// The open link: where its text begins, and where it leads.
    link: Option<(usize, String)>,
    /// The line has a cell already.
    in_row: bool,
    waiting: Vec<String>,
    anchors: Vec<(String, usize)>,
}

impl<'a> Flow<'a> {
    pub fn new(base: &'a Url) -> Self {
        Self {
            base,
            out: String::new(),
            space: false,
            breaks: 0,
            lists: Vec::new(),
            quotes: 0,
            pre: 0,
            mark: String::new(),
            link: None,
            in_row: false,
            waiting: Vec::new(),
            anchors: Vec::new(),
        }
    }

    /// The text and its anchors.
    pub fn finish(mut self) -> (String, Vec<(String, usize)>) {
        self.unlink();
        let end = self.out.trim_end().len();
        self.out.truncate(end);
        let waiting = std::mem::take(&mut self.waiting);
        self.anchors.extend(waiting.into_iter().map(|id| (id, end)));
        // White space that went from the end may have had an anchor in it.
        for (_, at) in &mut self.anchors {
            *at = end.min(*at);
        }
        (self.out, self.anchors)
    }

    pub fn text(&mut self, text: &str) {
        if self.pre > 0 {
            // The line end after the tag is not part of the text.
            let begins = self.out.ends_with("```\n");
            self.raw(text.strip_prefix('\n').filter(|_| begins).unwrap_or(text));
            return;
        }
        for (at, word) in text.split(char::is_whitespace).enumerate() {
            self.space |= at > 0;
            if !word.is_empty() {
                self.word(word);
            }
        }
    }

    /// Text whose white space counts.
    fn raw(&mut self, text: &str) {
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                self.out.push('\n');
                self.indent();
            }
            if !line.is_empty() {
                self.word(line.trim_end_matches('\r'));
            }
        }
    }

    fn word(&mut self, word: &str) {
        self.settle();
        self.out.push_str(word);
    }

    /// Writes what is due before a word.
    fn settle(&mut self) {
        let fresh = self.out.is_empty() || self.breaks > 0;
        if self.breaks > 0 && !self.out.is_empty() {
            let kept = self.out.trim_end_matches(' ').len();
            self.out.truncate(kept);
            for _ in 0..self.breaks {
                self.out.push('\n');
            }
        }
        if fresh {
            self.indent();
        } else if self.space && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        (self.breaks, self.space) = (0, false);
        let at = self.out.len();
        self.anchors.extend(self.waiting.drain(..).map(|id| (id, at)));
        self.out.push_str(&std::mem::take(&mut self.mark));
        if let Some((at @ usize::MAX, _)) = &mut self.link {
            *at = self.out.len();
        }
    }

    fn indent(&mut self) {
        self.out.push_str(&"> ".repeat(self.quotes));
        let bullet =
            usize::from(self.mark.starts_with("- ") || self.mark.starts_with(|c: char| c.is_ascii_digit()));
        self.out.push_str(&"  ".repeat(self.lists.len().saturating_sub(bullet)));
    }

    fn gap(&mut self, lines: usize) {
        self.unlink();
        self.space = false;
        // A mark and its first word stay together.
        if self.mark.is_empty() {
            self.breaks = self.breaks.max(lines);
        }
    }

    pub fn anchor(&mut self, id: String) {
        self.waiting.push(id);
    }

    /// A link begins.
    pub fn link(&mut self, href: Option<String>) {
        self.unlink();
        let Some(href) = href else { return };
        let Ok(mut url) = self.base.join(&href) else { return };
        let here = url.fragment().is_some() && {
            let (mut a, mut b) = (url.clone(), self.base.clone());
            a.set_fragment(None);
            b.set_fragment(None);
            a == b
        };
        if self.pre > 0 || !matches!(url.scheme(), "http" | "https") || url.as_str().len() > LONGEST_LINK {
            return;
        }
        let _ = url.set_username("");
        let _ = url.set_password(None);
        // Its text begins with its first word, after all that is due before it.
        let url = if here { String::new() } else { url.into() };
        self.link = Some((usize::MAX, url));
    }

    /// The open link ends: `[text](address)` where its text is one line.
    fn unlink(&mut self) {
        let Some((at, url)) = self.link.take() else { return };
        let text = self.out.get(at..).unwrap_or_default();
        let text = text.trim();
        // A sign that leads to the heading it stands in is for the eye.
        if url.is_empty() && !text.contains(char::is_alphanumeric) && self.out.len() > at {
            self.out.truncate(at);
            return;
        }
        if url.is_empty() || text.is_empty() || text.contains('\n') {
            return;
        }
        let linked = if text == url { url } else { format!("[{text}]({url})") };
        self.out.truncate(at);
        self.out.push_str(&linked);
    }

    pub fn image(&mut self, alt: Option<String>) {
        let alt = alt.unwrap_or_default();
        let alt = alt.split_whitespace().collect::<Vec<_>>().join(" ");
        if !alt.is_empty() && self.pre == 0 {
            self.text(&format!(" [image: {alt}] "));
        }
    }

    /// A list begins; numbered from `first`, or with bullets.
    pub fn list(&mut self, first: Option<i64>) {
        self.gap(if self.lists.is_empty() { 2 } else { 1 });
        self.lists.push(first);
    }

    /// An element begins.
    pub fn open(&mut self, name: &str) {
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.gap(2);
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.mark = format!("{} ", "#".repeat(level));
            }
            "ul" | "menu" => self.list(None),
            "li" => {
                self.mark.clear();
                self.gap(1);
                self.mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                };
            }
            "blockquote" => {
                self.gap(2);
                self.quotes += 1;
            }
            "pre" => {
                self.gap(2);
                if self.pre == 0 {
                    self.word("```");
                    self.out.push('\n');
                    self.indent();
                }
                self.pre += 1;
            }
            "code" | "kbd" | "samp" if self.pre == 0 => self.tick(true),
            "br" if self.pre > 0 => self.raw("\n"),
            "br" => self.breaks = self.breaks.max(1),
            "hr" => {
                self.gap(2);
                self.word("---");
                self.gap(2);
            }
            "tr" => {
                self.gap(1);
                self.in_row = false;
            }
            "td" | "th" => {
                if std::mem::replace(&mut self.in_row, true) {
                    self.text(" | ");
                }
            }
            _ => self.gap_of(name),
        }
    }

    /// An element ends.
    pub fn close(&mut self, name: &str) {
        match name {
            "a" => self.unlink(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.mark.clear();
                self.gap(2);
            }
            "ul" | "ol" | "menu" => {
                self.mark.clear();
                self.lists.pop();
                self.gap(if self.lists.is_empty() { 2 } else { 1 });
            }
            "li" => {
                self.mark.clear();
                self.gap(1);
            }
            "blockquote" => {
                self.gap(2);
                self.quotes = self.quotes.saturating_sub(1);
            }
            "pre" if self.pre > 0 => {
                self.pre -= 1;
                if self.pre == 0 {
                    if !self.out.ends_with('\n') {
                        self.out.push('\n');
                        self.indent();
                    }
                    self.out.push_str("```");
                    self.gap(2);
                }
            }
            "code" | "kbd" | "samp" if self.pre == 0 => self.tick(false),
            "tr" => self.gap(1),
            _ => self.gap_of(name),
        }
    }

    fn tick(&mut self, opens: bool) {
        if opens {
            self.word("`");
        } else {
            self.out.push('`');
        }
    }

    fn gap_of(&mut self, name: &str) {
        match name {
            "p" | "table" | "figure" | "dl" | "form" | "fieldset" | "details" | "article" | "section"
            | "main" => {
                self.gap(2);
            }
            "div" | "dt" | "dd" | "header" | "footer" | "nav" | "aside" | "address" | "summary"
            | "figcaption" | "caption" | "legend" | "body" | "thead" | "tbody" | "center" | "option"
            | "hgroup" | "search" => {
                self.gap(1);
            }
            _ => {}
        }
    }
}
