//! The fixtures' files.

use std::path::PathBuf;

/// All cases, one folder each.
pub const CASES: [&str; 7] =
    ["qwen3", "qwen3-window-bias", "llama3", "llama-bias", "mistral", "ministral", "ministral3"];

pub fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case)
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
