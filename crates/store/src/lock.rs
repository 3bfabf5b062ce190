//! One writer per session, by the kernel's lock on a file, which a process that dies gives back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A held lock. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Open, and with it locked, until the value is dropped.
    _file: File,
}

/// Who has the lock.
pub(crate) enum Taken {
    /// This process, now.
    Ours(Lock),
    /// Another one, with its id if it wrote it down.
    Theirs(Option<u32>),
}

impl Lock {
    /// Tries to take the lock on `path`.
    pub fn take(path: &Path) -> std::io::Result<Taken> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        loop {
            let mut file =
                OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let _ = file.read_to_string(&mut text);
                    return Ok(Taken::Theirs(text.trim().parse().ok()));
                }
                Err(TryLockError::Error(cause)) => return Err(cause),
            }
            // The holder before removes the file: then this lock is on a file that nobody else
            // will find, and another one has to be made.
            let same = std::fs::metadata(path)
                .is_ok_and(|there| file.metadata().is_ok_and(|ours| same_file(&there, &ours)));
            if same {
                file.set_len(0)?;
                file.rewind()?;
                write!(file, "{}", std::process::id())?;
                return Ok(Taken::Ours(Self { path: path.to_owned(), _file: file }));
            }
        }
    }
}

fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked; see `take`.
        let _ = std::fs::remove_file(&self.path);
    }
}
