//! Families as read from a Hugging Face `config.json`.

use crate::formats::Config;

use super::fields::{Fields, yarn_magnitude};
use super::{
    Attention, Ffn, LayerSpec, Mixer, ModelSpec, Names, Role, Rope, RopeScaling, SpecError, Temperature,
};

/// What distinguishes a family; the defaults are those that `transformers` takes for absent fields.
struct Family {
    arch: &'static str,
    qk_norm: bool,
    /// Whether `attention_bias` and `mlp_bias` are read.
    biases: [bool; 2],
    head_dim: Option<usize>,
    norm_eps: f32,
    windows: Windows,
    /// Whether queries are scaled by position.
    temperature: bool,
}

enum Windows {
    /// No layer has one.
    Never,
    /// All layers, if `sliding_window` is set.
    All,
    /// The layers that `layer_types` names; without it, all.
    ByLayer,
    /// The layers that `layer_types` names; without it, those from `max_window_layers` on if
    /// `use_sliding_window` is set.
    ByLayerFrom,
}

const LLAMA: Family = Family {
    arch: "LlamaForCausalLM",
    qk_norm: false,
    biases: [true, true],
    head_dim: None,
    norm_eps: 1e-6,
    windows: Windows::Never,
    temperature: false,
};

const FAMILIES: [Family; 5] = [
    Family {
        arch: "Qwen3ForCausalLM",
        qk_norm: true,
        biases: [true, false],
        head_dim: Some(128),
        windows: Windows::ByLayerFrom,
        ..LLAMA
    },
    LLAMA,
    Family { arch: "MistralForCausalLM", biases: [false; 2], windows: Windows::All, ..LLAMA },
    Family { arch: "MinistralForCausalLM", biases: [false; 2], windows: Windows::ByLayer, ..LLAMA },
    Family {
        arch: "Ministral3ForCausalLM",
        biases: [false; 2],
        head_dim: Some(128),
        norm_eps: 1e-5,
        windows: Windows::All,
        temperature: true,
        ..LLAMA
    },
];

/// A multimodal wrapper around a Mistral or Ministral 3 decoder, of which the decoder is read.
const WRAPPER: &str = "Mistral3ForConditionalGeneration";

impl ModelSpec {
    /// Reads a `config.json`. `has_tensor` tells whether the weights contain a name, since the names
    /// in wrappers have changed over time.
    ///
    /// # Errors
    /// If the architecture is unknown, a feature is not implemented, or a field is missing or wrong.
    pub fn from_hf(config: Config, has_tensor: &dyn Fn(&str) -> bool) -> Result<Self, SpecError> {
        let top = Fields { config, prefix: "" };
        let arch = top.strs("architectures")?.and_then(|names| names.first().copied());
        let arch = arch.ok_or_else(|| top.missing("architectures"))?;
        if top.has("quantization_config") {
            let method = top.str("quantization_config.quant_method")?.unwrap_or("unnamed");
            return Err(SpecError::unsupported(arch, [format!("{method} quantization")]));
        }
        if arch != WRAPPER {
            let names = Names::Hf { prefix: "model.".into(), head: String::new() };
            return decoder(arch, family(arch)?, top, names);
        }
        let text = Fields { config, prefix: "text_config." };
        let inner = match text.str("model_type")? {
            Some("mistral") => "MistralForCausalLM",
            Some("ministral3") => "Ministral3ForCausalLM",
            other => return Err(unknown(&format!("{WRAPPER} of {}", other.unwrap_or("no model_type")))),
        };
        let candidates = [("model.language_model.", ""), ("language_model.model.", "language_model.")]
            .map(|(prefix, head)| Names::Hf { prefix: prefix.into(), head: head.into() });
        let names = candidates.into_iter().find(|names| has_tensor(&names.name(Role::FinalNorm)));
        let names = names.ok_or_else(|| top.missing("tensor model.language_model.norm.weight"))?;
        decoder(arch, family(inner)?, text, names)
    }
}

fn family(arch: &str) -> Result<&'static Family, SpecError> {
    FAMILIES.iter().find(|f| f.arch == arch).ok_or_else(|| unknown(arch))
}

fn unknown(found: &str) -> SpecError {
    let known: Vec<_> = FAMILIES.iter().map(|f| f.arch).chain([WRAPPER]).collect();
    SpecError::UnknownArchitecture { found: found.to_owned(), known: known.join(", ") }
}

