//! Families as read from GGUF metadata; the keys are those of llama.cpp's converters.

use crate::formats::Config;

use super::fields::{Fields, yarn_magnitude};
use super::{
    Attention, Ffn, LayerSpec, Mixer, ModelSpec, Names, Part, Role, Rope, RopeScaling, SpecError, Temperature,
};

/// What distinguishes a family.
struct Family {
    arch: &'static str,
    qk_norm: bool,
    pairs: bool,
    temperature: bool,
}

const FAMILIES: [Family; 3] = [
    Family { arch: "qwen3", qk_norm: true, pairs: false, temperature: false },
    Family { arch: "llama", qk_norm: false, pairs: true, temperature: false },
    Family { arch: "mistral3", qk_norm: false, pairs: true, temperature: true },
];

impl ModelSpec {
    /// Reads GGUF metadata. `shape` answers a tensor's sizes, outermost first, and `factors` is the
    /// content of `rope_freqs.weight`, if the file has it.
    ///
    /// # Errors
    /// If the architecture is unknown, a feature is not implemented, or a field is missing or wrong.
    pub fn from_gguf(
        config: Config,
        shape: &dyn Fn(&str) -> Option<Vec<usize>>,
        factors: Option<Vec<f32>>,
    ) -> Result<Self, SpecError> {
        let top = Fields { config, prefix: "" };
        let arch = top.str("general.architecture")?.ok_or_else(|| top.missing("general.architecture"))?;
        let family = FAMILIES.iter().find(|f| f.arch == arch).ok_or_else(|| {
            let known: Vec<_> = FAMILIES.iter().map(|f| f.arch).collect();
            SpecError::UnknownArchitecture { found: arch.to_owned(), known: known.join(", ") }
        })?;
        let prefix = format!("{arch}.");
        let own = Fields { config, prefix: &prefix };
        let names = Names::Gguf;
        let has = |role| shape(&names.name(role)).is_some();
        let hidden = own.need_count("embedding_length")?;
        let head_names = ["attention.head_count", "attention.head_count_kv", "attention.key_length"];
        let [heads, kv_heads, dim] = own.heads(head_names, |heads| hidden / heads)?;
        let context = own.need_count("context_length")?;
        let mut missing = Vec::new();
        for (key, plain) in [("attention.value_length", dim), ("rope.dimension_count", dim)] {
            if let Some(other) = own.count(key)?
                && other != plain
            {
                missing.push(format!("{key} {other} beside a head of {plain}"));
            }
        }
        if own.config.uint(&own.key("expert_count"))?.unwrap_or(0) > 0 {
            missing.push("mixtures of experts".into());
        }
        let scaling = scaling(own, dim, factors, &mut missing)?;
        let temperature = match own.number("attention.temperature_scale")? {
            Some(beta) if family.temperature && beta != 0.0 => {
                let floor = own.count("rope.scaling.original_context_length")?.unwrap_or(context);
                Some(Temperature { beta, floor })
            }
            _ => None,
        };
        if !missing.is_empty() {
            return Err(SpecError::unsupported(arch, missing));
        }
        let embedding = shape(&names.name(Role::Embedding)).and_then(|s| s.first().copied());
        let layer = LayerSpec {
            mixer: Mixer::Attention(Attention {
                heads,
                kv_heads,
                dim,
                scale: (dim as f32).powf(-0.5),
                qk_norm: family.qk_norm,
                rope: Some(0),
                window: None,
                temperature,
                softcap: None,
                sinks: false,
                qkv_bias: has(Role::Layer(0, Part::QueryBias)),
                out_bias: has(Role::Layer(0, Part::OutputBias)),
            }),
            ffn: Ffn::Gated {
                inner: own.need_count("feed_forward_length")?,
                bias: has(Role::Layer(0, Part::GateBias)),
            },
        };
        Ok(Self {
            arch: arch.to_owned(),
            vocab: embedding.ok_or_else(|| top.missing("tensor token_embd.weight"))?,
            hidden,
            context,
            norm_eps: own.need_number("attention.layer_norm_rms_epsilon")?,
            ropes: vec![Rope {
                dim,
                theta: own.number("rope.freq_base")?.unwrap_or(10_000.0),
                scaling,
                pairs: family.pairs,
            }],
            layers: vec![layer; own.need_count("block_count")?],
            tied: !has(Role::Head),
            final_logit_softcap: None,
            names,
        })
    }
}

fn scaling(
    own: Fields,
    dim: usize,
    factors: Option<Vec<f32>>,
    missing: &mut Vec<String>,
) -> Result<RopeScaling, SpecError> {
    let kind = own.str("rope.scaling.type")?.unwrap_or("none");
    if let Some(factors) = factors {
        if kind != "none" {
            missing.push(format!("rope_freqs.weight together with rope scaling {kind}"));
        }
        if factors.len() != dim / 2 || factors.iter().any(|f| !f.is_finite() || *f == 0.0) {
            let got = format!("{} values", factors.len());
            return Err(SpecError::invalid("rope_freqs.weight", format!("{} finite factors", dim / 2), got));
        }
        return Ok(RopeScaling::Factors(factors));
    }
    match kind {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: own.need_number("rope.scaling.factor")? }),
        "yarn" => {
            let factor = own.need_number("rope.scaling.factor")?;
            let strength = own.number("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
            let all = if strength == 0.0 { 1.0 } else { yarn_magnitude(factor, strength) };
            let extra = own.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
            Ok(RopeScaling::Yarn {
                factor,
                original: own.need_count("rope.scaling.original_context_length")?,
                beta_fast: own.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: own.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                attention: yarn_magnitude(factor, 1.0) / all * extra,
                truncate: true,
            })
        }
        other => {
            missing.push(format!("rope scaling {other}"));
            Ok(RopeScaling::None)
        }
    }
}
