//! Activations made ready for matrix products: rounded or quantized per token, and interleaved so
//! that a kernel reads the words of a tile side by side.
//!
//! Tokens are cut into chunks of at most 12, as equal as possible. In a chunk of `c` tokens, line
//! `l` is `c` words, one per token. `F32`: one line per input. `Bf16`: one line per pair of inputs.
//! `Q8`: 13 lines per block of 32 inputs: 8 quads of signed bytes, the scale (f32), -128 and -8
//! times the sum of the quants, minus the sum of the upper 16 quants, and minus scale times sum
//! (f32). What a token's words are does not depend on its neighbours.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract is that of `PackJob`")]

use std::ops::Range;

use half::bf16;

use crate::format::{ActivationKind, padded};
use crate::memory::Words;
use crate::{Error, Kernels, Pool, Rows};

/// Most tokens in a chunk.
pub(crate) const CHUNK: usize = 12;

/// Lines of a `Q8` block.
pub(crate) const LINES: usize = 13;
pub(crate) const SCALE: usize = 8;
pub(crate) const NEG_BIAS_128: usize = 9;
pub(crate) const NEG_BIAS_8: usize = 10;
pub(crate) const NEG_UPPER_SUM: usize = 11;
pub(crate) const NEG_SCALED_SUM: usize = 12;

/// Blocks that one task packs.
const TASK_BLOCKS: usize = 64;
/// Values below which packing is not worth waking the workers.
const SERIAL_VALUES: usize = 1 << 13;

/// Packed activations `[tokens, cols]`, reusable: packing again keeps the memory.
#[derive(Debug)]
pub struct Packed {
    kind: ActivationKind,
    rows: usize,
    cols: usize,
    words: Words,
}

impl Default for Packed {
    fn default() -> Self {
        Self { kind: ActivationKind::F32, rows: 0, cols: 0, words: Words::default() }
    }
}

impl Packed {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the activations are rounded to.
    pub fn kind(&self) -> ActivationKind {
        self.kind
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn chunks(&self) -> usize {
        self.rows.div_ceil(CHUNK)
    }

    /// Tokens of chunk `i`.
    pub(crate) fn chunk(&self, i: usize) -> Range<usize> {
        chunk(self.rows, i)
    }

    /// First word of chunk `i`; `null` when nothing was packed.
    pub(crate) fn chunk_words(&self, i: usize) -> *const u32 {
        let start = self.chunk(i).start * words_per_token(self.kind, self.cols);
        self.words.as_ptr().wrapping_add(start)
    }
}

fn chunk(rows: usize, i: usize) -> Range<usize> {
    let chunks = rows.div_ceil(CHUNK).max(1);
    rows * i / chunks..rows * (i + 1) / chunks
}

fn words_per_token(kind: ActivationKind, cols: usize) -> usize {
    match kind {
        ActivationKind::F32 => padded(cols),
        ActivationKind::Bf16 => padded(cols) / 2,
        ActivationKind::Q8 => padded(cols) / 32 * LINES,
    }
}

/// One token's values for a range of blocks, and where their words go.
///
/// # Safety
/// `out` is the token's word in the first line of block 0, with `stride` words per line, and the
/// lines of all blocks are writable.
pub(crate) struct PackJob<'a> {
    pub(crate) kind: ActivationKind,
    pub(crate) values: &'a [f32],
    pub(crate) blocks: Range<usize>,
    pub(crate) out: *mut u32,
    pub(crate) stride: usize,
}

/// Packs a job. Plain loops that the compiler vectorizes for the instruction set of the caller.
#[inline(always)]
pub(crate) unsafe fn pack(job: &PackJob<'_>) {
    for b in job.blocks.clone() {
        let mut block = [0f32; 32];
        let rest = job.values.get(b * 32..).unwrap_or(&[]);
        match rest.first_chunk() {
            Some(whole) => block = *whole,
            None => block[..rest.len()].copy_from_slice(rest),
        }
        match job.kind {
            ActivationKind::F32 => {
                let out = job.out.add(b * 32 * job.stride);
                for (k, v) in block.iter().enumerate() {
                    *out.add(k * job.stride) = v.to_bits();
                }
            }
            ActivationKind::Bf16 => {
                let out = job.out.add(b * 16 * job.stride);
                let words = bf16_pairs(&block);
                for (k, w) in words.iter().enumerate() {
                    *out.add(k * job.stride) = *w;
                }
            }
            ActivationKind::Q8 => {
                let out = job.out.add(b * LINES * job.stride);
                let words = quantize(&block);
                for (l, w) in words.iter().enumerate() {
                    *out.add(l * job.stride) = *w;
                }
            }
        }
    }
}

