//! Benchmarks, each started where the crate that it needs is at hand.

use anyhow::{Context, Result, bail};
use std::process::Command;

use crate::tidy::root;

/// `cargo xtask bench agent`: the release binary against the scripted server.
pub fn agent() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["bench", "--locked", "-p", "chela-cli", "--bench", "agent"])
        .current_dir(root()?)
        .status()
        .context("cannot start cargo bench")?;
    if !status.success() {
        bail!("the benchmark failed: {status}");
    }
    Ok(())
}
