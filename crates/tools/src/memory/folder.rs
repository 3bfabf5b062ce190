//! Where the notes are.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chela_protocol::Right;
use ignore::WalkBuilder;
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::markdown::{self, Note};

/// The folder of the notes, and the file that the user keeps beside it.
const FOLDER: &str = "memory";
const OVERVIEW: &str = "MEMORY.md";
/// A larger file is no file of notes.
const LARGEST: u64 = 1 << 20;
/// Files that are looked at, the newest names first.
const FILES: usize = 5_000;

/// The notes of a workspace on disk.
pub(super) struct Folder {
    workspace: PathBuf,
    zone: TimeZone,
}

/// The files, and by what a change of them is known.
pub(super) type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// A note that is to be written.
pub(super) struct Entry {
    /// The file, absolute.
    pub path: PathBuf,
    /// The file as the model knows it.
    pub shown: String,
    /// What the file begins with if it is new.
    head: String,
    /// What is added.
    pub line: String,
}

impl Folder {
    pub fn new(workspace: PathBuf, zone: TimeZone) -> Self {
        Self { workspace, zone }
    }

    /// What a search needs.
    pub fn read_right(&self) -> Right {
        Right::Read { path: self.workspace.join(FOLDER).display().to_string() }
    }

    /// The files of notes as they are now, in the order of their names. Links are left out: what
    /// they lead to was never allowed.
    ///
    /// # Errors
    /// The folder is a link.
    pub fn stamp(&self) -> Result<Stamp, String> {
        let folder = self.workspace.join(FOLDER);
        self.check(&folder)?;
        let walk =
            WalkBuilder::new(&folder).standard_filters(false).follow_links(false).max_depth(Some(4)).build();
        let is_note = |path: &Path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("md"));
        let below = walk.filter_map(Result::ok).map(ignore::DirEntry::into_path).filter(|path| is_note(path));
        let mut stamp: Stamp = std::iter::once(self.workspace.join(OVERVIEW))
            .chain(below)
            .filter_map(|path| {
                let meta = fs::symlink_metadata(&path).ok()?;
                (meta.is_file() && meta.len() <= LARGEST).then(|| (path, meta.len(), meta.modified().ok()))
            })
            .collect();
        stamp.sort();
        stamp.drain(..stamp.len().saturating_sub(FILES));
        Ok(stamp)
    }

    /// What stands in these files.
    pub fn notes(&self, stamp: &Stamp) -> Vec<Note> {
        let of = |(path, ..): &(PathBuf, u64, Option<SystemTime>)| {
            let content = fs::read(path).unwrap_or_default();
            markdown::notes(&self.shown(path), &String::from_utf8_lossy(&content))
        };
        stamp.iter().flat_map(of).collect()
    }

    /// A text as the note that it becomes now.
    pub fn entry(&self, text: &str) -> Entry {
        let now = Zoned::now().with_time_zone(self.zone.clone());
        let day = now.strftime("%Y-%m-%d").to_string();
        let path = self.workspace.join(FOLDER).join(format!("{day}.md"));
        Entry {
            shown: self.shown(&path),
            path,
            head: format!("# {day}\n\n"),
            line: markdown::line(&now.strftime("%H:%M").to_string(), text),
        }
    }

    /// Adds a note at the end of its file. Other processes that do the same wait, and a reader
    /// sees all of it or nothing. Before anything is written, `keep` is told what is added, and
    /// what the file begins with if it is new.
    ///
    /// # Errors
    /// The file could not be written, or is a link.
    pub fn append(
        &self,
        entry: &Entry,
        keep: impl FnOnce(&str, Option<&str>) -> io::Result<()>,
    ) -> Result<(), String> {
        let wrong = |error: io::Error| format!("error: {}: {error}", entry.shown);
        let folder = entry.path.parent().unwrap_or(&self.workspace);
        self.check(folder)?;
        self.check(&entry.path)?;
        let before = fs::read(&entry.path).ok();
        let head = before.is_none().then_some(entry.head.as_str());
        keep(&(lead(before.as_deref().unwrap_or_default()).to_owned() + &entry.line), head).map_err(
            |error| {
                format!(
                    "error: {}: the undo could not be prepared ({error}), so nothing was noted",
                    entry.shown
                )
            },
        )?;
        fs::create_dir_all(folder).map_err(wrong)?;
        let mut file =
            File::options().read(true).append(true).create(true).open(&entry.path).map_err(wrong)?;
        lock(&file).map_err(wrong)?;
        let mut before = Vec::new();
        file.read_to_end(&mut before).map_err(wrong)?;
        let lead = head.filter(|_| before.is_empty()).unwrap_or(lead(&before));
        file.write_all(format!("{lead}{}", entry.line).as_bytes()).map_err(wrong)?;
        file.sync_all().map_err(wrong)
    }

    /// The addition as a unified diff.
    pub fn diff(&self, entry: &Entry) -> String {
        crate::files::diff(&entry.shown, b"", entry.line.as_bytes())
    }

    /// Refuses a link: where it leads to nobody has decided about.
    fn check(&self, path: &Path) -> Result<(), String> {
        match path.canonicalize() {
            Ok(real) if real != path => {
                let (shown, real) = (self.shown(path), real.display());
                Err(format!("error: {shown} is a link to {real}; notes have to lie in the workspace itself"))
            }
            // What is missing and then there was made by another process in between, unless it is a link to nothing.
            Err(error)
                if fs::symlink_metadata(path)
                    .is_ok_and(|there| error.kind() != io::ErrorKind::NotFound || there.is_symlink()) =>
            {
                Err(format!(
                    "error: {}: {error}; notes have to lie in the workspace itself",
                    self.shown(path)
                ))
            }
            _ => Ok(()),
        }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.workspace).unwrap_or(path).display().to_string()
    }
}

/// What ends the last line of a file that has no line end there.
fn lead(before: &[u8]) -> &'static str {
    if before.is_empty() || before.ends_with(b"\n") { "" } else { "\n" }
}

/// Waits for other writers, but not for one that hangs.
fn lock(file: &File) -> io::Result<()> {
    const TRIES: u32 = 40;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the file"))
}
