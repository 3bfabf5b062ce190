//! What a confined command must not see in the workspace, and what it must not leave there.

use std::collections::HashSet;
use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chela_agent::policy::acts_later;
use chela_agent::secrets::secret;

use super::Settings;

/// What lies in a workspace, before or after a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Secrets and sockets.
    pub(super) hidden: Vec<PathBuf>,
    /// Files and folders that act later.
    pub(super) frozen: HashSet<PathBuf>,
    /// Repositories, which must stay where they are.
    pub(super) pinned: HashSet<PathBuf>,
    folders: HashSet<PathBuf>,
}

/// Files of a repository that make Git run programs (githooks(5), git-config(1)).
const OF_GIT: &[&str] = &["hooks", "config", "config.worktree"];

/// How deep toolchains are searched for secrets.
const TOOLCHAIN_DEPTH: usize = 4;

type Test<'a> = &'a dyn Fn(&Path) -> bool;

impl Scan {
    /// Walks the whole workspace: a secret may lie anywhere.
    pub(super) fn of(workspace: &Path, settings: &Settings) -> io::Result<Self> {
        let home = settings.home.as_deref().filter(|home| *home != workspace);
        let skip = |path: &Path| home == Some(path) || settings.hidden.iter().any(|hidden| path == hidden);
        let later = |path: &Path| {
            settings.frozen.iter().any(|frozen| path == frozen)
                || path.strip_prefix(workspace).is_ok_and(acts_later)
        };
        let mut scan = Self::default();
        // A list and not the stack: a command may have made folders as deep as paths can be.
        let mut folders = vec![(workspace.to_owned(), false)];
        while let Some((folder, frozen)) = folders.pop() {
            match scan.list(&folder, frozen, &skip, &later) {
                Ok(more) => folders.extend(more),
                // A folder that the user cannot list, no command of the user's can list either.
                Err(_) if folder != workspace => {}
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
                }
            }
        }
        scan.hide_other_names(workspace);
        Ok(scan)
    }

    /// Looks at what lies in one folder, and gives the folders in it, each with whether it lies in
    /// something frozen.
    fn list(
        &mut self,
        folder: &Path,
        frozen: bool,
        skip: Test<'_>,
        later: Test<'_>,
    ) -> io::Result<Vec<(PathBuf, bool)>> {
        self.folders.insert(folder.to_owned());
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() || skip(&path) {
                continue;
            }
            if kind.is_socket() || is_secret(&path, kind) {
                self.hidden.push(path);
            } else if !frozen && kind.is_dir() && entry.file_name().eq_ignore_ascii_case(".git") {
                self.repository(path);
            } else {
                let freeze = !frozen && later(&path);
                if freeze {
                    self.frozen.insert(path.clone());
                }
                folders.extend(kind.is_dir().then_some((path, frozen || freeze)));
            }
        }
        Ok(folders)
    }

    /// A repository can be used, but not be made to run programs; nor those of its submodules.
    fn repository(&mut self, git: PathBuf) {
        self.folders.insert(git.clone());
        self.freeze_in(&git);
        let mut folders = vec![git.join("modules")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.join("HEAD").is_file() {
                    self.freeze_in(&path);
                    folders.push(path.join("modules"));
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        self.pinned.insert(git);
    }

    fn freeze_in(&mut self, repository: &Path) {
        let paths = OF_GIT.iter().map(|name| repository.join(name));
        self.frozen.extend(paths.filter(|path| path.symlink_metadata().is_ok_and(|meta| !meta.is_symlink())));
    }

    /// Hides the further names of hidden files (hard links), wherever they lie in the workspace.
    fn hide_other_names(&mut self, workspace: &Path) {
        let several = |path: &PathBuf| {
            let meta = path.symlink_metadata().ok()?;
            (meta.is_file() && meta.nlink() > 1).then_some((meta.dev(), meta.ino()))
        };
        let linked: HashSet<(u64, u64)> = self.hidden.iter().filter_map(several).collect();
        if linked.is_empty() {
            return;
        }
        let folders = self.folders.iter().filter(|folder| folder.starts_with(workspace));
        let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let known: HashSet<PathBuf> = self.hidden.iter().cloned().collect();
        let more: Vec<PathBuf> = files
            .map(|file| file.path())
            .filter(|path| !known.contains(path))
            .filter(|path| several(path).is_some_and(|inode| linked.contains(&inode)))
            .collect();
        self.hidden.extend(more);
    }

    /// Puts aside what a command made that acts later, in folders that were there before it; what
    /// came with a folder of its own, as in a clone, acts in that folder alone. `self` is from
    /// before. Gives a sentence for each.
    #[must_use]
    pub fn put_aside(&self, after: &Self) -> Vec<String> {
        let knew = |path: &Path| path.parent().is_some_and(|folder| self.folders.contains(folder));
        let new = after.frozen.iter().filter(|path| !self.frozen.contains(*path) && knew(path));
        let mut planted: Vec<PathBuf> = new.cloned().collect();
        let repositories = after.pinned.iter().filter(|path| !self.pinned.contains(*path) && knew(path));
        planted.extend(repositories.flat_map(|repository| runs_programs(repository)));
        planted.sort();
        planted.iter().map(|path| put_aside(path)).collect()
    }
}

fn put_aside(path: &Path) -> String {
    let mut number = 0;
    let aside = loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(if number == 0 { ".not-allowed".to_owned() } else { format!(".not-allowed-{number}") });
        let aside = path.with_file_name(name);
        if aside.symlink_metadata().is_err() {
            break aside;
        }
        number += 1;
    };
    match fs::rename(path, &aside) {
        Ok(()) => format!(
            "{} acts in later sessions or outside the sandbox, so the command may not make it: it was renamed to {}",
            path.display(),
            aside.file_name().unwrap_or_default().to_string_lossy()
        ),
        Err(error) => format!("{} acts later, and could not be put aside: {error}", path.display()),
    }
}

