//! The places of a spec that no family here fills yet.

use chela_engine::interpreter::Interpreter;
use chela_engine::model::Plan;
use chela_engine::spec::{Ffn, GatedDelta, Mixer, ModelSpec, Names, Part, Role, SpecError};

use crate::fixture::open;

/// A place of the spec without a kernel, and not a model that runs wrongly.
#[test]
fn places_without_a_kernel_are_refused_by_name() {
    let spec = || open("qwen3").1;
    let refused = |spec: ModelSpec| {
        let error = spec.check_supported().unwrap_err().to_string();
        assert_eq!(Plan::compile(&spec).unwrap_err().to_string(), error);
        let interpreter = Interpreter::new(spec, |_| Err(SpecError::Missing { field: "a weight".into() }));
        assert_eq!(interpreter.err().unwrap().to_string(), error);
        error
    };
    let mut experts = spec();
    experts.layers[0].ffn = Ffn::Experts { count: 8, per_token: 2, inner: 64 };
    assert_eq!(refused(experts.clone()), "Qwen3ForCausalLM with mixtures of experts is not supported");
    experts.layers[1].mixer =
        Mixer::GatedDelta(GatedDelta { key_heads: 2, value_heads: 4, key_dim: 8, value_dim: 6, conv: 4 });
    // A state per value head, and three past inputs of 16 + 16 + 24 channels.
    assert_eq!(experts.layers[1].mixer.state_values(), 4 * 8 * 6 + 3 * 56);
    assert!(experts.to_string().contains("layer 1: gated-delta keys=2x8 values=4x6 conv=4 |"), "{experts}");
    assert_eq!(
        refused(experts),
        "Qwen3ForCausalLM with gated delta rule layers, mixtures of experts is not supported"
    );

    // These have kernels, and are no reason to refuse.
    let mut served = spec();
    served.final_logit_softcap = Some(30.0);
    let Mixer::Attention(attention) = &mut served.layers[0].mixer else { panic!("Qwen3 has attention") };
    (attention.sinks, attention.softcap, attention.window) = (true, Some(50.0), Some(128));
    served.check_supported().unwrap();
    let text = served.to_string();
    assert!(
        text.contains(" sinks window=128 softcap=50 ") && text.contains("head tied softcap=30\n"),
        "{text}"
    );
    let sinks = Role::Layer(0, Part::Sinks);
    assert!(served.tensors().contains(&(sinks, [1, 4])));
    assert_eq!(served.names.name(sinks), "model.layers.0.self_attn.sinks");
    assert_eq!(Names::Gguf.name(sinks), "blk.0.attn_sinks.weight");
}
