//! Lists of merges, as texts, into the table of merges, as ids.

use std::ops::Range;

use super::{TokenizerError, bpe::Merges, vocab::Vocab};

/// Turns pairs of texts into merges of ids: for each pair [`Self::left`], [`Self::right`],
/// [`Self::end`]; then [`Self::finish`].
///
/// Pairs are looked up some at a time, in a loop of nothing else, so that the processor waits for
/// several of these random reads at once.
pub(super) struct MergeReader<'v> {
    vocab: &'v Vocab,
    merges: Merges,
    rank: u32,
    /// The bytes of the pairs that wait.
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    ids: Vec<[Option<u32>; 3]>,
    next: Waiting,
}

/// A pair that waits: where its bytes start, where the second text does, where they end.
#[derive(Clone, Copy, Default)]
struct Waiting {
    start: usize,
    middle: usize,
    end: usize,
    spelled: bool,
}

impl<'v> MergeReader<'v> {
    const AT_ONCE: usize = 64;

    pub(super) fn new(vocab: &'v Vocab) -> Self {
        Self {
            vocab,
            merges: Merges::with_capacity(vocab.len()),
            rank: 0,
            bytes: Vec::new(),
            waiting: Vec::with_capacity(Self::AT_ONCE),
            ids: Vec::with_capacity(Self::AT_ONCE),
            next: Waiting::default(),
        }
    }

    /// Begin the next merge of the list.
    pub(super) fn left(&mut self, text: &str) {
        self.next.start = self.bytes.len();
        self.next.spelled = self.vocab.spell(text, &mut self.bytes);
        self.next.middle = self.bytes.len();
    }

    pub(super) fn right(&mut self, text: &str) {
        self.next.spelled &= self.vocab.spell(text, &mut self.bytes);
        self.next.end = self.bytes.len();
    }

    /// Add the merge.
    pub(super) fn end(&mut self) -> Result<(), TokenizerError> {
        self.waiting.push(self.next);
        if self.waiting.len() == Self::AT_ONCE { self.look_up() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<Merges, TokenizerError> {
        self.look_up()?;
        Ok(self.merges)
    }

    fn look_up(&mut self) -> Result<(), TokenizerError> {
        let Self { vocab, bytes, waiting, ids, .. } = self;
        ids.clear();
        ids.extend(waiting.iter().map(|pair| {
            let find = |range: Range<usize>| vocab.find(&bytes[range]);
            [find(pair.start..pair.middle), find(pair.middle..pair.end), find(pair.start..pair.end)]
        }));
        for (pair, ids) in waiting.iter().zip(ids) {
            let [Some(left), Some(right), Some(merged)] = *ids else {
                return Err(missing(self.rank, &bytes[pair.start..pair.end]));
            };
            if !pair.spelled {
                return Err(missing(self.rank, &bytes[pair.start..pair.end]));
            }
            self.merges.insert(left, right, self.rank, merged);
            self.rank += 1;
        }
        waiting.clear();
        bytes.clear();
        Ok(())
    }
}

fn missing(rank: u32, bytes: &[u8]) -> TokenizerError {
    let what = format!("merge {rank}, of {:?}", String::from_utf8_lossy(bytes));
    let expected = "both tokens and what they become in the vocabulary";
    TokenizerError::Invalid { what, expected: expected.to_owned(), found: "one of them missing".to_owned() }
}
