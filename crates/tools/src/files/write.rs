//! `write`: a whole file.

use std::sync::Arc;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::change::{apply, check_known, diff};
use super::paths::place;
use super::text::whole;
use super::{Files, blocking};

pub(super) struct Write {
    spec: ToolSpec,
    files: Arc<Files>,
}

impl Write {
    pub fn new(files: Arc<Files>) -> Self {
        let spec = ToolSpec {
            name: "write".into(),
            description: "Create a file, or replace one that was read.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
                "required": ["path", "content"]
            }),
            read_only: false,
        };
        Self { spec, files }
    }
}

impl Tool for Write {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        content(args)?;
        Ok(vec![place(&self.files, ctx, args, None)?.write_right()])
    }

    fn preview(&self, ctx: &ToolCtx, args: &Args) -> Option<String> {
        let place = place(&self.files, ctx, args, None).ok()?;
        let before = whole(&place.real, &place.shown).unwrap_or_default();
        Some(diff(&place.shown, &before, content(args).ok()?.as_bytes()))
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let (files, ctx) = (Arc::clone(&self.files), ctx.clone());
        Box::pin(blocking(move || write(&files, &ctx, &args)))
    }
}

fn content(args: &Args) -> Result<&str, String> {
    args.get("content")
        .and_then(|content| content.as_str())
        .ok_or_else(|| "error: content is missing; expected the whole text of the file".to_owned())
}

fn write(files: &Files, ctx: &ToolCtx, args: &Args) -> Result<ToolResult, String> {
    let place = place(files, ctx, args, None)?;
    place.check(ctx, &place.write_right())?;
    let content = content(args)?.as_bytes();
    if place.real.is_dir() {
        return Err(format!("error: {} is a folder", place.shown));
    }
    if !place.real.exists() {
        return apply(files, ctx, &place, None, content, "");
    }
    let before = whole(&place.real, &place.shown)?;
    if before.is_empty() {
        return apply(files, ctx, &place, Some(&before), content, "");
    }
    check_known(files, ctx, &place, &before)
        .map_err(|why| format!("{why} Or change a part of it with edit."))?;
    apply(files, ctx, &place, Some(&before), content, "")
}
