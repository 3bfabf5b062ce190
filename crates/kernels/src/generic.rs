//! The vector operations in plain Rust, for every CPU: also what the other sets are checked
//! against.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract is that of the trait")]

use std::array::from_fn;

use half::f16;

use crate::simd::Simd;

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Generic;

type F = [f32; 16];
type I = [i32; 16];
type B = [u8; 64];

#[inline(always)]
fn dot(acc: I, weights: B, quad: u32) -> I {
    let quad = quad.to_le_bytes();
    from_fn(|r| {
        (0..4)
            .fold(acc[r], |sum, c| sum.wrapping_add(i32::from(weights[r * 4 + c]) * i32::from(quad[c] as i8)))
    })
}

#[inline(always)]
fn shifted(a: B, by: impl Fn(u16) -> u16) -> B {
    let mut out = [0; 64];
    for (o, a) in out.chunks_exact_mut(2).zip(a.chunks_exact(2)) {
        o.copy_from_slice(&by(u16::from_le_bytes([a[0], a[1]])).to_le_bytes());
    }
    out
}

#[inline(always)]
fn tree(mut a: F, op: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            a[i] = op(a[i], a[i + half]);
        }
    }
    a[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Simd for Generic {
    type F = F;
    type I = I;
    type B = B;
    type N = I;
    type U = B;
    type W = I;

    const LANES: usize = 16;
    const FETCH_ONE: bool = false;

    #[inline(always)]
    unsafe fn splat(v: f32) -> F {
        [v; 16]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        p.cast::<F>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F) {
        p.cast::<F>().write_unaligned(v);
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        let h = p.cast::<[u16; 16]>().read_unaligned();
        h.map(|h| f16::from_bits(h).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: F) {
        p.cast::<[u16; 16]>().write_unaligned(v.map(|v| f16::from_f32(v).to_bits()));
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        let h = p.cast::<[u16; 16]>().read_unaligned();
        h.map(|h| f32::from_bits(u32::from(h) << 16))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> F {
        p.cast::<[u8; 16]>().read_unaligned().map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        p.cast::<[i8; 16]>().read_unaligned().map(f32::from)
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        from_fn(|i| larger(a[i], b[i]))
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn scale_pow2(a: F, n: F) -> F {
        from_fn(|i| a[i] * f32::from_bits(((n[i] as i32).wrapping_add(127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn if_below(a: F, b: F, x: F, y: F) -> F {
        from_fn(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    unsafe fn reduce_add(a: F) -> f32 {
        tree(a, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn reduce_max(a: F) -> f32 {
        tree(a, larger)
    }
    #[inline(always)]
    unsafe fn to_f32(a: I) -> F {
        a.map(|v| v as f32)
    }
    #[inline(always)]
    unsafe fn int(v: i32) -> I {
        [v; 16]
    }

    #[inline(always)]
    unsafe fn load_line(p: *const u8) -> B {
        p.cast::<B>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn and(a: B, mask: u8) -> B {
        a.map(|v| v & mask)
    }
    #[inline(always)]
    unsafe fn or(a: B, b: B) -> B {
        from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn shr1(a: B) -> B {
        shifted(a, |v| v >> 1)
    }
    #[inline(always)]
    unsafe fn shr2(a: B) -> B {
        shifted(a, |v| v >> 2)
    }
    #[inline(always)]
    unsafe fn shr4(a: B) -> B {
        shifted(a, |v| v >> 4)
    }
    #[inline(always)]
    unsafe fn shl4(a: B) -> B {
        shifted(a, |v| v << 4)
    }

    #[inline(always)]
    unsafe fn nstart(bias: i32) -> I {
        [bias; 16]
    }
    #[inline(always)]
    unsafe fn ndot(n: I, weights: B, quad: u32) -> I {
        dot(n, weights, quad)
    }
    #[inline(always)]
    unsafe fn nend(n: I, _bias: i32) -> I {
        n
    }
    #[inline(always)]
    unsafe fn dot2(acc: I, weights: [B; 2], quads: [u32; 2]) -> I {
        dot(dot(acc, weights[0], quads[0]), weights[1], quads[1])
    }
    #[inline(always)]
    unsafe fn split(weights: B) -> B {
        weights
    }
    #[inline(always)]
    unsafe fn wstart(bias: i32) -> I {
        [bias; 16]
    }
    #[inline(always)]
    unsafe fn wdot(w: I, weights: B, quad: u32) -> I {
        dot(w, weights, quad)
    }
    #[inline(always)]
    unsafe fn wend(w: I, _bias: i32) -> I {
        w
    }

    #[inline(always)]
    unsafe fn dot_bf16(acc: F, weights: B, pair: u32) -> F {
        let (a0, a1) = (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000));
        from_fn(|r| {
            let w = &weights[r * 4..];
            let w0 = f32::from_bits(u32::from_le_bytes([0, 0, w[0], w[1]]));
            let w1 = f32::from_bits(u32::from_le_bytes([0, 0, w[2], w[3]]));
            w1.mul_add(a1, w0.mul_add(a0, acc[r]))
        })
    }

    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}
}
