//! What every command starts from: surroundings, the layout of the home folder, and the configuration.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::{Duration, Instant};

use chela_config::{ConfigFile, Env, Loaded, Paths, env};

use crate::args::Global;
use crate::env::Surroundings;
use crate::exit::{Code, Failure};
use crate::logging;
use crate::output::say;

/// How long a command waits for another one that writes.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);

/// Surroundings, layout and configuration of one run.
#[derive(Debug)]
pub struct Context {
    /// What the process was given.
    pub surroundings: Surroundings,
    /// The layout of `$CHELA_HOME`.
    pub paths: Paths,
    /// The configuration file.
    pub file: ConfigFile,
    /// The configuration.
    pub loaded: Loaded,
    /// Refuse every connection that leaves this machine and the configured servers.
    pub local_only: bool,
    /// How often `-v` was given.
    pub verbose: u8,
}

impl Context {
    /// Reads the configuration, starts the log, and says what is doubtful about the file.
    pub fn new(global: &Global, surroundings: Surroundings) -> Result<Self, Failure> {
        let (paths, file) = locate(global, &surroundings.variables)?;
        start_log(&paths, global, &surroundings.variables)?;
        let loaded = chela_config::open(&file, &surroundings.variables).map_err(Failure::usage)?;
        for warning in &loaded.warnings {
            say(warning);
        }
        if let Some(line) = loaded.ignored_line() {
            say(format_args!("note: {line}"));
        }
        let local_only = global.local_only || loaded.config.network.local_only.unwrap_or(false);
        Ok(Self { surroundings, paths, file, loaded, local_only, verbose: global.verbose })
    }

    /// The environment.
    pub fn env(&self) -> &Env {
        &self.surroundings.variables
    }
}

/// Finds the home folder's layout and the configuration file.
pub fn locate(global: &Global, env: &Env) -> Result<(Paths, ConfigFile), Failure> {
    let paths = Paths::from_env(env).map_err(|e| Failure::usage(e).hint("set CHELA_HOME to a folder of yours"))?;
    let file = paths.config_file(global.config.as_deref(), env);
    Ok((paths, file))
}

/// Starts the log in `$CHELA_HOME/logs`.
pub fn start_log(paths: &Paths, global: &Global, variables: &Env) -> Result<(), Failure> {
    logging::start(&paths.logs(), variables.get(env::CHELA_LOG), global.verbose).map_err(Failure::usage)
}

/// Takes the kernel's lock of the writer of `$CHELA_HOME`; it is given back when the file is dropped,
/// also by a process that dies.
pub fn writer(paths: &Paths) -> Result<File, Failure> {
    let path = paths.run().join("write.lock");
    let cannot = |e: std::io::Error| Failure::new(Code::Failed, format!("cannot lock {}: {e}", path.display()));
    std::fs::create_dir_all(paths.run()).map_err(cannot)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < WRITER_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!("another chela has been writing for {} s", WRITER_PATIENCE.as_secs());
                return Err(Failure::new(Code::Failed, message).hint(format!("it holds {}", path.display())));
            }
        }
    }
}
