//! The paged KV cache's bookkeeping: which block holds what, who uses it, and which one goes next.
//!
//! A [`BlockPool`] hands out fixed blocks of [`BLOCK_TOKENS`] tokens. A full block may be published
//! under its [`BlockHash`], the chained hash of every token up to its end; a later sequence with the
//! same prefix then shares it. A block that nobody uses keeps its content until it is needed, and the
//! one unused for longest is evicted first. The pool knows nothing of tensors.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// Tokens per KV block.
pub const BLOCK_TOKENS: usize = 32;

/// Number of blocks that hold `tokens` tokens.
#[must_use]
pub const fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// Index of a block in the pool and in every layer's KV storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// Index of a recurrent-state slot, for layers whose memory is not a list of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateSlot(pub u32);

/// Hash of a whole prefix that ends at a block boundary: SHA-256 over the parent's hash and the
/// block's token ids, so that equal hashes mean equal prefixes for all practical purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockHash([u8; 32]);

impl BlockHash {
    /// The hash before the first block. Sequences with different salts share nothing.
    #[must_use]
    pub fn root(salt: Option<&str>) -> Self {
        let mut hasher = Sha256::new();
        match salt {
            None => hasher.update([0u8]),
            Some(salt) => {
                hasher.update([1u8]);
                hasher.update(salt.as_bytes());
            }
        }
        Self(hasher.finalize().into())
    }

    /// The hash after one more full block of tokens.
    #[must_use]
    pub fn child(&self, tokens: &[u32]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        for token in tokens {
            hasher.update(token.to_le_bytes());
        }
        Self(hasher.finalize().into())
    }
}

/// One block's entry: an element of the free list while `refs` is 0.
#[derive(Clone, Debug)]
struct Slot {
    refs: u32,
    hash: Option<BlockHash>,
    prev: u32,
    next: u32,
}

/// Reference-counted blocks with a prefix cache and least-recently-used eviction.
#[derive(Clone, Debug)]
pub struct BlockPool {
    /// The blocks, and after them the sentinel of the free list.
    slots: Vec<Slot>,
    cached: HashMap<BlockHash, BlockId>,
    free: usize,
}

impl BlockPool {
    /// A pool of `blocks` free, empty blocks.
    #[must_use]
    pub fn new(blocks: u32) -> Self {
        let sentinel = blocks;
        let slots = (0..=blocks)
            .map(|i| Slot {
                refs: 0,
                hash: None,
                prev: if i == 0 { sentinel } else { i - 1 },
                next: if i == sentinel { 0 } else { i + 1 },
            })
            .collect();
        Self { slots, cached: HashMap::new(), free: blocks as usize }
    }

    /// All blocks.
    #[must_use]
    pub fn total(&self) -> usize {
        self.slots.len() - 1
    }

