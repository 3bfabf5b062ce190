//! Byte-pair encoding of one piece of text: repeatedly merge the best pair of neighbours.

use std::{cmp::Reverse, collections::BinaryHeap, hash::BuildHasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    TokenizerError,
    vocab::{Vocab, byte_token},
};

/// No token, no neighbour.
const NONE: u32 = u32::MAX;

/// The merges of a vocabulary: for a pair of tokens its rank and the token that it becomes.
pub(super) struct Merges {
    table: HashTable<Merge>,
    hasher: DefaultHashBuilder,
}

struct Merge {
    left: u32,
    right: u32,
    rank: u32,
    id: u32,
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Merges {
    /// No merges, with room for so many.
    pub(super) fn with_capacity(merges: usize) -> Self {
        Self { table: HashTable::with_capacity(merges), hasher: DefaultHashBuilder::default() }
    }

    /// Let a pair become `id`. A pair that is there already takes the new rank, as a map would.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32, id: u32) {
        let merge = Merge { left, right, rank, id };
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key(left, right));
        let same = |m: &Merge| m.left == left && m.right == right;
        match self.table.find_mut(hash, same) {
            Some(known) => *known = merge,
            None => {
                let hash_of = |m: &Merge| hasher.hash_one(key(m.left, m.right));
                self.table.insert_unique(hash, merge, hash_of);
            }
        }
    }

    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let hash = self.hasher.hash_one(key(left, right));
        let same = |m: &Merge| m.left == left && m.right == right;
        let merge = self.table.find(hash, same)?;
        Some((merge.rank, merge.id))
    }
}

/// What decides which neighbours merge.
pub(super) enum Rule {
    /// A list of merges; the earliest in the list first.
    Merges(Merges),
    /// SentencePiece: any two whose text together is a token; the one with the highest score
    /// first. Scores by id, as ranks (see [`score_rank`]).
    Scores(Vec<u32>),
}

/// A rank that orders scores from the highest to the lowest.
pub(super) fn score_rank(score: f32) -> u32 {
    // Adding zero makes a negative zero a positive one. Positive floats order like their bits,
    // negative ones the other way round.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits ^ 0x7fff_ffff } else { bits }
}

/// How a piece of text becomes tokens.
pub(super) struct Bpe {
    pub(super) vocab: Vocab,
    rule: Rule,
    /// The tokens of single bytes, `NONE` where there is none.
    byte_ids: Box<[u32; 256]>,
    unknown: Option<u32>,
    options: Options,
}

/// Variations of the algorithm, named as in tokenizer.json.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// Neighbouring unknown characters become one unknown token.
    pub(super) fuse_unk: bool,
    /// Unknown characters become tokens like `<0x0A>`.
    pub(super) byte_fallback: bool,
    /// A piece that is a token as a whole becomes that token, whatever the merges say.
    pub(super) ignore_merges: bool,
}

/// Working memory for [`Bpe::encode`], kept from piece to piece.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// A part of the piece; merged symbols grow to the right, and the ones they take have length 0.
struct Symbol {
    id: u32,
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// A pair that could merge. The order of fields is the order of merging: by rank, then from the
/// left. The length tells whether the pair is still there, since symbols only ever grow.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    len: u32,
    id: u32,
}

impl Bpe {
    pub(super) fn new(vocab: Vocab, rule: Rule, unknown: Option<u32>, options: Options) -> Self {
        let mut byte_ids = Box::new([NONE; 256]);
        for byte in 0..=255u8 {
            let found = if vocab.is_byte_level() { vocab.find(&[byte]) } else { None };
            byte_ids[usize::from(byte)] = found.unwrap_or(NONE);
        }
        if options.byte_fallback {
            for id in 0..vocab.len() as u32 {
                if let Some(byte) = vocab.bytes(id).and_then(byte_token) {
                    byte_ids[usize::from(byte)] = id;
                }
            }
        }
        Self { vocab, rule, byte_ids, unknown, options }
    }

    /// Append the tokens of a piece of text. The time is that of a sort of its characters.
    ///
    /// # Errors
    /// [`TokenizerError::Unencodable`] for a character without token, if there is no unknown
    /// token; [`TokenizerError::Invalid`] for a piece of 4 GiB or more.
    pub(super) fn encode(
        &self,
        piece: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if self.options.ignore_merges
            && let Some(id) = self.vocab.find(piece.as_bytes())
        {
            out.push(id);
            return Ok(());
        }
        if piece.len() >= NONE as usize {
            return Err(TokenizerError::Invalid {
                what: "text without a place to cut it".to_owned(),
                expected: "less than 4 GiB".to_owned(),
                found: format!("{} bytes", piece.len()),
            });
        }
        scratch.symbols.clear();
        scratch.heap.clear();
        if self.vocab.is_byte_level() {
            self.split_bytes(piece, scratch)?;
        } else {
            self.split_chars(piece, scratch)?;
        }
        self.merge(piece.as_bytes(), scratch);
        let symbols = scratch.symbols.iter().filter(|symbol| symbol.len > 0);
        for symbol in symbols {
            if symbol.id != NONE {
                out.push(symbol.id);
                continue;
            }
            // Only a rule of scores leaves characters without token, for they can become part
            // of one; those that did not are unknown.
            let text = &piece[symbol.start as usize..][..symbol.len as usize];
            self.unknown_char(text, out)?;
        }
        Ok(())
    }

