//! Which crate may depend on which: the table of ARCHITECTURE.md, held against `cargo metadata`.

use anyhow::{Context, Result};
use serde_json::Value;

/// Crate (without the prefix `chela-`) and what it may depend on. `cli` may use all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("openai", &[]),
    ("protocol", &[]),
    ("config", &[]),
    ("kernels", &[]),
    ("chat", &["openai"]),
    ("store", &["protocol"]),
    ("engine", &["kernels"]),
    ("client", &["openai", "chat", "config"]),
    ("server", &["openai", "chat", "engine"]),
    ("agent", &["client", "store", "protocol"]),
    ("tools", &["agent", "client", "store", "protocol"]),
    ("tui", &["protocol"]),
    ("gateway", &["agent", "client", "server", "store", "protocol", "config"]),
];

/// The scripted backend is the test double of every crate.
const DEV_ANYWHERE: &str = "server";

/// Findings for every edge that the table does not allow, and for crates it does not know.
pub fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("metadata has packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(short) = name.strip_prefix("chela-") else {
            findings.extend(
                ours(package).map(|d| format!("{name} may depend on none of ours, and depends on {}", d.0)),
            );
            continue;
        };
        if short == "cli" {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(n, _)| *n == short) else {
            findings.push(format!("{name}: not in the table of xtask/src/tidy/edges.rs"));
            continue;
        };
        for (dependency, dev) in ours(package) {
            let ok = allowed.contains(&dependency.as_str()) || (dev && dependency == DEV_ANYWHERE);
            if !ok {
                let kind = if dev { " (dev)" } else { "" };
                findings
                    .push(format!("{name} may not depend on chela-{dependency}{kind}; allowed: {allowed:?}"));
            }
        }
    }
    Ok(findings)
}

/// Our own crates among the dependencies of `package`, and whether it is a dev-dependency.
fn ours(package: &Value) -> impl Iterator<Item = (String, bool)> + '_ {
    package["dependencies"].as_array().into_iter().flatten().filter_map(|d| {
        let name = d["name"].as_str()?.strip_prefix("chela-")?;
        Some((name.to_owned(), d["kind"].as_str() == Some("dev")))
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::json;

    fn package(name: &str, dependency: &str, kind: Option<&str>) -> serde_json::Value {
        json!({"packages": [{"name": name, "dependencies": [{"name": dependency, "kind": kind}]}]})
    }

    #[test]
    fn edges_are_held_against_the_table() {
        let table = [
            ("chela-chat", "chela-openai", None, 0),
            ("chela-chat", "chela-client", None, 1),
            ("chela-client", "chela-server", Some("dev"), 0),
            ("chela-client", "chela-server", None, 1),
            ("chela-client", "chela-agent", Some("dev"), 1),
            ("chela-cli", "chela-engine", None, 0),
            ("chela-new", "serde", None, 1),
            ("xtask", "chela-openai", None, 1),
            ("xtask", "serde_json", None, 0),
        ];
        for (name, dependency, kind, want) in table {
            let found = check(&package(name, dependency, kind)).unwrap();
            assert_eq!(found.len(), want, "{name} -> {dependency}: {found:?}");
        }
    }
}
