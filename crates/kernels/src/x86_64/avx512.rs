//! AVX-512 with or without VNNI and BF16: 16 lanes are one register.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract is that of the trait")]

use std::arch::x86_64::*;

use crate::simd::Simd;

/// AVX-512 F, BW, DQ and VL, and what the parameters say.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VNNI: bool, const BF16: bool>;

/// The upper bfloat16 of a pair.
const HIGH: i32 = 0xffff_0000_u32 as i32;

type F = __m512;
type I = __m512i;

/// Sums of products of unsigned nibbles and signed bytes in 16-bit lanes: 8 quads of at most
/// `2 * 15 * 127` fit.
#[inline(always)]
unsafe fn add_products(sums: I, weights: I, quad: u32) -> I {
    _mm512_add_epi16(sums, _mm512_maddubs_epi16(weights, _mm512_set1_epi32(quad as i32)))
}

/// 16-bit lanes to sums of pairs.
#[inline(always)]
unsafe fn widen(sums: I) -> I {
    _mm512_madd_epi16(sums, _mm512_set1_epi16(1))
}

impl<const VNNI: bool, const BF16: bool> Simd for Avx512<VNNI, BF16> {
    type F = F;
    type I = I;
    type B = I;
    type N = I;
    /// The line twice with VNNI; else its low and high nibbles.
    type U = [I; 2];
    /// The sums and nothing with VNNI; else those of the low and high nibbles.
    type W = [I; 2];

    const LANES: usize = 16;
    const FETCH_ONE: bool = false;

    #[inline(always)]
    unsafe fn splat(v: f32) -> F {
        _mm512_set1_ps(v)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F) {
        _mm512_storeu_ps(p, v);
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        _mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: F) {
        _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> F {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn scale_pow2(a: F, n: F) -> F {
        let n = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
        _mm512_mul_ps(a, _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n)))
    }
    #[inline(always)]
    unsafe fn if_below(a: F, b: F, x: F, y: F) -> F {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x)
    }
    #[inline(always)]
    unsafe fn reduce_add(a: F) -> f32 {
        let a = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
        let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
    }
    #[inline(always)]
    unsafe fn reduce_max(a: F) -> f32 {
        let a = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
        let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
    }
    #[inline(always)]
    unsafe fn to_f32(a: I) -> F {
        _mm512_cvtepi32_ps(a)
    }
    #[inline(always)]
    unsafe fn int(v: i32) -> I {
        _mm512_set1_epi32(v)
    }

    #[inline(always)]
    unsafe fn load_line(p: *const u8) -> I {
        _mm512_loadu_si512(p.cast())
    }
    #[inline(always)]
    unsafe fn and(a: I, mask: u8) -> I {
        _mm512_and_si512(a, _mm512_set1_epi8(mask as i8))
    }
    #[inline(always)]
    unsafe fn or(a: I, b: I) -> I {
        _mm512_or_si512(a, b)
    }
    #[inline(always)]
    unsafe fn shr1(a: I) -> I {
        _mm512_srli_epi16::<1>(a)
    }
    #[inline(always)]
    unsafe fn shr2(a: I) -> I {
        _mm512_srli_epi16::<2>(a)
    }
    #[inline(always)]
    unsafe fn shr4(a: I) -> I {
        _mm512_srli_epi16::<4>(a)
    }
    #[inline(always)]
    unsafe fn shl4(a: I) -> I {
        _mm512_slli_epi16::<4>(a)
    }

    #[inline(always)]
    unsafe fn nstart(bias: i32) -> I {
        if VNNI { _mm512_set1_epi32(bias) } else { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn ndot(n: I, weights: I, quad: u32) -> I {
        if VNNI {
            _mm512_dpbusd_epi32(n, weights, _mm512_set1_epi32(quad as i32))
        } else {
            add_products(n, weights, quad)
        }
    }
    #[inline(always)]
    unsafe fn nend(n: I, bias: i32) -> I {
        if VNNI { n } else { _mm512_add_epi32(widen(n), _mm512_set1_epi32(bias)) }
    }
    #[inline(always)]
    unsafe fn dot2(acc: I, weights: [I; 2], quads: [u32; 2]) -> I {
        let [q0, q1] = [_mm512_set1_epi32(quads[0] as i32), _mm512_set1_epi32(quads[1] as i32)];
        if VNNI {
            _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(acc, weights[0], q0), weights[1], q1)
        } else {
            // Four products of at most 63 * 128 fit 16 bits.
            let products =
                _mm512_add_epi16(_mm512_maddubs_epi16(weights[0], q0), _mm512_maddubs_epi16(weights[1], q1));
            _mm512_add_epi32(acc, widen(products))
        }
    }
    #[inline(always)]
    unsafe fn split(weights: I) -> [I; 2] {
        if VNNI { [weights; 2] } else { [Self::and(weights, 15), Self::and(Self::shr4(weights), 15)] }
    }
    #[inline(always)]
    unsafe fn wstart(bias: i32) -> [I; 2] {
        [Self::nstart(bias), _mm512_setzero_si512()]
    }
    #[inline(always)]
    unsafe fn wdot(w: [I; 2], weights: [I; 2], quad: u32) -> [I; 2] {
        if VNNI {
            [Self::ndot(w[0], weights[0], quad), w[1]]
        } else {
            [add_products(w[0], weights[0], quad), add_products(w[1], weights[1], quad)]
        }
    }
    #[inline(always)]
    unsafe fn wend(w: [I; 2], bias: i32) -> I {
        let low = Self::nend(w[0], bias);
        if VNNI { low } else { _mm512_add_epi32(low, _mm512_slli_epi32::<4>(widen(w[1]))) }
    }

    #[inline(always)]
    unsafe fn dot_bf16(acc: F, weights: I, pair: u32) -> F {
        if BF16 {
            let pair = _mm512_set1_epi32(pair as i32);
            // SAFETY: 512 bits either way.
            let (weights, pair): (__m512bh, __m512bh) = std::mem::transmute((weights, pair));
            _mm512_dpbf16_ps(acc, weights, pair)
        } else {
            let (pair, high) = (_mm512_set1_epi32(pair as i32), _mm512_set1_epi32(HIGH));
            let a0 = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pair));
            let a1 = _mm512_castsi512_ps(_mm512_and_si512(pair, high));
            let w0 = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(weights));
            let w1 = _mm512_castsi512_ps(_mm512_and_si512(weights, high));
            _mm512_fmadd_ps(w1, a1, _mm512_fmadd_ps(w0, a0, acc))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}
