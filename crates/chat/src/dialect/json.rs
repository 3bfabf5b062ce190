//! Fenced or bare JSON, for models without a tool format of their own.

use super::{Body, Dialect, Form, Open, Parallel, ToolDialect};

pub(super) const TABLE: ToolDialect = ToolDialect {
    dialect: Dialect::Json,
    vllm_parser: None,
    forms: &[Form { section: None, open: Open::Rest, body: Body::Fenced, close: &[] }],
    parallel: Parallel::Inside("\n"),
};
