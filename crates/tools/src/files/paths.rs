//! From the path that a model wrote to the file that is meant, or to words that help it find it.

use std::path::{Path, PathBuf};

use chela_agent::tool::{Args, ToolCtx, resolve};
use chela_protocol::Right;

use super::Files;

/// A path with its two names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Absolute, symlinks resolved.
    pub real: PathBuf,
    /// As the model reads it: relative to the workspace where it lies inside.
    pub shown: String,
}

impl Place {
    pub fn read_right(&self) -> Right {
        Right::Read { path: self.real.display().to_string() }
    }

    pub fn write_right(&self) -> Right {
        Right::Write { path: self.real.display().to_string() }
    }

    /// Refuses a place that is no longer the one that the policy saw.
    pub fn check(&self, ctx: &ToolCtx, right: &Right) -> Result<(), String> {
        match ctx.granted(right) {
            true => Ok(()),
            false => Err(format!(
                "error: {} now leads to {}, which was not allowed. Try again.",
                self.shown,
                self.real.display()
            )),
        }
    }
}

/// The argument `path`; `default` where it is absent or empty.
pub(super) fn place(
    files: &Files,
    ctx: &ToolCtx,
    args: &Args,
    default: Option<&str>,
) -> Result<Place, String> {
    let written = args.get("path").and_then(|path| path.as_str()).unwrap_or_default().trim();
    let written = match (written, default) {
        ("", Some(default)) => default,
        ("", None) => {
            return Err("error: path is empty; expected the path of a file, as in src/main.rs".into());
        }
        (written, _) => written,
    };
    place_of(files, ctx, written)
}

pub(super) fn place_of(files: &Files, ctx: &ToolCtx, written: &str) -> Result<Place, String> {
    let plain = written.strip_prefix("file://").unwrap_or(written);
    let plain = plain.strip_prefix('@').unwrap_or(plain);
    let expanded = match (plain.strip_prefix("~/"), &files.home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(plain),
    };
    let text = expanded.to_string_lossy();
    if text.contains('\0') {
        return Err(format!("error: {written:?} is not a path: it contains a NUL"));
    }
    let real = resolve(&ctx.workspace, &text).map_err(|error| format!("error: {written}: {error}"))?;
    Ok(Place { shown: shown(ctx, &real), real })
}

/// A path as the model reads it.
pub(super) fn shown(ctx: &ToolCtx, real: &Path) -> String {
    match real.strip_prefix(&ctx.workspace) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => real.display().to_string(),
    }
}

/// What to say of a place where nothing is.
pub(super) fn missing(ctx: &ToolCtx, place: &Place) -> String {
    let mut text = format!("error: {} does not exist.", place.shown);
    let mut folder = place.real.parent();
    while let Some(parent) = folder.filter(|parent| !parent.is_dir()) {
        folder = parent.parent();
    }
    let (Some(folder), Some(name)) = (folder, place.real.file_name()) else { return text };
    // Names outside of the workspace are nothing that was asked for.
    if !folder.starts_with(&ctx.workspace) {
        return text;
    }
    let name = name.to_string_lossy();
    let near = near_names(folder, &name);
    if !near.is_empty() {
        let near: Vec<String> = near.iter().map(|name| shown(ctx, &folder.join(name))).collect();
        text.push_str(&format!(" Did you mean {}?", near.join(" or ")));
    }
    let elsewhere = same_name(ctx, &name);
    if !elsewhere.is_empty() {
        text.push_str(&format!(" There is {}.", elsewhere.join(" and ")));
    }
    if near.is_empty() && elsewhere.is_empty() {
        text.push_str(&format!(" The folder {} {}.", shown(ctx, folder), holds(folder)));
    }
    text
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn near_names(folder: &Path, name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let score = |other: &String| strsim::jaro_winkler(&lower, &other.to_lowercase());
    let mut near: Vec<(f64, String)> = names(folder)
        .into_iter()
        .map(|other| (score(&other), other))
        .filter(|(score, _)| *score > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(2).map(|(_, name)| name).collect()
}

/// Files of this very name elsewhere in the workspace, as far as a short walk finds them.
fn same_name(ctx: &ToolCtx, name: &str) -> Vec<String> {
    const WALK: usize = 5_000;
    super::find::walk(&ctx.workspace)
        .take(WALK)
        .filter(|entry| entry.file_name().to_string_lossy() == name)
        .take(3)
        .map(|entry| shown(ctx, entry.path()))
        .collect()
}

fn holds(folder: &Path) -> String {
    const SHOWN: usize = 12;
    let names = names(folder);
    match names.len() {
        0 => "is empty".to_owned(),
        count if count <= SHOWN => format!("holds {}", names.join(", ")),
        count => format!("holds {} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}
