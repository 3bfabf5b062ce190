//! Qwen 3 Coder and Qwen 3.5 XML. Source: the published chat templates of these models.

use super::{
    Body, Dialect, Form, KeyEnd, NameEnd, Open, Parallel, ParamSyntax, Section, ToolDialect, ValueKind,
};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::QwenXml,
    vllm_parser: Some("qwen3_coder"),
    forms: &[Form {
        // The models leave the outer element out now and then.
        section: Some(Section {
            open: "<tool_call>",
            close: "</tool_call>",
            required: false,
            each: true,
            lines: true,
        }),
        open: Open::Marker("<function="),
        body: Body::Params(ParamSyntax {
            name_end: NameEnd::Marker(">"),
            param_open: "<parameter=",
            key_end: &[KeyEnd { marker: ">", value: ValueKind::BySchema }],
            value_open: None,
            param_close: "</parameter>",
            trim_newline: true,
        }),
        close: &["</function>"],
    }],
    parallel: Parallel::Repeat("\n"),
};
