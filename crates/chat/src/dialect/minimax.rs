//! MiniMax M2. Source: the tool-calling guide published with the model.

use super::{
    Body, Dialect, Form, KeyEnd, NameEnd, Open, Parallel, ParamSyntax, Section, ToolDialect, ValueKind,
};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::MinimaxM2,
    vllm_parser: Some("minimax_m2"),
    forms: &[Form {
        section: Some(Section {
            open: "<minimax:tool_call>",
            close: "</minimax:tool_call>",
            required: true,
            each: false,
            lines: true,
        }),
        open: Open::Marker("<invoke name=\""),
        body: Body::Params(ParamSyntax {
            name_end: NameEnd::Marker("\">"),
            param_open: "<parameter name=\"",
            key_end: &[KeyEnd { marker: "\">", value: ValueKind::BySchema }],
            value_open: None,
            param_close: "</parameter>",
            trim_newline: false,
        }),
        close: &["</invoke>"],
    }],
    parallel: Parallel::Inside("\n"),
};
