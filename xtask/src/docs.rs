//! `cargo xtask docs`: documents that are generated from the code, each by an example of its crate.

use crate::tidy::root;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Package, example, the document that its standard output is.
const GENERATED: &[(&str, &str, &str)] = &[("chela-config", "reference", "docs/config.md")];

/// Writes the documents, or with `check` fails on the first that is stale.
pub fn run(check: bool) -> Result<()> {
    let root = root()?;
    for (package, example, document) in GENERATED {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["run", "--quiet", "--locked", "-p", package, "--example", example])
            .current_dir(&root)
            .output()
            .with_context(|| format!("cannot start the example {example} of {package}"))?;
        if !output.status.success() {
            bail!("{package} {example}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let path = root.join(document);
        if !check {
            std::fs::write(&path, &output.stdout).with_context(|| document.to_string())?;
            println!("wrote {document}");
        } else if std::fs::read(&path).unwrap_or_default() != output.stdout {
            bail!("{document} is stale; `cargo xtask docs` writes it");
        }
    }
    Ok(())
}
