//! A model's arithmetic in its plainest form: the oracle for everything faster.
//!
//! [`Interpreter`] follows a [`ModelSpec`] literally, one whole sequence at a time, in f32, without
//! cache, kernels or threads.

use std::collections::HashMap;

use crate::spec::{Attention, Ffn, Mixer, ModelSpec, Part, Role, SpecError};

/// A spec with its weights as f32.
pub struct Interpreter {
    spec: ModelSpec,
    weights: HashMap<Role, Vec<f32>>,
}

/// What a sequence computes.
pub struct Trace {
    /// `[tokens][vocab]`.
    pub logits: Vec<Vec<f32>>,
    /// The residual stream `[tokens][hidden]` after the embedding and after each layer.
    pub taps: Vec<Vec<Vec<f32>>>,
}

type Rows = Vec<Vec<f32>>;

impl Interpreter {
    /// Takes each tensor that the spec needs from `load`, row-major.
    ///
    /// # Errors
    /// What `load` answers, or a spec with unsupported features.
    pub fn new<E: From<SpecError>>(
        spec: ModelSpec,
        mut load: impl FnMut(Role) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        spec.check_supported()?;
        let mut weights = HashMap::new();
        for (role, _) in spec.tensors() {
            weights.insert(role, load(role)?);
        }
        Ok(Self { spec, weights })
    }

    /// Runs a sequence of token ids below the vocabulary's size.
    #[must_use]
    pub fn run(&self, tokens: &[u32]) -> Trace {
        let embedding = &self.weights[&Role::Embedding];
        let d = self.spec.hidden;
        let row = |t: u32| embedding[t as usize * d..][..d].to_vec();
        let mut x: Rows = tokens.iter().map(|t| row(*t)).collect();
        let mut taps = vec![x.clone()];
        for (i, layer) in self.spec.layers.iter().enumerate() {
            let normed = self.norm(&x, Role::Layer(i, Part::MixerNorm));
            let mixed = match &layer.mixer {
                Mixer::Attention(attention) => self.attention(i, attention, &normed),
                Mixer::GatedDelta(_) => unreachable!("refused by check_supported"),
            };
            add(&mut x, &mixed);
            let normed = self.norm(&x, Role::Layer(i, Part::FfnNorm));
            let fed = match layer.ffn {
                Ffn::Gated { bias, .. } => self.gated(i, bias, &normed),
                Ffn::Experts { .. } => unreachable!("refused by check_supported"),
            };
            add(&mut x, &fed);
            taps.push(x.clone());
        }
        let normed = self.norm(&x, Role::FinalNorm);
        let head = if self.spec.tied { Role::Embedding } else { Role::Head };
        let mut logits = self.linear(&normed, head, None);
        logits.iter_mut().for_each(|row| softcap(row, self.spec.final_logit_softcap));
        Trace { logits, taps }
    }

    fn attention(&self, layer: usize, a: &Attention, x: &Rows) -> Rows {
        let at = |part| Role::Layer(layer, part);
        let bias = |part| a.qkv_bias.then_some(at(part));
        let mut q = self.linear(x, at(Part::Query), bias(Part::QueryBias));
        let mut k = self.linear(x, at(Part::Key), bias(Part::KeyBias));
        let v = self.linear(x, at(Part::Value), bias(Part::ValueBias));
        if a.qk_norm {
            for (rows, part) in [(&mut q, Part::QueryNorm), (&mut k, Part::KeyNorm)] {
                let weight = &self.weights[&at(part)];
                rows.iter_mut()
                    .for_each(|r| r.chunks_mut(a.dim).for_each(|h| rms(h, weight, self.spec.norm_eps)));
            }
        }
        if let Some(rope) = a.rope {
            self.rotate(rope, a.dim, &mut q);
            self.rotate(rope, a.dim, &mut k);
        }
        if let Some(t) = a.temperature {
            for (pos, row) in q.iter_mut().enumerate() {
                let scale = 1.0 + t.beta * ((pos / t.floor) as f32).ln_1p();
                row.iter_mut().for_each(|v| *v *= scale);
            }
        }
        let group = a.heads / a.kv_heads;
        let sinks = a.sinks.then(|| &self.weights[&at(Part::Sinks)]);
        let mut out = vec![vec![0.0; a.heads * a.dim]; x.len()];
        for (pos, out) in out.iter_mut().enumerate() {
            let first = a.window.map_or(0, |w| (pos + 1).saturating_sub(w));
            for head in 0..a.heads {
                let (own, shared) = (head * a.dim, head / group * a.dim);
                let query = &q[pos][own..own + a.dim];
                let mut scores: Vec<f32> =
                    (first..=pos).map(|p| dot(query, &k[p][shared..shared + a.dim]) * a.scale).collect();
                softcap(&mut scores, a.softcap);
                softmax(&mut scores, sinks.map(|sinks| sinks[head]));
                for (score, p) in scores.iter().zip(first..) {
                    for j in 0..a.dim {
                        out[own + j] += score * v[p][shared + j];
                    }
                }
            }
        }
        self.linear(&out, at(Part::Output), a.out_bias.then_some(at(Part::OutputBias)))
    }