    /// Blocks that no sequence uses, published ones included.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free
    }

    /// Blocks findable by their hash.
    #[must_use]
    pub fn published(&self) -> usize {
        self.cached.len()
    }

    /// How many sequences use a block.
    #[must_use]
    pub fn refs(&self, id: BlockId) -> u32 {
        self.slots[id.0 as usize].refs
    }

    /// The blocks of the longest published prefix of `hashes`; nothing is acquired.
    #[must_use]
    pub fn lookup(&self, hashes: &[BlockHash]) -> Vec<BlockId> {
        hashes.iter().map_while(|hash| self.cached.get(hash).copied()).collect()
    }

    /// Adds a user to each block, taking unused ones off the free list.
    pub fn acquire(&mut self, ids: &[BlockId]) {
        for id in ids {
            if self.slots[id.0 as usize].refs == 0 {
                self.unlink(id.0);
            }
            self.slots[id.0 as usize].refs += 1;
        }
    }

    /// Takes the block unused for longest, for one user; its former content is forgotten.
    /// `None` when every block is in use.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let index = self.slots[self.sentinel() as usize].next;
        if index == self.sentinel() {
            return None;
        }
        self.unlink(index);
        let slot = &mut self.slots[index as usize];
        slot.refs = 1;
        if let Some(hash) = slot.hash.take() {
            self.cached.remove(&hash);
        }
        Some(BlockId(index))
    }

    /// Makes a full, computed block findable. When another block already has this hash, that one
    /// stays the published one.
    pub fn publish(&mut self, id: BlockId, hash: BlockHash) {
        if self.slots[id.0 as usize].hash.is_none() && !self.cached.contains_key(&hash) {
            self.slots[id.0 as usize].hash = Some(hash);
            self.cached.insert(hash, id);
        }
    }

    /// Removes one user from each of a sequence's blocks. Later blocks age before earlier ones, since a
    /// prefix is useful without its continuation but not the other way round; blocks without a hash
    /// are the first to be taken again.
    pub fn release(&mut self, ids: &[BlockId]) {
        for id in ids.iter().rev() {
            let slot = &mut self.slots[id.0 as usize];
            slot.refs -= 1;
            if slot.refs == 0 {
                let sentinel = self.sentinel();
                let before = match self.slots[id.0 as usize].hash {
                    Some(_) => self.slots[sentinel as usize].prev,
                    None => sentinel,
                };
                self.link_after(id.0, before);
            }
        }
    }

    /// Forgets all published content that no sequence uses.
    pub fn reset(&mut self) {
        let slots = &mut self.slots;
        self.cached.retain(|_, id| {
            let slot = &mut slots[id.0 as usize];
            if slot.refs == 0 {
                slot.hash = None;
            }
            slot.refs > 0
        });
    }

    fn sentinel(&self) -> u32 {
        (self.slots.len() - 1) as u32
    }

    fn unlink(&mut self, index: u32) {
        let (prev, next) = (self.slots[index as usize].prev, self.slots[index as usize].next);
        self.slots[prev as usize].next = next;
        self.slots[next as usize].prev = prev;
        self.free -= 1;
    }

    fn link_after(&mut self, index: u32, before: u32) {
        let next = self.slots[before as usize].next;
        self.slots[index as usize].prev = before;
        self.slots[index as usize].next = next;
        self.slots[before as usize].next = index;
        self.slots[next as usize].prev = index;
        self.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(salt: Option<&str>, tokens: &[u32]) -> Vec<BlockHash> {
        let mut hash = BlockHash::root(salt);
        tokens
            .chunks_exact(BLOCK_TOKENS)
            .map(|chunk| {
                hash = hash.child(chunk);
                hash
            })
            .collect()
    }

    #[test]
    fn a_published_prefix_is_found_and_shared_until_it_is_evicted() {
        let mut pool = BlockPool::new(4);
        let hashes = chain(None, &(0..96).collect::<Vec<u32>>());
        let blocks: Vec<_> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        for (block, hash) in blocks.iter().zip(&hashes) {
            pool.publish(*block, *hash);
        }
        pool.release(&blocks);
        assert_eq!((pool.free(), pool.published()), (4, 3));
        assert_eq!(pool.lookup(&hashes), blocks);

        // The never used block goes first, then the published ones from the tail.
        assert_eq!(pool.allocate(), Some(BlockId(3)));
        assert_eq!(pool.allocate(), Some(blocks[2]));
        assert_eq!(pool.lookup(&hashes), blocks[..2]);
        pool.acquire(&blocks[..2]);
        pool.acquire(&blocks[..1]);
        assert_eq!((pool.refs(blocks[0]), pool.refs(blocks[1])), (2, 1));
        assert_eq!(pool.allocate(), None);
    }

    #[test]
    fn salts_and_positions_separate_equal_blocks() {
        let tokens = [7u32; 64];
        let (plain, salted) = (chain(None, &tokens), chain(Some("a"), &tokens));
        assert_ne!(plain[0], plain[1]);
        assert_ne!(plain[0], salted[0]);
        assert_ne!(chain(Some(""), &tokens)[0], plain[0]);
    }

    #[test]
    fn reset_forgets_only_what_nobody_uses() {
        let mut pool = BlockPool::new(2);
        let hashes = chain(None, &[1; 64]);
        let (a, b) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        pool.publish(a, hashes[0]);
        pool.publish(b, hashes[1]);
        pool.release(&[b]);
        pool.reset();
        assert_eq!(pool.lookup(&hashes), [a]);
        assert_eq!(pool.free(), 1);
    }
}
