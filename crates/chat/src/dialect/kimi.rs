//! Kimi K2. Source: the tool-call guidance published with the model.

use super::{Body, Dialect, Form, NameSyntax, Open, Parallel, Section, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::KimiK2,
    vllm_parser: Some("kimi_k2"),
    forms: &[Form {
        section: Some(Section {
            open: "<|tool_calls_section_begin|>",
            close: "<|tool_calls_section_end|>",
            required: false,
            each: false,
            lines: false,
        }),
        open: Open::Marker("<|tool_call_begin|>"),
        body: Body::NameThenJson(NameSyntax {
            prefix: "functions.",
            prefix_optional: true,
            after: &["<|tool_call_argument_begin|>"],
            after_required: true,
            counted: true,
        }),
        close: &["<|tool_call_end|>"],
    }],
    parallel: Parallel::Repeat(""),
};
