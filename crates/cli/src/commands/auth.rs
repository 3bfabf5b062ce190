//! `chela auth`: keys in a file of their own.

use std::io::Read;

use chela_config::auth::{self, AuthError, Profiles};
use serde_json::json;

use crate::args;
use crate::context::Context;
use crate::env::Stdin;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, say};

/// Bytes of a key at most.
const LONGEST_KEY: u64 = 16 * 1024;

/// Runs the command.
pub fn run(command: args::Auth, context: &Context) -> Outcome {
    let file = context.paths.auth();
    match command {
        args::Auth::Add { provider } => {
            let key = read_key(context, &provider)?;
            let replaced =
                auth::add(&file, &format!("{provider}:default"), &provider, &key).map_err(failed)?;
            let what = if replaced { "replaced" } else { "added" };
            say(format_args!("{what} the key of {provider} in {}", file.display()));
            Ok(())
        }
        args::Auth::List { json } => list(&Profiles::load(&file).map_err(failed)?, context, json),
        args::Auth::Remove { provider } => {
            if auth::remove(&file, &format!("{provider}:default")).map_err(failed)? {
                say(format_args!("removed the key of {provider} from {}", file.display()));
                return Ok(());
            }
            let message = format!("{} has no key of `{provider}`", file.display());
            Err(Failure::usage(message).hint("`chela auth list` shows the profiles that there are"))
        }
    }
}

fn failed(error: AuthError) -> Failure {
    let code = if matches!(error, AuthError::Io { .. }) { Code::Failed } else { Code::Usage };
    Failure::new(code, error)
}

/// Reads the key from standard input: one line from a person, everything from a pipe.
fn read_key(context: &Context, provider: &str) -> Result<String, Failure> {
    let mut key = String::new();
    if context.surroundings.stdin == Stdin::Terminal {
        key = rpassword::prompt_password(format!("Key of {provider} (not shown): "))?;
    } else {
        std::io::stdin().take(LONGEST_KEY).read_to_string(&mut key)?;
    }
    let key = key.trim();
    if key.is_empty() {
        let failure = Failure::usage("no key on standard input");
        return Err(failure.hint(format!("printf %s \"$KEY\" | chela auth add {provider}")));
    }
    if key.chars().any(char::is_whitespace) {
        return Err(Failure::usage("a key is one word; standard input has more"));
    }
    Ok(key.to_owned())
}

fn list(profiles: &Profiles, context: &Context, as_json: bool) -> Outcome {
    if let Some(mode) = auth::loose_mode(&context.paths.auth()) {
        say(format_args!(
            "warning: {} has mode {mode:o}, so others can read it\n  chmod 600 {0}",
            context.paths.auth().display()
        ));
    }
    if as_json {
        let rows: Vec<_> = profiles
            .iter()
            .map(|(name, p)| json!({"profile": name, "provider": p.provider, "key": "***"}))
            .collect();
        return output::json(&rows);
    }
    let rows: Vec<Vec<String>> =
        profiles.iter().map(|(name, p)| vec![name.to_owned(), p.provider.clone(), "***".into()]).collect();
    if rows.is_empty() {
        say(format_args!("no profiles in {}", context.paths.auth().display()));
        return Ok(());
    }
    output::answer(&output::table(&rows))
}