fn decoder(arch: &str, family: &Family, config: Fields, names: Names) -> Result<ModelSpec, SpecError> {
    let hidden = config.need_count("hidden_size")?;
    let head_names = ["num_attention_heads", "num_key_value_heads", "head_dim"];
    let [heads, kv_heads, dim] =
        config.heads(head_names, |heads| family.head_dim.unwrap_or(hidden / heads))?;
    let mut missing = Vec::new();
    if let Some(act) = config.str("hidden_act")?
        && act != "silu"
    {
        missing.push(format!("hidden_act {act}"));
    }
    let context = config.need_count("max_position_embeddings")?;
    let (rope, temperature) = rope(config, dim, context, family, &mut missing)?;
    let windows = windows(config, family, &mut missing)?;
    if !missing.is_empty() {
        return Err(SpecError::unsupported(arch, missing));
    }
    let attention_bias = family.biases[0] && config.flag("attention_bias")?.unwrap_or(false);
    let mlp_bias = family.biases[1] && config.flag("mlp_bias")?.unwrap_or(false);
    let ffn = Ffn::Gated { inner: config.need_count("intermediate_size")?, bias: mlp_bias };
    let layer = |window| LayerSpec {
        mixer: Mixer::Attention(Attention {
            heads,
            kv_heads,
            dim,
            scale: (dim as f32).powf(-0.5),
            qk_norm: family.qk_norm,
            rope: Some(0),
            window,
            temperature,
            softcap: None,
            sinks: false,
            qkv_bias: attention_bias,
            out_bias: attention_bias,
        }),
        ffn: ffn.clone(),
    };
    Ok(ModelSpec {
        arch: arch.to_owned(),
        vocab: config.need_count("vocab_size")?,
        hidden,
        context,
        norm_eps: config.number("rms_norm_eps")?.unwrap_or(family.norm_eps),
        ropes: vec![rope],
        layers: windows.into_iter().map(layer).collect(),
        tied: config.flag("tie_word_embeddings")?.unwrap_or(false),
        final_logit_softcap: None,
        names,
    })
}

/// The window of each layer.
fn windows(
    config: Fields,
    family: &Family,
    missing: &mut Vec<String>,
) -> Result<Vec<Option<usize>>, SpecError> {
    let layers = config.need_count("num_hidden_layers")?;
    let window = config.count("sliding_window")?;
    let types = match family.windows {
        Windows::Never => return Ok(vec![None; layers]),
        Windows::All => return Ok(vec![window; layers]),
        Windows::ByLayer | Windows::ByLayerFrom => config.strs("layer_types")?,
    };
    let Some(types) = types else {
        let from = match family.windows {
            Windows::ByLayerFrom if config.flag("use_sliding_window")? == Some(true) => {
                config.need_count("max_window_layers")?
            }
            Windows::ByLayerFrom => layers,
            _ => 0,
        };
        return Ok((0..layers).map(|i| window.filter(|_| i >= from)).collect());
    };
    if types.len() != layers {
        return Err(SpecError::invalid(&config.key("layer_types"), format!("{layers} entries"), types.len()));
    }
    types
        .into_iter()
        .map(|kind| match kind {
            "full_attention" => Ok(None),
            "sliding_attention" => Ok(Some(window.ok_or_else(|| config.missing("sliding_window"))?)),
            other => {
                missing.push(format!("layer type {other}"));
                Ok(None)
            }
        })
        .collect()
}

/// The rotary embedding: `rope_parameters`, or `rope_theta` and `rope_scaling` in older files.
fn rope(
    config: Fields,
    dim: usize,
    context: usize,
    family: &Family,
    missing: &mut Vec<String>,
) -> Result<(Rope, Option<Temperature>), SpecError> {
    let name = if config.has("rope_parameters") { "rope_parameters." } else { "rope_scaling." };
    let prefix = config.key(name);
    let block = Fields { config: config.config, prefix: &prefix };
    let theta = match block.number("rope_theta")? {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(10_000.0),
    };
    if let Some(partial) = block.number("partial_rotary_factor")?
        && partial != 1.0
    {
        missing.push(format!("partial_rotary_factor {partial}"));
    }
    let kind = match block.str("rope_type")? {
        Some(kind) => kind,
        None => block.str("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: block.need_number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: block.need_number("factor")?,
            low: block.need_number("low_freq_factor")?,
            high: block.need_number("high_freq_factor")?,
            original: block.need_count("original_max_position_embeddings")?,
        },
        "yarn" => yarn(block, context)?,
        other => {
            missing.push(format!("rope type {other}"));
            RopeScaling::None
        }
    };
    let beta = if family.temperature { block.number("llama_4_scaling_beta")? } else { None };
    let temperature = match beta {
        Some(beta) => {
            Some(Temperature { beta, floor: block.need_count("original_max_position_embeddings")? })
        }
        None => None,
    };
    Ok((Rope { dim, theta, scaling, pairs: false }, temperature))
}

fn yarn(block: Fields, context: usize) -> Result<RopeScaling, SpecError> {
    let original = block.need_count("original_max_position_embeddings")?;
    let factor = block.number("factor")?.unwrap_or(context as f32 / original as f32);
    let given = block.number("attention_factor")?;
    let attention = match (given, block.number("mscale")?, block.number("mscale_all_dim")?) {
        (Some(attention), _, _) => attention,
        (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
            yarn_magnitude(factor, m) / yarn_magnitude(factor, all)
        }
        _ => yarn_magnitude(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        original,
        beta_fast: block.number("beta_fast")?.unwrap_or(32.0),
        beta_slow: block.number("beta_slow")?.unwrap_or(1.0),
        attention,
        truncate: block.flag("truncate")?.unwrap_or(true),
    })
}
