//! Activations made ready for matrix products: rounded or quantized per token, and interleaved so
//! that a kernel reads the words of a tile side by side.
//!
//! Tokens are cut into chunks of at most 12, as equal as possible. In a chunk of `c` tokens, line
//! `l` is `c` words, one per token. `F32`: one line per input. `Bf16`: one line per pair of inputs.
//! `Q8`: 13 lines per block of 32 inputs: 8 quads of signed bytes, the scale (f32), -128 and -8
//! times the sum of the quants, minus the sum of the upper 16 quants, and minus scale times sum
//! (f32). What a token's words are does not depend on its neighbours.
#![allow(
    unsafe_op_in_unsafe_fn,
    clippy::needless_range_loop,
    reason = "the contract is that of `PackJob`; lines and tokens are indexed alike"
)]

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

/// A range of blocks of the tokens of a chunk, and where the chunk's words go.
///
/// # Safety
/// `out` is the first word of the chunk, and the lines of all its blocks are writable.
pub(crate) struct PackJob<'a> {
    pub(crate) kind: ActivationKind,
    pub(crate) x: Rows<'a>,
    pub(crate) tokens: Range<usize>,
    pub(crate) blocks: Range<usize>,
    pub(crate) out: *mut u32,
}

/// Packs a job. Plain loops that the compiler vectorizes for the instruction set of the caller; a
/// macro, since a function passed along would be compiled without it.
#[inline(always)]
pub(crate) unsafe fn pack(job: &PackJob<'_>) {
    macro_rules! pack {
        ($lines:expr, $words:ident) => {
            for b in job.blocks.clone() {
                let out = job.out.add(b * $lines * job.tokens.len());
                if job.tokens.len() == 1 {
                    let words = $words(&block(job.x.row(job.tokens.start), b));
                    out.cast::<[u32; $lines]>().write(words);
                    continue;
                }
                let mut tile = [[0; $lines]; CHUNK];
                for (words, token) in tile.iter_mut().zip(job.tokens.clone()) {
                    *words = $words(&block(job.x.row(token), b));
                }
                for l in 0..$lines {
                    let out = out.add(l * job.tokens.len());
                    for t in 0..job.tokens.len() {
                        *out.add(t) = tile[t][l];
                    }
                }
            }
        };
    }
    match job.kind {
        ActivationKind::F32 => pack!(32, same),
        ActivationKind::Bf16 => pack!(16, bf16_pairs),
        ActivationKind::Q8 => pack!(LINES, quantize),
    }
}

/// Block `b` of a token, zeros beyond its end.
#[inline(always)]
fn block(x: &[f32], b: usize) -> [f32; 32] {
    let rest = x.get(b * 32..).unwrap_or(&[]);
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut block = [0f32; 32];
        block[..rest.len()].copy_from_slice(rest);
        block
    })
}

#[inline(always)]
fn same(block: &[f32; 32]) -> [u32; 32] {
    let mut words = [0; 32];
    for (w, v) in words.iter_mut().zip(block) {
        *w = v.to_bits();
    }
    words
}

#[inline(always)]
fn bf16_pairs(block: &[f32; 32]) -> [u32; 16] {
    let mut half = [0u32; 32];
    for (h, v) in half.iter_mut().zip(block) {
        let bits = v.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        *h = if v.is_nan() { u32::from(bf16::NAN.to_bits()) } else { rounded };
    }
    let mut pairs = [0; 16];
    for (p, h) in pairs.iter_mut().zip(half.chunks_exact(2)) {
        *p = h[0] | h[1] << 16;
    }
    pairs
}

/// The 13 words of a block: `q = round(x * (1 / scale))`, ties to even, `scale = max |x| / 127`.
///
/// A block with an infinite or NaN value gets a NaN scale, so that the product is NaN too. A block
/// too small for a reciprocal of its scale (below about 4e-37) is zero.
#[inline(always)]
fn quantize(block: &[f32; 32]) -> [u32; LINES] {
    let mut peak = 0;
    for v in block {
        peak = peak.max(v.to_bits() & 0x7fff_ffff);
    }
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
    let mut q = [0i32; 32];
    for (q, v) in q.iter_mut().zip(block) {
        *q = ((v * inverse + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    }
    let (mut lower, mut upper) = (0i32, 0i32);
    for k in 0..16 {
        lower = lower.wrapping_add(q[k]);
        upper = upper.wrapping_add(q[k + 16]);
    }
    let all = lower.wrapping_add(upper);
    let mut bytes = [0u8; 32];
    for (byte, q) in bytes.iter_mut().zip(&q) {
        *byte = *q as u8;
    }
    let mut words = [0; LINES];
    for (word, b) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
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
            let job = PackJob {
                kind,
                x,
                blocks: part * TASK_BLOCKS..blocks.min((part + 1) * TASK_BLOCKS),
                out: out.0.wrapping_add(tokens.start * per_token),
                tokens,
            };
            // SAFETY: the chunk's words were reserved, each task has its own blocks of a chunk, and
            // the table is that of a set this CPU has.
            unsafe { (self.table().pack)(&job) };
        };
        if rows * cols <= SERIAL_VALUES {
            (0..chunks * parts).for_each(task);
        } else {
            pool.run(chunks * parts, task);
        }
        Ok(())
    }
}