/// What in a new repository makes Git run programs: hooks, and settings other than the plain ones.
fn runs_programs(repository: &Path) -> Vec<PathBuf> {
    const PLAIN: &[&str] = &[
        "repositoryformatversion",
        "filemode",
        "bare",
        "logallrefupdates",
        "ignorecase",
        "precomposeunicode",
        "symlinks",
        "name",
        "email",
        "url",
        "fetch",
        "remote",
        "merge",
        "defaultbranch",
        "objectformat",
        "refstorage",
        "rebase",
        "autocrlf",
    ];
    let hooks = fs::read_dir(repository.join("hooks")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = hooks
        .map(|hook| hook.path())
        .filter(|path| path.extension().is_none_or(|ending| ending != "sample"))
        .collect();
    for name in ["config", "config.worktree"] {
        let path = repository.join(name);
        let Ok(text) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&text).to_lowercase();
        let plain = |line: &str| {
            let key = line.split('=').next().unwrap_or_default().trim();
            key.is_empty() || (key.starts_with('[') && key.ends_with(']')) || PLAIN.contains(&key)
        };
        if !text.lines().all(|line| plain(line.trim()) && !line.contains("include") && !line.contains("::")) {
            found.push(path);
        }
    }
    found
}

/// A secret by its path; a file of certificates alone is none, whatever its name.
fn is_secret(path: &Path, kind: FileType) -> bool {
    if secret(path).is_none() {
        return false;
    }
    // Only a regular file is opened: another kind could hold up whoever opens it.
    let is_pem = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("pem"));
    if !is_pem || !kind.is_file() {
        return true;
    }
    let mut text = Vec::new();
    let open = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let read = open.and_then(|file| file.take(4 << 20).read_to_end(&mut text));
    let has = |words: &[u8]| text.windows(words.len()).any(|part| part == words);
    read.is_err() || !has(b"BEGIN CERTIFICATE") || has(b"PRIVATE KEY")
}

/// Secrets and sockets in folders that are visible, and known ones of the system.
pub(super) fn secrets_of_toolchains(visible: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    visible.iter().for_each(|path| shallow(path, TOOLCHAIN_DEPTH, &mut found));
    found
}

fn shallow(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_socket() || !kind.is_symlink() && is_secret(&path, kind) {
            found.push(path);
        } else if kind.is_dir() && depth > 1 {
            shallow(&path, depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(folder: &Path) -> Scan {
        Scan::of(folder, &Settings::default()).unwrap()
    }

    fn place(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn secrets_sockets_and_their_other_names_are_found_at_any_depth() {
        let (_keep, root) = place(&[
            ("a/b/.env", "K=1"),
            (".ssh/config", ""),
            ("src/main.rs", ""),
            ("venv/cacert.pem", "-----BEGIN CERTIFICATE-----"),
            (".cargo/credentials.toml", "token"),
            ("tls/server.pem", "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"),
        ]);
        fs::hard_link(root.join("a/b/.env"), root.join("src/notes.txt")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
        let mut hidden = scan(&root).hidden;
        hidden.sort();
        let expected =
            [".cargo/credentials.toml", ".ssh", "a/b/.env", "s", "src/notes.txt", "tls/server.pem"];
        assert_eq!(hidden, expected.map(|name| root.join(name)));
    }

    /// A file of that name that was a pipe held up every later command.
    #[test]
    fn a_pipe_and_deep_folders_hold_nothing_up() {
        let (_keep, root) = place(&[("a", "")]);
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("x.pem"), rustix::fs::Mode::RUSR).unwrap();
        let deep = root.join("d/".repeat(1_500));
        fs::create_dir_all(deep).unwrap();
        assert_eq!(scan(&root).hidden, [root.join("x.pem")]);
    }

    #[test]
    fn what_acts_later_is_frozen_and_a_new_one_is_put_aside() {
        let (_keep, root) =
            place(&[("AGENTS.md", "mine"), (".git/config", ""), (".git/hooks/x.sample", ""), ("sub/a", "")]);
        let before = scan(&root);
        assert_eq!(
            before.frozen,
            ["AGENTS.md", ".git/config", ".git/hooks"].map(|name| root.join(name)).into()
        );
        for name in ["SOUL.md", "sub/agents.md", "clone/AGENTS.md", "clone/.git/hooks/post-checkout"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "evil").unwrap();
        }
        assert_eq!(before.put_aside(&scan(&root)).len(), 2);
        assert!(!root.join("SOUL.md").exists() && root.join("SOUL.md.not-allowed").exists());
        assert!(!root.join("sub/agents.md").exists() && root.join("clone/AGENTS.md").exists());
        assert!(before.put_aside(&scan(&root)).is_empty());
    }

    #[test]
    fn a_new_repository_stays_unless_it_runs_programs() {
        let (_keep, root) = place(&[("a", "")]);
        let before = scan(&root);
        let config =
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"o\"]\n\turl = https://x/y\n";
        fs::create_dir_all(root.join(".git/hooks")).unwrap();
        fs::write(root.join(".git/config"), config).unwrap();
        fs::write(root.join(".git/hooks/pre-commit.sample"), "").unwrap();
        assert!(before.put_aside(&scan(&root)).is_empty());
        fs::write(root.join(".git/config"), format!("{config}[core]\n\tfsmonitor = evil\n")).unwrap();
        fs::write(root.join(".git/hooks/pre-commit"), "evil").unwrap();
        assert_eq!(before.put_aside(&scan(&root)).len(), 2);
        assert!(!root.join(".git/config").exists() && !root.join(".git/hooks/pre-commit").exists());
    }
}
