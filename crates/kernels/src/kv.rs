//! The paged key-value cache of one layer.
//!
//! A block holds 32 tokens. Its 16-bit floats stand per KV head: first the keys, as two tiles of 16
//! tokens, each `[head_dim][16]` (lane = token), so that a score needs no sum across lanes; then
//! the values, `[32][head_dim]`. `head_dim` is padded to a multiple of 16; the padding stays zero.

use half::bf16;

use crate::memory::AlignedBytes;
use crate::{Error, Kernels, Pool, Rows};

/// Tokens per block.
pub const BLOCK_TOKENS: usize = 32;
/// Largest head dimension.
pub const MAX_HEAD_DIM: usize = 1024;
/// Keys below which storing is not worth waking the workers.
const SERIAL_VALUES: usize = 1 << 13;
/// Tokens per tile of keys.
pub(crate) const KEY_TILE: usize = 16;

/// 16-bit float of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvType {
    /// IEEE half precision. Values beyond ±65504 are stored as ±65504.
    F16,
    /// bfloat16.
    Bf16,
}

/// Shape of a layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvLayout {
    kind: KvType,
    kv_heads: usize,
    head_dim: usize,
}

impl KvLayout {
    /// A cache of `kv_heads` heads of `head_dim`.
    ///
    /// # Errors
    /// [`Error::Bytes`] when there are no heads or the dimension is not in 1..=1024.
    pub fn new(kind: KvType, kv_heads: usize, head_dim: usize) -> Result<Self, Error> {
        if kv_heads == 0 || kv_heads > 1 << 16 || head_dim == 0 || head_dim > MAX_HEAD_DIM {
            return Err(Error::Bytes {
                what: format!("a KV cache of {kv_heads} heads of {head_dim}"),
                expected: format!("at least one head of 1 to {MAX_HEAD_DIM}"),
            });
        }
        Ok(Self { kind, kv_heads, head_dim })
    }

    /// Float type.
    pub fn kind(&self) -> KvType {
        self.kind
    }

    /// KV heads.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// Dimension of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Bytes of a block of 32 tokens.
    pub fn block_bytes(&self) -> usize {
        self.kv_heads * self.head_halves() * 2
    }

    pub(crate) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// 16-bit values of one head in a block: keys and values.
    pub(crate) fn head_halves(&self) -> usize {
        2 * BLOCK_TOKENS * self.padded_dim()
    }
}

/// The keys and values of one layer.
#[derive(Debug)]
pub struct KvCache {
    layout: KvLayout,
    blocks: usize,
    bytes: AlignedBytes,
}

impl KvCache {
    /// Room for `blocks` blocks, backed by memory as they are written.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(layout: KvLayout, blocks: usize) -> Result<Self, Error> {
        let bytes = layout.block_bytes().checked_mul(blocks);
        let bytes = AlignedBytes::zeroed(bytes.ok_or(Error::OutOfMemory { bytes: usize::MAX })?)?;
        Ok(Self { layout, blocks, bytes })
    }

    /// Shape.
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The bytes of `block`, for keeping a prefix on disk.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block(&self, block: usize) -> &[u8] {
        let size = self.layout.block_bytes();
        &self.bytes[block * size..][..size]
    }

    /// The bytes of `block`, for reading a prefix back.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block_mut(&mut self, block: usize) -> &mut [u8] {
        let size = self.layout.block_bytes();
        &mut self.bytes[block * size..][..size]
    }

    /// Keys of `head` in `block`.
    pub(crate) fn head(&self, block: usize, head: usize) -> *const u16 {
        assert!(block < self.blocks && head < self.layout.kv_heads, "block {block} head {head}");
        let at = block * self.layout.kv_heads + head;
        self.bytes.as_ptr().cast::<u16>().wrapping_add(at * self.layout.head_halves())
    }
}

struct Halves(*mut u16);

// SAFETY: tasks write disjoint heads of the cache through the pointer.
unsafe impl Sync for Halves {}

impl Kernels {
    /// Stores the keys and values `[tokens, kv_heads * head_dim]` of tokens at `slots`, where a slot
    /// is `block * 32 + offset`. Slots are distinct, or the last one given wins.
    ///
    /// # Panics
    /// When the shapes or a slot do not fit the cache.
    pub fn kv_store(
        &self,
        pool: &Pool,
        cache: &mut KvCache,
        keys: Rows<'_>,
        values: Rows<'_>,
        slots: &[usize],
    ) {
        let layout = cache.layout;
        let (heads, dim, padded) = (layout.kv_heads, layout.head_dim, layout.padded_dim());
        assert!(
            [keys, values].iter().all(|x| x.rows() == slots.len() && x.cols() == heads * dim),
            "keys [{}, {}] and values [{}, {}] of {} tokens for {layout:?}",
            keys.rows(),
            keys.cols(),
            values.rows(),
            values.cols(),
            slots.len()
        );
        assert!(slots.iter().all(|s| s / BLOCK_TOKENS < cache.blocks), "slots {slots:?}");
        let out = Halves(cache.bytes.as_mut_ptr().cast());
        let out = &out;
        let store = |head: usize| {
            let part = head * dim..(head + 1) * dim;
            let mut rounded = [0u16; MAX_HEAD_DIM];
            for (token, &slot) in slots.iter().enumerate() {
                let (block, offset) = (slot / BLOCK_TOKENS, slot % BLOCK_TOKENS);
                let start = (block * heads + head) * layout.head_halves();
                let key = start + offset / KEY_TILE * KEY_TILE * padded + offset % KEY_TILE;
                let value = start + (BLOCK_TOKENS + offset) * padded;
                let rounded = &mut rounded[..dim];
                self.round(layout.kind, &keys.row(token)[part.clone()], rounded);
                for (d, &half) in rounded.iter().enumerate() {
                    // SAFETY: `key` is the token's lane in its tile of this head's keys, the slot was
                    // checked, and the head belongs to this task.
                    unsafe { *out.0.wrapping_add(key + d * KEY_TILE) = half };
                }
                self.round(layout.kind, &values.row(token)[part.clone()], rounded);
                // SAFETY: `value` is the token's row of this head's values; as above.
                unsafe {
                    std::ptr::copy_nonoverlapping(rounded.as_ptr(), out.0.wrapping_add(value), dim);
                }
            }
        };
        if slots.len() * heads * dim <= SERIAL_VALUES {
            (0..heads).for_each(store);
        } else {
            pool.run(heads, store);
        }
    }

    fn round(&self, kind: KvType, x: &[f32], out: &mut [u16]) {
        match kind {
            // SAFETY: the set is one that this CPU has; the slices are equally long.
            KvType::F16 => unsafe { (self.table().to_f16)(x, out) },
            KvType::Bf16 => {
                for (o, v) in out.iter_mut().zip(x) {
                    *o = bf16::from_f32(*v).to_bits();
                }
            }
        }
    }
}
