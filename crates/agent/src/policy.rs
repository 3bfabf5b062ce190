//! Who may do what. The model is taken for the attacker: a decision rests on what a call needs
//! and on what came into the context before it, never on what the call says of itself.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use chela_protocol::{ApproveMode, Right, Taint};

use crate::secrets::secret;
use crate::shell;

/// One call as the policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'a> {
    /// The tool's name.
    pub tool: &'a str,
    /// Everything it needs, paths resolved.
    pub rights: &'a [Right],
}

/// How much may happen without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// What the user chose.
    pub approve: ApproveMode,
    /// False where nobody can answer: what would ask is refused.
    pub can_ask: bool,
    /// What the user allowed for this session.
    pub grants: Vec<Grant>,
}

/// Something that was allowed for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Ordinary files of the workspace may be created and changed.
    WorkspaceWrites,
    /// Commands of this kind ([`crate::shell::kind`]) in this folder, in the sandbox and without
    /// network.
    Commands {
        /// As in `cargo test`.
        kind: String,
        /// The folder.
        cwd: String,
    },
    /// Exactly this.
    Exact(Right),
    /// A host that a call was allowed to reach. It is no new one for as long as nothing private
    /// has come in that a request could carry there.
    Reached(String),
}

/// What the policy says to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead.
    Allow,
    /// A human has to say yes first. One sentence for each reason.
    Ask {
        /// The reasons.
        why: Vec<String>,
    },
    /// No.
    Deny {
        /// The reasons, with what would allow it.
        why: Vec<String>,
        /// True where a human's yes, or another option, would have allowed it.
        for_want_of_approval: bool,
    },
}

/// The fixed facts that decisions rest on. All paths absolute, symlinks resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The folder that the agent works in.
    pub workspace: PathBuf,
    /// Files and folders that the agent never writes: keys, config, policy, its own store.
    pub protected: Vec<PathBuf>,
    /// Files and folders that later sessions read as instructions or memory, besides the
    /// instruction files of any folder.
    pub instructions: Vec<PathBuf>,
    /// Folders besides the workspace that may be read: what tools kept there for the model.
    pub readable: Vec<PathBuf>,
}

/// Files by which a folder instructs agents.
pub const INSTRUCTION_FILES: &[&str] = &["AGENTS.md", "SOUL.md", "USER.md", "TOOLS.md", "MEMORY.md"];

/// Files by which a folder instructs other agents that the user may run there.
const OTHERS_INSTRUCTIONS: &[&str] = &[
    "IDENTITY.md",
    "HEARTBEAT.md",
    "BOOTSTRAP.md",
    "CLAUDE.md",
    "GEMINI.md",
    "copilot-instructions.md",
    ".cursorrules",
    ".windsurfrules",
];

/// Files and folders that run code outside the sandbox when the user next works there, without
/// being called by name.
const RUNS_LATER: &[&str] = &[
    ".git",
    ".gitconfig",
    ".gitmodules",
    ".husky",
    ".envrc",
    ".vscode",
    ".idea",
    ".cargo",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".inputrc",
    ".tmux.conf",
    ".vimrc",
    ".exrc",
    ".dir-locals.el",
    ".emacs",
    ".emacs.d",
    "autostart",
    "systemd",
    "LaunchAgents",
];

/// Of [`RUNS_LATER`], folders whose names are common elsewhere: only directly below one of these.
const ONLY_BELOW: &[(&str, &[&str])] = &[
    ("autostart", &[".config"]),
    ("systemd", &[".config", "etc", "lib", "share"]),
    ("LaunchAgents", &["Library"]),
];

enum Answer {
    Allow,
    Ask(String),
    Never(String),
}

impl Policy {
    /// Decides one call. Pure: the same input, the same answer.
    #[must_use]
    pub fn decide(&self, call: &Call<'_>, taint: &Taint, mode: &Mode) -> Verdict {
        let mut asks = Vec::new();
        let mut nevers = Vec::new();
        for right in call.rights {
            match self.judge(right, *taint, mode) {
                Answer::Allow => {}
                Answer::Never(why) => nevers.push(why),
                Answer::Ask(_) if granted(self, right, *taint, mode) => {}
                Answer::Ask(why) => asks.push(why),
            }
        }
        if !nevers.is_empty() {
            return Verdict::Deny { why: nevers, for_want_of_approval: false };
        }
        if asks.is_empty() {
            return Verdict::Allow;
        }
        if mode.approve == ApproveMode::None || !mode.can_ask {
            asks.push(self.remedy(call, *taint, mode));
            return Verdict::Deny { why: asks, for_want_of_approval: true };
        }
        Verdict::Ask { why: asks }
    }

