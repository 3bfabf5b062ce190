//! Softmax attention over the paged cache.
//!
//! Every (query token, head) is a row. A row visits the blocks of its sequence in order and keeps a
//! running maximum, sum and weighted value sum (online softmax), so its result depends on the
//! sequence alone: not on the other rows, the chunking of the prompt, or the threads. Prefill and
//! decode are the same code; several rows with the same range of keys share the loads of a block.
#![allow(
    unsafe_op_in_unsafe_fn,
    clippy::needless_range_loop,
    reason = "the contract is that of `Task`; rows and vectors are indexed alike"
)]

use std::ops::Range;

use crate::kv::{BLOCK_TOKENS, KEY_TILE, KvCache, KvType};
use crate::simd::{self, Simd};
use crate::view::SharedRows;
use crate::{Kernels, Pool, Rows, RowsMut};

/// Rows (query tokens × heads of a group) that a task takes through the cache together.
const TASK_ROWS: usize = 16;

/// What kind of attention, common to all tokens of a layer.
#[derive(Debug, Clone, Copy)]
pub struct AttentionOptions<'a> {
    /// Query heads; a multiple of the cache's KV heads. Query head `h` reads KV head
    /// `h / (heads / kv_heads)`.
    pub heads: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether a token sees only itself and what stands before it.
    pub causal: bool,
    /// A token at position `p` sees the keys from `p + 1 - window` on.
    pub window: Option<usize>,
    /// Scores become `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// One logit per query head that takes part in the softmax without a value.
    pub sinks: Option<&'a [f32]>,
}

/// Consecutive query rows of one sequence.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Rows of the query matrix.
    pub rows: Range<usize>,
    /// Position in the sequence of the first of them.
    pub position: usize,
    /// Tokens of the sequence that are in the cache, those of this span included.
    pub context: usize,
    /// The blocks of the sequence in order: position `p` is in `blocks[p / 32]`. Blocks wholly
    /// before the window of every row are not read.
    pub blocks: &'a [u32],
}

/// A tile of one span's query tokens and one KV head.
///
/// # Safety
/// The cache holds the keys and values of every position below `span.context` that a row may see.
/// No other task writes the rows' columns of `out`.
pub(crate) struct Task<'a> {
    options: AttentionOptions<'a>,
    span: &'a Span<'a>,
    cache: &'a KvCache,
    queries: Rows<'a>,
    out: SharedRows<'a>,
    kv_head: usize,
    /// Offsets in the span.
    tokens: Range<usize>,
}

