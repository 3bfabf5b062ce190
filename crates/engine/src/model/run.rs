use std::ops::Range;

use chela_kernels::{
    Activation, ActivationKind, AttentionOptions, Epilogue, Error, Kernels, Packed, Pool, RopeAngles,
    RopeStyle, Rows, RowsMut, Span, Then as Store,
};

use super::weights::Product;
use super::{Buffer, KvStore, Op, Plan, Then, Weights};
use crate::block::BLOCK_TOKENS;
use crate::scheduler::{self, Batch};
use crate::spec::{Attention, ModelSpec, Temperature};

/// Rows of logits that are computed together.
const HEAD_ROWS: usize = 32;

/// A loaded model and the memory of a step.
#[derive(Debug)]
pub struct Model {
    spec: ModelSpec,
    plan: Plan,
    weights: Weights,
    kernels: Kernels,
    pool: Pool,
    /// Inverse frequencies and magnitude of each rope.
    ropes: Vec<(Vec<f32>, f32)>,
    max_tokens: usize,
    buffers: [Vec<f32>; 5],
    widths: [usize; 5],
    packed: Packed,
    /// Rows of the stream whose logits are wanted.
    picked: Vec<f32>,
    logits: Vec<f32>,
}

impl Model {
    /// A model that takes steps of at most `max_tokens` tokens.
    #[must_use]
    pub fn new(
        spec: ModelSpec,
        plan: Plan,
        weights: Weights,
        kernels: Kernels,
        pool: Pool,
        max_tokens: usize,
    ) -> Self {
        let split = weights.products.iter().any(|p| p.split);
        let widths = Self::widths(&spec, &plan, split);
        Self {
            ropes: spec.ropes.iter().map(|r| (r.inverse_frequencies(), r.magnitude())).collect(),
            buffers: widths.map(|width| vec![0.0; width * max_tokens.max(HEAD_ROWS)]),
            picked: vec![0.0; HEAD_ROWS * spec.hidden],
            logits: vec![0.0; HEAD_ROWS * spec.vocab],
            packed: Packed::new(),
            widths,
            max_tokens,
            spec,
            plan,
            weights,
            kernels,
            pool,
        }
    }

    fn widths(spec: &ModelSpec, plan: &Plan, split: bool) -> [usize; 5] {
        let [heads, mixed, inner] = plan.widths;
        [spec.hidden, spec.hidden, heads, mixed, if split { 2 * inner } else { inner }]
    }

    /// Bytes of the memory of a step, besides weights and cache.
    #[must_use]
    pub fn step_bytes(spec: &ModelSpec, plan: &Plan, max_tokens: usize) -> u64 {
        let widths = Self::widths(spec, plan, true);
        // Packed activations take at most as much as the widest buffer again.
        let per_token: usize = widths.iter().sum::<usize>() + widths.iter().max().unwrap_or(&0);
        4 * (per_token * max_tokens.max(HEAD_ROWS) + HEAD_ROWS * spec.vocab) as u64
    }

    /// The description.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The workers it runs on.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs on other workers from now on; the results stay the same.
    pub fn set_pool(&mut self, pool: Pool) {
        self.pool = pool;
    }

    /// The kernels it runs on.
    #[must_use]
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Computes a batch and calls `row` with the item's index, the row's number within the item and
    /// the logits, in this order, for every wanted row.
    ///
    /// # Errors
    /// If memory for packed activations cannot be had.
    ///
    /// # Panics
    /// If the batch has more than `max_tokens` tokens, an id beyond the vocabulary, or a block that the
    /// cache does not have.
    pub fn forward(
        &mut self,
        batch: &Batch,
        cache: &mut KvStore,
        row: &mut dyn FnMut(usize, usize, &mut [f32]),
    ) -> Result<(), Error> {
        cache.begin(batch);
        let tokens = batch.tokens();
        assert!(tokens <= self.max_tokens, "{tokens} tokens in a step of {}", self.max_tokens);
        let ids: Vec<u32> = batch.items.iter().flat_map(|item| item.tokens.iter().copied()).collect();
        let positions: Vec<usize> =
            batch.items.iter().flat_map(|item| item.start..item.start + item.tokens.len()).collect();
        let blocks: Vec<Vec<u32>> =
            batch.items.iter().map(|item| item.cache.blocks.iter().map(|b| b.0).collect()).collect();
        let mut spans = Vec::with_capacity(blocks.len());
        let mut slots = Vec::with_capacity(tokens);
        for (item, blocks) in batch.items.iter().zip(&blocks) {
            let context = item.start + item.tokens.len();
            let slot = |p: usize| blocks[p / BLOCK_TOKENS] as usize * BLOCK_TOKENS + p % BLOCK_TOKENS;
            let first = slots.len();
            slots.extend((item.start..context).map(slot));
            spans.push(Span { rows: first..slots.len(), position: item.start, context, blocks });
        }
        let angles: Vec<_> = self
            .ropes
            .iter()
            .map(|(freqs, magnitude)| RopeAngles::new(&positions, freqs, *magnitude))
            .collect();
        let stream = RowsMut::new(&mut self.buffers[0][..tokens * self.spec.hidden], self.spec.hidden);
        self.kernels.embed(&self.pool, &self.weights.embedding, &ids, 1.0, stream);
        let mut step = Step {
            kernels: self.kernels,
            pool: &self.pool,
            spec: &self.spec,
            weights: &self.weights,
            buffers: &mut self.buffers,
            widths: self.widths,
            packed: &mut self.packed,
            packed_from: None,
            cache,
            tokens,
            positions: &positions,
            slots: &slots,
            spans: &spans,
            angles: &angles,
        };
        for op in &self.plan.ops {
            step.run(op)?;
        }
        self.head(batch, row)
    }

