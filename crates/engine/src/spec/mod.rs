//! What a model computes, as data.
//!
//! A [`ModelSpec`] is read from a Hugging Face `config.json` ([`ModelSpec::from_hf`]) or from GGUF
//! metadata ([`ModelSpec::from_gguf`]); the interpreter and the compiled plan both follow it, so a
//! family is written once, as a function to a spec. It prints as text that can be compared.

mod error;
mod fields;
mod gguf;
mod hf;
mod names;
mod print;
mod rope;
#[cfg(test)]
mod tests;

use crate::formats::{Format, Source};

pub use error::SpecError;
pub use names::{Names, Part, Role};
pub use rope::{Rope, RopeScaling};

/// A decoder: token embedding, layers, final norm, head.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The architecture's name in the source, such as `Qwen3ForCausalLM` or `llama`.
    pub arch: String,
    /// Rows of the embedding and of the head.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Longest sequence that the model was made for, in tokens.
    pub context: usize,
    /// The epsilon of every RMS norm.
    pub norm_eps: f32,
    /// Rotary embeddings, to which layers refer by index.
    pub ropes: Vec<Rope>,
    /// The layers in order.
    pub layers: Vec<LayerSpec>,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Logits pass through `cap * tanh(logit / cap)`.
    pub final_logit_softcap: Option<f32>,
    /// How the source names the tensors.
    pub names: Names,
}

/// One layer: `x += mixer(norm(x)); x += ffn(norm(x))`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// What mixes positions.
    pub mixer: Mixer,
    /// What follows at each position.
    pub ffn: Ffn,
}

/// What mixes positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Softmax attention over cached keys and values.
    Attention(Attention),
    /// A gated delta rule over a recurrent state (Yang et al., 2024), as in Qwen3-Next.
    GatedDelta(GatedDelta),
}

/// Grouped-query attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head.
    pub dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Whether queries and keys are normed per head, before the rotation.
    pub qk_norm: bool,
    /// Index of the rotary embedding; `None` for no positions.
    pub rope: Option<usize>,
    /// A query sees so many positions, itself included; `None` for all before it.
    pub window: Option<usize>,
    /// Queries are multiplied by `1 + beta * ln(1 + floor(position / floor))`.
    pub temperature: Option<Temperature>,
    /// Scores pass through `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Whether each head has a learned logit that takes a share of the softmax.
    pub sinks: bool,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub out_bias: bool,
}

/// Position-dependent scale of the queries (Llama 4, Ministral 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// Strength.
    pub beta: f32,
    /// Positions per unit of the logarithm.
    pub floor: usize,
}

/// Sizes of a gated delta rule layer.
#[derive(Clone, Debug, PartialEq)]
pub struct GatedDelta {
    /// Query and key heads; divides `value_heads`.
    pub key_heads: usize,
    /// Value heads, each with a state of its own.
    pub value_heads: usize,
    /// Rows of a head's state.
    pub key_dim: usize,
    /// Columns of a head's state.
    pub value_dim: usize,
    /// Taps of the causal convolution over queries, keys and values.
    pub conv: usize,
}

impl Mixer {
    /// Values of recurrent state that a sequence holds whatever its length: the state of each value
    /// head, and the last inputs of the convolution.
    #[must_use]
    pub fn state_values(&self) -> usize {
        match self {
            Self::Attention(_) => 0,
            Self::GatedDelta(g) => {
                let channels = 2 * g.key_heads * g.key_dim + g.value_heads * g.value_dim;
                g.value_heads * g.key_dim * g.value_dim + channels * g.conv.saturating_sub(1)
            }
        }
    }
}

/// What follows at each position.
#[derive(Clone, Debug, PartialEq)]
pub enum Ffn {
    /// `down(silu(gate(x)) * up(x))`.
    Gated {
        /// Width between.
        inner: usize,
        /// Whether the three projections have biases.
        bias: bool,
    },
    /// A router and several such blocks.
    Experts {
        /// Experts in the layer.
        count: usize,
        /// Experts that a token uses.
        per_token: usize,
        /// Width of an expert.
        inner: usize,
    },
}

impl ModelSpec {
    /// Reads the description of an opened model.
    ///
    /// # Errors
    /// As [`ModelSpec::from_hf`] and [`ModelSpec::from_gguf`].
    pub fn from_source(source: &Source) -> Result<Self, SpecError> {
        match source.format() {
            Format::HuggingFace => Self::from_hf(source.config(), &|name| source.tensor(name).is_some()),
            Format::Gguf => {
                let factors = source.tensor("rope_freqs.weight").map(|t| t.to_f32()).transpose()?;
                let shape = |name: &str| source.tensor(name).map(|t| t.shape.to_vec());
                Self::from_gguf(source.config(), &shape, factors)
            }
        }
    }

    /// Refuses what is described and has no kernel, nor a place in the interpreter.
    ///
    /// # Errors
    /// [`SpecError::Unsupported`] with every missing feature.
    pub fn check_supported(&self) -> Result<(), SpecError> {
        let mut missing = std::collections::BTreeSet::new();
        for layer in &self.layers {
            if let Mixer::GatedDelta(_) = layer.mixer {
                missing.insert("gated delta rule layers");
            }
            if let Ffn::Experts { .. } = layer.ffn {
                missing.insert("mixtures of experts");
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(SpecError::unsupported(&self.arch, missing)),
        }
    }

    /// Values that one token adds to the KV cache, keys and values of all layers together.
    #[must_use]
    pub fn kv_values_per_token(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| match &layer.mixer {
                Mixer::Attention(a) => 2 * a.kv_heads * a.dim,
                Mixer::GatedDelta(_) => 0,
            })
            .sum()
    }

    /// Every tensor that the spec needs, with its shape: rows and columns of a matrix, or 1 and the
    /// length of a vector.
    #[must_use]
    pub fn tensors(&self) -> Vec<(Role, [usize; 2])> {
        let d = self.hidden;
        let mut all = vec![(Role::Embedding, [self.vocab, d]), (Role::FinalNorm, [1, d])];
        if !self.tied {
            all.push((Role::Head, [self.vocab, d]));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let mut add = |part, rows, cols| all.push((Role::Layer(i, part), [rows, cols]));
            add(Part::MixerNorm, 1, d);
            if let Mixer::Attention(a) = &layer.mixer {
                let (q, kv) = (a.heads * a.dim, a.kv_heads * a.dim);
                add(Part::Query, q, d);
                add(Part::Key, kv, d);
                add(Part::Value, kv, d);
                add(Part::Output, d, q);
                if a.qkv_bias {
                    add(Part::QueryBias, 1, q);
                    add(Part::KeyBias, 1, kv);
                    add(Part::ValueBias, 1, kv);
                }
                if a.out_bias {
                    add(Part::OutputBias, 1, d);
                }
                if a.qk_norm {
                    add(Part::QueryNorm, 1, a.dim);
                    add(Part::KeyNorm, 1, a.dim);
                }
                if a.sinks {
                    add(Part::Sinks, 1, a.heads);
                }
            }
            add(Part::FfnNorm, 1, d);
            if let Ffn::Gated { inner, bias } = layer.ffn {
                add(Part::Gate, inner, d);
                add(Part::Up, inner, d);
                add(Part::Down, d, inner);
                if bias {
                    add(Part::GateBias, 1, inner);
                    add(Part::UpBias, 1, inner);
                    add(Part::DownBias, 1, d);
                }
            }
        }
        all
    }

    /// Weights and biases in all.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, [rows, cols])| rows * cols).sum()
    }
}
