//! `glob`: files by name.

use std::sync::Arc;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use globset::GlobBuilder;
use serde_json::json;

use super::find::walk;
use super::paths::{Place, missing, place_of, shown};
use super::{Files, blocking};

pub(super) struct Glob {
    spec: ToolSpec,
    files: Arc<Files>,
}

impl Glob {
    pub fn new(files: Arc<Files>) -> Self {
        let spec = ToolSpec {
            name: "glob".into(),
            description: "Find files by name, as in src/**/*.rs.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"pattern": {"type": "string"}},
                "required": ["pattern"]
            }),
            read_only: true,
        };
        Self { spec, files }
    }

    fn split(&self, ctx: &ToolCtx, args: &Args) -> Result<(Place, String), String> {
        let pattern = args.get("pattern").and_then(|pattern| pattern.as_str()).unwrap_or_default().trim();
        if pattern.is_empty() {
            return Err("error: pattern is empty; expected one as in src/**/*.rs".into());
        }
        let (folder, rest) = split(pattern);
        Ok((place_of(&self.files, ctx, folder)?, rest.to_owned()))
    }
}

impl Tool for Glob {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(vec![self.split(ctx, args)?.0.read_right()])
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let split = self.split(ctx, &args);
        let ctx = ctx.clone();
        Box::pin(blocking(move || {
            let (place, pattern) = split?;
            place.check(&ctx, &place.read_right())?;
            find(&ctx, &place, &pattern)
        }))
    }
}

/// The folder that a pattern begins with, and the rest.
fn split(pattern: &str) -> (&str, &str) {
    let special = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    match pattern[..special].rfind('/') {
        Some(0) => ("/", &pattern[1..]),
        Some(at) => (&pattern[..at], &pattern[at + 1..]),
        None => (".", pattern),
    }
}

fn find(ctx: &ToolCtx, place: &Place, pattern: &str) -> Result<ToolResult, String> {
    if !place.real.is_dir() {
        return Err(missing(ctx, place));
    }
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| format!("error: pattern: {error}"))?
        .compile_matcher();
    // A pattern without a folder means files of this name anywhere.
    let anywhere = !pattern.contains('/');
    let mut lines: Vec<String> = Vec::new();
    for entry in walk(&place.real) {
        if ctx.cancel.is_cancelled() {
            return Err("error: stopped".into());
        }
        if ctx.protected.iter().any(|place| entry.path().starts_with(place)) {
            continue;
        }
        let inside = entry.path().strip_prefix(&place.real).unwrap_or(entry.path());
        if glob.is_match(inside) || (anywhere && glob.is_match(entry.file_name())) {
            lines.push(shown(ctx, entry.path()));
        }
    }
    if lines.is_empty() {
        return Ok(ToolResult::ok(format!("no file in {} matches {pattern}", place.shown)).private());
    }
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        if text.len() + line.len() + 80 > ctx.limit {
            text.push_str(&format!("[{} more; narrow the pattern]", lines.len() - at));
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(ToolResult::ok(text.trim_end()).private())
}
