use serde_json::{Value, json};

use super::*;
use crate::formats::Config;

fn hf(config: &Value) -> Result<ModelSpec, SpecError> {
    ModelSpec::from_hf(Config::Json(config), &|name| name.starts_with("model.language_model."))
}

/// The public configuration of Qwen3-0.6B.
fn qwen3() -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960,
        "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
        "sliding_window": null, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936
    })
}

fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

#[test]
fn qwen3_reads_as_it_prints() {
    let spec = hf(&qwen3()).unwrap();
    assert_eq!(
        spec.to_string(),
        "Qwen3ForCausalLM vocab=151936 hidden=1024 context=40960\n\
         norm rms eps=1e-6\n\
         rope 0: dim=128 theta=1000000\n\
         layers 0-27: attention heads=16 kv=8 dim=128 scale=0.088388346 rope=0 qk-norm | gated silu inner=3072\n\
         head tied\n\
         names hf prefix=\"model.\" head=\"\""
    );
    assert_eq!(spec.parameters(), 596_049_920);
    assert_eq!(spec.kv_values_per_token(), 28 * 2 * 8 * 128);
}

/// The public configuration of Llama-3.2-1B.
#[test]
fn llama_reads_its_rope_scaling_from_either_place() {
    let scaling = json!({ "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3" });
    let base = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false,
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "tie_word_embeddings": true, "vocab_size": 128256
    });
    let old = hf(&with(with(base.clone(), "rope_scaling", scaling.clone()), "rope_theta", json!(500_000.0)));
    let new = hf(&with(base, "rope_parameters", with(scaling, "rope_theta", json!(500_000.0))));
    let old = old.unwrap();
    assert_eq!(old, new.unwrap());
    assert_eq!(
        old.to_string(),
        "LlamaForCausalLM vocab=128256 hidden=2048 context=131072\n\
         norm rms eps=1e-5\n\
         rope 0: dim=64 theta=500000 llama3 factor=32 low=1 high=4 original=8192\n\
         layers 0-15: attention heads=32 kv=8 dim=64 scale=0.125 rope=0 | gated silu inner=8192\n\
         head tied\n\
         names hf prefix=\"model.\" head=\"\""
    );
}

/// The shape of Ministral-3-8B inside its multimodal wrapper.
#[test]
fn ministral_3_is_found_in_its_wrapper() {
    let text = json!({
        "model_type": "ministral3", "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 262144, "num_attention_heads": 32,
        "num_hidden_layers": 34, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "sliding_window": null,
        "vocab_size": 131072, "rope_parameters": { "beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0,
            "llama_4_scaling_beta": 0.1, "mscale": 1.0, "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16384, "rope_theta": 1000000.0, "rope_type": "yarn" }
    });
    let config = json!({ "architectures": ["Mistral3ForConditionalGeneration"], "text_config": text });
    let spec = hf(&config).unwrap();
    assert_eq!(
        spec.to_string(),
        "Mistral3ForConditionalGeneration vocab=131072 hidden=4096 context=262144\n\
         norm rms eps=1e-5\n\
         rope 0: dim=128 theta=1000000 yarn factor=16 original=16384 beta=32/1 attention=1\n\
         layers 0-33: attention heads=32 kv=8 dim=128 scale=0.088388346 rope=0 temperature=0.1/16384 \
         | gated silu inner=14336\n\
         head own\n\
         names hf prefix=\"model.language_model.\" head=\"\""
    );
    let spec = ModelSpec::from_hf(Config::Json(&config), &|name| name.starts_with("language_model.model."));
    assert_eq!(spec.unwrap().names.name(Role::Head), "language_model.lm_head.weight");
}

#[test]
fn windows_come_by_layer() {
    let types = json!(["sliding_attention", "full_attention", "full_attention"]);
    let mut config = with(with(qwen3(), "layer_types", types), "sliding_window", json!(4096));
    config["num_hidden_layers"] = json!(3);
    let text = hf(&config).unwrap().to_string();
    assert!(text.contains("layer 0: ") && text.contains("window=4096"), "{text}");
    assert!(text.contains("layers 1-2: "), "{text}");

    let mut old = with(with(qwen3(), "use_sliding_window", json!(true)), "sliding_window", json!(64));
    old["max_window_layers"] = json!(27);
    assert!(hf(&old).unwrap().to_string().contains("layer 27: attention heads=16 kv=8 dim=128"), "{old}");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refused = |config: Value| hf(&config).unwrap_err().to_string();
    let names = refused(with(qwen3(), "architectures", json!(["GraniteForCausalLM"])));
    assert!(
        names.starts_with("the architecture \"GraniteForCausalLM\" is not supported; supported are Qwen3"),
        "{names}"
    );
    assert_eq!(
        refused(with(
            with(qwen3(), "hidden_act", json!("gelu")),
            "rope_scaling",
            json!({ "rope_type": "longrope" })
        )),
        "Qwen3ForCausalLM with hidden_act gelu, rope type longrope is not supported"
    );
    assert_eq!(
        refused(with(qwen3(), "quantization_config", json!({ "quant_method": "gptq" }))),
        "Qwen3ForCausalLM with gptq quantization is not supported"
    );
    assert_eq!(
        refused(with(
            with(qwen3(), "num_hidden_layers", json!(1)),
            "layer_types",
            json!(["linear_attention"])
        )),
        "Qwen3ForCausalLM with layer type linear_attention is not supported"
    );
}

#[test]
fn wrong_fields_are_named() {
    let error = |config: Value| hf(&config).unwrap_err().to_string();
    assert!(error(with(qwen3(), "hidden_size", Value::Null)).contains("hidden_size"));
    assert!(error(with(qwen3(), "num_key_value_heads", json!(5))).contains("num_key_value_heads = 5"));
    assert!(error(with(qwen3(), "num_hidden_layers", json!(0))).contains("num_hidden_layers = 0"));
    assert!(error(with(qwen3(), "rope_theta", json!("big"))).contains("rope_theta"));
    assert!(error(with(qwen3(), "layer_types", json!(["full_attention"]))).contains("28 entries"));
    assert!(error(with(qwen3(), "head_dim", json!(63))).contains("head_dim = 63"));
}
