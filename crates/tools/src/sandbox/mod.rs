//! The sandbox of commands: what they see, reach and leave behind.
//!
//! A [`Sandbox`] starts the program again as a helper ([`helper()`]), before any thread exists in
//! it. The helper moves into namespaces of its own (user, mount, process ids, network, IPC, host
//! name), makes a file system of which the workspace is the only lasting part that can be written,
//! gives up all capabilities, restricts itself with Landlock and seccomp, and starts the command.
//! Where a layer cannot be had, [`Sandbox::holds`] says so, and what runs then has to be asked
//! about. A confined command never runs with less than it was promised: where the helper cannot
//! set up everything, nothing runs.
//!
//! Sources: namespaces(7), user_namespaces(7), mount_namespaces(7), pivot_root(2), landlock(7),
//! seccomp(2).

mod filter;
mod guard;
mod helper;
mod mounts;
mod probe;
mod run;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use guard::Scan;
pub use helper::{ARGUMENT, helper};
pub use run::{End, Running};

/// What holds a command.
#[derive(Debug)]
pub struct Sandbox {
    settings: Settings,
    layers: OnceLock<Vec<Layer>>,
}

/// What the composition root decides about the sandbox. Paths are absolute.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The program whose `main` gives way to [`helper()`]; `/proc/self/exe` for the own one.
    pub program: PathBuf,
    /// The user's home folder, which is hidden.
    pub home: Option<PathBuf>,
    /// Files and folders that can be read all the same: toolchains.
    pub visible: Vec<PathBuf>,
    /// Files and folders that are hidden wherever they lie: keys, configuration, the store.
    pub hidden: Vec<PathBuf>,
    /// Files and folders in the workspace that cannot be changed, besides those that
    /// [`chela_agent::policy::acts_later`] names.
    pub frozen: Vec<PathBuf>,
}

/// One layer, and whether it is to be had on this system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name, as in `network namespace`.
    pub name: String,
    /// What it is for, in a few words.
    pub purpose: String,
    /// Why it does not hold; none where it does.
    pub missing: Option<String>,
    /// True where commands are not sandboxed without it.
    pub needed: bool,
}

/// What the helper is to do. It reads this from its standard input, as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    command: String,
    cwd: PathBuf,
    env: Vec<(String, String)>,
    /// None for a command that runs as the user would run it.
    confined: Option<Confined>,
}

/// What a confined command sees. All paths absolute and without symlinks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Confined {
    workspace: PathBuf,
    home: Option<PathBuf>,
    visible: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
    frozen: Vec<PathBuf>,
    /// Folders that cannot be moved away, since something below them is frozen.
    pinned: Vec<PathBuf>,
    network: bool,
}

/// What the helper says, each on a line of its own, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// Everything is set up; the command starts.
    Started,
    /// It did not start.
    Failed(String),
    /// It ended with this status.
    Exited(i32),
    /// It was ended by this signal.
    Killed(i32),
    /// What a probe found.
    Layers(Vec<Layer>),
}

/// A command for [`Sandbox::start`].
#[derive(Debug, Clone)]
pub struct Command<'a> {
    /// What `/bin/sh -c` gets.
    pub text: &'a str,
    /// The folder in which it starts.
    pub cwd: &'a Path,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// The folder that it may change.
    pub workspace: &'a Path,
    /// What was found there; without it, the command is not confined.
    pub scan: Option<&'a Scan>,
    /// Whether a confined command may use the network.
    pub network: bool,
}

impl Sandbox {
    /// A sandbox with these settings. Nothing is probed yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let all = |paths: Vec<PathBuf>| paths.into_iter().map(real).collect();
        let settings = Settings {
            home: settings.home.map(real).filter(|home| home.parent().is_some()),
            visible: all(settings.visible),
            hidden: all(settings.hidden),
            frozen: all(settings.frozen),
            ..settings
        };
        Self { settings, layers: OnceLock::new() }
    }

    /// The layers, as a trial found them; the trial runs once.
    pub fn layers(&self) -> &[Layer] {
        self.layers.get_or_init(|| probe::layers(&self.settings.program))
    }

    /// Whether commands that run in this workspace can be confined; the error says why not.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn holds(&self, workspace: &Path) -> Result<(), String> {
        let missing = self.layers().iter().find(|layer| layer.needed && layer.missing.is_some());
        if let Some(Layer { name, missing: Some(why), .. }) = missing {
            return Err(format!("{name}: {why}"));
        }
        if workspace.parent().is_none() {
            return Err("the workspace is the whole file system".to_owned());
        }
        match self.settings.hidden.iter().find(|hidden| *hidden == workspace) {
            Some(_) => Err("the workspace is the folder of Chela's own files".to_owned()),
            None => Ok(()),
        }
    }

    /// Looks for what a confined command must not see or change in this workspace.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn scan(&self, workspace: &Path) -> std::io::Result<Scan> {
        Scan::of(workspace, &self.settings)
    }

    fn confined(&self, command: &Command<'_>, scan: &Scan) -> Confined {
        let settings = &self.settings;
        let mut visible = settings.visible.clone();
        if command.network {
            // It is often a link into /run, which is not the host's here.
            visible.extend(Path::new("/etc/resolv.conf").canonicalize());
        }
        let mut hidden = scan.hidden.clone();
        hidden.extend(guard::secrets_of_toolchains(&settings.visible));
        hidden.extend(settings.hidden.iter().cloned());
        Confined {
            workspace: command.workspace.to_owned(),
            home: settings.home.clone(),
            visible,
            hidden,
            frozen: scan.frozen.iter().cloned().collect(),
            pinned: scan.pinned.iter().cloned().collect(),
            network: command.network,
        }
    }
}
