//! Mistral. Source: mistral-common's documented instruct formats: from tokenizer version 11 on
//! name and arguments are separate, before that the calls are one JSON array.

use super::{Body, Dialect, Form, NameSyntax, ObjectSyntax, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Mistral,
    vllm_parser: Some("mistral"),
    forms: &[
        Form {
            section: None,
            open: Open::Marker("[TOOL_CALLS]"),
            body: Body::NameThenJson(NameSyntax {
                prefix: "",
                prefix_optional: true,
                after: &["[CALL_ID]", "[ARGS]"],
                after_required: false,
                counted: false,
            }),
            close: &[],
        },
        Form {
            section: None,
            open: Open::Marker("[TOOL_CALLS]"),
            body: Body::Object(ObjectSyntax { args_key: "arguments", array: true, lines: false }),
            close: &[],
        },
    ],
    parallel: Parallel::Repeat(""),
};
