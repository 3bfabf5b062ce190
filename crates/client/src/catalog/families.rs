//! What is known of a model from its name alone: the window it was trained with, and how its
//! template is told to think. Figures are those of the models' own cards.

use std::sync::LazyLock;

use serde::Deserialize;

use super::model::ThinkingControl;

/// A row of the table. The first row whose `match` is part of the model's name holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    #[serde(rename = "match")]
    part: String,
    /// Window that the family was trained with, in tokens.
    pub window: u32,
    /// How it is told to think; absent for families that do not think.
    pub thinking: Option<ThinkingControl>,
    /// It thinks and cannot be told not to.
    #[serde(default)]
    pub reasons: bool,
    /// Value of vLLM's `--tool-call-parser` for it.
    pub parser: Option<String>,
    /// It wants its reasoning back in the requests after a tool call.
    #[serde(default)]
    pub resend: bool,
}

impl Family {
    /// Whether models of the family think.
    pub fn thinks(&self) -> bool {
        self.reasons || self.thinking.is_some()
    }
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("families.json"))
        .unwrap_or_else(|error| unreachable!("families.json is part of the program and tested: {error}"))
});

/// The family of a model, by its id or else by the name of its weights. Case and the kind of
/// separator (`Qwen3_8B`, `qwen3:8b`, `Meta-Llama-3.1-8B`) do not matter.
pub fn family(id: &str, root: Option<&str>) -> Option<&'static Family> {
    [Some(id), root].into_iter().flatten().find_map(|name| {
        let name = name.to_ascii_lowercase().replace(['_', ':', ' '], "-");
        FAMILIES.iter().find(|family| name.contains(&family.part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_models() {
        let table = [
            ("Qwen/Qwen3-8B", Some(40960)),
            ("Qwen/Qwen3-Coder-30B-A3B-Instruct", Some(262_144)),
            ("qwen3:8b", Some(40960)),
            ("meta-llama/Meta-Llama-3.1-8B-Instruct", Some(131_072)),
            ("openai/gpt-oss-20b", Some(131_072)),
            ("microsoft/Phi-4-mini-instruct", Some(131_072)),
            ("my-own-model", None),
        ];
        for (name, window) in table {
            assert_eq!(family(name, None).map(|family| family.window), window, "{name}");
        }
        assert_eq!(family("default", Some("/models/Qwen3-4B")).unwrap().window, 40960);
        assert!(family("deepseek-ai/DeepSeek-R1", None).unwrap().thinks());
        assert!(!family("Qwen/Qwen2.5-7B-Instruct", None).unwrap().thinks());
    }
}
