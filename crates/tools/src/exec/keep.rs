//! Outputs that are longer than a result: files that `read` pages through.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chela_protocol::SessionId;

/// Files that are kept; the oldest go first.
const KEPT: usize = 50;

/// A folder of outputs.
#[derive(Debug, Clone)]
pub struct Outputs {
    folder: PathBuf,
}

impl Outputs {
    /// Outputs in this folder, which is made when the first one is written.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what is kept of a session.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn forget(&self, session: SessionId) -> io::Result<()> {
        let prefix = prefix(session);
        let of_session = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        self.files().iter().filter(of_session).try_for_each(fs::remove_file)
    }

    /// A file for the next output of a session. Nothing is made before something is written.
    pub(super) fn next(&self, session: SessionId) -> KeptFile {
        KeptFile { folder: self.folder.clone(), prefix: prefix(session), file: None }
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn tidy(&self) {
        let age = |path: &PathBuf| {
            path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let mut files = self.files();
        files.sort_by_key(age);
        for old in files.iter().take(files.len().saturating_sub(KEPT)) {
            let _ = fs::remove_file(old);
        }
    }
}

/// The end of the id, which is its random part.
fn prefix(session: SessionId) -> String {
    let id = session.to_string();
    format!("{}-", &id[id.len().saturating_sub(8)..])
}

/// One output that is being written.
pub(super) struct KeptFile {
    folder: PathBuf,
    prefix: String,
    file: Option<io::Result<(PathBuf, BufWriter<File>)>>,
}

impl KeptFile {
    /// Writes on. An error is told at the end.
    pub fn write(&mut self, text: &str) {
        if self.file.is_none() {
            self.file = Some(self.open());
        }
        if let Some(Ok((_, file))) = &mut self.file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            self.file = Some(Err(error));
        }
    }

    fn open(&self) -> io::Result<(PathBuf, BufWriter<File>)> {
        fs::create_dir_all(&self.folder)?;
        Outputs::new(self.folder.clone()).tidy();
        for number in 1.. {
            let path = self.folder.join(format!("{}{number}.txt", self.prefix));
            match File::create_new(&path) {
                Ok(file) => return Ok((path, BufWriter::new(file))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no free name"))
    }

    /// Where all of it is.
    pub fn finish(self) -> io::Result<PathBuf> {
        let (path, mut file) = self.file.unwrap_or_else(|| Err(io::Error::other("nothing was written")))?;
        file.flush()?;
        Ok(path)
    }
}
