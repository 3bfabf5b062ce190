//! Row operations on every instruction set of this machine, against f64.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use chela_kernels::{Isa, Kernels, Pool, RopeAngles, RopeStyle, Rows, RowsMut};
use common::{Random, bits, kernels};
use proptest::prelude::*;

fn close(got: f32, want: f64, relative: f64) -> bool {
    (f64::from(got) - want).abs() <= relative * want.abs() + 1e-7
}

/// Runs `op` on every set and asserts that all give the bits of the first.
fn agreed(op: impl Fn(Kernels) -> Vec<f32>) -> Vec<f32> {
    let all: Vec<Vec<f32>> = kernels().into_iter().map(&op).collect();
    for (k, v) in kernels().into_iter().zip(&all) {
        assert_eq!(bits(v), bits(&all[0]), "{k:?}");
    }
    all[0].clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rms_norm(cols in 1usize..200, rows in 1usize..5, seed in any::<u64>()) {
        let mut r = Random::new(seed);
        let (x, w) = (r.values(rows * cols), r.values(cols));
        let pool = Pool::new(2).unwrap();
        let out = agreed(|k| {
            let mut out = vec![0.0; x.len()];
            k.rms_norm(&pool, Rows::new(&x, cols), &w, 1e-5, RowsMut::new(&mut out, cols));
            let mut same = x.clone();
            k.rms_norm_heads(&pool, RowsMut::new(&mut same, cols * rows), &w, 1e-5);
            assert_eq!(same, out);
            out
        });
        for (x, out) in x.chunks(cols).zip(out.chunks(cols)) {
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / cols as f64;
            for ((x, w), out) in x.iter().zip(&w).zip(out) {
                let want = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w);
                prop_assert!(close(*out, want, 1e-5), "{out} {want}");
            }
        }
    }

    #[test]
    fn softmax_and_log_sum_exp(n in 1usize..2000, seed in any::<u64>()) {
        let x = Random::new(seed).values(n);
        let out = agreed(|k| {
            let mut out = x.clone();
            k.softmax(&mut out);
            out.push(k.log_sum_exp(&x));
            out
        });
        let total: f64 = x.iter().map(|v| f64::from(*v).exp()).sum();
        for (x, out) in x.iter().zip(&out) {
            prop_assert!(close(*out, f64::from(*x).exp() / total, 1e-5), "{x} {out}");
        }
        prop_assert!(close(out[n], total.ln(), 1e-5));
    }

    #[test]
    fn softcap(n in 1usize..100, seed in any::<u64>()) {
        let x = Random::new(seed).values(n);
        let out = agreed(|k| {
            let mut out = x.clone();
            k.softcap(&mut out, 30.0);
            out
        });
        for (x, out) in x.iter().zip(out) {
            let want = 30.0 * (f64::from(*x) / 30.0).tanh();
            prop_assert!((f64::from(out) - want).abs() < 1e-5, "{x} {out} {want}");
        }
    }

    #[test]
    fn argmax_and_top_k(n in 0usize..3000, k in 0usize..50, seed in any::<u64>()) {
        let mut r = Random::new(seed);
        // Few distinct values, so that ties are common, and some NaN.
        let x: Vec<f32> = (0..n)
            .map(|_| match r.below(40) {
                0 => f32::NAN,
                v => (v as f32 - 20.0).trunc(),
            })
            .collect();
        let mut order: Vec<usize> = (0..n).collect();
        let key = |i: usize| if x[i].is_nan() { f32::NEG_INFINITY } else { x[i] };
        order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
        for kernels in kernels() {
            let best = order.first().copied().filter(|&i| !x[i].is_nan());
            prop_assert_eq!(kernels.argmax(&x), best);
            prop_assert_eq!(&kernels.top_k(&x, k)[..], &order[..k.min(n)]);
        }
    }

    #[test]
    fn rope(heads in 1usize..4, pairs in 0usize..20, extra in 0usize..9, seed in any::<u64>()) {
        let dim = 2 * pairs + extra + 1;
        let mut r = Random::new(seed);
        let positions = [0, 1, 77, 100_000];
        let frequencies: Vec<f32> = (0..pairs).map(|i| 1e4f32.powf(-(i as f32) / pairs as f32)).collect();
        let x = r.values(4 * heads * dim);
        let angles = RopeAngles::new(&positions, &frequencies, 1.5);
        let pool = Pool::new(1).unwrap();
        for style in [RopeStyle::Halves, RopeStyle::Pairs] {
            let mut out = x.clone();
            Kernels::detect().rope(&pool, RowsMut::new(&mut out, heads * dim), dim, style, &angles);
            for (i, (x, out)) in x.chunks(dim).zip(out.chunks(dim)).enumerate() {
                prop_assert_eq!(&x[2 * pairs..], &out[2 * pairs..]);
                for (p, f) in frequencies.iter().enumerate() {
                    let (a, b) = match style {
                        RopeStyle::Halves => (p, p + pairs),
                        RopeStyle::Pairs => (2 * p, 2 * p + 1),
                    };
                    let (sin, cos) = f64::from(positions[i / heads] as f32 * f).sin_cos();
                    let (xa, xb) = (f64::from(x[a]), f64::from(x[b]));
                    let size = 1e-6 * (xa.abs() + xb.abs()) + 1e-9;
                    prop_assert!((f64::from(out[a]) - 1.5 * (xa * cos - xb * sin)).abs() <= size);
                    prop_assert!((f64::from(out[b]) - 1.5 * (xb * cos + xa * sin)).abs() <= size);
                }
            }
        }
    }
}

#[test]
fn exponentials_at_the_edges() {
    let x = [0.0, -1000.0, f32::NEG_INFINITY, -85.0, 1.0];
    let out = agreed(|k| {
        let mut out = x.to_vec();
        k.softmax(&mut out);
        out
    });
    assert_eq!(out[1], 0.0);
    assert_eq!(out[2], 0.0);
    assert!(out[3] > 0.0);
    let poisoned = agreed(|k| {
        let mut out = vec![1.0, f32::NAN, 2.0];
        k.softmax(&mut out);
        out.into_iter().map(|v| if v.is_nan() { 1.0 } else { 0.0 }).collect()
    });
    assert_eq!(poisoned, [1.0; 3]);
}

#[test]
fn isa_names_round_trip() {
    for isa in Isa::ALL {
        assert_eq!(isa.to_string().parse::<Isa>().unwrap(), isa);
    }
    assert!("sse9".parse::<Isa>().is_err());
    assert_eq!(Kernels::detect().isa(), Isa::detect());
    for isa in Isa::ALL {
        assert_eq!(Kernels::for_isa(isa).is_ok(), isa <= Isa::detect());
    }
}

#[test]
fn measurements_are_positive() {
    let pool = Pool::new(1).unwrap();
    let k = Kernels::detect();
    assert!(k.peak_int8(&pool) > 0.0);
    assert!(k.peak_bf16(&pool) > 0.0);
    assert!(k.peak_f32(&pool) > 0.0);
}
