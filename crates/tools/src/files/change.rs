//! Changing a file: only what the model knows, never without the original kept.

use chela_agent::tool::{ToolCtx, ToolResult};
use similar::TextDiff;

use super::paths::Place;
use super::text::Text;
use super::{Files, fingerprint};
use crate::undo::replace;

/// Lines of a diff that the model reads.
const DIFF_LINES: usize = 40;

/// Refuses a change of a file that the model does not know as it is.
pub(super) fn check_known(files: &Files, ctx: &ToolCtx, place: &Place, bytes: &[u8]) -> Result<(), String> {
    match files.known(ctx.session, &place.real) {
        None => Err(format!("error: {0} was not read yet. Call read on {0} first.", place.shown)),
        Some(known) if known != fingerprint(bytes) => {
            Err(format!("error: {0} has changed since it was read. Call read on {0} again.", place.shown))
        }
        Some(_) => Ok(()),
    }
}

/// Keeps the original, writes, and says what changed. `note` stands behind the first line.
pub(super) fn apply(
    files: &Files,
    ctx: &ToolCtx,
    place: &Place,
    before: Option<&[u8]>,
    after: &[u8],
    note: &str,
) -> Result<ToolResult, String> {
    let wrong = |error: std::io::Error| format!("error: {}: {error}", place.shown);
    if before == Some(after) {
        return Ok(ToolResult::ok(format!("{} is already so; nothing was written", place.shown)));
    }
    files.undo.keep(ctx.session, ctx.turn, &place.real, after).map_err(|error| {
        format!("error: {}: the original could not be kept ({error}), so nothing was changed", place.shown)
    })?;
    if let Some(folder) = place.real.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    replace(&place.real, after, None).map_err(wrong)?;
    files.saw(ctx.session, &place.real, after);
    let diff = diff(&place.shown, before.unwrap_or_default(), after);
    let lines = String::from_utf8_lossy(after).lines().count();
    let content = match before {
        None => format!("created {} ({lines} lines){note}", place.shown),
        Some(_) => format!("changed {}{note}\n{}", place.shown, clip(&diff)),
    };
    Ok(ToolResult::ok(content).with_diff(diff))
}

/// A unified diff with three lines of context.
pub(crate) fn diff(shown: &str, before: &[u8], after: &[u8]) -> String {
    let text = |bytes: &[u8]| match Text::of(bytes) {
        Ok(text) => text.text,
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let (before, after) = (text(before), text(after));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{shown}"), &format!("b/{shown}"))
        .to_string()
}

fn clip(diff: &str) -> String {
    // The two lines of the header say nothing new.
    let lines: Vec<&str> = diff.lines().skip(2).collect();
    let mut text = lines[..lines.len().min(DIFF_LINES)].join("\n");
    if lines.len() > DIFF_LINES {
        text.push_str(&format!("\n[{} more lines of the diff]", lines.len() - DIFF_LINES));
    }
    text
}