#[inline(always)]
fn bf16_pairs(block: &[f32; 32]) -> [u32; 16] {
    let half = block.map(|v| {
        let bits = v.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        if v.is_nan() { u32::from(bf16::NAN.to_bits()) } else { rounded }
    });
    std::array::from_fn(|j| half[2 * j] | half[2 * j + 1] << 16)
}

/// The 13 words of a block: `q = round(x * (1 / scale))`, ties to even, `scale = max |x| / 127`.
///
/// A block with an infinite or NaN value gets a NaN scale, so that the product is NaN too. A block
/// too small for a reciprocal of its scale (below about 4e-37) is zero.
#[inline(always)]
fn quantize(block: &[f32; 32]) -> [u32; LINES] {
    let magnitude = block.map(|v| v.to_bits() & 0x7fff_ffff);
    let peak = magnitude.iter().fold(0, |m, &v| m.max(v));
    let mut scale = f32::from_bits(peak) / 127.0;
    let mut inverse = 1.0 / scale;
    if inverse.is_infinite() {
        (scale, inverse) = (0.0, 0.0);
    }
    if peak >= f32::INFINITY.to_bits() {
        (scale, inverse) = (f32::NAN, 0.0);
    }
    // Adding 1.5 * 2^23 leaves the rounded value in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let q = block.map(|v| ((v * inverse + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32));
    let sum = |part: &[i32]| part.iter().fold(0i32, |s, &v| s.wrapping_add(v));
    let (lower, upper) = (sum(&q[..16]), sum(&q[16..]));
    let all = lower.wrapping_add(upper);
    let mut words = [0; LINES];
    for j in 0..8 {
        let byte = |c: usize| (q[j * 4 + c] as u32 & 0xff) << (8 * c);
        words[j] = byte(0) | byte(1) | byte(2) | byte(3);
    }
    words[SCALE] = scale.to_bits();
    words[NEG_BIAS_128] = all.wrapping_mul(-128) as u32;
    words[NEG_BIAS_8] = all.wrapping_mul(-8) as u32;
    words[NEG_UPPER_SUM] = upper.wrapping_neg() as u32;
    words[NEG_SCALED_SUM] = (-(scale * all as f32)).to_bits();
    words
}

struct Out(*mut u32);

// SAFETY: tasks write disjoint words through the pointer.
unsafe impl Sync for Out {}

impl Kernels {
    /// Packs `x` `[tokens, cols]` for products with matrices whose format takes `kind`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the pack has to grow and cannot.
    pub fn pack(
        &self,
        pool: &Pool,
        kind: ActivationKind,
        x: Rows<'_>,
        packed: &mut Packed,
    ) -> Result<(), Error> {
        let (rows, cols) = (x.rows(), x.cols());
        let per_token = words_per_token(kind, cols);
        let out = Out(packed.words.reserve(rows.saturating_mul(per_token))?);
        (packed.kind, packed.rows, packed.cols) = (kind, rows, cols);
        let out = &out;
        let blocks = padded(cols) / 32;
        let parts = blocks.div_ceil(TASK_BLOCKS);
        let chunks = rows.div_ceil(CHUNK);
        let task = |i: usize| {
            let (tokens, part) = (chunk(rows, i / parts), i % parts);
            for token in tokens.clone() {
                let job = PackJob {
                    kind,
                    values: x.row(token),
                    blocks: part * TASK_BLOCKS..blocks.min((part + 1) * TASK_BLOCKS),
                    out: out.0.wrapping_add(tokens.start * per_token + token - tokens.start),
                    stride: tokens.len(),
                };
                // SAFETY: the chunk's words were reserved, each task has its own blocks of a chunk,
                // and the table is that of a set this CPU has.
                unsafe { (self.table().pack)(&job) };
            }
        };
        if rows * cols <= SERIAL_VALUES {
            (0..chunks * parts).for_each(task);
        } else {
            pool.run(chunks * parts, task);
        }
        Ok(())
    }
}