    /// Rotates each head.
    fn rotate(&self, rope: usize, head: usize, rows: &mut Rows) {
        let rope = &self.spec.ropes[rope];
        let (freqs, magnitude) = (rope.inverse_frequencies(), rope.magnitude());
        for (pos, row) in rows.iter_mut().enumerate() {
            for head in row.chunks_mut(head) {
                for (i, freq) in freqs.iter().enumerate() {
                    let (sin, cos) = (pos as f32 * freq).sin_cos();
                    let (sin, cos) = (sin * magnitude, cos * magnitude);
                    let (i, j) = if rope.pairs { (2 * i, 2 * i + 1) } else { (i, i + freqs.len()) };
                    let (a, b) = (head[i], head[j]);
                    head[i] = a * cos - b * sin;
                    head[j] = b * cos + a * sin;
                }
            }
        }
    }

    fn gated(&self, layer: usize, bias: bool, x: &Rows) -> Rows {
        let linear = |x: &Rows, part, b| {
            self.linear(x, Role::Layer(layer, part), bias.then_some(Role::Layer(layer, b)))
        };
        let mut gate = linear(x, Part::Gate, Part::GateBias);
        let up = linear(x, Part::Up, Part::UpBias);
        for (gate, up) in gate.iter_mut().flatten().zip(up.iter().flatten()) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
        linear(&gate, Part::Down, Part::DownBias)
    }

    fn norm(&self, x: &Rows, weight: Role) -> Rows {
        let mut x = x.clone();
        x.iter_mut().for_each(|row| rms(row, &self.weights[&weight], self.spec.norm_eps));
        x
    }

    fn linear(&self, x: &Rows, weight: Role, bias: Option<Role>) -> Rows {
        let weight = &self.weights[&weight];
        let bias = bias.map(|role| &self.weights[&role]);
        let product = |row: &Vec<f32>| {
            let sums = weight.chunks_exact(row.len()).map(|w| dot(row, w));
            match bias {
                Some(bias) => sums.zip(bias).map(|(s, b)| s + b).collect(),
                None => sums.collect(),
            }
        };
        x.iter().map(product).collect()
    }
}

fn add(x: &mut Rows, y: &Rows) {
    x.iter_mut().flatten().zip(y.iter().flatten()).for_each(|(x, y)| *x += y);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rms(row: &mut [f32], weight: &[f32], eps: f32) {
    let scale = 1.0 / (dot(row, row) / row.len() as f32 + eps).sqrt();
    row.iter_mut().zip(weight).for_each(|(v, w)| *v *= scale * w);
}

fn softcap(values: &mut [f32], cap: Option<f32>) {
    if let Some(cap) = cap {
        values.iter_mut().for_each(|v| *v = cap * (*v / cap).tanh());
    }
}

/// Softmax; a sink takes its share and is left out.
fn softmax(scores: &mut [f32], sink: Option<f32>) {
    let max = scores.iter().copied().chain(sink).fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let sum: f32 = scores.iter().sum::<f32>() + sink.map_or(0.0, |s| (s - max).exp());
    scores.iter_mut().for_each(|s| *s /= sum);
}
