//! What was learned about servers, kept in a cache folder between processes.
//!
//! Everything here may be deleted at any time. A file that cannot be read is as good as absent;
//! a file that cannot be written costs the next process a question, and is logged.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::transport::show;

/// Raised when the meaning of a file changes; files of another version are ignored.
const VERSION: u32 = 1;

/// The cache folder, or nothing to keep anything in.
#[derive(Clone, Debug, Default)]
pub struct State {
    folder: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    base_url: String,
    /// Seconds since 1970 of the writing.
    at: u64,
    value: T,
}

/// A value and how long ago it was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Aged<T> {
    /// The value.
    pub value: T,
    /// Its age.
    pub age: Duration,
}

impl State {
    /// State in `folder`, which is created when something is first written; none without one.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The value of this kind for this server, if one is kept.
    pub fn read<T: DeserializeOwned>(&self, kind: &str, base_url: &Url) -> Option<Aged<T>> {
        let bytes = std::fs::read(self.path(kind, base_url)?).ok()?;
        let kept: Envelope<T> = serde_json::from_slice(&bytes).ok()?;
        if kept.version != VERSION || kept.base_url != show(base_url) {
            return None;
        }
        Some(Aged { value: kept.value, age: Duration::from_secs(now().saturating_sub(kept.at)) })
    }

    /// Keep a value, atomically: a reader sees the old file or the new one.
    pub fn write<T: Serialize>(&self, kind: &str, base_url: &Url, value: &T) {
        let Some(path) = self.path(kind, base_url) else { return };
        let kept = Envelope { version: VERSION, base_url: show(base_url), at: now(), value };
        if let Err(error) = write_atomically(&path, &kept) {
            tracing::warn!(path = %path.display(), %error, "cannot write the cache");
        }
    }

    /// Forget the value of this kind for this server.
    pub fn forget(&self, kind: &str, base_url: &Url) {
        if let Some(path) = self.path(kind, base_url) {
            // Absent is what is wanted.
            let _ = std::fs::remove_file(path);
        }
    }

    fn path(&self, kind: &str, base_url: &Url) -> Option<PathBuf> {
        let shown = show(base_url);
        let readable: String =
            shown.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        Some(self.folder.as_ref()?.join(format!("{kind}-{readable}-{:016x}.json", fnv1a(&shown))))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// FNV-1a: keeps names apart that read alike. Not for secrets.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn write_atomically<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = std::fs::File::create(&temporary)?;
    let written =
        serde_json::to_writer(&mut file, value).map_err(std::io::Error::from).and_then(|()| file.flush());
    match written.and_then(|()| std::fs::rename(&temporary, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&temporary);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_per_server_without_its_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(Some(folder.path().join("cache")));
        let url = Url::parse("http://me:secret@127.0.0.1:8000/v1").unwrap();
        let other = Url::parse("http://127.0.0.1:8001/v1").unwrap();
        assert!(state.read::<u32>("models", &url).is_none());
        state.write("models", &url, &7_u32);
        let kept = state.read::<u32>("models", &url).unwrap();
        assert_eq!(kept.value, 7);
        assert!(kept.age < Duration::from_secs(60));
        assert!(state.read::<u32>("models", &other).is_none());
        assert!(state.read::<u32>("facts", &url).is_none());
        for entry in std::fs::read_dir(folder.path().join("cache")).unwrap() {
            let entry = entry.unwrap();
            assert!(!entry.file_name().to_string_lossy().contains("secret"));
            assert!(!std::fs::read_to_string(entry.path()).unwrap().contains("secret"));
        }
        state.forget("models", &url);
        assert!(state.read::<u32>("models", &url).is_none());
    }

    #[test]
    fn a_damaged_file_is_as_good_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(Some(folder.path().to_owned()));
        let url = Url::parse("http://127.0.0.1:8000/v1").unwrap();
        state.write("models", &url, &7_u32);
        let path = state.path("models", &url).unwrap();
        std::fs::write(&path, "{\"version\":1,").unwrap();
        assert!(state.read::<u32>("models", &url).is_none());
    }
}
