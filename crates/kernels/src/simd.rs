//! The vector operations that every kernel is written in: 16 lanes of f32 or i32, or 64 bytes.
//!
//! All instruction sets have the same 16 lanes and sum lanes in the same tree, and `fma` rounds
//! once everywhere; so a kernel gives the same bits on each of them. A set with few registers has
//! vectors of 8 lanes as well, for kernels that sum no lanes. The one exception is
//! [`Simd::dot_bf16`], where the instruction of AVX512-BF16 flushes subnormals and leaves the
//! rounding between its two products to the CPU.
#![allow(
    unsafe_op_in_unsafe_fn,
    clippy::missing_safety_doc,
    reason = "one contract for the whole module, stated at the trait"
)]

/// Vectors of one instruction set.
///
/// # Safety
/// Every function may be called only on a CPU that has the instruction set, from code compiled for
/// it; pointers must be valid for the bytes that the function's name and comment tell, at any
/// alignment.
pub(crate) trait Simd: Copy {
    /// 16 f32.
    type F: Copy;
    /// 16 i32.
    type I: Copy;
    /// 64 bytes: a line of a panel.
    type B: Copy;
    /// Running dot products of quads whose weights are below 16, for at most 8 quads.
    type N: Copy;
    /// A line of weights plus 128, made ready for `wdot`.
    type U: Copy;
    /// Running dot products of quads of such weights, for at most 8 quads.
    type W: Copy;

    /// Lanes of a vector, 16 or 8; a line has four bytes per lane, and 8 lanes are half a line.
    const LANES: usize;
    /// Whether the weights of a single token are fetched ahead. CPUs with 512-bit vectors keep up by
    /// themselves there, and lose up to 15 %; those with 256 bits win about that (measured on Zen 5
    /// and Zen 3).
    const FETCH_ONE: bool;

    unsafe fn splat(v: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    /// 16 halves.
    unsafe fn load_f16(p: *const u16) -> Self::F;
    /// 16 halves, rounded to nearest even.
    unsafe fn store_f16(p: *mut u16, v: Self::F);
    /// 16 bfloat16.
    unsafe fn load_bf16(p: *const u16) -> Self::F;
    /// 16 bytes.
    unsafe fn load_u8(p: *const u8) -> Self::F;
    /// 16 signed bytes.
    unsafe fn load_i8(p: *const i8) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a > b ? a : b`, so `b` when either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`, so `b` when either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c` with one rounding.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// To the nearest whole number, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// `a * 2^n` for whole `n` in -126..=127.
    unsafe fn scale_pow2(a: Self::F, n: Self::F) -> Self::F;
    /// `a < b ? x : y`.
    unsafe fn if_below(a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// Lanes `i` and `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
    unsafe fn reduce_add(a: Self::F) -> f32;
    unsafe fn reduce_max(a: Self::F) -> f32;
    unsafe fn to_f32(a: Self::I) -> Self::F;
    unsafe fn int(v: i32) -> Self::I;

    unsafe fn load_line(p: *const u8) -> Self::B;
    unsafe fn and(a: Self::B, mask: u8) -> Self::B;
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B;
    /// Bits of 16-bit words to the right; so bytes take bits from their neighbour.
    unsafe fn shr1(a: Self::B) -> Self::B;
    unsafe fn shr2(a: Self::B) -> Self::B;
    unsafe fn shr4(a: Self::B) -> Self::B;
    unsafe fn shl4(a: Self::B) -> Self::B;

    /// Starts at `bias`, which some sets add in `nend` instead.
    unsafe fn nstart(bias: i32) -> Self::N;
    /// Adds the dot product of each lane's four weights with the four signed bytes of `quad`.
    unsafe fn ndot(n: Self::N, weights: Self::B, quad: u32) -> Self::N;
    unsafe fn nend(n: Self::N, bias: i32) -> Self::I;
    /// Adds the dot products of two quads whose weights are below 64.
    unsafe fn dot2(acc: Self::I, weights: [Self::B; 2], quads: [u32; 2]) -> Self::I;
    unsafe fn split(weights: Self::B) -> Self::U;
    /// `bias` is -128 times the sum of the quads' bytes; sets that take 128 off the weights do
    /// without it.
    unsafe fn wstart(bias: i32) -> Self::W;
    unsafe fn wdot(w: Self::W, weights: Self::U, quad: u32) -> Self::W;
    unsafe fn wend(w: Self::W, bias: i32) -> Self::I;

    /// Adds each lane's pair of bfloat16 times `pair`.
    unsafe fn dot_bf16(acc: Self::F, weights: Self::B, pair: u32) -> Self::F;

    /// A hint; any address is allowed.
    unsafe fn prefetch(p: *const u8);
}

/// `e^x` to about 2 units in the last place; 0 below -87.33, constant above 88.37, NaN for NaN.
/// The polynomial is that of the Cephes library's `expf`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    let low = S::splat(-87.336_54);
    let clamped = S::min(S::splat(88.376_26), S::max(low, x));
    let n = S::round(S::mul(clamped, S::splat(std::f32::consts::LOG2_E)));
    let r = S::fma(n, S::splat(-0.693_359_4), clamped);
    let r = S::fma(n, S::splat(2.121_944_4e-4), r);
    let mut p = S::splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = S::fma(p, r, S::splat(c));
    }
    let p = S::add(S::fma(p, S::mul(r, r), r), S::splat(1.0));
    S::if_below(x, low, S::splat(0.0), S::scale_pow2(p, n))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::F) -> S::F {
    let one = S::splat(1.0);
    S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
}

/// `tanh x` with an absolute error of about 1e-7.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::F) -> S::F {
    let one = S::splat(1.0);
    let e = exp::<S>(S::add(x, x));
    S::sub(one, S::div(S::splat(2.0), S::add(e, one)))
}