    /// Logits of the wanted rows, a few at a time.
    fn head(&mut self, batch: &Batch, row: &mut dyn FnMut(usize, usize, &mut [f32])) -> Result<(), Error> {
        let mut wanted = Vec::new();
        let mut first = 0;
        for (i, item) in batch.items.iter().enumerate() {
            let n = item.tokens.len();
            let rows = match item.rows {
                scheduler::Rows::None => n..n,
                scheduler::Rows::Last => n - 1..n,
                scheduler::Rows::All => 0..n,
            };
            wanted.extend(rows.map(|r| (i, r, first + r)));
            first += n;
        }
        let (hidden, vocab) = (self.spec.hidden, self.spec.vocab);
        let head = self.weights.head();
        for group in wanted.chunks(HEAD_ROWS) {
            let n = group.len();
            let [stream, normed, ..] = &mut self.buffers;
            for (i, (_, _, from)) in group.iter().enumerate() {
                self.picked[i * hidden..][..hidden].copy_from_slice(&stream[from * hidden..][..hidden]);
            }
            let picked = Rows::new(&self.picked[..n * hidden], hidden);
            let mut out = RowsMut::new(&mut normed[..n * hidden], hidden);
            let (weight, eps) = (&self.weights.final_norm, self.spec.norm_eps);
            self.kernels.rms_norm(&self.pool, picked, weight, eps, out.reborrow());
            let kind = head.shape().format().activation();
            self.kernels.pack(&self.pool, kind, out.as_rows(), &mut self.packed)?;
            let logits = RowsMut::new(&mut self.logits[..n * vocab], vocab);
            let epilogue = Epilogue { bias: None, then: Store::Store };
            self.kernels.matmul(&self.pool, head, &self.packed, epilogue, logits);
            for ((item, at, _), logits) in group.iter().zip(self.logits.chunks_mut(vocab)) {
                if let Some(cap) = self.spec.final_logit_softcap {
                    self.kernels.softcap(logits, cap);
                }
                row(*item, *at, logits);
            }
        }
        Ok(())
    }
}

/// What an operation works on.
struct Step<'a> {
    kernels: Kernels,
    pool: &'a Pool,
    spec: &'a ModelSpec,
    weights: &'a Weights,
    buffers: &'a mut [Vec<f32>; 5],
    widths: [usize; 5],
    packed: &'a mut Packed,
    /// The buffer that was packed last, and how, while it is unchanged.
    packed_from: Option<(Buffer, ActivationKind)>,
    cache: &'a mut KvStore,
    tokens: usize,
    positions: &'a [usize],
    slots: &'a [usize],
    spans: &'a [Span<'a>],
    angles: &'a [RopeAngles],
}

