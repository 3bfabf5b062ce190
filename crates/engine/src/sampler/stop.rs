//! Stop strings in text that arrives in pieces.

/// Watches a growing text for stop strings and holds back only what might become one.
#[derive(Clone, Debug, Default)]
pub struct StopText {
    stops: Vec<String>,
    include: bool,
    held: String,
}

impl StopText {
    /// A watcher for `stops`, in order of precedence; `include` keeps the match in the text.
    #[must_use]
    pub fn new(stops: Vec<String>, include: bool) -> Self {
        Self { stops, include, held: String::new() }
    }

    /// Takes the next piece. Answers the text that is certain and, when a stop string is complete, its
    /// index; the text then ends before it, or after it with `include`. While `armed` is false (below
    /// the minimum length) nothing matches.
    pub fn push(&mut self, piece: &str, armed: bool) -> (String, Option<usize>) {
        if self.stops.is_empty() {
            return (piece.to_owned(), None);
        }
        self.held.push_str(piece);
        if armed {
            for (i, stop) in self.stops.iter().enumerate() {
                if let Some(at) = self.held.find(stop.as_str()) {
                    let mut text = std::mem::take(&mut self.held);
                    text.truncate(if self.include { at + stop.len() } else { at });
                    return (text, Some(i));
                }
            }
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// Takes a piece in which no stop string counts, nor one that began before it.
    pub fn pass(&mut self, piece: &str) -> String {
        std::mem::take(&mut self.held) + piece
    }

    /// What is still held back, once nothing more can come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that is a proper beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    (1..stop.len())
        .rev()
        .filter(|n| stop.is_char_boundary(*n))
        .find(|n| text.ends_with(&stop[..*n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_may_become_a_stop_is_held_back() {
        let mut stop = StopText::new(vec!["</s>".into(), "\n\n".into()], false);
        assert_eq!(stop.push("a <", true), ("a ".into(), None));
        assert_eq!(stop.push("b>\n", true), ("<b>".into(), None));
        assert_eq!(stop.push("c</", true), ("\nc".into(), None));
        assert_eq!(stop.push("s> d", true), (String::new(), Some(0)));
    }

    #[test]
    fn below_the_minimum_length_nothing_matches() {
        let mut stop = StopText::new(vec!["ab".into()], false);
        assert_eq!(stop.push("xab", false), ("xab".into(), None));
        assert_eq!(stop.push("ab", true), (String::new(), Some(0)));
    }

    #[test]
    fn what_passes_matches_nothing() {
        let mut stop = StopText::new(vec!["ab".into()], false);
        assert_eq!(stop.push("xa", true), ("x".into(), None));
        assert_eq!(stop.pass("b a"), "ab a");
        assert_eq!(stop.push("b ab", true), ("b ".into(), Some(0)));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_text(text in "[abé]{0,24}", cuts in prop::collection::vec(0usize..24, 0..6), include: bool) {
            let stops = vec!["aé".to_owned(), "bba".to_owned()];
            let found = stops.iter().filter_map(|s| text.find(s.as_str()).map(|at| (at + s.len(), at, s))).min();
            let expected = match found {
                Some((end, at, _)) => &text[..if include { end } else { at }],
                None => &text[..],
            };
            let mut cuts: Vec<_> = cuts.into_iter().filter(|c| *c <= text.len() && text.is_char_boundary(*c)).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut stop = StopText::new(stops.clone(), include);
            let (mut got, mut from, mut stopped) = (String::new(), 0, false);
            // One character at a time between the cuts, since a piece may complete two stops at once.
            for cut in cuts {
                for c in text[from..cut].chars() {
                    let (piece, hit) = stop.push(c.encode_utf8(&mut [0; 4]), true);
                    got.push_str(&piece);
                    stopped = hit.is_some();
                    if stopped { break; }
                }
                from = cut;
                if stopped { break; }
            }
            got.push_str(&stop.finish());
            prop_assert_eq!(got, expected);
        }
    }
}