impl Kernels {
    /// Attention of the rows of `queries` `[tokens, heads * head_dim]` in `spans`, written to the
    /// same rows of `out`. Their keys and values have been stored before.
    ///
    /// # Panics
    /// When shapes do not fit, spans overlap or lie outside, or a block table is too short.
    pub fn attention(
        &self,
        pool: &Pool,
        options: AttentionOptions<'_>,
        cache: &KvCache,
        spans: &[Span<'_>],
        queries: Rows<'_>,
        mut out: RowsMut<'_>,
    ) {
        let layout = cache.layout();
        let (heads, kv_heads) = (options.heads, layout.kv_heads());
        assert!(heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads for {layout:?}");
        let cols = heads * layout.head_dim();
        assert!(
            queries.cols() == cols && out.cols() == cols && queries.rows() == out.rows(),
            "queries [{}, {}] and outputs [{}, {}] for {heads} heads, {layout:?}",
            queries.rows(),
            queries.cols(),
            out.rows(),
            out.cols()
        );
        assert!(options.sinks.is_none_or(|s| s.len() == heads), "sinks for {heads} heads");
        let mut end = 0;
        for s in spans {
            assert!(s.rows.start >= end && s.rows.end <= queries.rows(), "rows {:?}", s.rows);
            end = s.rows.end;
            assert!(s.position + s.rows.len() <= s.context, "context {} of {s:?}", s.context);
            assert!(s.blocks.len() * BLOCK_TOKENS >= s.context, "block table of {s:?}");
        }
        let step = (TASK_ROWS / (heads / kv_heads)).max(1);
        let mut tasks = Vec::new();
        for (i, s) in spans.iter().enumerate() {
            for first in (0..s.rows.len()).step_by(step) {
                let tokens = first..s.rows.len().min(first + step);
                tasks.extend((0..kv_heads).map(|h| (i, tokens.clone(), h)));
            }
        }
        let out = out.shared();
        pool.run(tasks.len(), |i| {
            let (span, tokens, kv_head) = tasks[i].clone();
            let span = &spans[span];
            let task = Task { options, span, cache, queries, out, kv_head, tokens };
            let run = match layout.kind() {
                KvType::F16 => self.table().attention_f16,
                KvType::Bf16 => self.table().attention_bf16,
            };
            // SAFETY: the set is one that this CPU has; each task has its own heads and tokens.
            unsafe { run(&task) };
        });
    }
}

/// The running softmax of the rows of a task.
struct State {
    /// Values per row: the head dimension, padded.
    dim: usize,
    /// Scaled queries `[rows][dim]`.
    queries: Vec<f32>,
    /// Weighted value sums `[rows][dim]`.
    sums: Vec<f32>,
    /// Largest score so far.
    peaks: Vec<f32>,
    /// Sums of the weights.
    totals: Vec<f32>,
    /// Scores, then weights, of a block `[rows][32]`.
    weights: Vec<f32>,
}

impl Task<'_> {
    fn group(&self) -> usize {
        self.options.heads / self.cache.layout().kv_heads()
    }

    /// Row index in the query matrix and columns of `row`.
    fn place(&self, row: usize) -> (usize, Range<usize>) {
        let group = self.group();
        let dim = self.cache.layout().head_dim();
        let head = self.kv_head * group + row % group;
        let token = self.span.rows.start + self.tokens.start + row / group;
        (token, head * dim..(head + 1) * dim)
    }

    /// Positions that the token at `offset` in the span sees.
    fn keys(&self, offset: usize) -> Range<usize> {
        let position = self.span.position + offset;
        let end = if self.options.causal { position + 1 } else { self.span.context };
        let start = self.options.window.map_or(0, |w| (position + 1).saturating_sub(w));
        start.min(end)..end
    }

    fn state(&self) -> State {
        let layout = self.cache.layout();
        let rows = self.tokens.len() * self.group();
        let dim = layout.padded_dim();
        let mut queries = vec![0.0; rows * dim];
        for (row, q) in queries.chunks_exact_mut(dim).enumerate() {
            let (token, columns) = self.place(row);
            for (q, v) in q.iter_mut().zip(&self.queries.row(token)[columns]) {
                *q = v * self.options.scale;
            }
        }
        State {
            dim,
            queries,
            sums: vec![0.0; rows * dim],
            peaks: vec![f32::NEG_INFINITY; rows],
            totals: vec![0.0; rows],
            weights: vec![0.0; rows * BLOCK_TOKENS],
        }
    }
}

/// Runs a task. `R` rows and `V` vectors of values are kept in registers.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd, const BF16: bool, const R: usize, const V: usize>(task: &Task<'_>) {
    let mut state = task.state();
    let (tokens, group) = (task.tokens.clone(), task.group());
    let first = tokens.clone().map(|t| task.keys(t).start).min().unwrap_or(0) / BLOCK_TOKENS;
    let last = tokens.clone().map(|t| task.keys(t).end).max().unwrap_or(0).div_ceil(BLOCK_TOKENS);
    for block in first..last {
        let start = block * BLOCK_TOKENS;
        let keys = task.cache.head(task.span.blocks[block] as usize, task.kv_head);
        let seen = |token: usize| {
            let k = task.keys(token);
            k.start.clamp(start, start + BLOCK_TOKENS) - start
                ..k.end.clamp(start, start + BLOCK_TOKENS) - start
        };
        let mut token = tokens.start;
        while token < tokens.end {
            // Tokens that see the same keys of this block go together.
            let range = seen(token);
            let mut end = token + 1;
            while end < tokens.end && seen(end) == range {
                end += 1;
            }
            if range.start < range.end {
                let mut row = (token - tokens.start) * group;
                let rows = (end - tokens.start) * group;
                while row + R <= rows {
                    visit::<S, BF16, R, V>(task, &mut state, row, keys, &range);
                    row += R;
                }
                while row + 2 <= rows {
                    visit::<S, BF16, 2, V>(task, &mut state, row, keys, &range);
                    row += 2;
                }
                if row < rows {
                    visit::<S, BF16, 1, V>(task, &mut state, row, keys, &range);
                }
            }
            token = end;
        }
    }
    finish::<S>(task, &mut state);
}

#[inline(always)]
unsafe fn load<S: Simd, const BF16: bool>(p: *const u16) -> S::F {
    if BF16 { S::load_bf16(p) } else { S::load_f16(p) }
}

