//! AVX2 with FMA and F16C: 16 lanes are two registers, 8 are one.
#![allow(
    unsafe_op_in_unsafe_fn,
    clippy::needless_range_loop,
    reason = "the contract is that of the trait; registers are indexed alike"
)]

use std::arch::x86_64::*;

use crate::simd::Simd;

/// AVX2, FMA and F16C, with vectors of `N` registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const N: usize>;

/// The expression for each register, `h` being its index. Not a closure: that would be compiled
/// without the instruction set.
macro_rules! floats {
    ($h:ident => $value:expr) => {{
        let mut all = [_mm256_setzero_ps(); N];
        for $h in 0..N {
            all[$h] = $value;
        }
        all
    }};
}

/// The same for integers.
macro_rules! ints {
    ($h:ident => $value:expr) => {{
        let mut all = [_mm256_setzero_si256(); N];
        for $h in 0..N {
            all[$h] = $value;
        }
        all
    }};
}

/// The upper bfloat16 of a pair.
const HIGH: i32 = 0xffff_0000_u32 as i32;

type F<const N: usize> = [__m256; N];
type I<const N: usize> = [__m256i; N];

/// Sums of products of unsigned nibbles and signed bytes in 16-bit lanes: 8 quads of at most
/// `2 * 15 * 127` fit.
#[inline(always)]
unsafe fn add_products<const N: usize>(sums: I<N>, weights: I<N>, quad: u32) -> I<N> {
    let quad = _mm256_set1_epi32(quad as i32);
    ints!(h => _mm256_add_epi16(sums[h], _mm256_maddubs_epi16(weights[h], quad)))
}

/// 16-bit lanes to sums of pairs.
#[inline(always)]
unsafe fn widen<const N: usize>(sums: I<N>) -> I<N> {
    ints!(h => _mm256_madd_epi16(sums[h], _mm256_set1_epi16(1)))
}

impl<const N: usize> Simd for Avx2<N> {
    type F = F<N>;
    type I = I<N>;
    type B = I<N>;
    type N = I<N>;
    /// Absolute values and the weights themselves.
    type U = [I<N>; 2];
    type W = I<N>;

    const LANES: usize = 8 * N;
    const FETCH_ONE: bool = true;

