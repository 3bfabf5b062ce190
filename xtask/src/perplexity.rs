//! `cargo xtask perplexity`: what rounding the weights costs a model.

use anyhow::{Context, Result, bail};
use std::process::Command;

use crate::tidy::root;

/// Starts the engine's example, whose standard output is the JSON. Paths are those of the caller.
pub fn run(args: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--locked",
            "--quiet",
            "-p",
            "chela-engine",
            "--example",
            "perplexity",
            "--manifest-path",
        ])
        .arg(root()?.join("Cargo.toml"))
        .arg("--")
        .args(args)
        .status()
        .context("cannot start cargo run")?;
    if !status.success() {
        bail!("the perplexity was not computed: {status}");
    }
    Ok(())
}
