//! The model families, as data.
//!
//! `families.json` has one row per family; the first row that fits is taken. A row is found by the
//! model's id first, then by its architecture, then by markers in its chat template.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::reasoning::{ReasoningMode, ReasoningStyle};

/// What is known about a model family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Short name.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// Parts of model ids; `*` stands for any text.
    models: Vec<String>,
    /// `architectures` of config.json that are this family's alone.
    architectures: Vec<String>,
    /// Texts that all stand in the chat template.
    template: Vec<String>,
    /// How it writes tool calls.
    pub dialect: Dialect,
    /// vLLM's `--tool-call-parser` for it; `None` where vLLM has none.
    pub tool_parser: Option<String>,
    /// How it marks reasoning, if it reasons.
    #[serde(default)]
    pub reasoning: Option<ReasoningStyle>,
    /// vLLM's `--reasoning-parser` for it.
    #[serde(default)]
    pub reasoning_parser: Option<String>,
    /// Whether the chat template opens the reasoning, so that the model's text starts inside.
    #[serde(default)]
    pub opened_by_template: bool,
    /// How thinking is switched; `None` for a family that does not think.
    #[serde(default)]
    pub thinking: Option<Thinking>,
    /// Whether earlier reasoning is sent back to the model.
    #[serde(default)]
    pub reasoning_back: ReasoningBack,
    /// Whether its own chat template leaves the tools out.
    #[serde(default)]
    pub drops_tools: bool,
    /// The context window where nothing better is known.
    pub window: Window,
}

/// How a family's thinking is switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thinking {
    /// The boolean in `chat_template_kwargs`, if there is one.
    #[serde(default)]
    pub kwarg: Option<String>,
    /// The values of `reasoning_effort`, if the family has levels; from least to most.
    #[serde(default)]
    pub effort: Vec<String>,
    /// Whether the family thinks unless it is told not to.
    pub default: bool,
}

/// When earlier reasoning is sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningBack {
    /// Never: the template drops it, or the family asks to leave it out.
    #[default]
    Never,
    /// Between the tool calls of the turn that is going on.
    ToolTurns,
    /// With every message.
    Always,
}

/// A context window, in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// What may be assumed of a server that does not say: never more than 32,768, because most
    /// servers are started with less than the model was trained for.
    pub assume: u32,
    /// What the smallest widespread model of the family was trained for.
    pub trained: u32,
    /// Where the trained figure is stated.
    pub source: String,
}

/// What is known about a model whose family is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints<'a> {
    /// The id under which it is served or stored.
    pub model: Option<&'a str>,
    /// The first of `architectures` in its config.json.
    pub architecture: Option<&'a str>,
    /// The source of its chat template.
    pub template: Option<&'a str>,
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    // The file is part of the program and a test reads it.
    serde_json::from_str(include_str!("families.json")).unwrap_or_default()
});

/// Every family, in the order in which they are tried.
pub fn all() -> &'static [Family] {
    &FAMILIES
}

/// The family that fits the hints, if one does.
pub fn find(hints: Hints<'_>) -> Option<&'static Family> {
    let first = |fits: &dyn Fn(&Family) -> bool| all().iter().find(|family| fits(family));
    hints
        .model
        .map(normal)
        .and_then(|id| first(&|family| family.models.iter().any(|part| id_has(&id, part))))
        .or_else(|| {
            let name = hints.architecture?;
            first(&|family| family.architectures.iter().any(|known| known == name))
        })
        .or_else(|| {
            let source = hints.template?;
            first(&|family| {
                !family.template.is_empty() && family.template.iter().all(|marker| source.contains(marker))
            })
        })
}

/// The family of a model id.
pub fn of_model(id: &str) -> Option<&'static Family> {
    find(Hints { model: Some(id), ..Hints::default() })
}

impl Family {
    /// The flags that a vLLM server needs for this family's tool calls and reasoning; `None` if it
    /// has no parser for either.
    pub fn vllm_flags(&self) -> Option<String> {
        let tools = self
            .tool_parser
            .as_ref()
            .map(|name| format!("--enable-auto-tool-choice --tool-call-parser {name}"));
        let reasoning = self.reasoning_parser.as_ref().map(|name| format!("--reasoning-parser {name}"));
        let flags: Vec<_> = tools.into_iter().chain(reasoning).collect();
        (!flags.is_empty()).then(|| flags.join(" "))
    }

    /// What a parser takes for reasoning in text of this family, if `thinking` is on or off.
    pub fn reasoning_mode(&self, thinking: bool) -> ReasoningMode {
        match self.reasoning {
            Some(style) if self.opened_by_template && thinking => {
                ReasoningMode::Style { style, opened: true }
            }
            _ => ReasoningMode::Any,
        }
    }

    /// Whether the family thinks unless it is told not to.
    pub fn thinks(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.default)
    }
}

/// An id in lower case with `-` between its words.
fn normal(id: &str) -> String {
    let words = |c: char| if matches!(c, '_' | ' ' | ':' | '/' | '@') { '-' } else { c.to_ascii_lowercase() };
    id.chars().map(words).collect()
}

