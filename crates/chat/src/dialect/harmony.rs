//! Harmony, the format of gpt-oss. Source: OpenAI's openai-harmony format guide.

use super::{Body, Dialect, Form, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Harmony,
    vllm_parser: Some("openai"),
    forms: &[
        Form { section: None, open: Open::Marker("<|channel|>"), body: Body::Harmony, close: CLOSE },
        Form { section: None, open: Open::Marker("<|start|>"), body: Body::Harmony, close: CLOSE },
        // The recipient in the role, after the prompt's `<|start|>assistant`.
        Form { section: None, open: Open::Marker(" to=functions."), body: Body::Harmony, close: CLOSE },
    ],
    parallel: Parallel::Repeat("<|start|>assistant"),
};

/// The tokens that end a Harmony message.
pub(super) const CLOSE: &[&str] = &["<|call|>", "<|end|>", "<|return|>"];
