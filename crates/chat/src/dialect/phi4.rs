//! Phi-4-mini. Source: the function-calling section of the model card and vLLM's parser of the
//! same name.

use super::{Body, Dialect, Form, ObjectSyntax, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Phi4Mini,
    vllm_parser: Some("phi4_mini_json"),
    forms: &[
        Form {
            section: None,
            open: Open::Marker("functools"),
            body: Body::Object(ObjectSyntax { args_key: "arguments", array: true, lines: false }),
            close: &[],
        },
        Form {
            section: None,
            open: Open::Marker("<|tool_call|>"),
            body: Body::Object(ObjectSyntax { args_key: "arguments", array: true, lines: false }),
            close: &["<|/tool_call|>"],
        },
    ],
    parallel: Parallel::Inside(", "),
};
