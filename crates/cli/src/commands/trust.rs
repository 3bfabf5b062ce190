//! `chela trust`.

use std::path::{Path, PathBuf};

use chela_config::trust::{self, Trust};
use serde_json::json;

use crate::args::{self, TrustCommand};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{self, say};
use crate::trust::failure;

/// Runs the command.
pub fn run(args: args::Trust, context: &Context) -> Outcome {
    let file = context.paths.trust();
    match args.command {
        None => {
            let folder = folder(args.folder.as_deref(), context)?;
            let before = trust::decide(&file, &folder, true).map_err(failure)?;
            if args.json {
                return output::json(&json!({"folder": folder, "trusted": true, "before": before}));
            }
            let was = if before == Some(true) { "was trusted already" } else { "is trusted from now on" };
            say(format_args!("{} {was}", folder.display()));
            Ok(())
        }
        Some(TrustCommand::List { json }) => list(&Trust::load(&file).map_err(failure)?, json),
        Some(TrustCommand::Remove { folder: named, json }) => {
            // A folder that is gone can be forgotten too.
            let folder = folder(named.as_deref(), context).or_else(|error| named.ok_or(error))?;
            let Some(before) = trust::forget(&file, &folder).map_err(failure)? else {
                let message = format!("nothing was decided about {}", folder.display());
                return Err(Failure::usage(message).hint("`chela trust list` shows the folders"));
            };
            if json {
                return output::json(&json!({"folder": folder, "before": before}));
            }
            say(format_args!("forgot {}", folder.display()));
            Ok(())
        }
    }
}

/// The folder, absolute and with symlinks resolved.
fn folder(named: Option<&Path>, context: &Context) -> Result<PathBuf, Failure> {
    let Some(path) = named else { return context.workspace() };
    let found = path.canonicalize().map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    if found.is_dir() {
        Ok(found)
    } else {
        Err(Failure::usage(format!("{} is not a folder", path.display())))
    }
}

fn list(trust: &Trust, as_json: bool) -> Outcome {
    if as_json {
        let row = |(folder, trusted)| json!({"folder": folder, "trusted": trusted});
        return output::json(&trust.iter().map(row).collect::<Vec<_>>());
    }
    let mut rows = vec![vec!["TRUSTED".to_owned(), "FOLDER".to_owned()]];
    let word = |trusted| if trusted { "yes" } else { "no" }.to_owned();
    rows.extend(trust.iter().map(|(folder, trusted)| vec![word(trusted), output::printable(folder)]));
    if rows.len() == 1 {
        say("nothing was decided about any folder yet");
        return Ok(());
    }
    output::answer(&output::table(&rows))
}
