//! `edit`: one place in a file.

use std::sync::Arc;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::change::{apply, check_known, diff};
use super::fuzzy::{self, Found};
use super::paths::{Place, missing, place};
use super::text::{NotText, Text, describe_binary, whole};
use super::{Files, blocking};

pub(super) struct Edit {
    spec: ToolSpec,
    files: Arc<Files>,
}

impl Edit {
    pub fn new(files: Arc<Files>) -> Self {
        let spec = ToolSpec {
            name: "edit".into(),
            description: "Replace oldText, which must occur once in the file, by newText.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "oldText": {"type": "string"},
                    "newText": {"type": "string"}
                },
                "required": ["path", "oldText", "newText"]
            }),
            read_only: false,
        };
        Self { spec, files }
    }
}

impl Tool for Edit {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        texts(args)?;
        let place = place(&self.files, ctx, args, None)?;
        Ok(vec![place.read_right(), place.write_right()])
    }

    fn preview(&self, ctx: &ToolCtx, args: &Args) -> Option<String> {
        let place = place(&self.files, ctx, args, None).ok()?;
        let planned = plan(&self.files, ctx, &place, args).ok()?;
        Some(diff(&place.shown, &planned.before, &planned.after))
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let (files, ctx) = (Arc::clone(&self.files), ctx.clone());
        Box::pin(blocking(move || {
            let place = place(&files, &ctx, &args, None)?;
            place.check(&ctx, &place.read_right())?;
            place.check(&ctx, &place.write_right())?;
            let planned = plan(&files, &ctx, &place, &args)?;
            apply(&files, &ctx, &place, Some(&planned.before), &planned.after, &planned.note)
        }))
    }
}

fn texts(args: &Args) -> Result<(&str, &str), String> {
    let text = |key: &str| args.get(key).and_then(|text| text.as_str());
    match (text("oldText"), text("newText")) {
        (Some(""), _) => {
            Err("error: oldText is empty; expected text of the file. To create a file use write; \
                              to add to one, repeat a line of it in oldText and newText."
                .to_owned())
        }
        (Some(old), Some(new)) if old == new => {
            Err("error: oldText and newText are the same; nothing would change".to_owned())
        }
        (Some(old), Some(new)) => Ok((old, new)),
        (None, _) => Err("error: oldText is missing; expected the text to replace".to_owned()),
        (_, None) => Err("error: newText is missing; expected the text to put in its place".to_owned()),
    }
}

struct Planned {
    before: Vec<u8>,
    after: Vec<u8>,
    note: String,
}

fn plan(files: &Files, ctx: &ToolCtx, place: &Place, args: &Args) -> Result<Planned, String> {
    let (old, new) = texts(args)?;
    if !place.real.exists() {
        return Err(missing(ctx, place));
    }
    let before = whole(&place.real, &place.shown)?;
    let text = Text::of(&before).map_err(|why| match why {
        NotText::Binary => describe_binary(&place.shown, &before, before.len() as u64),
        NotText::NotUtf8(at) => {
            format!("error: {} is not UTF-8 (first at byte {at}) and cannot be edited as text", place.shown)
        }
    })?;
    check_known(files, ctx, place, &before)?;
    let (old, new) = (old.replace("\r\n", "\n"), new.replace("\r\n", "\n"));
    match fuzzy::find(&text.text, &old, &new) {
        Found::Once { range, new, how } => {
            let mut changed = text.text.clone();
            changed.replace_range(range, &new);
            let after = text.with(changed).to_bytes();
            let note = how.map(|how| format!(" (matched {how})")).unwrap_or_default();
            Ok(Planned { before, after, note })
        }
        Found::Many { lines } => {
            let lines: Vec<String> = lines.iter().take(8).map(usize::to_string).collect();
            Err(format!(
                "error: oldText occurs more than once in {}, at lines {}. Take in more lines around the one \
                 that you mean.",
                place.shown,
                lines.join(", ")
            ))
        }
        Found::Nowhere { near: Some((line, text)) } => Err(format!(
            "error: oldText does not occur in {}. The most similar place, from line {line} on:\n{text}",
            place.shown
        )),
        Found::Nowhere { near: None } => Err(format!(
            "error: oldText does not occur in {}, nor anything like it. Call read on it again.",
            place.shown
        )),
    }
}
