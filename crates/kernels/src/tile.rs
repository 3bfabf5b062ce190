//! The inner product kernels: one panel times the tokens of a tile, written once for all
//! instruction sets.
//!
//! The sum of an output is formed over the blocks of the input in order, whatever the number of
//! tokens in the tile: this is what makes results independent of batching. The f32 additions are
//! one `fma` per block (two for `K4`, `K5` and `K6`); plain formats keep one sum for even and one
//! for odd lines (or inputs) and add them last.
#![allow(
    unsafe_op_in_unsafe_fn,
    clippy::needless_range_loop,
    reason = "the contract is `Tile`'s; lanes and tokens are indexed alike"
)]

use crate::format::{K_TRAILER, LINE, PANEL_ROWS};
use crate::pack::{LINES, NEG_BIAS_8, NEG_BIAS_128, NEG_SCALED_SUM, NEG_UPPER_SUM, SCALE};
use crate::simd::Simd;

/// How far ahead of the arithmetic weights are fetched: with much work per line the CPU's own
/// prefetcher does not run far enough ahead.
const AHEAD: usize = 68 * LINE;

/// Arguments of a tile kernel.
///
/// # Safety
/// `weights` has `records` records of the kernel's format. `x` is the first token of the tile in a
/// pack of the format's kind with `stride` tokens side by side, for as many inputs as the records
/// have. `out` has room for 16 f32 per token. No other thread writes any of it.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) weights: *const u8,
    pub(crate) records: usize,
    pub(crate) x: *const u32,
    pub(crate) stride: usize,
    pub(crate) out: *mut f32,
}

/// A kernel for a fixed format and number of tokens.
pub(crate) type TileFn = unsafe fn(Tile);

#[inline(always)]
unsafe fn ahead<S: Simd, const T: usize>(p: *const u8, part: usize) {
    if (T > 1 || S::FETCH_ONE) && part == 0 {
        S::prefetch(p.wrapping_add(AHEAD));
    }
}

#[inline(always)]
unsafe fn finish<S: Simd, const T: usize>(out: *mut f32, sums: [S::F; T]) {
    for t in 0..T {
        S::store(out.add(t * PANEL_ROWS), sums[t]);
    }
}

/// Sums of a quantized format. Vectors of 8 lanes take a block in two parts, so that the dot
/// products of many tokens stay in registers.
type Sums<S, const T: usize> = [[<S as Simd>::F; T]; 2];

#[inline(always)]
unsafe fn finish_parts<S: Simd, const T: usize>(out: *mut f32, sums: Sums<S, T>) {
    for part in 0..PANEL_ROWS / S::LANES {
        finish::<S, T>(out.add(part * S::LANES), sums[part]);
    }
}

/// `sums[t] += dots[t] * (scale * activation scale)`.
#[inline(always)]
unsafe fn accumulate<S: Simd>(sum: S::F, dots: S::I, scale: S::F, x: *const u32) -> S::F {
    let scale = S::mul(scale, S::splat(f32::from_bits(*x)));
    S::fma(S::to_f32(dots), scale, sum)
}

#[inline(always)]
pub(crate) unsafe fn f32<S: Simd, const T: usize>(a: Tile) {
    let mut even = [S::splat(0.0); T];
    let mut odd = even;
    let (mut w, mut x) = (a.weights, a.x);
    for _ in 0..a.records * 32 {
        ahead::<S, T>(w, 0);
        ahead::<S, T>(w.wrapping_add(LINE), 0);
        let (w0, w1) = (S::load(w.cast()), S::load(w.add(LINE).cast()));
        for t in 0..T {
            even[t] = S::fma(w0, S::splat(f32::from_bits(*x.add(t))), even[t]);
            odd[t] = S::fma(w1, S::splat(f32::from_bits(*x.add(a.stride + t))), odd[t]);
        }
        w = w.add(2 * LINE);
        x = x.add(2 * a.stride);
    }
    for t in 0..T {
        even[t] = S::add(even[t], odd[t]);
    }
    finish::<S, T>(a.out, even);
}

