//! Lists of merges, as texts, into the table of merges, as ids.

use std::{mem, ops::Range, sync::mpsc, thread};

use super::{TokenizerError, bpe::Merges, vocab::Vocab};

/// Takes pairs of texts, in UTF-8: for each pair [`Self::left`], [`Self::right`], [`Self::end`].
/// [`read`] makes one.
pub(super) struct MergeReader<'v> {
    vocab: &'v Vocab,
    batch: Batch,
    next: Pair,
    full: mpsc::SyncSender<Batch>,
}

/// Pairs that wait to be looked up, and their bytes.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    pairs: Vec<Pair>,
}

/// Where the bytes of a pair start, where those of its second text do, where they end.
#[derive(Clone, Copy, Default)]
struct Pair {
    start: usize,
    middle: usize,
    end: usize,
    spelled: bool,
}

/// Turns the pairs that `give` hands to its reader into merges of ids. Reading the texts and looking
/// them up take about as long, so that two threads share the work.
///
/// # Errors
/// Those of `give`, and a pair that is not in the vocabulary, which is told first.
pub(super) fn read<E>(
    vocab: &Vocab,
    give: impl FnOnce(&mut MergeReader<'_>) -> Result<(), E>,
) -> Result<Result<Merges, TokenizerError>, E> {
    let (full, batches) = mpsc::sync_channel(4);
    thread::scope(|scope| {
        let merges = scope.spawn(move || {
            let mut merges = Lookup::new(vocab);
            batches.into_iter().try_for_each(|batch: Batch| merges.add(&batch))?;
            Ok(merges.merges)
        });
        let mut reader = MergeReader { vocab, batch: Batch::default(), next: Pair::default(), full };
        let given = give(&mut reader);
        reader.send();
        drop(reader);
        let merges = merges.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match merges {
            Err(error) => Ok(Err(error)),
            Ok(merges) => given.map(|()| Ok(merges)),
        }
    })
}

impl MergeReader<'_> {
    /// Pairs that are looked up one after the other, so that a thread seldom waits for the other.
    const AT_ONCE: usize = 2048;

    /// Begin the next merge of the list.
    pub(super) fn left(&mut self, text: &[u8]) {
        self.next.start = self.batch.bytes.len();
        self.next.spelled = self.vocab.spell(text, &mut self.batch.bytes);
        self.next.middle = self.batch.bytes.len();
    }

    pub(super) fn right(&mut self, text: &[u8]) {
        self.next.spelled &= self.vocab.spell(text, &mut self.batch.bytes);
        self.next.end = self.batch.bytes.len();
    }

    /// Add the merge. `false` where an earlier one was refused, and no more are wanted.
    pub(super) fn end(&mut self) -> bool {
        self.batch.pairs.push(self.next);
        self.batch.pairs.len() < Self::AT_ONCE || self.send()
    }

    fn send(&mut self) -> bool {
        self.full.send(mem::take(&mut self.batch)).is_ok()
    }
}

/// Gives pairs their ids.
struct Lookup<'v> {
    vocab: &'v Vocab,
    merges: Merges,
    rank: u32,
    /// The id that the next merge is likely to make.
    guess: u32,
}

impl<'v> Lookup<'v> {
    fn new(vocab: &'v Vocab) -> Self {
        Self { vocab, merges: Merges::with_capacity(vocab.len()), rank: 0, guess: 256 }
    }

    fn add(&mut self, batch: &Batch) -> Result<(), TokenizerError> {
        let Self { vocab, guess, .. } = self;
        let find = |range: Range<usize>| vocab.find(&batch.bytes[range]);
        // In a loop of nothing else, so that the processor waits for several random reads at once.
        let find_all = |pair: &Pair| {
            // In most vocabularies the merges stand in the order of what they make.
            let merged = vocab.find_near(&batch.bytes[pair.start..pair.end], *guess);
            *guess = merged.map_or(u32::MAX, |id| id.saturating_add(1));
            [find(pair.start..pair.middle), find(pair.middle..pair.end), merged]
        };
        let ids: Vec<_> = batch.pairs.iter().map(find_all).collect();
        for (pair, ids) in batch.pairs.iter().zip(ids) {
            let [Some(left), Some(right), Some(merged)] = ids else {
                return Err(missing(self.rank, &batch.bytes[pair.start..pair.end]));
            };
            if !pair.spelled {
                return Err(missing(self.rank, &batch.bytes[pair.start..pair.end]));
            }
            self.merges.insert(left, right, self.rank, merged);
            self.rank += 1;
        }
        Ok(())
    }
}

fn missing(rank: u32, bytes: &[u8]) -> TokenizerError {
    let what = format!("merge {rank}, of {:?}", String::from_utf8_lossy(bytes));
    let expected = "both tokens and what they become in the vocabulary";
    TokenizerError::Invalid { what, expected: expected.to_owned(), found: "one of them missing".to_owned() }
}
