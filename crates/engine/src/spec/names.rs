//! How sources name tensors.

/// A tensor's place in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Token embedding, `[vocab, hidden]`.
    Embedding,
    /// Norm before the head.
    FinalNorm,
    /// Output head, `[vocab, hidden]`.
    Head,
    /// A part of a layer.
    Layer(usize, Part),
}

/// A tensor's place in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Part {
    MixerNorm,
    Query,
    Key,
    Value,
    Output,
    QueryBias,
    KeyBias,
    ValueBias,
    OutputBias,
    QueryNorm,
    KeyNorm,
    Sinks,
    FfnNorm,
    Gate,
    Up,
    Down,
    GateBias,
    UpBias,
    DownBias,
}

/// A source's way of naming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Hugging Face.
    Hf {
        /// Before `layers`, `embed_tokens` and `norm`.
        prefix: String,
        /// Before `lm_head`.
        head: String,
    },
    /// GGUF.
    Gguf,
}

impl Names {
    /// The tensor's name in the source.
    #[must_use]
    pub fn name(&self, role: Role) -> String {
        match self {
            Self::Hf { prefix, head } => match role {
                Role::Embedding => format!("{prefix}embed_tokens.weight"),
                Role::FinalNorm => format!("{prefix}norm.weight"),
                Role::Head => format!("{head}lm_head.weight"),
                Role::Layer(i, part) => format!("{prefix}layers.{i}.{}", hf(part)),
            },
            Self::Gguf => match role {
                Role::Embedding => "token_embd.weight".into(),
                Role::FinalNorm => "output_norm.weight".into(),
                Role::Head => "output.weight".into(),
                Role::Layer(i, part) => format!("blk.{i}.{}", gguf(part)),
            },
        }
    }
}

fn hf(part: Part) -> &'static str {
    match part {
        Part::MixerNorm => "input_layernorm.weight",
        Part::Query => "self_attn.q_proj.weight",
        Part::Key => "self_attn.k_proj.weight",
        Part::Value => "self_attn.v_proj.weight",
        Part::Output => "self_attn.o_proj.weight",
        Part::QueryBias => "self_attn.q_proj.bias",
        Part::KeyBias => "self_attn.k_proj.bias",
        Part::ValueBias => "self_attn.v_proj.bias",
        Part::OutputBias => "self_attn.o_proj.bias",
        Part::QueryNorm => "self_attn.q_norm.weight",
        Part::KeyNorm => "self_attn.k_norm.weight",
        Part::Sinks => "self_attn.sinks",
        Part::FfnNorm => "post_attention_layernorm.weight",
        Part::Gate => "mlp.gate_proj.weight",
        Part::Up => "mlp.up_proj.weight",
        Part::Down => "mlp.down_proj.weight",
        Part::GateBias => "mlp.gate_proj.bias",
        Part::UpBias => "mlp.up_proj.bias",
        Part::DownBias => "mlp.down_proj.bias",
    }
}

fn gguf(part: Part) -> &'static str {
    match part {
        Part::MixerNorm => "attn_norm.weight",
        Part::Query => "attn_q.weight",
        Part::Key => "attn_k.weight",
        Part::Value => "attn_v.weight",
        Part::Output => "attn_output.weight",
        Part::QueryBias => "attn_q.bias",
        Part::KeyBias => "attn_k.bias",
        Part::ValueBias => "attn_v.bias",
        Part::OutputBias => "attn_output.bias",
        Part::QueryNorm => "attn_q_norm.weight",
        Part::KeyNorm => "attn_k_norm.weight",
        Part::Sinks => "attn_sinks.weight",
        Part::FfnNorm => "ffn_norm.weight",
        Part::Gate => "ffn_gate.weight",
        Part::Up => "ffn_up.weight",
        Part::Down => "ffn_down.weight",
        Part::GateBias => "ffn_gate.bias",
        Part::UpBias => "ffn_up.bias",
        Part::DownBias => "ffn_down.bias",
    }
}
