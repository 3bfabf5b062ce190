//! Calls written as Python. Sources: Meta's Llama 4 prompt format, Google's Gemma 3
//! function-calling guide, the LFM2 model card, the OLMo 3 chat template.

use super::{Body, Dialect, Form, Open, Parallel, ToolDialect};

pub(super) const PYTHONIC: ToolDialect = ToolDialect {
    dialect: Dialect::Pythonic,
    vllm_parser: Some("pythonic"),
    forms: &[
        Form { section: None, open: Open::Rest, body: Body::Python { list: true }, close: &[] },
        Form {
            section: None,
            open: Open::Marker("<|python_start|>"),
            body: Body::Python { list: true },
            close: &["<|python_end|>"],
        },
    ],
    parallel: Parallel::Inside(", "),
};

pub(super) const LFM2: ToolDialect = ToolDialect {
    dialect: Dialect::Lfm2,
    vllm_parser: Some("lfm2"),
    forms: &[Form {
        section: None,
        open: Open::Marker("<|tool_call_start|>"),
        body: Body::Python { list: true },
        close: &["<|tool_call_end|>"],
    }],
    parallel: Parallel::Inside(", "),
};

pub(super) const OLMO3: ToolDialect = ToolDialect {
    dialect: Dialect::Olmo3,
    vllm_parser: Some("olmo3"),
    forms: &[Form {
        section: None,
        open: Open::Marker("<function_calls>"),
        body: Body::Python { list: false },
        close: &["</function_calls>"],
    }],
    parallel: Parallel::Inside("\n"),
};
