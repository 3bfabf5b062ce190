//! The fixtures' files.

use std::path::PathBuf;

use chela_engine::formats::Source;
use chela_engine::spec::{Attention, Mixer, ModelSpec};

/// All cases, one folder each.
pub const CASES: [&str; 8] =
    ["qwen3", "qwen3-window-bias", "llama3", "llama-bias", "mistral", "ministral", "ministral3", "places"];

pub fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case)
}

/// A case's files and its description.
pub fn open(case: &str) -> (Source, ModelSpec) {
    let source = Source::open(&folder(case)).unwrap();
    let mut spec = ModelSpec::from_source(&source).unwrap();
    if case == "places" {
        // What no family here has yet, as `make_model_fixtures.py` has it.
        let [Mixer::Attention(first), Mixer::Attention(second)] =
            [0, 1].map(|i| spec.layers[i].mixer.clone())
        else {
            panic!("a Llama has attention");
        };
        spec.layers[0].mixer = Mixer::Attention(Attention { softcap: Some(2.0), ..first });
        spec.layers[1].mixer = Mixer::Attention(Attention { sinks: true, window: Some(24), ..second });
        spec.final_logit_softcap = Some(20.0);
    }
    (source, spec)
}

/// What the oracle computed.
pub struct Expected {
    pub prompt: Vec<u32>,
    pub greedy: Vec<u32>,
    /// Recorded positions are multiples of this.
    pub stride: usize,
    values: chela_engine::formats::safetensors::Safetensors,
}

impl Expected {
    pub fn open(case: &str) -> Self {
        let json = std::fs::read(folder(case).join("expected.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let ids =
            |key: &str| json[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
        Self {
            prompt: ids("prompt"),
            greedy: ids("greedy"),
            stride: json["stride"].as_u64().unwrap() as usize,
            values: chela_engine::formats::safetensors::Safetensors::open(
                &folder(case).join("expected.safetensors"),
            )
            .unwrap(),
        }
    }

    /// Recorded rows of `logits` or `tap.N`.
    pub fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        let tensor = self.values.tensor(name).unwrap();
        tensor.to_f32().unwrap().chunks(tensor.row_len()).map(<[f32]>::to_vec).collect()
    }
}

/// The largest difference, relative to the largest value.
pub fn difference(got: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = |rows: &mut dyn Iterator<Item = f32>| rows.fold(0.0f32, |a, b| a.max(b.abs()));
    let scale = largest(&mut expected.iter().flatten().copied());
    let mut differences = got.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| a - b);
    largest(&mut differences) / scale
}
