//! Text that repeats itself without end, as it comes from a model that has lost its way. Such an answer
//! runs to the token limit, and a call in it never ends.

/// What is looked at. Long enough that a ruler, a table of zeros or a list of alike entries passes.
const SPAN: usize = 3_000;
/// The longest unit that is found.
const UNIT: usize = 200;
/// How often it is looked.
const EVERY: usize = 256;

/// Watches one stream of text.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    tail: Vec<u8>,
    fresh: usize,
}

impl Repeats {
    /// Takes more text; the unit, once the last [`SPAN`] bytes are nothing but repetitions of one.
    pub fn push(&mut self, text: &str) -> Option<String> {
        self.tail.extend(text.as_bytes());
        self.fresh += text.len();
        if self.fresh < EVERY || self.tail.len() < SPAN {
            return None;
        }
        self.fresh = 0;
        self.tail.drain(..self.tail.len() - SPAN);
        let period = (1..=UNIT).find(|period| {
            let (from, shifted) = (&self.tail[*period..], &self.tail[..SPAN - *period]);
            from == shifted
        })?;
        Some(String::from_utf8_lossy(&self.tail[SPAN - period..]).into_owned())
    }
}

/// The text without most of its repetitions.
pub(crate) fn shortened(text: &str) -> String {
    let keep = text.len().saturating_sub(SPAN - UNIT);
    format!("{} […]", &text[..text.floor_char_boundary(keep)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(pieces: impl IntoIterator<Item = String>) -> Option<String> {
        let mut repeats = Repeats::default();
        pieces.into_iter().find_map(|piece| repeats.push(&piece))
    }

    #[test]
    fn what_repeats_is_found_and_what_only_looks_alike_is_not() {
        let found = unit((0..2_000).map(|_| "orange/".to_owned())).unwrap();
        assert_eq!((found.len(), "orange/orange/".contains(&found)), (7, true));
        // The pieces do not have to be the units, and something else may stand before.
        let after = std::iter::once("The list: ".repeat(400)).chain((0..900).map(|_| "ab, a".to_owned()));
        assert!(unit(after).is_some());
        let letters = std::iter::once("é".repeat(4_000));
        assert_eq!(unit(letters).as_deref(), Some("é"));
        let counting = (0..5_000).map(|at| format!("line {at}\n"));
        assert_eq!(unit(counting), None);
        let ruler = std::iter::once("-".repeat(2_000)).chain((0..900).map(|at| format!("{at} ")));
        assert_eq!(unit(ruler), None);
        let long = "0123456789".repeat(30) + "x";
        assert_eq!(unit((0..40).map(|_| long.clone())), None, "a unit of 301 bytes");
    }

    #[test]
    fn little_of_the_repetitions_is_kept() {
        let text = format!("So: {}", "na ".repeat(1_200));
        let kept = shortened(&text);
        assert!(kept.starts_with("So: na na na ") && kept.ends_with(" […]"), "{kept}");
        assert!(kept.len() < 900, "{}", kept.len());
        assert_eq!(shortened(&"é".repeat(1_600)).chars().filter(|c| *c == 'é').count(), 200);
    }
}
