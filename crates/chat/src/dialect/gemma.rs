//! Gemma 4 and FunctionGemma. Source: Google's published function-calling guides of the two.

use super::{Body, Dialect, Form, Open, Parallel, ToolDialect};

pub(super) const GEMMA4: ToolDialect = ToolDialect {
    dialect: Dialect::Gemma4,
    vllm_parser: Some("gemma4"),
    forms: &[Form {
        section: None,
        open: Open::Marker("<|tool_call>"),
        body: Body::Gemma { quote: "<|\"|>" },
        close: &["<tool_call|>"],
    }],
    parallel: Parallel::Repeat(""),
};

pub(super) const FUNCTION_GEMMA: ToolDialect = ToolDialect {
    dialect: Dialect::FunctionGemma,
    vllm_parser: Some("functiongemma"),
    forms: &[Form {
        section: None,
        open: Open::Marker("<start_function_call>"),
        body: Body::Gemma { quote: "<escape>" },
        close: &["<end_function_call>"],
    }],
    parallel: Parallel::Repeat(""),
};
