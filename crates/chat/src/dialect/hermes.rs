//! Hermes, also Qwen 2.5 and Qwen 3, Granite 4 and SmolLM 3. Source: the NousResearch
//! Hermes-Function-Calling format and the published Qwen 3 chat template.

use super::{Body, Dialect, Form, ObjectSyntax, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Hermes,
    vllm_parser: Some("hermes"),
    forms: &[Form {
        section: None,
        open: Open::Marker("<tool_call>"),
        body: Body::Object(ObjectSyntax { args_key: "arguments", array: false, lines: true }),
        close: &["</tool_call>"],
    }],
    parallel: Parallel::Repeat("\n"),
};
