//! Llama 3.1 and later with JSON tools. Source: Meta's published prompt format for Llama 3.1 to
//! 3.3.

use super::{Body, Dialect, Form, ObjectSyntax, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Llama3Json,
    vllm_parser: Some("llama3_json"),
    forms: &[
        Form {
            section: None,
            open: Open::Start,
            body: Body::Object(ObjectSyntax { args_key: "parameters", array: false, lines: false }),
            close: &["<|eom_id|>", "<|eot_id|>"],
        },
        Form {
            section: None,
            open: Open::Marker("<|python_tag|>"),
            body: Body::Object(ObjectSyntax { args_key: "parameters", array: false, lines: false }),
            close: &["<|eom_id|>", "<|eot_id|>"],
        },
    ],
    parallel: Parallel::Inside("; "),
};
