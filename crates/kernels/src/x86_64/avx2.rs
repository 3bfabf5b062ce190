//! AVX2 with FMA and F16C: 16 lanes are two registers.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract is that of the trait")]

use std::arch::x86_64::*;

use crate::simd::Simd;

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// The expression for both registers, `H` being 0 and 1. Not a closure: that would be compiled
/// without the instruction set.
macro_rules! both {
    ($half:ident => $value:expr) => {
        [
            {
                const $half: usize = 0;
                $value
            },
            {
                const $half: usize = 1;
                $value
            },
        ]
    };
}

/// The upper bfloat16 of a pair.
const HIGH: i32 = 0xffff_0000_u32 as i32;

type F = [__m256; 2];
type I = [__m256i; 2];

/// Sums of products of unsigned nibbles and signed bytes in 16-bit lanes: 8 quads of at most
/// `2 * 15 * 127` fit.
#[inline(always)]
unsafe fn add_products(sums: I, weights: I, quad: u32) -> I {
    let quad = _mm256_set1_epi32(quad as i32);
    both!(H => _mm256_add_epi16(sums[H], _mm256_maddubs_epi16(weights[H], quad)))
}

/// 16-bit lanes to sums of pairs.
#[inline(always)]
unsafe fn widen(sums: I) -> I {
    both!(H => _mm256_madd_epi16(sums[H], _mm256_set1_epi16(1)))
}

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type B = I;
    type N = I;
    type U = [I; 2];
    type W = [I; 2];

    #[inline(always)]
    unsafe fn splat(v: f32) -> F {
        [_mm256_set1_ps(v); 2]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))]
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F) {
        _mm256_storeu_ps(p, v[0]);
        _mm256_storeu_ps(p.add(8), v[1]);
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        both!(H => _mm256_cvtph_ps(_mm_loadu_si128(p.add(8 * H).cast())))
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: F) {
        both!(H => {
            let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[H]);
            _mm_storeu_si128(p.add(8 * H).cast(), half)
        });
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        both!(H => {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(8 * H).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        })
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> F {
        both!(H => _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8 * H).cast()))))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        both!(H => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8 * H).cast()))))
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        both!(H => _mm256_add_ps(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        both!(H => _mm256_sub_ps(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        both!(H => _mm256_mul_ps(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        both!(H => _mm256_div_ps(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        both!(H => _mm256_max_ps(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        both!(H => _mm256_min_ps(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        both!(H => _mm256_fmadd_ps(a[H], b[H], c[H]))
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        both!(H => _mm256_round_ps::<NEAREST>(a[H]))
    }
    #[inline(always)]
    unsafe fn scale_pow2(a: F, n: F) -> F {
        both!(H => {
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(n[H]), _mm256_set1_epi32(127));
            _mm256_mul_ps(a[H], _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
        })
    }
    #[inline(always)]
    unsafe fn if_below(a: F, b: F, x: F, y: F) -> F {
        both!(H => _mm256_blendv_ps(y[H], x[H], _mm256_cmp_ps::<_CMP_LT_OQ>(a[H], b[H])))
    }
    #[inline(always)]
    unsafe fn reduce_add(a: F) -> f32 {
        let a = _mm256_add_ps(a[0], a[1]);
        let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
    }
    #[inline(always)]
    unsafe fn reduce_max(a: F) -> f32 {
        let a = _mm256_max_ps(a[0], a[1]);
        let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
    }
    #[inline(always)]
    unsafe fn to_f32(a: I) -> F {
        both!(H => _mm256_cvtepi32_ps(a[H]))
    }

    #[inline(always)]
    unsafe fn load_line(p: *const u8) -> I {
        [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())]
    }
    #[inline(always)]
    unsafe fn and(a: I, mask: u8) -> I {
        both!(H => _mm256_and_si256(a[H], _mm256_set1_epi8(mask as i8)))
    }
    #[inline(always)]
    unsafe fn or(a: I, b: I) -> I {
        both!(H => _mm256_or_si256(a[H], b[H]))
    }
    #[inline(always)]
    unsafe fn shr1(a: I) -> I {
        both!(H => _mm256_srli_epi16::<1>(a[H]))
    }
    #[inline(always)]
    unsafe fn shr2(a: I) -> I {
        both!(H => _mm256_srli_epi16::<2>(a[H]))
    }
    #[inline(always)]
    unsafe fn shr4(a: I) -> I {
        both!(H => _mm256_srli_epi16::<4>(a[H]))
    }
    #[inline(always)]
    unsafe fn shl4(a: I) -> I {
        both!(H => _mm256_slli_epi16::<4>(a[H]))
    }

    #[inline(always)]
    unsafe fn nstart(_bias: i32) -> I {
        [_mm256_setzero_si256(); 2]
    }
    #[inline(always)]
    unsafe fn ndot(n: I, weights: I, quad: u32) -> I {
        add_products(n, weights, quad)
    }
    #[inline(always)]
    unsafe fn nend(n: I, bias: i32) -> I {
        let n = widen(n);
        both!(H => _mm256_add_epi32(n[H], _mm256_set1_epi32(bias)))
    }
    /// Low and high nibbles: products with whole bytes would not fit 16 bits.
    #[inline(always)]
    unsafe fn split(weights: I) -> [I; 2] {
        [Self::and(weights, 15), Self::and(Self::shr4(weights), 15)]
    }
    #[inline(always)]
    unsafe fn wstart(_bias: i32) -> [I; 2] {
        [[_mm256_setzero_si256(); 2]; 2]
    }
    #[inline(always)]
    unsafe fn wdot(w: [I; 2], weights: [I; 2], quad: u32) -> [I; 2] {
        both!(H => add_products(w[H], weights[H], quad))
    }
    #[inline(always)]
    unsafe fn wend(w: [I; 2], bias: i32) -> I {
        let (low, high) = (Self::nend(w[0], bias), widen(w[1]));
        both!(H => _mm256_add_epi32(low[H], _mm256_slli_epi32::<4>(high[H])))
    }

    #[inline(always)]
    unsafe fn dot_bf16(acc: F, weights: I, pair: u32) -> F {
        let (pair, high) = (_mm256_set1_epi32(pair as i32), _mm256_set1_epi32(HIGH));
        let a0 = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair));
        let a1 = _mm256_castsi256_ps(_mm256_and_si256(pair, high));
        both!(H => {
            let w0 = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(weights[H]));
            let w1 = _mm256_castsi256_ps(_mm256_and_si256(weights[H], high));
            _mm256_fmadd_ps(w1, a1, _mm256_fmadd_ps(w0, a0, acc[H]))
        })
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}
