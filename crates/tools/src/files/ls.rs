//! `ls`: what a folder holds.

use std::sync::Arc;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::paths::{Place, missing, place};
use super::{Files, blocking};

pub(super) struct Ls {
    spec: ToolSpec,
    files: Arc<Files>,
}

impl Ls {
    pub fn new(files: Arc<Files>) -> Self {
        let spec = ToolSpec {
            name: "ls".into(),
            description: "List a folder.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"path": {"type": "string"}}
            }),
            read_only: true,
        };
        Self { spec, files }
    }
}

impl Tool for Ls {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(vec![place(&self.files, ctx, args, Some("."))?.read_right()])
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let (files, ctx) = (Arc::clone(&self.files), ctx.clone());
        Box::pin(blocking(move || {
            let place = place(&files, &ctx, &args, Some("."))?;
            place.check(&ctx, &place.read_right())?;
            Ok(ToolResult::ok(list(&ctx, &place)?).private())
        }))
    }
}

/// One line for each entry, in the order of the names: folders end in a slash, files show
/// their size, links their target.
pub(super) fn list(ctx: &ToolCtx, place: &Place) -> Result<String, String> {
    let meta = match std::fs::symlink_metadata(&place.real) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing(ctx, place)),
        Err(error) => return Err(format!("error: {}: {error}", place.shown)),
    };
    if !meta.is_dir() {
        return Ok(format!("{} is a file of {} bytes", place.shown, meta.len()));
    }
    let entries =
        std::fs::read_dir(&place.real).map_err(|error| format!("error: {}: {error}", place.shown))?;
    let mut lines: Vec<String> = entries.flatten().map(|entry| line(&entry)).collect();
    if lines.is_empty() {
        return Ok(format!("({} is empty)", place.shown));
    }
    lines.sort();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        if text.len() + line.len() + 60 > ctx.limit {
            text.push_str(&format!("[{} more entries; glob finds by pattern]", lines.len() - at));
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text.trim_end().to_owned())
}

fn line(entry: &std::fs::DirEntry) -> String {
    let name = entry.file_name().to_string_lossy().into_owned();
    match entry.metadata() {
        Ok(meta) if meta.is_dir() => format!("{name}/"),
        Ok(meta) if meta.is_symlink() => match std::fs::read_link(entry.path()) {
            Ok(target) => format!("{name} -> {}", target.display()),
            Err(_) => format!("{name} (link)"),
        },
        Ok(meta) if meta.is_file() => format!("{name} ({})", size(meta.len())),
        Ok(_) => format!("{name} (special file)"),
        Err(_) => name,
    }
}

/// A number of bytes as people read it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
