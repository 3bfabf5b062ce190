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
    /// What standard input is.
    pub stdin: Stdin,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
}

/// Where this program was started as the helper of the sandbox: how that ended.
pub fn sandbox_helper() -> Option<std::process::ExitCode> {
    chela_tools::sandbox::helper(std::env::args_os())
}

/// The folder of temporary files.
pub fn temporary() -> PathBuf {
    std::env::temp_dir()
}

impl Surroundings {
    /// Reads them.
    pub fn read() -> Self {
        let pairs =
            std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
        Self {
            variables: pairs.collect(),
            folder: std::env::current_dir(),
            stdin: Stdin::read(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Whether text on stderr may be dimmed or coloured.
    pub fn may_style_stderr(&self) -> bool {
        self.stderr_is_terminal && self.variables.get(env::NO_COLOR).is_none()
    }

    /// Whether text on stdout may be dimmed or coloured.
    pub fn may_style_stdout(&self) -> bool {
        self.stdout_is_terminal && self.variables.get(env::NO_COLOR).is_none()
    }

    /// Whether the terminal only takes lines, one below the other.
    pub fn is_dumb(&self) -> bool {
        matches!(self.variables.get(env::TERM), None | Some("dumb" | "cons25" | "emacs"))
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        self.stdin == Stdin::Terminal && self.stderr_is_terminal
    }
}

/// What standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// A person may type.
    Terminal,
    /// A pipe, a socket or a file: read to its end it has one.
    Data,
    /// Closed, `/dev/null` or another device.
    Other,
}

impl Stdin {
    fn read() -> Self {
        use std::os::unix::fs::FileTypeExt;
        if std::io::stdin().is_terminal() {
            return Self::Terminal;
        }
        match std::fs::metadata("/proc/self/fd/0").map(|m| m.file_type()) {
            Ok(kind) if kind.is_file() || kind.is_fifo() || kind.is_socket() => Self::Data,
            _ => Self::Other,
        }
    }
}
