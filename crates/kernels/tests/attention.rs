//! Paged attention on every instruction set of this machine, against softmax in f64 over the stored
//! (16-bit) keys and values.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use chela_kernels::{AttentionOptions, Kernels, KvCache, KvLayout, KvType, Pool, Rows, RowsMut, Span};
use common::{Random, bits, kernels};
use half::{bf16, f16};
use proptest::prelude::*;

const BLOCKS: usize = 24;

/// A sequence with its queries, keys and values, and the blocks it was given.
struct Sequence {
    context: usize,
    blocks: Vec<u32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

struct Case {
    kind: KvType,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    causal: bool,
    window: Option<usize>,
    softcap: Option<f32>,
    sinks: Option<Vec<f32>>,
    sequences: Vec<Sequence>,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut r = Random::new(seed);
        let kv_heads = 1 + r.below(3);
        let heads = kv_heads * (1 + r.below(6));
        let dim = [4, 16, 24, 64, 80, 128][r.below(6)];
        let mut free: Vec<u32> = (0..BLOCKS as u32).collect();
        let sequences = (0..1 + r.below(3))
            .map(|_| {
                let context = 1 + r.below(80);
                let blocks =
                    (0..context.div_ceil(32)).map(|_| free.swap_remove(r.below(free.len()))).collect();
                Sequence {
                    context,
                    blocks,
                    q: r.values(context * heads * dim),
                    k: r.values(context * kv_heads * dim),
                    v: r.values(context * kv_heads * dim),
                }
            })
            .collect();
        Self {
            kind: if r.below(2) == 0 { KvType::F16 } else { KvType::Bf16 },
            heads,
            kv_heads,
            dim,
            causal: r.below(4) > 0,
            window: (r.below(3) == 0).then(|| 1 + r.below(50)),
            softcap: (r.below(3) == 0).then_some(5.0),
            sinks: (r.below(3) == 0).then(|| r.values(heads)),
            sequences,
        }
    }