    /// What a session grant for these rights is, and how it reads.
    #[must_use]
    pub fn grants(&self, rights: &[Right]) -> (Vec<Grant>, String) {
        let grant = |right: &Right| match right {
            Right::Write { path } if self.is_ordinary(Path::new(path)) => Grant::WorkspaceWrites,
            Right::Exec { command, cwd, sandboxed: true, network: false }
                if shell::kind(command).is_some() =>
            {
                let kind = shell::kind(command).unwrap_or_default().to_owned();
                Grant::Commands { kind, cwd: cwd.clone() }
            }
            other => Grant::Exact(other.clone()),
        };
        let mut grants: Vec<Grant> = rights.iter().map(grant).collect();
        grants.dedup();
        let word = |grant: &Grant| match grant {
            Grant::WorkspaceWrites => "all ordinary writes in the workspace".to_owned(),
            Grant::Commands { kind, .. } => format!("every plain `{kind} …` in this folder"),
            Grant::Exact(Right::Read { path }) => format!("reading {path}"),
            Grant::Exact(Right::Write { path }) => format!("writing {path}"),
            Grant::Exact(Right::Exec { .. }) => "exactly this command in this folder".to_owned(),
            Grant::Exact(Right::Net { host }) | Grant::Reached(host) => format!("requests to {host}"),
            Grant::Exact(Right::Remember) => "adding to the memory".to_owned(),
            Grant::Exact(Right::Use { tool }) => format!("the tool {tool}"),
        };
        let words = grants.iter().map(word).collect::<Vec<_>>().join(", ");
        (grants, words)
    }

    fn judge(&self, right: &Right, taint: Taint, mode: &Mode) -> Answer {
        use ApproveMode::{All, Edits};
        let tainted = tainted(taint);
        match right {
            Right::Read { path } => self.judge_read(Path::new(path), mode),
            Right::Write { path } => self.judge_write(Path::new(path), mode),
            Right::Exec { sandboxed, network, .. } => match (sandboxed, network, mode.approve) {
                (false, _, _) => {
                    Answer::Ask("no sandbox holds this command: it can do all that you can".into())
                }
                (true, true, _) if tainted.is_some() => Answer::Ask(format!(
                    "a command with network access after {}: what was read could leave",
                    tainted.unwrap_or_default()
                )),
                (true, true, All) | (true, false, Edits | All) => Answer::Allow,
                (true, true, _) => Answer::Ask("a command with network access".into()),
                (true, false, _) => Answer::Ask("commands ask".into()),
            },
            Right::Net { host } => match tainted {
                Some(what) => Answer::Ask(format!(
                    "a request to {host} after {what}: an address can carry out what was read"
                )),
                None => Answer::Allow,
            },
            Right::Remember => match (tainted, mode.approve) {
                (Some(what), _) => Answer::Ask(format!("a note after {what}: later sessions would read it")),
                (None, Edits | All) => Answer::Allow,
                (None, _) => Answer::Ask("notes ask, since later sessions read them".into()),
            },
            Right::Use { tool } => match (mode.approve, tainted) {
                (All, None) => Answer::Allow,
                (_, Some(what)) => Answer::Ask(format!("the foreign tool {tool} after {what}")),
                (_, None) => Answer::Ask(format!("the foreign tool {tool}")),
            },
        }
    }

    fn judge_read(&self, path: &Path, mode: &Mode) -> Answer {
        let shown = path.display();
        if let Some(what) = secret(path) {
            return Answer::Ask(format!("{shown} may hold {what}"));
        }
        if within(path, &self.readable) {
            return Answer::Allow;
        }
        if within(path, &self.protected) {
            return Answer::Ask(format!("{shown} holds Chela's own keys, config or sessions"));
        }
        if path.starts_with(&self.workspace) || mode.approve == ApproveMode::All {
            return Answer::Allow;
        }
        Answer::Ask(format!("{shown} lies outside the workspace"))
    }

