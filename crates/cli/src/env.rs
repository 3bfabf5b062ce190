//! The environment: the one file that reads variables, the home folder, the current folder and
//! whether a stream is a terminal. Everything else gets values.

use std::io::IsTerminal;
use std::path::PathBuf;

use chela_config::{Env, env};

/// What the process was given by its surroundings.
#[derive(Debug)]
pub struct Surroundings {
    /// The variables that are UTF-8.
    pub variables: Env,
    /// The current folder.
    pub folder: std::io::Result<PathBuf>,
    /// Whether standard input is a terminal.
    pub stdin_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
}

impl Surroundings {
    /// Reads them.
    pub fn read() -> Self {
        let pairs = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
        Self {
            variables: pairs.collect(),
            folder: std::env::current_dir(),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Whether output to a terminal may be coloured.
    pub fn may_colour(&self) -> bool {
        !self.variables.is_set(env::NO_COLOR)
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        self.stdin_is_terminal && self.stderr_is_terminal
    }
}
