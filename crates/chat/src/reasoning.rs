//! How models mark their reasoning, as data.

use serde::{Deserialize, Serialize};

/// How a model marks its reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningStyle {
    /// `<think>…</think>`.
    Think,
    /// `<thinking>…</thinking>`.
    Thinking,
    /// `<seed:think>…</seed:think>`.
    SeedThink,
    /// `[THINK]…[/THINK]`, Mistral.
    MistralThink,
    /// `<|channel>thought\n…<channel|>`, Gemma 4.
    GemmaChannel,
    /// The `analysis` channel of Harmony.
    Harmony,
}

/// The markers of a style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasoningMarkers {
    /// Opens reasoning.
    pub open: &'static str,
    /// Closes it.
    pub close: &'static str,
    /// Whether the opening marker is a token that cannot be meant as text, so that it opens
    /// reasoning anywhere; otherwise it does so only where nothing but white space precedes it.
    pub anywhere: bool,
}

/// Every style, in the order in which they are looked for.
pub const STYLES: &[ReasoningStyle] = &[
    ReasoningStyle::Think,
    ReasoningStyle::Thinking,
    ReasoningStyle::SeedThink,
    ReasoningStyle::MistralThink,
    ReasoningStyle::GemmaChannel,
    ReasoningStyle::Harmony,
];

impl ReasoningStyle {
    /// The name under which it is told.
    pub fn name(self) -> &'static str {
        match self {
            ReasoningStyle::Think => "think",
            ReasoningStyle::Thinking => "thinking",
            ReasoningStyle::SeedThink => "seed_think",
            ReasoningStyle::MistralThink => "mistral_think",
            ReasoningStyle::GemmaChannel => "gemma_channel",
            ReasoningStyle::Harmony => "harmony",
        }
    }

    /// The markers; `None` for Harmony, whose messages carry a header instead.
    pub fn markers(self) -> Option<ReasoningMarkers> {
        let (open, close, anywhere) = match self {
            ReasoningStyle::Think => ("<think>", "</think>", false),
            ReasoningStyle::Thinking => ("<thinking>", "</thinking>", false),
            ReasoningStyle::SeedThink => ("<seed:think>", "</seed:think>", true),
            ReasoningStyle::MistralThink => ("[THINK]", "[/THINK]", false),
            ReasoningStyle::GemmaChannel => ("<|channel>thought\n", "<channel|>", true),
            ReasoningStyle::Harmony => return None,
        };
        Some(ReasoningMarkers { open, close, anywhere })
    }
}

/// What a parser takes for reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReasoningMode {
    /// Nothing: markers stay in the text. vLLM's rule where thinking is disabled.
    Off,
    /// Whatever the model opens itself, in any style.
    #[default]
    Any,
    /// This style. With `opened` the prompt already opened it, and the text starts inside.
    Style {
        /// How the model marks its reasoning.
        style: ReasoningStyle,
        /// Whether the text starts inside reasoning.
        opened: bool,
    },
    /// vLLM's rule for `--reasoning-parser qwen3`: the text starts inside reasoning whether or
    /// not the model opened it, `</think>` or `<tool_call>` ends it, and if neither comes
    /// everything is reasoning.
    VllmQwen3,
    /// vLLM's rule for `--reasoning-parser deepseek_r1`: as above, but only `</think>` ends it.
    VllmDeepseekR1,
}

impl ReasoningMode {
    /// The style that the text starts in, if it starts inside reasoning.
    pub(crate) fn starts_in(self) -> Option<ReasoningStyle> {
        match self {
            ReasoningMode::Style { style, opened: true } => Some(style),
            ReasoningMode::VllmQwen3 | ReasoningMode::VllmDeepseekR1 => Some(ReasoningStyle::Think),
            _ => None,
        }
    }

    /// The styles that the model may open.
    pub(crate) fn styles(self) -> &'static [ReasoningStyle] {
        match self {
            ReasoningMode::Off => &[],
            ReasoningMode::Any => STYLES,
            ReasoningMode::VllmQwen3 | ReasoningMode::VllmDeepseekR1 => &STYLES[..1],
            ReasoningMode::Style { style, .. } => {
                let at = STYLES.iter().position(|other| *other == style).unwrap_or(0);
                &STYLES[at..=at]
            }
        }
    }
}
