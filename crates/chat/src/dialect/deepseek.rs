//! DeepSeek V3, V3.1 and the DSML of V3.2. Source: the chat templates and the encoding notes that
//! are published with these models.

use super::{
    Body, Dialect, Form, KeyEnd, NameEnd, NameSyntax, Open, Parallel, ParamSyntax, Section, ToolDialect,
    ValueKind,
};

const SEPARATOR: &str = "<\u{ff5c}tool\u{2581}sep\u{ff5c}>";
const CALL: &str = "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>";
const CALL_END: &[&str] = &["<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>"];
const SECTION: Option<Section> = Some(Section {
    open: "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>",
    close: "<\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>",
    required: false,
    each: false,
    lines: false,
});

pub(super) const V3: ToolDialect = ToolDialect {
    dialect: Dialect::DeepseekV3,
    vllm_parser: Some("deepseek_v3"),
    forms: &[Form {
        section: SECTION,
        open: Open::Marker(CALL),
        body: Body::NameThenJson(NameSyntax {
            prefix: "function<\u{ff5c}tool\u{2581}sep\u{ff5c}>",
            prefix_optional: false,
            after: &["\n```json\n"],
            after_required: true,
            counted: false,
        }),
        close: &["```<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>", CALL_END[0]],
    }],
    parallel: Parallel::Repeat("\n"),
};

pub(super) const V31: ToolDialect = ToolDialect {
    dialect: Dialect::DeepseekV31,
    vllm_parser: Some("deepseek_v31"),
    forms: &[Form {
        section: SECTION,
        open: Open::Marker(CALL),
        body: Body::NameThenJson(NameSyntax {
            prefix: "",
            prefix_optional: true,
            after: &[SEPARATOR],
            after_required: true,
            counted: false,
        }),
        close: CALL_END,
    }],
    parallel: Parallel::Repeat(""),
};

const DSML_PARAMS: ParamSyntax = ParamSyntax {
    name_end: NameEnd::Marker("\">"),
    param_open: "<\u{ff5c}DSML\u{ff5c}parameter name=\"",
    key_end: &[
        KeyEnd { marker: "\" string=\"true\">", value: ValueKind::Text },
        KeyEnd { marker: "\" string=\"false\">", value: ValueKind::Json },
        KeyEnd { marker: "\">", value: ValueKind::BySchema },
    ],
    value_open: None,
    param_close: "</\u{ff5c}DSML\u{ff5c}parameter>",
    trim_newline: false,
};

const DSML_CLOSE: &[&str] = &["</\u{ff5c}DSML\u{ff5c}invoke>"];

pub(super) const DSML: ToolDialect = ToolDialect {
    dialect: Dialect::DeepseekDsml,
    vllm_parser: Some("deepseek_v32"),
    forms: &[
        Form {
            section: Some(Section {
                open: "<\u{ff5c}DSML\u{ff5c}function_calls>",
                close: "</\u{ff5c}DSML\u{ff5c}function_calls>",
                required: false,
                each: false,
                lines: true,
            }),
            open: Open::Marker("<\u{ff5c}DSML\u{ff5c}invoke name=\""),
            body: Body::Params(DSML_PARAMS),
            close: DSML_CLOSE,
        },
        // The name of the outer element in V4.
        Form {
            section: Some(Section {
                open: "<\u{ff5c}DSML\u{ff5c}tool_calls>",
                close: "</\u{ff5c}DSML\u{ff5c}tool_calls>",
                required: false,
                each: false,
                lines: true,
            }),
            open: Open::Marker("<\u{ff5c}DSML\u{ff5c}invoke name=\""),
            body: Body::Params(DSML_PARAMS),
            close: DSML_CLOSE,
        },
    ],
    parallel: Parallel::Inside("\n"),
};