impl Step<'_> {
    fn run(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Norm { weight } => self.norm(*weight),
            Op::Project { linear, from, to, then } => self.project(*linear, *from, *to, *then)?,
            Op::NormHeads { weight, columns } => {
                let eps = self.spec.norm_eps;
                let (kernels, pool, weight) = (self.kernels, self.pool, &self.weights.vectors[*weight]);
                kernels.rms_norm_heads(pool, self.columns(Buffer::Heads, columns.clone()), weight, eps);
            }
            Op::Rotate { rope, dim, columns } => {
                let style = if self.spec.ropes[*rope].pairs { RopeStyle::Pairs } else { RopeStyle::Halves };
                let (kernels, pool, angles) = (self.kernels, self.pool, &self.angles[*rope]);
                kernels.rope(pool, self.columns(Buffer::Heads, columns.clone()), *dim, style, angles);
            }
            Op::Temper { temperature, columns } => self.temper(*temperature, columns.clone()),
            Op::Attend { cache, attention, sinks } => self.attend(*cache, attention, *sinks),
        }
        Ok(())
    }

    /// Some columns of a buffer, to be written.
    fn columns(&mut self, buffer: Buffer, columns: Range<usize>) -> RowsMut<'_> {
        if self.packed_from.is_some_and(|(from, _)| from == buffer) {
            self.packed_from = None;
        }
        let width = self.widths[buffer as usize];
        RowsMut::new(&mut self.buffers[buffer as usize][..self.tokens * width], width).columns(columns)
    }

    fn norm(&mut self, weight: usize) {
        self.packed_from = None;
        let (n, d) = (self.tokens, self.spec.hidden);
        let [stream, normed, ..] = &mut *self.buffers;
        let (from, to) = (Rows::new(&stream[..n * d], d), RowsMut::new(&mut normed[..n * d], d));
        self.kernels.rms_norm(self.pool, from, &self.weights.vectors[weight], self.spec.norm_eps, to);
    }

    fn project(&mut self, linear: usize, from: Buffer, to: Buffer, then: Then) -> Result<(), Error> {
        let product: &Product = &self.weights.products[linear];
        for piece in &product.pieces {
            let shape = piece.matrix.shape();
            self.pack(from, shape.cols(), shape.format().activation())?;
            let then = match then {
                Then::Glu if product.split => Store::Store,
                Then::Glu => Store::Glu(Activation::Silu),
                Then::Add => Store::Add,
                Then::Store => Store::Store,
            };
            let width = self.widths[to as usize];
            let out = RowsMut::new(&mut self.buffers[to as usize][..self.tokens * width], width);
            let epilogue = Epilogue { bias: piece.bias.as_deref(), then };
            self.kernels.matmul(
                self.pool,
                &piece.matrix,
                self.packed,
                epilogue,
                out.columns(piece.columns.clone()),
            );
        }
        if product.split {
            self.glu(to);
        }
        Ok(())
    }

    fn pack(&mut self, from: Buffer, cols: usize, kind: ActivationKind) -> Result<(), Error> {
        if self.packed_from != Some((from, kind)) {
            let width = self.widths[from as usize];
            let rows = Rows::new(&self.buffers[from as usize][..self.tokens * width], width);
            self.kernels.pack(self.pool, kind, rows.columns(0..cols), self.packed)?;
            // What is packed from the stream or the inner buffers is used at once, so that only the
            // normed stream is worth remembering.
            self.packed_from = (from == Buffer::Normed).then_some((from, kind));
        }
        Ok(())
    }

    /// Joins gate and up that were computed side by side.
    fn glu(&mut self, buffer: Buffer) {
        let width = self.widths[buffer as usize];
        for row in self.buffers[buffer as usize][..self.tokens * width].chunks_mut(width) {
            let (gate, up) = row.split_at_mut(width / 2);
            gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + (-*g).exp()) * *u);
        }
    }

    fn temper(&mut self, t: Temperature, columns: Range<usize>) {
        let positions = self.positions;
        let mut rows = self.columns(Buffer::Heads, columns);
        for (i, position) in positions.iter().enumerate() {
            let scale = 1.0 + t.beta * ((position / t.floor) as f32).ln_1p();
            rows.row_mut(i).iter_mut().for_each(|v| *v *= scale);
        }
    }

    fn attend(&mut self, cache: usize, a: &Attention, sinks: Option<usize>) {
        let (q, kv) = (a.heads * a.dim, a.kv_heads * a.dim);
        let [_, _, heads, mixed, _] = &mut *self.buffers;
        let (width, mixed_width) = (self.widths[Buffer::Heads as usize], self.widths[Buffer::Mixed as usize]);
        let heads = Rows::new(&heads[..self.tokens * width], width);
        let store = &mut self.cache.layers[cache];
        let (keys, values) = (heads.columns(q..q + kv), heads.columns(q + kv..q + 2 * kv));
        self.kernels.kv_store(self.pool, store, keys, values, self.slots);
        let options = AttentionOptions {
            heads: a.heads,
            scale: a.scale,
            causal: true,
            window: a.window,
            softcap: a.softcap,
            sinks: sinks.map(|sinks| &*self.weights.vectors[sinks]),
        };
        let out = RowsMut::new(&mut mixed[..self.tokens * mixed_width], mixed_width).columns(0..q);
        self.kernels.attention(self.pool, options, store, self.spans, heads.columns(0..q), out);
    }
}
