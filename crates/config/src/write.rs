//! Replacing a file as a whole: a reader sees what stood there or what stands there now, and a
//! crash leaves one of the two.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that is to be replaced. While it lives, no other process of ours writes in its folder.
pub(crate) struct Target {
    /// The file itself, where it was named through a symlink.
    path: PathBuf,
    /// Its folder, held by the kernel's lock.
    folder: File,
    /// The permissions of what is written.
    mode: u32,
}

impl Target {
    /// Waits for other writers. The folder is made if it is missing; a new file will be readable by
    /// the user alone.
    pub fn lock(path: &Path) -> io::Result<Target> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let folder = File::open(folder)?;
        folder.lock()?;
        let mode = fs::metadata(&path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
        Ok(Target { path, folder, mode })
    }

    /// The same with other permissions.
    pub fn with_mode(self, mode: u32) -> Target {
        Target { mode, ..self }
    }

    /// Writes the text in place of the file.
    pub fn replace(&self, text: &str) -> io::Result<()> {
        self.write(&self.path, text)
    }

    /// Writes the text beside the file, under its name with `.bak`, and gives the path.
    pub fn back_up(&self, text: &str) -> io::Result<PathBuf> {
        let path = self.beside(".bak");
        self.write(&path, text)?;
        Ok(path)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(suffix);
        name.into()
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        // One that a crash left behind may have other permissions.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self.write_and_rename(&temporary, path, text);
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_and_rename(&self, temporary: &Path, path: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(self.mode))?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        self.folder.sync_all()
    }
}
