//! `read`: the lines of a text file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::sync::Arc;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec, floor};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::paths::{Place, missing, place};
use super::text::{NotText, Text, describe_binary};
use super::{Files, MAX_WHOLE, blocking, ls};

/// Lines where no limit is given.
const LINES: usize = 2_000;

pub(super) struct Read {
    spec: ToolSpec,
    files: Arc<Files>,
}

impl Read {
    pub fn new(files: Arc<Files>) -> Self {
        let spec = ToolSpec {
            name: "read".into(),
            description: "Read a text file.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "offset": {"type": "integer", "description": "first line, from 1"},
                    "limit": {"type": "integer", "description": "number of lines"}
                },
                "required": ["path"]
            }),
            read_only: true,
        };
        Self { spec, files }
    }
}

impl Tool for Read {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(vec![place(&self.files, ctx, args, None)?.read_right()])
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let (files, ctx) = (Arc::clone(&self.files), ctx.clone());
        Box::pin(blocking(move || read(&files, &ctx, &args)))
    }
}

/// The lines that were asked for. Whatever is no sensible number means the default.
struct Range {
    /// From 0.
    first: usize,
    count: usize,
}

impl Range {
    fn of(args: &Args) -> Self {
        let number = |key| args.get(key).and_then(serde_json::Value::as_i64).unwrap_or(0);
        let first = usize::try_from(number("offset").max(1) - 1).unwrap_or(0);
        let count = match usize::try_from(number("limit")) {
            Ok(0) | Err(_) => LINES,
            Ok(count) => count,
        };
        Self { first, count }
    }
}

fn read(files: &Files, ctx: &ToolCtx, args: &Args) -> Result<ToolResult, String> {
    let place = place(files, ctx, args, None)?;
    place.check(ctx, &place.read_right())?;
    let meta = match std::fs::metadata(&place.real) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing(ctx, &place)),
        Err(error) => return Err(format!("error: {}: {error}", place.shown)),
    };
    if meta.is_dir() {
        let listing = ls::list(ctx, &place)?;
        return Ok(ToolResult::ok(format!("{} is a folder:\n{listing}", place.shown)).private());
    }
    if !meta.is_file() {
        return Err(format!("error: {} is not a regular file", place.shown));
    }
    let range = Range::of(args);
    if meta.len() > MAX_WHOLE {
        return read_part(ctx, &place, meta.len(), &range);
    }
    let bytes = std::fs::read(&place.real).map_err(|error| format!("error: {}: {error}", place.shown))?;
    let (text, note) = match Text::of(&bytes) {
        Ok(text) => {
            files.saw(ctx.session, &place.real, &bytes);
            (text.text, String::new())
        }
        Err(NotText::Binary) => return Err(describe_binary(&place.shown, &bytes, meta.len())),
        Err(NotText::NotUtf8(at)) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            (text, format!("\n[not UTF-8, first at byte {at}: wrong bytes are shown as \u{fffd}]"))
        }
    };
    if text.is_empty() {
        return Ok(ToolResult::ok(format!("({} is empty)", place.shown)));
    }
    let lines: Vec<&str> = text.lines().collect();
    if range.first >= lines.len() {
        return Err(format!(
            "error: offset {} is past the end; {} has {} lines",
            range.first + 1,
            place.shown,
            lines.len()
        ));
    }
    let mut page = Page::new(ctx.limit);
    for line in lines.iter().skip(range.first).take(range.count) {
        if !page.push(line) {
            break;
        }
    }
    let end = range.first + page.lines;
    if range.first > 0 || end < lines.len() {
        let of = format!("{}-{end} of {}", range.first + 1, lines.len());
        let more = if end < lines.len() { format!("; for more, offset={}", end + 1) } else { String::new() };
        page.text.push_str(&format!("[lines {of}{more}]"));
    }
    let shown = page.text.trim_end_matches('\n');
    if shown.trim().is_empty() {
        return Ok(ToolResult::ok(format!("({} lines without text{note})", page.lines)).private());
    }
    Ok(ToolResult::ok(shown.to_owned() + &note).private())
}

/// Lines up to a number of bytes.
struct Page {
    text: String,
    lines: usize,
    limit: usize,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { text: String::new(), lines: 0, limit }
    }

    /// Adds a line, or says that there is no room for it. The first line is always taken, as
    /// far as it fits.
    fn push(&mut self, line: &str) -> bool {
        if self.text.len() + line.len() + 1 > self.limit {
            if self.lines > 0 {
                return false;
            }
            let end = floor(line, self.limit.saturating_sub(80));
            self.text.push_str(&line[..end]);
            self.text.push_str(&format!(
                "\n[this line goes on for {} bytes; grep finds in it]\n",
                line.len() - end
            ));
        } else {
            self.text.push_str(line);
            self.text.push('\n');
        }
        self.lines += 1;
        true
    }
}

/// Lines of a file that is too large to be held.
fn read_part(ctx: &ToolCtx, place: &Place, size: u64, range: &Range) -> Result<ToolResult, String> {
    let wrong = |error: std::io::Error| format!("error: {}: {error}", place.shown);
    let mut reader = BufReader::new(File::open(&place.real).map_err(wrong)?);
    let head = reader.fill_buf().map_err(wrong)?;
    if head.iter().take(8_000).any(|byte| *byte == 0) {
        return Err(describe_binary(&place.shown, head, size));
    }
    let mut page = Page::new(ctx.limit);
    let mut at = 0;
    let mut ended = false;
    loop {
        if ctx.cancel.is_cancelled() {
            return Err("error: stopped".into());
        }
        let mut line = Vec::new();
        // A line of any length costs at most this much memory; the rest of it is skipped.
        let limit = ctx.limit as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(wrong)? == 0 {
            ended = true;
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == limit {
            skip_line(&mut reader).map_err(wrong)?;
        }
        at += 1;
        if at <= range.first {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if page.lines >= range.count || !page.push(text.trim_end_matches(['\n', '\r'])) {
            break;
        }
    }
    if page.lines == 0 {
        return Err(format!("error: offset {} is past the end of {}", range.first + 1, place.shown));
    }
    let end = range.first + page.lines;
    let more = if ended { "the end".to_owned() } else { format!("for more, offset={}", end + 1) };
    page.text.push_str(&format!("[lines {}-{end} of a file of {size} bytes; {more}]", range.first + 1));
    Ok(ToolResult::ok(page.text).private())
}

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let found = buffer.iter().position(|byte| *byte == b'\n');
        let used = found.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if found.is_some() || used == 0 {
            return Ok(());
        }
    }
}
