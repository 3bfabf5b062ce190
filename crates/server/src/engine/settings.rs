//! How an engine is served, beside what the engine itself is told.

use chela_chat::{Dialect, ReasoningMode, ReasoningStyle};
use serde_json::{Map, Value};

/// How a model is served.
#[derive(Debug, Clone, Default)]
pub struct ServeSettings {
    /// The names it answers to, at least one; the first stands in answers.
    pub names: Vec<String>,
    /// What `/v1/models` gives as its origin: the path or name that the user gave.
    pub root: String,
    /// A dialect for tool calls in place of the one that the template shows.
    pub dialect: Option<Dialect>,
    /// A rule for reasoning in place of what the template shows.
    pub reasoning: Option<ReasoningRule>,
    /// A chat template in place of the model's.
    pub chat_template: Option<String>,
    /// Variables of every rendering; those of a request win.
    pub template_kwargs: Map<String, Value>,
    /// Whether the model's own recommendations for sampling are left aside.
    pub plain_generation: bool,
    /// Sampling parameters, by their wire names, where a request says nothing.
    pub generation: Map<String, Value>,
    /// Whether usage tells where the prompt's tokens came from.
    pub prompt_tokens_details: bool,
}

/// What a `--reasoning-parser` of vLLM takes for reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningRule {
    /// `qwen3`: everything until `</think>` or a call, unless thinking is off.
    Qwen3,
    /// `deepseek_r1`: everything until `</think>`.
    DeepseekR1,
    /// `deepseek_v3`: as `deepseek_r1` where the request switches thinking on, else nothing.
    WhereOn,
    /// What the template or the model opens, in this style.
    Style(ReasoningStyle),
}

/// The names that [`ReasoningRule::from_vllm_parser`] knows.
pub const REASONING_PARSERS: &[&str] = &[
    "deepseek_r1",
    "deepseek_v3",
    "deepseek_v4",
    "ernie45",
    "gemma4",
    "glm45",
    "glm47",
    "granite_thinking_parser",
    "holo2",
    "hy_v3",
    "kimi_k2",
    "ling3",
    "mimo",
    "minicpmv",
    "minimax_m2",
    "mistral",
    "nemotron_v3",
    "olmo3",
    "openai_gptoss",
    "poolside_v1",
    "qwen3",
    "seed_oss",
    "step3",
    "step3p5",
];

impl ReasoningRule {
    /// The rule behind a `--reasoning-parser` of vLLM; `None` for one that is not known here.
    pub fn from_vllm_parser(name: &str) -> Option<Self> {
        Some(match name {
            "qwen3" | "mimo" | "nemotron_v3" | "step3p5" | "granite_thinking_parser" | "minicpmv" => {
                Self::Qwen3
            }
            "deepseek_r1" => Self::DeepseekR1,
            "deepseek_v3" | "holo2" | "poolside_v1" => Self::WhereOn,
            "deepseek_v4" | "glm45" | "glm47" | "ling3" | "kimi_k2" | "minimax_m2" | "olmo3" | "step3"
            | "hy_v3" | "ernie45" => Self::Style(ReasoningStyle::Think),
            "seed_oss" => Self::Style(ReasoningStyle::SeedThink),
            "mistral" => Self::Style(ReasoningStyle::MistralThink),
            "gemma4" => Self::Style(ReasoningStyle::GemmaChannel),
            "openai_gptoss" => Self::Style(ReasoningStyle::Harmony),
            _ => return None,
        })
    }

    /// The style that it reads.
    pub(super) fn style(self) -> ReasoningStyle {
        match self {
            Self::Style(style) => style,
            _ => ReasoningStyle::Think,
        }
    }

    /// What a parser takes for reasoning after a prompt. `thinking` is what the request says, and
    /// `opened` whether the prompt ends inside reasoning.
    pub(super) fn mode(self, thinking: Option<bool>, opened: bool) -> ReasoningMode {
        match self {
            Self::Qwen3 if thinking == Some(false) => ReasoningMode::Off,
            Self::Qwen3 => ReasoningMode::VllmQwen3,
            Self::DeepseekR1 => ReasoningMode::VllmDeepseekR1,
            Self::WhereOn if thinking == Some(true) => ReasoningMode::VllmDeepseekR1,
            Self::WhereOn => ReasoningMode::Off,
            Self::Style(style) => ReasoningMode::Style { style, opened },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_has_a_rule() {
        for name in REASONING_PARSERS {
            assert!(ReasoningRule::from_vllm_parser(name).is_some(), "{name}");
        }
        assert_eq!(ReasoningRule::from_vllm_parser("nope"), None);
    }
}
