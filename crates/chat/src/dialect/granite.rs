//! Granite 3. Source: the published Granite 3.x chat templates.

use super::{Body, Dialect, Form, ObjectSyntax, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Granite,
    vllm_parser: Some("granite"),
    forms: &[
        Form {
            section: None,
            open: Open::Marker("<|tool_call|>"),
            body: Body::Object(ObjectSyntax { args_key: "arguments", array: true, lines: false }),
            // The first is Phi-4-mini's, which shares the opening marker.
            close: &["<|/tool_call|>", "<|end_of_text|>"],
        },
        Form {
            section: None,
            open: Open::Marker("<tool_call>"),
            body: Body::Object(ObjectSyntax { args_key: "arguments", array: true, lines: false }),
            close: &["</tool_call>", "<|end_of_text|>"],
        },
    ],
    parallel: Parallel::Inside(", "),
};