#[inline(always)]
pub(crate) unsafe fn f16<S: Simd, const T: usize>(a: Tile) {
    let mut even = [S::splat(0.0); T];
    let mut odd = even;
    let (mut w, mut x) = (a.weights, a.x);
    for _ in 0..a.records * 32 {
        ahead::<S, T>(w, 0);
        let (w0, w1) = (S::load_f16(w.cast()), S::load_f16(w.add(LINE / 2).cast()));
        for t in 0..T {
            even[t] = S::fma(w0, S::splat(f32::from_bits(*x.add(t))), even[t]);
            odd[t] = S::fma(w1, S::splat(f32::from_bits(*x.add(a.stride + t))), odd[t]);
        }
        w = w.add(LINE);
        x = x.add(2 * a.stride);
    }
    for t in 0..T {
        even[t] = S::add(even[t], odd[t]);
    }
    finish::<S, T>(a.out, even);
}

#[inline(always)]
pub(crate) unsafe fn bf16<S: Simd, const T: usize>(a: Tile) {
    let mut even = [S::splat(0.0); T];
    let mut odd = even;
    let (mut w, mut x) = (a.weights, a.x);
    for _ in 0..a.records * 16 {
        ahead::<S, T>(w, 0);
        ahead::<S, T>(w.wrapping_add(LINE), 0);
        let (w0, w1) = (S::load_line(w), S::load_line(w.add(LINE)));
        for t in 0..T {
            even[t] = S::dot_bf16(even[t], w0, *x.add(t));
            odd[t] = S::dot_bf16(odd[t], w1, *x.add(a.stride + t));
        }
        w = w.add(2 * LINE);
        x = x.add(2 * a.stride);
    }
    for t in 0..T {
        even[t] = S::add(even[t], odd[t]);
    }
    finish::<S, T>(a.out, even);
}

#[inline(always)]
pub(crate) unsafe fn w8<S: Simd, const T: usize>(a: Tile) {
    let mut sums: Sums<S, T> = [[S::splat(0.0); T]; 2];
    let (mut w, mut x, c) = (a.weights, a.x, a.stride);
    for _ in 0..a.records {
        for half in 0..2 {
            for part in 0..PANEL_ROWS / S::LANES {
                let lane = part * S::LANES;
                let scale = S::load_f16(w.add(16 * LINE + half * 32 + lane * 2).cast());
                let mut dots = [S::wstart(0); T];
                for t in 0..T {
                    dots[t] = S::wstart(*x.add(NEG_BIAS_128 * c + t) as i32);
                }
                for j in 0..8 {
                    let line = w.add(half * 8 * LINE + j * LINE);
                    ahead::<S, T>(line, part);
                    let weights = S::split(S::load_line(line.add(lane * 4)));
                    for t in 0..T {
                        dots[t] = S::wdot(dots[t], weights, *x.add(j * c + t));
                    }
                }
                for t in 0..T {
                    let dot = S::wend(dots[t], *x.add(NEG_BIAS_128 * c + t) as i32);
                    sums[part][t] = accumulate::<S>(sums[part][t], dot, scale, x.add(SCALE * c + t));
                }
            }
            x = x.add(LINES * c);
        }
        w = w.add(17 * LINE);
    }
    finish_parts::<S, T>(a.out, sums);
}

/// The dot products of a part of a block whose weights are nibble lines.
#[inline(always)]
unsafe fn nibbles<S: Simd, const T: usize>(
    w: *const u8,
    part: usize,
    x: *const u32,
    c: usize,
    start: [S::N; T],
) -> [S::N; T] {
    let mut dots = start;
    for j in 0..4 {
        let line = w.add(j * LINE);
        ahead::<S, T>(line, part);
        let line = S::load_line(line.add(part * S::LANES * 4));
        let (low, high) = (S::and(line, 15), S::and(S::shr4(line), 15));
        for t in 0..T {
            dots[t] = S::ndot(dots[t], low, *x.add(2 * j * c + t));
        }
        for t in 0..T {
            dots[t] = S::ndot(dots[t], high, *x.add((2 * j + 1) * c + t));
        }
    }
    dots
}