    #[inline(always)]
    unsafe fn splat(v: f32) -> F<N> {
        [_mm256_set1_ps(v); N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F<N> {
        floats!(h => _mm256_loadu_ps(p.add(8 * h)))
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F<N>) {
        for h in 0..N {
            _mm256_storeu_ps(p.add(8 * h), v[h]);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F<N> {
        floats!(h => _mm256_cvtph_ps(_mm_loadu_si128(p.add(8 * h).cast())))
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: F<N>) {
        for h in 0..N {
            let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[h]);
            _mm_storeu_si128(p.add(8 * h).cast(), half);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F<N> {
        floats!(h => {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(8 * h).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        })
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> F<N> {
        floats!(h => _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8 * h).cast()))))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F<N> {
        floats!(h => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8 * h).cast()))))
    }
    #[inline(always)]
    unsafe fn add(a: F<N>, b: F<N>) -> F<N> {
        floats!(h => _mm256_add_ps(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn sub(a: F<N>, b: F<N>) -> F<N> {
        floats!(h => _mm256_sub_ps(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn mul(a: F<N>, b: F<N>) -> F<N> {
        floats!(h => _mm256_mul_ps(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn div(a: F<N>, b: F<N>) -> F<N> {
        floats!(h => _mm256_div_ps(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn max(a: F<N>, b: F<N>) -> F<N> {
        floats!(h => _mm256_max_ps(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn min(a: F<N>, b: F<N>) -> F<N> {
        floats!(h => _mm256_min_ps(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn fma(a: F<N>, b: F<N>, c: F<N>) -> F<N> {
        floats!(h => _mm256_fmadd_ps(a[h], b[h], c[h]))
    }
    #[inline(always)]
    unsafe fn round(a: F<N>) -> F<N> {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        floats!(h => _mm256_round_ps::<NEAREST>(a[h]))
    }
    #[inline(always)]
    unsafe fn scale_pow2(a: F<N>, n: F<N>) -> F<N> {
        floats!(h => {
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(n[h]), _mm256_set1_epi32(127));
            _mm256_mul_ps(a[h], _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
        })
    }
    #[inline(always)]
    unsafe fn if_below(a: F<N>, b: F<N>, x: F<N>, y: F<N>) -> F<N> {
        floats!(h => _mm256_blendv_ps(y[h], x[h], _mm256_cmp_ps::<_CMP_LT_OQ>(a[h], b[h])))
    }
    #[inline(always)]
    unsafe fn reduce_add(a: F<N>) -> f32 {
        let a = if N == 1 { a[0] } else { _mm256_add_ps(a[0], a[N - 1]) };
        let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
    }
    #[inline(always)]
    unsafe fn reduce_max(a: F<N>) -> f32 {
        let a = if N == 1 { a[0] } else { _mm256_max_ps(a[0], a[N - 1]) };
        let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
    }
    #[inline(always)]
    unsafe fn to_f32(a: I<N>) -> F<N> {
        floats!(h => _mm256_cvtepi32_ps(a[h]))
    }
    #[inline(always)]
    unsafe fn int(v: i32) -> I<N> {
        [_mm256_set1_epi32(v); N]
    }

    #[inline(always)]
    unsafe fn load_line(p: *const u8) -> I<N> {
        ints!(h => _mm256_loadu_si256(p.add(32 * h).cast()))
    }
    #[inline(always)]
    unsafe fn and(a: I<N>, mask: u8) -> I<N> {
        ints!(h => _mm256_and_si256(a[h], _mm256_set1_epi8(mask as i8)))
    }
    #[inline(always)]
    unsafe fn or(a: I<N>, b: I<N>) -> I<N> {
        ints!(h => _mm256_or_si256(a[h], b[h]))
    }
    #[inline(always)]
    unsafe fn shr1(a: I<N>) -> I<N> {
        ints!(h => _mm256_srli_epi16::<1>(a[h]))
    }
    #[inline(always)]
    unsafe fn shr2(a: I<N>) -> I<N> {
        ints!(h => _mm256_srli_epi16::<2>(a[h]))
    }
    #[inline(always)]
    unsafe fn shr4(a: I<N>) -> I<N> {
        ints!(h => _mm256_srli_epi16::<4>(a[h]))
    }
    #[inline(always)]
    unsafe fn shl4(a: I<N>) -> I<N> {
        ints!(h => _mm256_slli_epi16::<4>(a[h]))
    }

    #[inline(always)]
    unsafe fn nstart(_bias: i32) -> I<N> {
        [_mm256_setzero_si256(); N]
    }
    #[inline(always)]
    unsafe fn ndot(n: I<N>, weights: I<N>, quad: u32) -> I<N> {
        add_products(n, weights, quad)
    }
    #[inline(always)]
    unsafe fn nend(n: I<N>, bias: i32) -> I<N> {
        let n = widen(n);
        ints!(h => _mm256_add_epi32(n[h], _mm256_set1_epi32(bias)))
    }
    #[inline(always)]
    unsafe fn dot2(acc: I<N>, weights: [I<N>; 2], quads: [u32; 2]) -> I<N> {
        let [q0, q1] = [_mm256_set1_epi32(quads[0] as i32), _mm256_set1_epi32(quads[1] as i32)];
        // Four products of at most 63 * 128 fit 16 bits.
        let products = ints!(h => {
            let first = _mm256_maddubs_epi16(weights[0][h], q0);
            _mm256_add_epi16(first, _mm256_maddubs_epi16(weights[1][h], q1))
        });
        let wide = widen(products);
        ints!(h => _mm256_add_epi32(acc[h], wide[h]))
    }
    #[inline(always)]
    unsafe fn split(weights: I<N>) -> [I<N>; 2] {
        let signed = ints!(h => _mm256_xor_si256(weights[h], _mm256_set1_epi8(-128)));
        [ints!(h => _mm256_abs_epi8(signed[h])), signed]
    }
    #[inline(always)]
    unsafe fn wstart(_bias: i32) -> I<N> {
        [_mm256_setzero_si256(); N]
    }
    /// The sign of a weight goes to the activation, since one factor has to be unsigned; two products
    /// of at most 128 * 127 fit 16 bits.
    #[inline(always)]
    unsafe fn wdot(w: I<N>, weights: [I<N>; 2], quad: u32) -> I<N> {
        let [absolute, signed] = weights;
        let quad = _mm256_set1_epi32(quad as i32);
        let products = ints!(h => _mm256_maddubs_epi16(absolute[h], _mm256_sign_epi8(quad, signed[h])));
        let wide = widen(products);
        ints!(h => _mm256_add_epi32(w[h], wide[h]))
    }
    #[inline(always)]
    unsafe fn wend(w: I<N>, _bias: i32) -> I<N> {
        w
    }

    #[inline(always)]
    unsafe fn dot_bf16(acc: F<N>, weights: I<N>, pair: u32) -> F<N> {
        let (pair, high) = (_mm256_set1_epi32(pair as i32), _mm256_set1_epi32(HIGH));
        let a0 = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair));
        let a1 = _mm256_castsi256_ps(_mm256_and_si256(pair, high));
        floats!(h => {
            let w0 = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(weights[h]));
            let w1 = _mm256_castsi256_ps(_mm256_and_si256(weights[h], high));
            _mm256_fmadd_ps(w1, a1, _mm256_fmadd_ps(w0, a0, acc[h]))
        })
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}
