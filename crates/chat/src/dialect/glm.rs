//! GLM 4.5 to 4.7. Source: the published GLM 4.5 chat template.

use super::{Body, Dialect, Form, KeyEnd, NameEnd, Open, Parallel, ParamSyntax, ToolDialect, ValueKind};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Glm45,
    vllm_parser: Some("glm45"),
    forms: &[Form {
        section: None,
        open: Open::Marker("<tool_call>"),
        body: Body::Params(ParamSyntax {
            name_end: NameEnd::Space,
            param_open: "<arg_key>",
            key_end: &[KeyEnd { marker: "</arg_key>", value: ValueKind::BySchema }],
            value_open: Some("<arg_value>"),
            param_close: "</arg_value>",
            trim_newline: false,
        }),
        close: &["</tool_call>"],
    }],
    parallel: Parallel::Repeat("\n"),
};
