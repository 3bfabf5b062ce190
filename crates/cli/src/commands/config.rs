//! `chela config`: works on the file as it is, also when it does not validate.

use chela_client::catalog::providers;
use chela_config::{Env, KeyPath, Loaded, Severity, edit};
use serde_json::json;

use crate::args::{self, Global};
use crate::context;
use crate::env::Surroundings;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, count, say};

/// Runs the command.
pub fn run(command: args::Config, global: &Global, surroundings: &Surroundings) -> Outcome {
    let env = &surroundings.variables;
    let (paths, file) = context::locate(global, env)?;
    context::start_log(&paths, global, env)?;
    match command {
        args::Config::Path => output::answer(&format!("{}\n", file.path.display())),
        args::Config::Schema => output::json(&chela_config::json_schema()),
        args::Config::Validate { json } => validate(chela_config::open(&file, env), &file.path, env, json),
        args::Config::Get { path, json } => {
            let loaded = chela_config::open(&file, env).map_err(Failure::usage)?;
            get(&loaded, path.as_deref(), json)
        }
        args::Config::Set { path, value } => {
            let path: KeyPath = path.parse().map_err(Failure::usage)?;
            let edited = edit::set_file(&file.path, &path, &value, env).map_err(Failure::usage)?;
            written(&format!("set {path}"), &file.path, &edited)
        }
        args::Config::Unset { path } => {
            let path: KeyPath = path.parse().map_err(Failure::usage)?;
            let edited = edit::unset_file(&file.path, &path, env).map_err(Failure::usage)?;
            written(&format!("removed {path}"), &file.path, &edited)
        }
    }
}

fn get(loaded: &Loaded, path: Option<&str>, json: bool) -> Outcome {
    let path: KeyPath = path.map(str::parse).transpose().map_err(Failure::usage)?.unwrap_or_default();
    let row_variable = |provider: &str| providers::row(provider).and_then(|row| row.key_variable.clone());
    let value = loaded.show(&path, &row_variable).map_err(Failure::usage)?;
    match value.as_str() {
        Some(text) if !json => output::answer(&format!("{text}\n")),
        _ => output::json(&value),
    }
}

fn written(what: &str, file: &std::path::Path, edited: &edit::Edited) -> Outcome {
    for warning in &edited.loaded.warnings {
        say(warning);
    }
    let backup = edited.backup.as_ref().map(|b| format!("; before: {}", b.display())).unwrap_or_default();
    say(format_args!("{what} in {}{backup}", file.display()));
    Ok(())
}

/// Prints everything that is to be said about the file; fails where it would be refused.
fn validate(
    loaded: Result<Loaded, chela_config::ConfigErrors>,
    file: &std::path::Path,
    env: &Env,
    as_json: bool,
) -> Outcome {
    let (findings, ignored, missing) = match &loaded {
        Ok(loaded) => (loaded.warnings.clone(), loaded.ignored.clone(), loaded.missing_variables(env)),
        Err(errors) => (errors.0.clone(), Vec::new(), Vec::new()),
    };
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    if as_json {
        let place = |f: &chela_config::Diagnostic| {
            f.place.as_ref().map(|p| json!({"file": p.file, "line": p.line, "column": p.column}))
        };
        let rows: Vec<_> = findings
            .iter()
            .map(|f| {
                let severity = if f.severity == Severity::Error { "error" } else { "warning" };
                json!({"severity": severity, "key": f.key, "message": f.message, "expected": f.expected,
                    "found": f.found, "hint": f.hint, "place": place(f)})
            })
            .collect();
        let ignored: Vec<_> =
            ignored.iter().map(|i| json!({"key": i.key, "file": i.file, "line": i.line})).collect();
        let missing: Vec<_> = missing.iter().map(|m| json!({"variable": m.variable, "key": m.key})).collect();
        output::json(&json!({"file": file, "valid": errors == 0, "findings": rows, "noEffect": ignored,
            "missingVariables": missing}))?;
    } else {
        for finding in &findings {
            output::answer(&format!("{finding}\n\n"))?;
        }
        for variable in &missing {
            output::answer(&format!("warning: {variable}\n"))?;
        }
        for key in &ignored {
            output::answer(&format!("no effect here: {} ({}:{})\n", key.key, key.file.display(), key.line))?;
        }
        if errors == 0 {
            let there =
                if file.exists() { "is valid" } else { "does not exist, which is fine: the defaults hold" };
            output::answer(&format!("{} {there}\n", file.display()))?;
        }
    }
    match errors {
        0 => Ok(()),
        n => Err(Failure::new(Code::Usage, format!("{}: {}", file.display(), count(n, "error")))),
    }
}
