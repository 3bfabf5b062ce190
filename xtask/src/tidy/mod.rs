//! `cargo xtask tidy`: the house rules that a program can hold.
//!
//! [`edges`] reads `cargo metadata`; [`source`] reads the Rust files token by token with a small
//! scanner that knows comments, strings and test modules. Every finding names file and line.

mod edges;
mod source;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().context("xtask stands in the workspace")?;
    Ok(root.to_path_buf())
}

/// Runs all checks and fails with the list of findings.
pub fn run() -> Result<()> {
    let root = root()?;
    let mut findings = edges::check(&metadata(&root)?)?;
    let report = source::check(&root)?;
    findings.extend(report.findings);
    for (name, lines, budget) in &report.lines {
        println!("{name:<10} {lines:>6} of {budget:>6} lines");
    }
    if findings.is_empty() {
        println!("tidy: nothing to say");
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("{} findings", findings.len())
}

fn metadata(root: &Path) -> Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata answered no JSON")
}