    fn options(&self) -> AttentionOptions<'_> {
        AttentionOptions {
            heads: self.heads,
            scale: 0.7 / (self.dim as f32).sqrt(),
            causal: self.causal,
            window: self.window,
            softcap: self.softcap,
            sinks: self.sinks.as_deref(),
        }
    }

    /// A cache whose other slots hold NaN: nothing outside a sequence may be read into a result.
    fn cache(&self, k: Kernels, pool: &Pool) -> KvCache {
        let layout = KvLayout::new(self.kind, self.kv_heads, self.dim).unwrap();
        let mut cache = KvCache::new(layout, BLOCKS).unwrap();
        let cols = self.kv_heads * self.dim;
        let nan = vec![f32::NAN; BLOCKS * 32 * cols];
        let slots: Vec<usize> = (0..BLOCKS * 32).collect();
        k.kv_store(pool, &mut cache, Rows::new(&nan, cols), Rows::new(&nan, cols), &slots);
        for s in &self.sequences {
            let slots: Vec<usize> = (0..s.context).map(|p| s.blocks[p / 32] as usize * 32 + p % 32).collect();
            k.kv_store(pool, &mut cache, Rows::new(&s.k, cols), Rows::new(&s.v, cols), &slots);
        }
        cache
    }

    /// All positions of all sequences in one call, in sequence order.
    fn run(&self, k: Kernels, pool: &Pool) -> Vec<f32> {
        let cache = self.cache(k, pool);
        let cols = self.heads * self.dim;
        let q: Vec<f32> = self.sequences.iter().flat_map(|s| s.q.clone()).collect();
        let mut next = 0;
        let spans: Vec<Span<'_>> = self
            .sequences
            .iter()
            .map(|s| {
                let rows = next..next + s.context;
                next = rows.end;
                Span { rows, position: 0, context: s.context, blocks: &s.blocks }
            })
            .collect();
        let mut out = vec![f32::INFINITY; q.len()];
        let (q, o) = (Rows::new(&q, cols), RowsMut::new(&mut out, cols));
        k.attention(pool, self.options(), &cache, &spans, q, o);
        out
    }

    fn stored(&self, x: f32) -> f64 {
        f64::from(match self.kind {
            KvType::F16 => f16::from_f32(x).to_f32(),
            KvType::Bf16 => bf16::from_f32(x).to_f32(),
        })
    }

    /// One head at one position, and a bound of the error: the f32 sums of the scores move the
    /// weights by twice their error, the sum of the weights and values adds its own.
    fn expected(&self, s: &Sequence, position: usize, head: usize) -> (Vec<f64>, f64) {
        let o = self.options();
        let kv = head / (self.heads / self.kv_heads);
        let at = |p: usize| (p * self.kv_heads + kv) * self.dim;
        let q = &s.q[(position * self.heads + head) * self.dim..][..self.dim];
        let end = if o.causal { position + 1 } else { s.context };
        let start = o.window.map_or(0, |w| (position + 1).saturating_sub(w));
        let scores: Vec<f64> = (start..end)
            .map(|p| {
                let dot: f64 =
                    q.iter().zip(&s.k[at(p)..]).map(|(q, k)| f64::from(*q) * self.stored(*k)).sum();
                let score = dot * f64::from(o.scale);
                o.softcap.map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh())
            })
            .collect();
        let sink = o.sinks.map_or(f64::NEG_INFINITY, |s| f64::from(s[head]));
        let top = scores.iter().copied().fold(sink, f64::max);
        let total: f64 = scores.iter().map(|s| (s - top).exp()).sum::<f64>() + (sink - top).exp();
        let mut y = vec![0.0; self.dim];
        let (mut size, mut peak) = (1.0f64, 0.0f64);
        for (score, p) in scores.iter().zip(start..) {
            for (y, v) in y.iter_mut().zip(&s.v[at(p)..]) {
                *y += (score - top).exp() / total * self.stored(*v);
            }
            let products = q.iter().zip(&s.k[at(p)..]).map(|(q, k)| f64::from((q * k).abs()));
            size = size.max(products.sum::<f64>() * f64::from(o.scale));
            peak = s.v[at(p)..][..self.dim].iter().fold(peak, |m, v| m.max(f64::from(v.abs())));
        }
        let ulp = f64::from(f32::EPSILON);
        let bound = peak * ulp * (2.0 * size * (self.dim as f64 + 8.0) + s.context as f64 + 8.0);
        (y, bound)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attention_is_softmax_over_the_stored_values(seed in any::<u64>()) {
        let case = Case::random(seed);
        let pool = Pool::new(2).unwrap();
        let mut first: Option<Vec<f32>> = None;
        for k in kernels() {
            let out = case.run(k, &pool);
            if let Some(first) = &first {
                prop_assert_eq!(bits(&out), bits(first), "{:?} differs from generic", k);
                continue;
            }
            let mut rows = out.chunks_exact(case.dim);
            for s in &case.sequences {
                for (position, head) in (0..s.context).flat_map(|p| (0..case.heads).map(move |h| (p, h))) {
                    let (want, bound) = case.expected(s, position, head);
                    for (got, want) in rows.next().unwrap().iter().zip(want) {
                        prop_assert!((f64::from(*got) - want).abs() <= bound, "{k:?} {got} {want} ± {bound}");
                    }
                }
            }
            first = Some(out);
        }
    }

    /// Token by token, in random chunks, in one call with others: the same bits.
    #[test]
    fn chunking_and_company_do_not_change_a_bit(seed in any::<u64>()) {
        let case = Case::random(seed);
        let cols = case.heads * case.dim;
        let mut random = Random::new(seed ^ 1);
        let pool = Pool::new(3).unwrap();
        let alone = Pool::new(1).unwrap();
        for k in kernels() {
            let together = case.run(k, &pool);
            let cache = case.cache(k, &alone);
            let mut start = 0;
            for s in &case.sequences {
                let want = &together[start..start + s.q.len()];
                start += s.q.len();
                let mut position = 0;
                while position < s.context {
                    let n = if random.below(2) == 0 { 1 } else { 1 + random.below(s.context - position) };
                    let q = Rows::new(&s.q[position * cols..(position + n) * cols], cols);
                    let span = Span { rows: 0..n, position, context: s.context, blocks: &s.blocks };
                    let mut out = vec![f32::INFINITY; n * cols];
                    k.attention(&alone, case.options(), &cache, &[span], q, RowsMut::new(&mut out, cols));
                    prop_assert_eq!(bits(&out), bits(&want[position * cols..][..n * cols]), "{:?}", k);
                    position += n;
                }
            }
        }
    }
}

#[test]
fn f16_saturates() {
    let pool = Pool::new(1).unwrap();
    for k in kernels() {
        let mut cache = KvCache::new(KvLayout::new(KvType::F16, 1, 16).unwrap(), 1).unwrap();
        let x = vec![1e6; 16];
        k.kv_store(&pool, &mut cache, Rows::new(&x, 16), Rows::new(&x, 16), &[0]);
        let options =
            AttentionOptions { heads: 1, scale: 1.0, causal: true, window: None, softcap: None, sinks: None };
        let span = Span { rows: 0..1, position: 0, context: 1, blocks: &[0] };
        let mut out = vec![0.0; 16];
        let q = vec![1.0; 16];
        k.attention(&pool, options, &cache, &[span], Rows::new(&q, 16), RowsMut::new(&mut out, 16));
        assert_eq!(out, vec![65504.0; 16], "{k:?}");
    }
}

#[test]
fn impossible_layouts_are_refused() {
    assert!(KvLayout::new(KvType::F16, 0, 64).is_err());
    assert!(KvLayout::new(KvType::F16, 1, 0).is_err());
    assert!(KvLayout::new(KvType::F16, 1, 4096).is_err());
}