    fn split_bytes(&self, piece: &str, scratch: &mut Scratch) -> Result<(), TokenizerError> {
        for (at, byte) in piece.bytes().enumerate() {
            let id = self.byte_ids[usize::from(byte)];
            if id == NONE && self.unknown.is_none() {
                return Err(unencodable(piece));
            }
            push(scratch, self.unknown_or(id), at, 1);
        }
        Ok(())
    }

    fn unknown_or(&self, id: u32) -> u32 {
        if id == NONE { self.unknown.unwrap_or(NONE) } else { id }
    }

    fn split_chars(&self, piece: &str, scratch: &mut Scratch) -> Result<(), TokenizerError> {
        let by_score = matches!(self.rule, Rule::Scores(_));
        let mut was_unknown = false;
        for (at, c) in piece.char_indices() {
            let text = &piece[at..at + c.len_utf8()];
            let known = self.vocab.find(text.as_bytes());
            if known.is_some() || by_score {
                push(scratch, known.unwrap_or(NONE), at, text.len());
                was_unknown = false;
                continue;
            }
            if let Some(bytes) = self.fallback(text) {
                for (offset, id) in bytes.enumerate() {
                    push(scratch, id, at + offset, 1);
                }
                was_unknown = false;
                continue;
            }
            let Some(unknown) = self.unknown else {
                return Err(unencodable(text));
            };
            match scratch.symbols.last_mut() {
                Some(last) if was_unknown && self.options.fuse_unk => last.len += text.len() as u32,
                _ => push(scratch, unknown, at, text.len()),
            }
            was_unknown = true;
        }
        Ok(())
    }

    /// The byte tokens of an unknown character, if there is one for each of its bytes.
    fn fallback<'a>(&'a self, text: &'a str) -> Option<impl Iterator<Item = u32> + 'a> {
        let ids = text.bytes().map(|byte| self.byte_ids[usize::from(byte)]);
        let whole = self.options.byte_fallback && ids.clone().all(|id| id != NONE);
        whole.then_some(ids)
    }

    fn unknown_char(&self, text: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if let Some(bytes) = self.fallback(text) {
            out.extend(bytes);
            return Ok(());
        }
        let unknown = self.unknown.ok_or_else(|| unencodable(text))?;
        if !(self.options.fuse_unk && out.last() == Some(&unknown)) {
            out.push(unknown);
        }
        Ok(())
    }

    fn merge(&self, piece: &[u8], scratch: &mut Scratch) {
        let Scratch { symbols, heap } = scratch;
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        for left in 0..symbols.len().saturating_sub(1) {
            heap.extend(self.candidate(piece, symbols, left as u32).map(Reverse));
        }
        while let Some(Reverse(best)) = heap.pop() {
            let left = &symbols[best.left as usize];
            let right_at = left.next;
            if left.len == 0 || right_at == NONE {
                continue;
            }
            let right = &symbols[right_at as usize];
            if left.len + right.len != best.len {
                continue;
            }
            let after = right.next;
            symbols[right_at as usize].len = 0;
            let left = &mut symbols[best.left as usize];
            left.id = best.id;
            left.len = best.len;
            left.next = after;
            let before = left.prev;
            if after != NONE {
                symbols[after as usize].prev = best.left;
                heap.extend(self.candidate(piece, symbols, best.left).map(Reverse));
            }
            if before != NONE {
                heap.extend(self.candidate(piece, symbols, before).map(Reverse));
            }
        }
    }

    /// The merge of a symbol with its right neighbour, if there is one.
    fn candidate(&self, piece: &[u8], symbols: &[Symbol], left_at: u32) -> Option<Candidate> {
        let left = &symbols[left_at as usize];
        let right = symbols.get(left.next as usize)?;
        let len = left.len + right.len;
        let (rank, id) = match &self.rule {
            Rule::Merges(merges) => merges.get(left.id, right.id)?,
            Rule::Scores(ranks) => {
                let text = &piece[left.start as usize..][..len as usize];
                let id = self.vocab.find(text)?;
                (*ranks.get(id as usize)?, id)
            }
        };
        Some(Candidate { rank, left: left_at, len, id })
    }

    /// Bytes of memory that the tables take.
    pub(super) fn heap_bytes(&self) -> usize {
        let rule = match &self.rule {
            Rule::Merges(merges) => merges.table.allocation_size(),
            Rule::Scores(ranks) => ranks.capacity() * 4,
        };
        self.vocab.heap_bytes() + rule
    }
}

/// Append a symbol. Places fit, since [`Bpe::encode`] checks the length of the piece.
fn push(scratch: &mut Scratch, id: u32, start: usize, len: usize) {
    let place = scratch.symbols.len() as u32;
    scratch.symbols.push(Symbol {
        id,
        start: start as u32,
        len: len as u32,
        prev: place.checked_sub(1).unwrap_or(NONE),
        next: place + 1,
    });
}

fn unencodable(text: &str) -> TokenizerError {
    TokenizerError::Unencodable { text: text.chars().take(40).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_order_scores_from_high_to_low() {
        let scores = [f32::MAX, 10.0, 1e-3, 0.0, -1e-3, -1.0, -2.5, -1e9];
        for pair in scores.windows(2) {
            assert!(score_rank(pair[0]) < score_rank(pair[1]), "{pair:?}");
        }
        assert_eq!(score_rank(0.0), score_rank(-0.0));
    }
}