#[inline(always)]
pub(crate) unsafe fn w4<S: Simd, const T: usize>(a: Tile) {
    let mut sums: Sums<S, T> = [[S::splat(0.0); T]; 2];
    let (mut w, mut x, c) = (a.weights, a.x, a.stride);
    for _ in 0..a.records {
        for half in 0..2 {
            for part in 0..PANEL_ROWS / S::LANES {
                let scale = S::load_f16(w.add(8 * LINE + half * 32 + part * S::LANES * 2).cast());
                let mut start = [S::nstart(0); T];
                for t in 0..T {
                    start[t] = S::nstart(*x.add(NEG_BIAS_8 * c + t) as i32);
                }
                let dots = nibbles::<S, T>(w.add(half * 4 * LINE), part, x, c, start);
                for t in 0..T {
                    let dot = S::nend(dots[t], *x.add(NEG_BIAS_8 * c + t) as i32);
                    sums[part][t] = accumulate::<S>(sums[part][t], dot, scale, x.add(SCALE * c + t));
                }
            }
            x = x.add(LINES * c);
        }
        w = w.add(9 * LINE);
    }
    finish_parts::<S, T>(a.out, sums);
}

/// Scales and minima of a part of block `b` from the trailer of a `K4` or `K5` record.
#[inline(always)]
unsafe fn k_scales<S: Simd>(trailer: *const u8, b: usize, part: usize) -> (S::F, S::F) {
    let lane = part * S::LANES;
    let d = S::load_f16(trailer.add(256 + lane * 2).cast());
    let dmin = S::load_f16(trailer.add(288 + lane * 2).cast());
    let scale = S::mul(d, S::load_u8(trailer.add(b * PANEL_ROWS + lane)));
    let min = S::mul(dmin, S::load_u8(trailer.add(128 + b * PANEL_ROWS + lane)));
    (scale, min)
}

/// `sums[t] += dots[t] * scale * activation scale + min * -(activation sum)`.
#[inline(always)]
unsafe fn accumulate_k<S: Simd>(sum: S::F, dot: S::I, scales: (S::F, S::F), x: *const u32, c: usize) -> S::F {
    let sum = accumulate::<S>(sum, dot, scales.0, x.add(SCALE * c));
    S::fma(scales.1, S::splat(f32::from_bits(*x.add(NEG_SCALED_SUM * c))), sum)
}

#[inline(always)]
pub(crate) unsafe fn k4<S: Simd, const T: usize>(a: Tile) {
    let mut sums: Sums<S, T> = [[S::splat(0.0); T]; 2];
    let (mut w, mut x, c) = (a.weights, a.x, a.stride);
    for _ in 0..a.records {
        let trailer = w.add(8 * 4 * LINE);
        for b in 0..8 {
            for part in 0..PANEL_ROWS / S::LANES {
                let dots = nibbles::<S, T>(w.add(b * 4 * LINE), part, x, c, [S::nstart(0); T]);
                let scales = k_scales::<S>(trailer, b, part);
                for t in 0..T {
                    let dot = S::nend(dots[t], 0);
                    sums[part][t] = accumulate_k::<S>(sums[part][t], dot, scales, x.add(t), c);
                }
            }
            x = x.add(LINES * c);
        }
        w = trailer.add(K_TRAILER);
    }
    finish_parts::<S, T>(a.out, sums);
}

