//! Benchmarks, each started where the crate that it needs is at hand.

use anyhow::{Context, Result, bail};
use std::process::Command;

use crate::tidy::root;

/// `cargo xtask bench agent`: the release binary against the scripted server.
pub fn agent() -> Result<()> {
    cargo(&["bench", "--locked", "-p", "chela-cli", "--bench", "agent"], &[]).context("the benchmark failed")
}

/// `cargo xtask soak [CLIENTS [MINUTES]]`: the soak of the test suite, longer and against a release build.
pub fn soak(args: &[&str]) -> Result<()> {
    let number = |at: usize, otherwise: u64| match args.get(at) {
        None => Ok(otherwise),
        Some(text) => text.parse().with_context(|| format!("{text}: expected a number")),
    };
    let (clients, minutes) = (number(0, 64)?, number(1, 10)?);
    if args.len() > 2 || clients == 0 || minutes == 0 {
        bail!("usage: cargo xtask soak [CLIENTS [MINUTES]]");
    }
    cargo(&["build", "--release", "--locked", "-p", "chela-cli"], &[])?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().map(|root| root.join("target")), |dir| Ok(dir.into()))?;
    let binary = target.join("release/chela").display().to_string();
    let env = [
        ("CHELA_TEST_BINARY", binary),
        ("CHELA_SOAK_CLIENTS", clients.to_string()),
        ("CHELA_SOAK_SECONDS", (minutes * 60).to_string()),
    ];
    cargo(&["test", "--locked", "-p", "chela-cli", "--test", "it", "soak::", "--", "--nocapture"], &env)
}

fn cargo(args: &[&str], env: &[(&str, String)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).envs(env.iter().map(|(name, value)| (name, value))).current_dir(root()?);
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo {}: {status}", args.join(" "));
    }
    Ok(())
}
