//! The undo journal. Before a tool changes a file, the file's bytes are stored here; an undo
//! puts them back.
//!
//! Layout below the folder: `SESSION/TURN/NNNN.json` says what is about to change, `NNNN.bin`
//! beside it holds the bytes from before, if there were any. Both are on disk before the change
//! begins. A turn that was taken back has its folder removed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chela_agent::{Undo, Undone};
use chela_protocol::{SessionId, TurnId};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Keeps originals and puts them back.
#[derive(Debug)]
pub struct UndoLog {
    folder: PathBuf,
    /// Entries are numbered by counting, one at a time.
    writing: Mutex<()>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    /// A file is about to be changed or created.
    Change {
        /// Absolute.
        path: PathBuf,
        /// Permission bits from before; absent where there was no file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// SHA-256 of what the file is changed to, in hex.
        after: String,
        /// Folders that are created for it, the outermost first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        folders: Vec<PathBuf>,
    },
    /// Text is about to be put at the end of a file, which others may lengthen too.
    Append {
        /// Absolute.
        path: PathBuf,
        /// What is added.
        text: String,
        /// What stood in the file before, if the addition makes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<String>,
        /// Folders that are created for it, the outermost first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        folders: Vec<PathBuf>,
    },
    /// Something happened that cannot be taken back.
    Remark {
        /// In words.
        text: String,
    },
}

/// A file as it is or was: bytes and permission bits.
struct State {
    bytes: Vec<u8>,
    mode: u32,
}

impl UndoLog {
    /// A journal below this folder, which is created when something is written.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, writing: Mutex::new(()) }
    }

    /// Stores the file at `path` as it is, before it is changed to `after`.
    ///
    /// # Errors
    /// It could not be stored; then the change must not happen.
    pub fn keep(&self, session: SessionId, turn: TurnId, path: &Path, after: &[u8]) -> io::Result<()> {
        let before = state(path)?;
        let entry = Entry::Change {
            path: path.to_owned(),
            mode: before.as_ref().map(|state| state.mode),
            after: hex(after),
            folders: missing_folders(path),
        };
        self.write(session, turn, &entry, before.as_ref().map(|state| state.bytes.as_slice()))
    }

    /// Notes that `text` is about to be put at the end of the file at `path`. `head` is what the
    /// file begins with where the addition makes it.
    ///
    /// # Errors
    /// It could not be stored; then the change must not happen.
    pub fn keep_append(
        &self,
        session: SessionId,
        turn: TurnId,
        path: &Path,
        text: &str,
        head: Option<&str>,
    ) -> io::Result<()> {
        let entry = Entry::Append {
            path: path.to_owned(),
            text: text.to_owned(),
            head: head.map(str::to_owned),
            folders: missing_folders(path),
        };
        self.write(session, turn, &entry, None)
    }

    /// Notes something that an undo of this turn cannot take back, as in a command that ran.
    ///
    /// # Errors
    /// It could not be written.
    pub fn remark(&self, session: SessionId, turn: TurnId, text: &str) -> io::Result<()> {
        self.write(session, turn, &Entry::Remark { text: text.to_owned() }, None)
    }

    /// Removes what is kept of a session.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn forget(&self, session: SessionId) -> io::Result<()> {
        match fs::remove_dir_all(self.folder.join(session.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(
        &self,
        session: SessionId,
        turn: TurnId,
        entry: &Entry,
        before: Option<&[u8]>,
    ) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder.join(session.to_string()).join(turn.to_string());
        fs::create_dir_all(&folder)?;
        let number = entries(&folder)?.len();
        let name = |ending: &str| folder.join(format!("{number:04}.{ending}"));
        if let Some(bytes) = before {
            durable(&name("bin"), bytes)?;
        }
        // The entry comes last: where it stands, its bytes do.
        durable(&name("json"), &serde_json::to_vec(entry)?)?;
        File::open(&folder)?.sync_all()
    }

    fn undo_now(&self, session: SessionId, turn: Option<TurnId>) -> Result<Undone, String> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.folder.join(session.to_string());
        let turn = match turn {
            Some(turn) => turn,
            None => newest(&session).ok_or_else(|| nothing(&session))?,
        };
        let folder = session.join(turn.to_string());
        if !folder.is_dir() {
            return Err(format!("turn {turn} changed no file, or was taken back already"));
        }
        let wrong =
            |error: io::Error| format!("the undo journal {} cannot be read: {error}", folder.display());
        let mut undone = Undone { turn, files: Vec::new(), kept: remarks_after(&session, turn) };
        let mut steps: Vec<Step> = Vec::new();
        for number in entries(&folder).map_err(wrong)? {
            let text = fs::read(folder.join(format!("{number}.json"))).map_err(wrong)?;
            match serde_json::from_slice(&text).map_err(|error| wrong(error.into()))? {
                Entry::Remark { text } => undone.kept.push(text),
                Entry::Append { path, text, head, folders } => {
                    steps.push(Step { path, folders, how: How::Cut { text, head } });
                }
                Entry::Change { path, mode, after, folders } => {
                    let last = steps.iter_mut().rev().find(|step| step.path == path);
                    match last.map(|step| &mut step.how) {
                        // The oldest bytes are those to restore, the newest those to find.
                        Some(How::Restore { after: newest, .. }) => *newest = after,
                        _ => {
                            let before = mode.map(|mode| (folder.join(format!("{number}.bin")), mode));
                            steps.push(Step { path, folders, how: How::Restore { before, after } });
                        }
                    }
                }
            }
        }
        let mut whole = true;
        for step in steps.into_iter().rev() {
            match step.take_back() {
                Ok(path) => undone.files.push(path.display().to_string()),
                Err(why) => {
                    whole &= !why.retry;
                    undone.kept.push(why.text);
                }
            }
        }
        if whole {
            fs::remove_dir_all(&folder).map_err(wrong)?;
        }
        Ok(undone)
    }
}

