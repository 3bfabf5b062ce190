//! Operations on rows: normalization, rotary positions, softmax and what sampling needs.
#![allow(unsafe_op_in_unsafe_fn, reason = "the `imp` functions' contract is stated at the module")]

use crate::{Kernels, Pool, RowsMut};

/// Values below which an operation is not worth waking the workers.
const SERIAL_VALUES: usize = 1 << 14;

/// Which values of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// `i` with `i + rotated / 2` (GPT-NeoX; Hugging Face's Llama and Qwen).
    Halves,
    /// `2i` with `2i + 1` (GGUF's Llama).
    Pairs,
}

/// Cosines and sines for the tokens of a step, shared by all layers that rotate alike.
#[derive(Debug, Clone, Default)]
pub struct RopeAngles {
    pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeAngles {
    /// Angles `position * frequency` (product in f32, as the reference implementations have it) for
    /// each of `positions` and of `frequencies`, which carry any scaling; cosine and sine are
    /// multiplied by `magnitude` (1 but for YaRN and LongRoPE).
    pub fn new(positions: &[usize], frequencies: &[f32], magnitude: f32) -> Self {
        let angles = positions.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f));
        let (sin, cos) = angles
            .map(|a| {
                let (sin, cos) = f64::from(a).sin_cos();
                (sin as f32 * magnitude, cos as f32 * magnitude)
            })
            .unzip();
        Self { pairs: frequencies.len(), cos, sin }
    }

    /// Values of a head that rotate: twice the number of frequencies.
    pub fn rotated(&self) -> usize {
        2 * self.pairs
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.pairs).unwrap_or(0)
    }

    fn rotate(&self, token: usize, style: RopeStyle, head: &mut [f32]) {
        let at = token * self.pairs..(token + 1) * self.pairs;
        let angles = self.cos[at.clone()].iter().zip(&self.sin[at]);
        match style {
            RopeStyle::Halves => {
                let (a, b) = head[..2 * self.pairs].split_at_mut(self.pairs);
                for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(angles) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
            RopeStyle::Pairs => {
                for (ab, (cos, sin)) in head[..2 * self.pairs].chunks_exact_mut(2).zip(angles) {
                    let (a, b) = (ab[0], ab[1]);
                    (ab[0], ab[1]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
    }
}

impl Kernels {
    /// RMS norm of each row: `x / sqrt(mean(x²) + eps) * weight`, from `x` to `out`.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn rms_norm(&self, pool: &Pool, x: crate::Rows<'_>, weight: &[f32], eps: f32, mut out: RowsMut<'_>) {
        let cols = x.cols();
        assert!(x.rows() == out.rows() && cols == out.cols() && weight.len() == cols, "rms_norm");
        let out = out.shared();
        each(pool, x.rows(), cols, |i| {
            // SAFETY: every task has its own row; the set is one that this CPU has; equal lengths.
            unsafe {
                let row = out.part(i, 0..cols);
                row.copy_from_slice(x.row(i));
                (self.table().rms_norm)(row, weight, eps);
            }
        });
    }

    /// RMS norm of each head (`weight.len()` values) of each row in place: the norm of queries and
    /// keys.
    ///
    /// # Panics
    /// When a row is not a whole number of heads.
    pub fn rms_norm_heads(&self, pool: &Pool, mut x: RowsMut<'_>, weight: &[f32], eps: f32) {
        let (cols, dim) = (x.cols(), weight.len());
        assert!(dim > 0 && cols.is_multiple_of(dim), "{cols} columns in heads of {dim}");
        let x = x.shared();
        each(pool, x.rows, cols, |i| {
            // SAFETY: as in `rms_norm`.
            let row = unsafe { x.part(i, 0..cols) };
            for head in row.chunks_exact_mut(dim) {
                // SAFETY: the set is one that this CPU has; equal lengths.
                unsafe { (self.table().rms_norm)(head, weight, eps) };
            }
        });
    }

    /// Rotates the first `angles.rotated()` values of each head of `head_dim` values; row `i` by the
    /// `i`-th position.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn rope(
        &self,
        pool: &Pool,
        mut x: RowsMut<'_>,
        head_dim: usize,
        style: RopeStyle,
        angles: &RopeAngles,
    ) {
        let cols = x.cols();
        assert!(
            x.rows() == angles.positions() || angles.pairs == 0,
            "{} positions for {} rows",
            angles.positions(),
            x.rows()
        );
        assert!(
            cols.is_multiple_of(head_dim) && angles.rotated() <= head_dim,
            "{} rotated values in {cols} columns of heads of {head_dim}",
            angles.rotated()
        );
        let x = x.shared();
        each(pool, x.rows, cols, |i| {
            // SAFETY: every task has its own row.
            let row = unsafe { x.part(i, 0..cols) };
            for head in row.chunks_exact_mut(head_dim) {
                angles.rotate(i, style, head);
            }
        });
    }

    /// `x = cap * tanh(x / cap)`.
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        // SAFETY: the set is one that this CPU has.
        unsafe { (self.table().softcap)(x, cap) };
    }

    /// Softmax in place. All -inf gives NaN.
    pub fn softmax(&self, x: &mut [f32]) {
        // SAFETY: the set is one that this CPU has.
        unsafe { (self.table().softmax)(x) };
    }

    /// `ln Σ e^x`, so that `x - log_sum_exp(x)` are log-probabilities.
    pub fn log_sum_exp(&self, x: &[f32]) -> f32 {
        // SAFETY: the set is one that this CPU has.
        unsafe { (self.table().log_sum_exp)(x) }
    }

    /// Index of the largest value, the first of equal ones; NaN is never it. `None` when there is no
    /// number.
    pub fn argmax(&self, x: &[f32]) -> Option<usize> {
        let mut best = None;
        let mut peak = f32::NEG_INFINITY;
        for (c, part) in x.chunks(1024).enumerate() {
            // SAFETY: the set is one that this CPU has.
            let top = unsafe { (self.table().max)(part) };
            if top > peak || best.is_none() {
                let found = part.iter().position(|&v| v == top).map(|i| c * 1024 + i);
                if found.is_some() {
                    (best, peak) = (found, top);
                }
            }
        }
        best
    }

    /// Indices of the `k` largest values, largest first, equal ones by index; NaN counts as -inf.
    pub fn top_k(&self, x: &[f32], k: usize) -> Vec<usize> {
        let key = |&i: &usize| if x[i].is_nan() { f32::NEG_INFINITY } else { x[i] };
        let order = |a: &usize, b: &usize| key(b).total_cmp(&key(a)).then(a.cmp(b));
        let mut ids = self.top_k_candidates(x, k);
        if k < ids.len() && k > 0 {
            ids.select_nth_unstable_by(k - 1, order);
        }
        ids.truncate(k);
        ids.sort_unstable_by(order);
        ids
    }

    /// Indices among which the `k` largest values are: of the values that reach the `k`-th largest
    /// maximum of short runs, if there are enough runs.
    fn top_k_candidates(&self, x: &[f32], k: usize) -> Vec<usize> {
        const RUN: usize = 64;
        // SAFETY: the set is one that this CPU has.
        let tops: Vec<f32> = x.chunks(RUN).map(|c| unsafe { (self.table().max)(c) }).collect();
        if k == 0 || k >= tops.len() {
            return (0..x.len()).collect();
        }
        let floor = *tops.clone().select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
        if floor == f32::NEG_INFINITY {
            return (0..x.len()).collect();
        }
        let mut ids = Vec::with_capacity(2 * k);
        for (run, _) in tops.iter().enumerate().filter(|(_, top)| **top >= floor) {
            let start = run * RUN;
            ids.extend((start..x.len().min(start + RUN)).filter(|&i| x[i] >= floor));
        }
        ids
    }
}

/// Runs `row(i)` for every row, on this thread when there is little to do.
fn each(pool: &Pool, rows: usize, cols: usize, row: impl Fn(usize) + Sync) {
    if rows * cols <= SERIAL_VALUES {
        (0..rows).for_each(row);
    } else {
        pool.run(rows, row);
    }
}

/// The parts that depend on the instruction set.
///
/// # Safety
/// Of every function here: the CPU has the instruction set of `S`, and slices are equally long.
pub(crate) mod imp {
    use crate::matmul::Activation;
    use crate::simd::{self, Simd};

    /// 16 values from `i` on; `fill` beyond the end.
    #[inline(always)]
    unsafe fn at<S: Simd>(x: &[f32], i: usize, fill: f32) -> S::F {
        if i + 16 <= x.len() {
            S::load(x.as_ptr().add(i))
        } else {
            let mut lanes = [fill; 16];
            lanes[..x.len() - i].copy_from_slice(&x[i..]);
            S::load(lanes.as_ptr())
        }
    }

    /// Replaces 16 values from `i` on, or as many as there are.
    #[inline(always)]
    unsafe fn put<S: Simd>(x: &mut [f32], i: usize, v: S::F) {
        if i + 16 <= x.len() {
            S::store(x.as_mut_ptr().add(i), v);
        } else {
            let mut lanes = [0.0; 16];
            S::store(lanes.as_mut_ptr(), v);
            let rest = x.len() - i;
            x[i..].copy_from_slice(&lanes[..rest]);
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn rms_norm<S: Simd>(x: &mut [f32], weight: &[f32], eps: f32) {
        let mut squares = S::splat(0.0);
        for i in (0..x.len()).step_by(16) {
            let v = at::<S>(x, i, 0.0);
            squares = S::fma(v, v, squares);
        }
        let mean = S::reduce_add(squares) / x.len() as f32;
        let scale = S::splat(1.0 / (mean + eps).sqrt());
        for i in (0..x.len()).step_by(16) {
            let v = S::mul(S::mul(at::<S>(x, i, 0.0), scale), at::<S>(weight, i, 0.0));
            put::<S>(x, i, v);
        }
    }

    /// `gate = activation(gate) * up` of 16 values.
    #[inline(always)]
    pub(crate) unsafe fn glu<S: Simd>(activation: Activation, gate: *mut f32, up: *const f32) {
        let x = S::load(gate);
        let inner = match activation {
            Activation::Silu => x,
            Activation::GeluTanh => {
                // 2 sqrt(2 / pi) (x + 0.044715 x^3): tanh(u) = 2 sigmoid(2u) - 1.
                let cube = S::mul(S::mul(x, x), x);
                let u = S::fma(cube, S::splat(0.044_715), x);
                S::mul(u, S::splat(1.595_769))
            }
        };
        let y = S::mul(x, simd::sigmoid::<S>(inner));
        S::store(gate, S::mul(y, S::load(up)));
    }

    #[inline(always)]
    pub(crate) unsafe fn softcap<S: Simd>(x: &mut [f32], cap: f32) {
        for i in (0..x.len()).step_by(16) {
            let v = S::div(at::<S>(x, i, 0.0), S::splat(cap));
            put::<S>(x, i, S::mul(S::splat(cap), simd::tanh::<S>(v)));
        }
    }

    /// The largest value, NaN left out; -inf for none.
    #[inline(always)]
    pub(crate) unsafe fn max<S: Simd>(x: &[f32]) -> f32 {
        let mut top = S::splat(f32::NEG_INFINITY);
        for i in (0..x.len()).step_by(16) {
            top = S::max(at::<S>(x, i, f32::NEG_INFINITY), top);
        }
        S::reduce_max(top)
    }

    #[inline(always)]
    pub(crate) unsafe fn softmax<S: Simd>(x: &mut [f32]) {
        let top = S::splat(max::<S>(x));
        let mut total = S::splat(0.0);
        for i in (0..x.len()).step_by(16) {
            let e = simd::exp::<S>(S::sub(at::<S>(x, i, f32::NEG_INFINITY), top));
            total = S::add(total, e);
            put::<S>(x, i, e);
        }
        let total = S::splat(S::reduce_add(total));
        for i in (0..x.len()).step_by(16) {
            put::<S>(x, i, S::div(at::<S>(x, i, 0.0), total));
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn log_sum_exp<S: Simd>(x: &[f32]) -> f32 {
        let top = max::<S>(x);
        let mut total = S::splat(0.0);
        for i in (0..x.len()).step_by(16) {
            let v = S::sub(at::<S>(x, i, f32::NEG_INFINITY), S::splat(top));
            total = S::add(total, simd::exp::<S>(v));
        }
        top + S::reduce_add(total).ln()
    }

    /// Rounds to f16, clamped to its finite range.
    #[inline(always)]
    pub(crate) unsafe fn to_f16<S: Simd>(x: &[f32], out: &mut [u16]) {
        let (low, high) = (S::splat(-65504.0), S::splat(65504.0));
        for i in (0..x.len()).step_by(16) {
            let v = S::min(high, S::max(low, at::<S>(x, i, 0.0)));
            if i + 16 <= out.len() {
                S::store_f16(out.as_mut_ptr().add(i), v);
            } else {
                let mut lanes = [0; 16];
                S::store_f16(lanes.as_mut_ptr(), v);
                let rest = out.len() - i;
                out[i..].copy_from_slice(&lanes[..rest]);
            }
        }
    }
}