/// Takes `R` rows through the keys `range` of a block.
#[inline(always)]
unsafe fn visit<S: Simd, const BF16: bool, const R: usize, const V: usize>(
    task: &Task<'_>,
    state: &mut State,
    row: usize,
    keys: *const u16,
    range: &Range<usize>,
) {
    let dim = state.dim;
    let queries = state.queries.as_ptr().add(row * dim);
    let weights = state.weights.as_mut_ptr().add(row * BLOCK_TOKENS);
    let mut scores = [[S::splat(0.0); 2]; R];
    for d in 0..dim {
        let k0 = load::<S, BF16>(keys.add(d * KEY_TILE));
        let k1 = load::<S, BF16>(keys.add((dim + d) * KEY_TILE));
        for r in 0..R {
            let q = S::splat(*queries.add(r * dim + d));
            scores[r][0] = S::fma(q, k0, scores[r][0]);
            scores[r][1] = S::fma(q, k1, scores[r][1]);
        }
    }
    let mut corrections = [0.0f32; R];
    for r in 0..R {
        let weights = weights.add(r * BLOCK_TOKENS);
        corrections[r] = soften::<S>(task, state, row + r, scores[r], weights, range);
    }
    let values = keys.add(BLOCK_TOKENS * dim);
    let sums = state.sums.as_mut_ptr().add(row * dim);
    let mut d = 0;
    while d + V * 16 <= dim {
        weigh::<S, BF16, R, V>(values.add(d), sums.add(d), weights, &corrections, dim, range);
        d += V * 16;
    }
    while d < dim {
        weigh::<S, BF16, R, 1>(values.add(d), sums.add(d), weights, &corrections, dim, range);
        d += 16;
    }
}

/// Turns a row's scores into weights against its new maximum; returns the factor for what the row
/// has summed before.
#[inline(always)]
unsafe fn soften<S: Simd>(
    task: &Task<'_>,
    state: &mut State,
    row: usize,
    mut scores: [S::F; 2],
    weights: *mut f32,
    range: &Range<usize>,
) -> f32 {
    if let Some(cap) = task.options.softcap {
        for s in &mut scores {
            *s = S::mul(S::splat(cap), simd::tanh::<S>(S::div(*s, S::splat(cap))));
        }
    }
    if range.len() < BLOCK_TOKENS {
        S::store(weights, scores[0]);
        S::store(weights.add(16), scores[1]);
        for key in (0..range.start).chain(range.end..BLOCK_TOKENS) {
            *weights.add(key) = f32::NEG_INFINITY;
        }
        scores = [S::load(weights), S::load(weights.add(16))];
    }
    let old = state.peaks[row];
    let new = S::reduce_max(S::max(scores[0], scores[1]));
    let peak = if new > old { new } else { old };
    // Before the first finite score there is nothing to subtract.
    let base = S::splat(if peak == f32::NEG_INFINITY { 0.0 } else { peak });
    let correction = lane::<S>(simd::exp::<S>(S::sub(S::splat(old), base)));
    let w0 = simd::exp::<S>(S::sub(scores[0], base));
    let w1 = simd::exp::<S>(S::sub(scores[1], base));
    S::store(weights, w0);
    S::store(weights.add(16), w1);
    state.peaks[row] = peak;
    state.totals[row] = state.totals[row] * correction + S::reduce_add(S::add(w0, w1));
    correction
}

/// The first lane.
#[inline(always)]
unsafe fn lane<S: Simd>(v: S::F) -> f32 {
    let mut lanes = [0.0f32; 16];
    S::store(lanes.as_mut_ptr(), v);
    lanes[0]
}

/// Adds the weighted values of a block to `16 * V` columns of the sums of `R` rows.
#[inline(always)]
unsafe fn weigh<S: Simd, const BF16: bool, const R: usize, const V: usize>(
    values: *const u16,
    sums: *mut f32,
    weights: *const f32,
    corrections: &[f32; R],
    dim: usize,
    range: &Range<usize>,
) {
    let mut acc = [[S::splat(0.0); V]; R];
    for r in 0..R {
        for v in 0..V {
            let sum = S::load(sums.add(r * dim + v * 16));
            acc[r][v] = S::mul(sum, S::splat(corrections[r]));
        }
    }
    for key in range.clone() {
        let mut value = [S::splat(0.0); V];
        for v in 0..V {
            value[v] = load::<S, BF16>(values.add(key * dim + v * 16));
        }
        for r in 0..R {
            let weight = S::splat(*weights.add(r * BLOCK_TOKENS + key));
            for v in 0..V {
                acc[r][v] = S::fma(weight, value[v], acc[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            S::store(sums.add(r * dim + v * 16), acc[r][v]);
        }
    }
}

/// Adds the sinks, divides and writes the rows.
#[inline(always)]
unsafe fn finish<S: Simd>(task: &Task<'_>, state: &mut State) {
    let dim = state.dim;
    for (row, sums) in state.sums.chunks_exact(dim).enumerate() {
        let (token, columns) = task.place(row);
        let head = columns.start / task.cache.layout().head_dim();
        let (mut factor, mut total) = (1.0, state.totals[row]);
        if let Some(sinks) = task.options.sinks {
            let peak = if sinks[head] > state.peaks[row] { sinks[head] } else { state.peaks[row] };
            let part = |v: f32| lane::<S>(simd::exp::<S>(S::splat(v - peak)));
            factor = part(state.peaks[row]);
            total = total * factor + part(sinks[head]);
        }
        let out = task.out.part(token, columns);
        for (o, s) in out.iter_mut().zip(sums) {
            *o = s * factor / total;
        }
    }
}