/// Whether `id` has the words of `pattern` in it. A word that ends with a digit is not found in
/// a longer number.
fn id_has(id: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let mut starts = id.match_indices(first).map(|(at, _)| at);
    starts.any(|at| {
        let before = id[..at].chars().next_back();
        if before.is_some_and(char::is_alphanumeric) {
            return false;
        }
        let mut end = at + first.len();
        for part in parts.clone() {
            match id[end..].find(part) {
                Some(next) => end += next + part.len(),
                None => return false,
            }
        }
        let after = id[end..].chars().next();
        let last = pattern.chars().next_back();
        let number = last.is_some_and(|c| c.is_ascii_digit());
        !after.is_some_and(|c| if number { c.is_ascii_digit() } else { c.is_alphabetic() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let families: Vec<Family> = serde_json::from_str(include_str!("families.json")).unwrap();
        assert!(families.len() >= 25);
        for family in &families {
            assert!(!family.window.source.is_empty(), "{}", family.id);
            assert!(family.window.assume <= family.window.trained.min(32_768), "{}", family.id);
            assert!(family.models.iter().all(|part| *part == normal(part)), "{}", family.id);
            assert_eq!(family.reasoning.is_some(), family.reasoning_parser.is_some(), "{}", family.id);
            if let Some(name) = &family.tool_parser {
                let known = Dialect::from_vllm_parser(name);
                assert_eq!(known, Some(family.dialect), "{}", family.id);
            }
            let twice = families.iter().filter(|other| other.id == family.id).count();
            assert_eq!(twice, 1, "{}", family.id);
        }
    }

    #[test]
    fn ids_find_their_family() {
        for (id, want) in [
            ("Qwen/Qwen3-8B", Some("qwen3")),
            ("qwen3:8b", Some("qwen3")),
            ("Qwen/Qwen3-4B-Instruct-2507", Some("qwen3-instruct")),
            ("Qwen/Qwen3-30B-A3B-Thinking-2507", Some("qwen3-thinking")),
            ("Qwen/Qwen3-Coder-30B-A3B-Instruct", Some("qwen3-coder")),
            ("Qwen/Qwen3.5-35B-A3B", Some("qwen3.5")),
            ("qwen3.6:27b", Some("qwen3.5")),
            ("Qwen/Qwen3-Next-80B-A3B-Instruct", Some("qwen3-instruct")),
            ("Qwen/Qwen2.5-7B-Instruct", Some("qwen2.5")),
            ("qwen2.5-coder:7b", Some("qwen2.5-coder")),
            ("meta-llama/Llama-3.1-8B-Instruct", Some("llama3")),
            ("Meta-Llama-3.3-70B-Instruct-Q4_K_M.gguf", Some("llama3")),
            ("llama3.2:3b", Some("llama3")),
            ("meta-llama/Meta-Llama-3-8B-Instruct", Some("llama3.0")),
            ("meta-llama/Llama-4-Scout-17B-16E-Instruct", Some("llama4")),
            ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", Some("mistral")),
            ("mistralai/Ministral-3-8B-Instruct-2512", Some("mistral")),
            ("mistralai/Devstral-Small-2-24B", Some("mistral")),
            ("mistralai/Magistral-Small-2509", Some("magistral")),
            ("google/gemma-3-4b-it", Some("gemma3")),
            ("gemma3n:e4b", Some("gemma3")),
            ("gemma4:e4b", Some("gemma4")),
            ("google/gemma-4-E4B-it", Some("gemma4")),
            ("google/functiongemma-270m-it", Some("functiongemma")),
            ("openai/gpt-oss-20b", Some("gpt-oss")),
            ("microsoft/Phi-4-mini-instruct", Some("phi4-mini")),
            ("microsoft/phi-4", Some("phi4")),
            ("ibm-granite/granite-4.0-h-tiny", Some("granite4")),
            ("ibm-granite/granite-3.3-8b-instruct", Some("granite3")),
            ("deepseek-ai/DeepSeek-V3.2", Some("deepseek-v3.2")),
            ("deepseek-ai/DeepSeek-V3.1", Some("deepseek-v3.1")),
            ("deepseek-ai/DeepSeek-V3-0324", Some("deepseek-v3")),
            ("deepseek-ai/DeepSeek-R1-0528", Some("deepseek-r1")),
            ("deepseek-r1-distill-qwen-7b", Some("deepseek-r1-distill")),
            ("zai-org/GLM-4.7-Flash", Some("glm4.5")),
            ("moonshotai/Kimi-K2-Thinking", Some("kimi-k2")),
            ("HuggingFaceTB/SmolLM3-3B", Some("smollm3")),
            ("LiquidAI/LFM2-1.2B", Some("lfm2")),
            ("NousResearch/Hermes-3-Llama-3.1-8B", Some("hermes")),
            ("allenai/Olmo-3-7B-Instruct", Some("olmo3")),
            ("MiniMaxAI/MiniMax-M2", Some("minimax-m2")),
            ("gpt2", None),
            ("tiny", None),
            ("", None),
        ] {
            assert_eq!(of_model(id).map(|family| family.id.as_str()), want, "{id}");
        }
    }

    #[test]
    fn architecture_and_template() {
        let by = |architecture, template| {
            find(Hints { model: Some("my-model"), architecture, template }).map(|family| family.id.as_str())
        };
        assert_eq!(by(Some("GptOssForCausalLM"), None), Some("gpt-oss"));
        assert_eq!(by(Some("LlamaForCausalLM"), Some("<|start_header_id|> <|python_tag|>")), Some("llama3"));
        assert_eq!(by(None, Some("<|im_start|> <tool_call> <function=")), Some("qwen3-coder"));
        assert_eq!(by(None, Some("<|im_start|> <tool_call> <function= <think>")), Some("qwen3.5"));
        assert_eq!(by(None, Some("<|im_start|> <tool_call>")), Some("qwen2.5"));
        assert_eq!(by(None, Some("### User:")), None);
    }

    #[test]
    fn flags_for_the_user() {
        let flags = |id| of_model(id).and_then(Family::vllm_flags);
        assert_eq!(
            flags("Qwen/Qwen3-8B").as_deref(),
            Some("--enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser qwen3")
        );
        assert_eq!(flags("gemma-3-4b-it"), None);
    }
}