#[inline(always)]
pub(crate) unsafe fn k5<S: Simd, const T: usize>(a: Tile) {
    let mut sums: Sums<S, T> = [[S::splat(0.0); T]; 2];
    let (mut w, mut x, c) = (a.weights, a.x, a.stride);
    for _ in 0..a.records {
        let trailer = w.add(8 * 5 * LINE);
        for b in 0..8 {
            for part in 0..PANEL_ROWS / S::LANES {
                let block = w.add(b * 5 * LINE);
                let lane = part * S::LANES;
                let mut dots = [S::int(0); T];
                ahead::<S, T>(block.add(4 * LINE), part);
                let fifth = S::load_line(block.add(4 * LINE + lane * 4));
                let mut high = fifth;
                for j in 0..4 {
                    if j == 2 {
                        high = S::shl4(fifth);
                    }
                    ahead::<S, T>(block.add(j * LINE), part);
                    let line = S::load_line(block.add(j * LINE + lane * 4));
                    let q0 = S::or(S::and(line, 15), S::and(high, 16));
                    high = S::shr1(high);
                    let q1 = S::or(S::and(S::shr4(line), 15), S::and(high, 16));
                    high = S::shr1(high);
                    for t in 0..T {
                        let quads = [*x.add(2 * j * c + t), *x.add((2 * j + 1) * c + t)];
                        dots[t] = S::dot2(dots[t], [q0, q1], quads);
                    }
                }
                let scales = k_scales::<S>(trailer, b, part);
                for t in 0..T {
                    sums[part][t] = accumulate_k::<S>(sums[part][t], dots[t], scales, x.add(t), c);
                }
            }
            x = x.add(LINES * c);
        }
        w = trailer.add(K_TRAILER);
    }
    finish_parts::<S, T>(a.out, sums);
}

/// -32 times the sum of the lower or upper 16 activations of a block.
#[inline(always)]
unsafe fn k6_bias(x: *const u32, c: usize, half: usize) -> i32 {
    let upper = (*x.add(NEG_UPPER_SUM * c) as i32) << 5;
    let both = (*x.add(NEG_BIAS_8 * c) as i32) << 2;
    if half == 0 { both.wrapping_sub(upper) } else { upper }
}

/// The dot products of a part of 16 inputs of a `K6` block.
#[inline(always)]
unsafe fn k6_dots<S: Simd, const T: usize>(
    block: *const u8,
    half: usize,
    part: usize,
    x: *const u32,
    c: usize,
) -> [S::I; T] {
    let lane = part * S::LANES;
    ahead::<S, T>(block.add((4 + half) * LINE), part);
    let fields = S::load_line(block.add((4 + half) * LINE + lane * 4));
    let mut dots = [S::int(0); T];
    for t in 0..T {
        dots[t] = S::int(k6_bias(x.add(t), c, half));
    }
    for j in 0..2 {
        let line = block.add((2 * half + j) * LINE);
        ahead::<S, T>(line, part);
        let line = S::load_line(line.add(lane * 4));
        let high = if j == 0 { fields } else { S::shl4(fields) };
        let q0 = S::or(S::and(line, 15), S::and(high, 48));
        let q1 = S::or(S::and(S::shr4(line), 15), S::and(S::shr2(high), 48));
        let quad = x.add((4 * half + 2 * j) * c);
        for t in 0..T {
            dots[t] = S::dot2(dots[t], [q0, q1], [*quad.add(t), *quad.add(c + t)]);
        }
    }
    dots
}

#[inline(always)]
pub(crate) unsafe fn k6<S: Simd, const T: usize>(a: Tile) {
    let mut sums: Sums<S, T> = [[S::splat(0.0); T]; 2];
    let (mut w, mut x, c) = (a.weights, a.x, a.stride);
    for _ in 0..a.records {
        let trailer = w.add(8 * 6 * LINE);
        for b in 0..8 {
            for half in 0..2 {
                for part in 0..PANEL_ROWS / S::LANES {
                    let lane = part * S::LANES;
                    let dots = k6_dots::<S, T>(w.add(b * 6 * LINE), half, part, x, c);
                    let d = S::load_f16(trailer.add(256 + lane * 2).cast());
                    let scale = trailer.add((b * 2 + half) * PANEL_ROWS + lane).cast();
                    let scale = S::mul(d, S::load_i8(scale));
                    for t in 0..T {
                        sums[part][t] = accumulate::<S>(sums[part][t], dots[t], scale, x.add(SCALE * c + t));
                    }
                }
            }
            x = x.add(LINES * c);
        }
        w = trailer.add(K_TRAILER);
    }
    finish_parts::<S, T>(a.out, sums);
}