    fn judge_write(&self, path: &Path, mode: &Mode) -> Answer {
        let shown = path.display();
        if within(path, &self.protected) {
            return Answer::Never(format!(
                "{shown} belongs to Chela's own keys, config or store, which no tool changes; \
                 the user can, with `chela config` and `chela auth`"
            ));
        }
        if let Some(what) = secret(path) {
            return Answer::Ask(format!("{shown} may hold {what}"));
        }
        if self.instructs(path) {
            return Answer::Ask(format!("{shown} instructs later sessions"));
        }
        if let Some(name) = runs_later(path) {
            return Answer::Ask(format!("what lies in {name} can run outside the sandbox later"));
        }
        if !path.starts_with(&self.workspace) {
            return match mode.approve {
                ApproveMode::All => Answer::Allow,
                _ => Answer::Ask(format!("{shown} lies outside the workspace")),
            };
        }
        match mode.approve {
            ApproveMode::Edits | ApproveMode::All => Answer::Allow,
            ApproveMode::None | ApproveMode::Ask => Answer::Ask("writes ask".into()),
        }
    }

    fn instructs(&self, path: &Path) -> bool {
        instructs(path) || within(path, &self.instructions)
    }

    /// A file of the workspace about which nothing is special.
    fn is_ordinary(&self, path: &Path) -> bool {
        path.starts_with(&self.workspace)
            && !within(path, &self.protected)
            && !self.instructs(path)
            && secret(path).is_none()
            && runs_later(path).is_none()
    }

    /// The option that would allow the call, found by trying.
    fn remedy(&self, call: &Call<'_>, taint: Taint, mode: &Mode) -> String {
        let allows = |approve: ApproveMode| {
            let mode = Mode { approve, ..mode.clone() };
            call.rights.iter().all(|right| matches!(self.judge(right, taint, &mode), Answer::Allow))
        };
        match [ApproveMode::Edits, ApproveMode::All].into_iter().find(|approve| allows(*approve)) {
            Some(approve) => format!("--approve {approve} allows it"),
            None => "only a human's yes allows it: run `chela chat` on a terminal".to_owned(),
        }
    }
}

fn granted(policy: &Policy, right: &Right, taint: Taint, mode: &Mode) -> bool {
    mode.grants.iter().any(|grant| match grant {
        Grant::Exact(exact) => exact == right,
        Grant::WorkspaceWrites => {
            matches!(right, Right::Write { path } if policy.is_ordinary(Path::new(path)))
        }
        Grant::Commands { kind, cwd } => matches!(
            right,
            Right::Exec { command, cwd: here, sandboxed: true, network: false }
                if here == cwd && shell::kind(command) == Some(kind.as_str())
        ),
        Grant::Reached(reached) => !taint.private && matches!(right, Right::Net { host } if host == reached),
    })
}

fn within(path: &Path, places: &[PathBuf]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// True for a path (relative to the workspace) that instructs later sessions, or runs code outside
/// the sandbox when the user next works there.
#[must_use]
pub fn acts_later(path: &Path) -> bool {
    instructs(path) || runs_later(path).is_some()
}

fn instructs(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let mut files = INSTRUCTION_FILES.iter().chain(OTHERS_INSTRUCTIONS);
        files.any(|file| name.eq_ignore_ascii_case(file))
    })
}

fn runs_later(path: &Path) -> Option<&'static str> {
    let is = |part: Option<&OsStr>, name: &str| part.is_some_and(|part| part.eq_ignore_ascii_case(name));
    path.ancestors().find_map(|at| {
        let later = RUNS_LATER.iter().find(|later| is(at.file_name(), later)).copied()?;
        let above = at.parent().and_then(Path::file_name);
        let below = ONLY_BELOW.iter().find(|(name, _)| *name == later);
        below.is_none_or(|(_, parents)| parents.iter().any(|parent| is(above, parent))).then_some(later)
    })
}

fn tainted(taint: Taint) -> Option<&'static str> {
    match (taint.untrusted, taint.private) {
        (true, true) => Some("private text and text from outside"),
        (true, false) => Some("text from outside"),
        (false, true) => Some("private text"),
        (false, false) => None,
    }
}
