//! A spec compiled to a flat list of fused operations.

use std::ops::Range;

use crate::spec::{Attention, Ffn, LayerSpec, Mixer, ModelSpec, Part, Role, SpecError, Temperature};

/// Activations between operations, one row per token of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The residual stream.
    Stream,
    /// The normed stream.
    Normed,
    /// Queries, keys and values side by side.
    Heads,
    /// What attention made of them.
    Mixed,
    /// Between the projections of a feed-forward block.
    Inner,
}

/// One or several matrices with the same input, stacked in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The matrices.
    pub weights: Vec<Role>,
    /// Their biases, none or one each.
    pub biases: Vec<Role>,
    /// Inputs.
    pub cols: usize,
    /// Outputs of each matrix.
    pub rows: Vec<usize>,
}

/// Where a product goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Over what was there.
    Store,
    /// Onto what was there.
    Add,
    /// `silu(first matrix) * second matrix`.
    Glu,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `Normed = rms_norm(Stream)`, with the vector of this index.
    Norm {
        /// Index in [`Plan::vectors`].
        weight: usize,
    },
    /// A matrix product.
    Project {
        /// Index in [`Plan::linears`].
        linear: usize,
        /// Input.
        from: Buffer,
        /// Output.
        to: Buffer,
        /// What becomes of it.
        then: Then,
    },
    /// RMS norm of each head in these columns of `Heads`.
    NormHeads {
        /// Index in [`Plan::vectors`].
        weight: usize,
        /// Columns.
        columns: Range<usize>,
    },
    /// Rotation of each head in these columns of `Heads`.
    Rotate {
        /// Index in [`ModelSpec::ropes`].
        rope: usize,
        /// Values per head.
        dim: usize,
        /// Columns: queries and keys.
        columns: Range<usize>,
    },
    /// The position-dependent scale of these columns of `Heads`.
    Temper {
        /// The scale.
        temperature: Temperature,
        /// Columns: the queries.
        columns: Range<usize>,
    },
    /// Stores keys and values, then `Mixed = attention(Heads)`.
    Attend {
        /// Index of the layer's cache.
        cache: usize,
        /// Its description.
        attention: Attention,
        /// Index in [`Plan::vectors`] of its sinks, if it has any.
        sinks: Option<usize>,
    },
}

/// The operations of a step up to the last layer; the head is computed for the wanted rows alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In order.
    pub ops: Vec<Op>,
    /// Products that the operations name.
    pub linears: Vec<Linear>,
    /// Norm weights that the operations name.
    pub vectors: Vec<Role>,
    /// For each KV cache its heads and their width.
    pub caches: Vec<[usize; 2]>,
    /// For each layer with a recurrent state its values.
    pub states: Vec<usize>,
    /// Widths of the buffers `Heads`, `Mixed` and `Inner`.
    pub widths: [usize; 3],
}

impl Plan {
    /// Compiles a spec.
    ///
    /// # Errors
    /// If the spec has features that are not implemented.
    pub fn compile(spec: &ModelSpec) -> Result<Self, SpecError> {
        spec.check_supported()?;
        let mut plan = Self {
            ops: Vec::new(),
            linears: Vec::new(),
            vectors: Vec::new(),
            caches: Vec::new(),
            states: Vec::new(),
            widths: [0; 3],
        };
        for (i, layer) in spec.layers.iter().enumerate() {
            plan.layer(i, layer, spec.hidden);
            plan.states.extend(Some(layer.mixer.state_values()).filter(|values| *values > 0));
        }
        Ok(plan)
    }

    /// For each product whether gate and up go in and their combination comes out.
    pub(super) fn glus(&self) -> impl Iterator<Item = bool> {
        let mut glus = vec![false; self.linears.len()];
        for op in &self.ops {
            if let Op::Project { linear, then: Then::Glu, .. } = op {
                glus[*linear] = true;
            }
        }
        glus.into_iter()
    }

    fn layer(&mut self, i: usize, layer: &LayerSpec, hidden: usize) {
        self.norm(Role::Layer(i, Part::MixerNorm));
        match &layer.mixer {
            Mixer::Attention(attention) => self.attention(i, attention, hidden),
            Mixer::GatedDelta(_) => unreachable!("refused by check_supported"),
        }
        self.norm(Role::Layer(i, Part::FfnNorm));
        let Ffn::Gated { inner, bias } = layer.ffn else { unreachable!("refused by check_supported") };
        let at = |parts: &[Part]| parts.iter().map(|part| Role::Layer(i, *part)).collect::<Vec<_>>();
        let biases = |parts: &[Part]| if bias { at(parts) } else { Vec::new() };
        let gate = Linear {
            weights: at(&[Part::Gate, Part::Up]),
            biases: biases(&[Part::GateBias, Part::UpBias]),
            cols: hidden,
            rows: vec![inner; 2],
        };
        self.project(gate, Buffer::Normed, Buffer::Inner, Then::Glu);
        let down = Linear {
            weights: at(&[Part::Down]),
            biases: biases(&[Part::DownBias]),
            cols: inner,
            rows: vec![hidden],
        };
        self.project(down, Buffer::Inner, Buffer::Stream, Then::Add);
        self.widths[2] = self.widths[2].max(inner);
    }

    fn attention(&mut self, i: usize, a: &Attention, hidden: usize) {
        let at = |parts: &[Part]| parts.iter().map(|part| Role::Layer(i, *part)).collect::<Vec<_>>();
        let (q, kv) = (a.heads * a.dim, a.kv_heads * a.dim);
        let qkv = Linear {
            weights: at(&[Part::Query, Part::Key, Part::Value]),
            biases: if a.qkv_bias {
                at(&[Part::QueryBias, Part::KeyBias, Part::ValueBias])
            } else {
                Vec::new()
            },
            cols: hidden,
            rows: vec![q, kv, kv],
        };
        self.project(qkv, Buffer::Normed, Buffer::Heads, Then::Store);
        if a.qk_norm {
            for (part, columns) in [(Part::QueryNorm, 0..q), (Part::KeyNorm, q..q + kv)] {
                let weight = self.vector(Role::Layer(i, part));
                self.ops.push(Op::NormHeads { weight, columns });
            }
        }
        if let Some(rope) = a.rope {
            self.ops.push(Op::Rotate { rope, dim: a.dim, columns: 0..q + kv });
        }
        if let Some(temperature) = a.temperature {
            self.ops.push(Op::Temper { temperature, columns: 0..q });
        }
        self.caches.push([a.kv_heads, a.dim]);
        let sinks = a.sinks.then(|| self.vector(Role::Layer(i, Part::Sinks)));
        self.ops.push(Op::Attend { cache: self.caches.len() - 1, attention: a.clone(), sinks });
        let out = Linear {
            weights: at(&[Part::Output]),
            biases: if a.out_bias { at(&[Part::OutputBias]) } else { Vec::new() },
            cols: q,
            rows: vec![hidden],
        };
        self.project(out, Buffer::Mixed, Buffer::Stream, Then::Add);
        self.widths[0] = self.widths[0].max(q + 2 * kv);
        self.widths[1] = self.widths[1].max(q);
    }

    fn norm(&mut self, role: Role) {
        let weight = self.vector(role);
        self.ops.push(Op::Norm { weight });
    }

    fn vector(&mut self, role: Role) -> usize {
        self.vectors.push(role);
        self.vectors.len() - 1
    }

    fn project(&mut self, linear: Linear, from: Buffer, to: Buffer, then: Then) {
        self.linears.push(linear);
        self.ops.push(Op::Project { linear: self.linears.len() - 1, from, to, then });
    }
}
