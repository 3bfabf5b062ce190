//! `grep`: lines that match.

use std::path::Path;
use std::sync::Arc;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec, floor};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use regex::{Regex, RegexBuilder};
use serde_json::json;

use super::find::walk;
use super::paths::{missing, place, shown};
use super::text::Text;
use super::{Files, MAX_WHOLE, blocking};

/// A matching line is cut to this many bytes around the match.
const LINE: usize = 240;
/// Lines at most.
const MATCHES: usize = 200;

pub(super) struct Grep {
    spec: ToolSpec,
    files: Arc<Files>,
}

impl Grep {
    pub fn new(files: Arc<Files>) -> Self {
        let spec = ToolSpec {
            name: "grep".into(),
            description: "Search file contents for a regular expression.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "pattern": {"type": "string"},
                    "path": {"type": "string", "description": "file or folder"}
                },
                "required": ["pattern"]
            }),
            read_only: true,
        };
        Self { spec, files }
    }
}

impl Tool for Grep {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(vec![place(&self.files, ctx, args, Some("."))?.read_right()])
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let (files, ctx) = (Arc::clone(&self.files), ctx.clone());
        Box::pin(blocking(move || grep(&files, &ctx, &args)))
    }
}

#[derive(Default)]
struct Found {
    text: String,
    shown: usize,
    total: usize,
    files: usize,
    secrets: usize,
    large: usize,
}

fn grep(files: &Files, ctx: &ToolCtx, args: &Args) -> Result<ToolResult, String> {
    let pattern = args.get("pattern").and_then(|pattern| pattern.as_str()).unwrap_or_default();
    if pattern.is_empty() {
        return Err("error: pattern is empty; expected a regular expression, as in fn \\w+".into());
    }
    let place = place(files, ctx, args, Some("."))?;
    place.check(ctx, &place.read_right())?;
    if !place.real.exists() {
        return Err(missing(ctx, &place));
    }
    let (regex, mut note) = match Regex::new(pattern) {
        Ok(regex) => (regex, String::new()),
        Err(error) => {
            let literal = build(&regex::escape(pattern), false)?;
            let what = error.to_string();
            let what = what.lines().last().unwrap_or_default().trim();
            (literal, format!("[the pattern is no regular expression ({what}); searched literally]\n"))
        }
    };
    let mut found = search(ctx, &place.real, &regex)?;
    if found.total == 0 {
        found = search(ctx, &place.real, &build(regex.as_str(), true)?)?;
        if found.total > 0 {
            note.push_str("[nothing in this case; found in another]\n");
        }
    }
    Ok(ToolResult::ok(report(&found, note, pattern, &place.shown)).private())
}

fn build(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|error| format!("error: pattern: {error}"))
}

fn report(found: &Found, mut text: String, pattern: &str, place: &str) -> String {
    if found.total == 0 {
        text.push_str(&format!("no line in {place} matches {pattern:?}"));
    } else {
        text.push_str(&found.text);
    }
    if found.shown < found.total {
        text.push_str(&format!(
            "[{} of {} matches in {} files shown; narrow the pattern or the path]",
            found.shown, found.total, found.files
        ));
    }
    if found.secrets > 0 {
        text.push_str(&format!("\n[{} files that may hold secrets were left out]", found.secrets));
    }
    if found.large > 0 {
        text.push_str(&format!("\n[{} files over {MAX_WHOLE} bytes were left out]", found.large));
    }
    text.trim_end().to_owned()
}

fn search(ctx: &ToolCtx, root: &Path, regex: &Regex) -> Result<Found, String> {
    let mut found = Found::default();
    if root.is_file() {
        // Named as it is, it was decided about as it is.
        search_file(ctx, root, regex, &mut found);
        return Ok(found);
    }
    for entry in walk(root) {
        if ctx.cancel.is_cancelled() {
            return Err("error: stopped".into());
        }
        if ctx.hides(entry.path()) {
            found.secrets += 1;
        } else if entry.metadata().is_ok_and(|meta| meta.len() > MAX_WHOLE) {
            found.large += 1;
        } else {
            search_file(ctx, entry.path(), regex, &mut found);
        }
    }
    Ok(found)
}

fn search_file(ctx: &ToolCtx, path: &Path, regex: &Regex, found: &mut Found) {
    let Ok(bytes) = std::fs::read(path) else { return };
    let Ok(text) = Text::of(&bytes) else { return };
    let mut any = false;
    for (at, line) in text.text.lines().enumerate() {
        let Some(hit) = regex.find(line) else { continue };
        any = true;
        found.total += 1;
        let shown = format!("{}:{}: {}\n", shown(ctx, path), at + 1, around(line, hit.start()));
        if found.shown < MATCHES && found.text.len() + shown.len() + 300 < ctx.limit {
            found.text.push_str(&shown);
            found.shown += 1;
        }
    }
    found.files += usize::from(any);
}

/// The part of a line around a match.
fn around(line: &str, at: usize) -> String {
    let line = line.trim_end();
    if line.len() <= LINE {
        return line.to_owned();
    }
    let start = floor(line, at.saturating_sub(LINE / 3));
    let end = floor(line, start + LINE);
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < line.len() { "…" } else { "" });
    format!("{before}{}{after}", &line[start..end])
}
