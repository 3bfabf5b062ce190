//! Whether the workspace is trusted: asked once on a terminal, where there is something to load.

use std::path::Path;

use chela_agent::policy::INSTRUCTION_FILES;
use chela_config::trust::{self, Trust, TrustError};

use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::output::{prompt, say};

/// An error of the trust file as the end of a command.
pub fn failure(error: TrustError) -> Failure {
    let code = if matches!(error, TrustError::Io { .. }) { Code::Failed } else { Code::Usage };
    Failure::new(code, error)
}

/// Whether instructions and notes of the workspace are loaded. Where nothing was decided and a person
/// is there, asks and writes the answer down; where they stay out, says so in one line.
pub async fn settle(context: &Context, workspace: &Path, can_ask: bool) -> Result<bool, Failure> {
    let file = context.paths.trust();
    let decided = Trust::load(&file).map_err(failure)?.of(workspace);
    if decided == Some(true) {
        return Ok(true);
    }
    let found = found(workspace);
    if found.is_empty() {
        return Ok(false);
    }
    let names = found.join(", ");
    if decided.is_none() && can_ask {
        say(format_args!(
            "{} has {names}.\nWhat stands there would instruct the agent in this folder.",
            workspace.display()
        ));
        prompt("do you trust this folder? [y]es, [N]o: ");
        let trusted = ask().await?;
        trust::decide(&file, workspace, trusted).map_err(failure)?;
        if trusted {
            return Ok(true);
        }
    }
    let verb = if found.len() == 1 { "is" } else { "are" };
    say(format_args!(
        "note: {names} {verb} not loaded, this folder is not trusted; `chela trust` changes that"
    ));
    Ok(false)
}

/// Instruction files and notes of the folder.
fn found(workspace: &Path) -> Vec<&'static str> {
    let is_file = |name: &&&str| workspace.join(name).is_file();
    let files = INSTRUCTION_FILES.iter().filter(|name| **name != "MEMORY.md").filter(is_file);
    let mut found: Vec<&str> = files.copied().collect();
    let notes = std::fs::read_dir(workspace.join("memory")).into_iter().flatten().flatten();
    if notes.into_iter().any(|entry| entry.path().extension().is_some_and(|ending| ending == "md")) {
        found.push("memory/");
    }
    found
}

/// The answer, read on a thread of its own so that Ctrl-C is heard meanwhile.
async fn ask() -> Result<bool, Failure> {
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = line.await.map_err(|error| Failure::new(Code::Failed, error))??;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