impl Undo for UndoLog {
    fn undo(&self, session: SessionId, turn: Option<TurnId>) -> BoxFuture<'_, Result<Undone, String>> {
        Box::pin(async move { self.undo_now(session, turn) })
    }
}

/// What has to happen to one file.
struct Step {
    path: PathBuf,
    folders: Vec<PathBuf>,
    how: How,
}

enum How {
    /// Put back what stood there, if what stands there is what a tool left.
    Restore {
        /// Where the bytes are kept, and the permission bits.
        before: Option<(PathBuf, u32)>,
        /// SHA-256 of what a tool left, in hex.
        after: String,
    },
    /// Take out what was added, whatever was added since.
    Cut { text: String, head: Option<String> },
}

struct Kept {
    text: String,
    /// True where another try may succeed.
    retry: bool,
}

impl Kept {
    fn for_now(path: &Path, error: &io::Error) -> Self {
        Self { text: format!("{}: {error}", path.display()), retry: true }
    }

    fn for_good(path: &Path) -> Self {
        let text = format!("{} was changed by something else since, and stays as it is", path.display());
        Self { text, retry: false }
    }
}

impl Step {
    fn take_back(self) -> Result<PathBuf, Kept> {
        let current = state(&self.path).map_err(|error| Kept::for_now(&self.path, &error))?;
        match &self.how {
            How::Restore { before, after } => self.restore(current, before.as_ref(), after)?,
            How::Cut { text, head } => self.cut(current, text, head.as_deref())?,
        }
        Ok(self.path)
    }

    fn restore(
        &self,
        current: Option<State>,
        before: Option<&(PathBuf, u32)>,
        after: &str,
    ) -> Result<(), Kept> {
        let failed = |error: io::Error| Kept::for_now(&self.path, &error);
        let before = match before {
            Some((kept, mode)) => Some(State { bytes: fs::read(kept).map_err(failed)?, mode: *mode }),
            None => None,
        };
        let same = |a: &State, b: &State| a.bytes == b.bytes && a.mode == b.mode;
        let done = match (&current, &before) {
            (None, None) => true,
            (Some(current), Some(before)) => same(current, before),
            _ => false,
        };
        if done {
            return Ok(());
        }
        if current.as_ref().is_some_and(|current| hex(&current.bytes) != after) {
            return Err(Kept::for_good(&self.path));
        }
        match before {
            Some(before) => replace(&self.path, &before.bytes, Some(before.mode)).map_err(failed),
            // Nothing was there before, and `current` is what the tool made.
            None => self.remove(),
        }
    }

    fn cut(&self, current: Option<State>, text: &str, head: Option<&str>) -> Result<(), Kept> {
        let Some(current) = current else { return Ok(()) };
        let Some(at) = last_place(&current.bytes, text.as_bytes()) else {
            return Err(Kept::for_good(&self.path));
        };
        let left = [&current.bytes[..at], &current.bytes[at + text.len()..]].concat();
        if head.is_some_and(|head| left == head.as_bytes()) {
            return self.remove();
        }
        replace(&self.path, &left, None).map_err(|error| Kept::for_now(&self.path, &error))
    }

    fn remove(&self) -> Result<(), Kept> {
        fs::remove_file(&self.path).map_err(|error| Kept::for_now(&self.path, &error))?;
        // Only what is empty goes; the first folder that is not ends it.
        let _ = self.folders.iter().rev().try_for_each(fs::remove_dir);
        Ok(())
    }
}

fn last_place(bytes: &[u8], text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    bytes.windows(text.len()).rposition(|window| window == text)
}

/// The folders that have to be made for a file, the outermost first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let missing = path.ancestors().skip(1).take_while(|folder| !folder.exists());
    let mut folders: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    folders.reverse();
    folders
}

/// Puts `bytes` in place of the file in one step: a reader sees the old or the new file. Without
/// `mode` the permission bits stay.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mode = match mode {
        Some(mode) => Some(mode),
        None => state_mode(path)?,
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".chela-{}", TurnId::new()));
    let temporary = folder.join(name);
    let written = durable(&temporary, bytes)
        .and_then(|()| mode.map_or(Ok(()), |mode| set_mode(&temporary, mode)))
        .and_then(|()| fs::rename(&temporary, path));
    match written {
        Ok(()) => File::open(folder)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path.exists() => {
            // A folder that takes no new files may still hold one that can be written.
            let _ = fs::remove_file(&temporary);
            let mut file = File::options().write(true).truncate(true).open(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        }
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

fn durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn state(path: &Path) -> io::Result<Option<State>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(State { bytes, mode: state_mode(path)?.unwrap_or(0o644) })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn state_mode(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.permissions().mode() & 0o7777)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The numbers of a turn's entries, in order.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(number) = name.strip_suffix(".json") {
            numbers.push(number.to_owned());
        }
    }
    numbers.sort();
    Ok(numbers)
}

/// The newest turn with a change in it; ids grow with time.
fn newest(session: &Path) -> Option<TurnId> {
    let turns = fs::read_dir(session).ok()?.flatten();
    let turns = turns.filter(|turn| has_change(&turn.path()));
    turns.filter_map(|turn| turn.file_name().to_string_lossy().parse::<TurnId>().ok()).max()
}

/// What cannot be taken back of the turns after this one, which changed no file otherwise.
fn remarks_after(session: &Path, turn: TurnId) -> Vec<String> {
    let mut turns = turns(session);
    turns.retain(|later| *later > turn);
    turns.sort();
    turns.iter().flat_map(|turn| remarks(&session.join(turn.to_string()))).collect()
}

fn remarks(folder: &Path) -> Vec<String> {
    let read = |number: &String| fs::read(folder.join(format!("{number}.json"))).ok();
    let text = |bytes: Vec<u8>| match serde_json::from_slice(&bytes) {
        Ok(Entry::Remark { text }) => Some(text),
        _ => None,
    };
    entries(folder).unwrap_or_default().iter().filter_map(read).filter_map(text).collect()
}

fn nothing(session: &Path) -> String {
    let mut turns = turns(session);
    turns.sort();
    let remarks: Vec<String> =
        turns.iter().flat_map(|turn| remarks(&session.join(turn.to_string()))).collect();
    match remarks.is_empty() {
        true => "there is no change of a file to take back".to_owned(),
        false => {
            format!("there is no change of a file to take back; it cannot take back {}", remarks.join("; "))
        }
    }
}

fn turns(session: &Path) -> Vec<TurnId> {
    let turns = fs::read_dir(session).into_iter().flatten().flatten();
    turns.filter_map(|turn| turn.file_name().to_string_lossy().parse().ok()).collect()
}

fn has_change(folder: &Path) -> bool {
    let read = |number: &String| fs::read(folder.join(format!("{number}.json"))).ok();
    let is_change = |bytes: Vec<u8>| !matches!(serde_json::from_slice(&bytes), Ok(Entry::Remark { .. }));
    entries(folder).unwrap_or_default().iter().filter_map(read).any(is_change)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
