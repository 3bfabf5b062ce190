//! Which folders the user trusts, so that their instruction files are loaded. Kept in the home folder
//! alone: nothing that lies inside a folder can make it trusted.
//!
//! `{"folders": {"/home/me/work": true, "/tmp/got": false}}`, JSON; `false` is a no that was given.
//! Fields that are not known are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{load, write};

/// The decisions so far, by canonical path. A decision is about one folder, not about those below it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trust {
    #[serde(default)]
    folders: BTreeMap<String, bool>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// Why the file was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what this module writes.
    #[error(
        "{}: {source}; expected {{\"folders\": {{\"/a/folder\": true}}}}; repair the file, or remove it and \
         trust the folders again with `chela trust`",
        file.display()
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// JSON cannot hold the path.
    #[error("the path {} is not UTF-8, so that it cannot be written down", .0.display())]
    NotText(PathBuf),
}

impl Trust {
    /// The decisions of the file; none if there is no file.
    pub fn load(file: &Path) -> Result<Trust, TrustError> {
        match load::read(file) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|source| TrustError::Malformed { file: file.to_owned(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Trust::default()),
            Err(source) => Err(TrustError::Io { action: "read", file: file.to_owned(), source }),
        }
    }

    /// What was decided about this folder (canonical path); none if nothing was.
    pub fn of(&self, folder: &Path) -> Option<bool> {
        self.folders.get(folder.to_str()?).copied()
    }

    /// Every decision: the folder, and whether it is trusted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.folders.iter().map(|(folder, trusted)| (folder.as_str(), *trusted))
    }
}

/// Writes down a decision about a folder (canonical path); gives the one before.
pub fn decide(file: &Path, folder: &Path, trusted: bool) -> Result<Option<bool>, TrustError> {
    change(file, folder, |folders, name| folders.insert(name, trusted))
}

/// Forgets the decision about a folder (canonical path); gives it.
pub fn forget(file: &Path, folder: &Path) -> Result<Option<bool>, TrustError> {
    change(file, folder, |folders, name| folders.remove(&name))
}

fn change(
    file: &Path,
    folder: &Path,
    edit: impl FnOnce(&mut BTreeMap<String, bool>, String) -> Option<bool>,
) -> Result<Option<bool>, TrustError> {
    let name = folder.to_str().ok_or_else(|| TrustError::NotText(folder.to_owned()))?.to_owned();
    let failed = |action| move |source| TrustError::Io { action, file: file.to_owned(), source };
    let target = write::Target::lock(file).map_err(failed("lock"))?.with_mode(0o600);
    let mut trust = Trust::load(file)?;
    let before = edit(&mut trust.folders, name);
    let text = serde_json::to_string_pretty(&trust).map_err(|error| failed("write")(error.into()))?;
    target.replace(&format!("{text}\n")).map_err(failed("write"))?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_about_one_folder_and_unknown_fields_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trust.json");
        assert_eq!(Trust::load(&file).unwrap().of(Path::new("/w")), None);
        std::fs::write(&file, r#"{"later": 1}"#).unwrap();
        assert_eq!(decide(&file, Path::new("/w"), true).unwrap(), None);
        assert_eq!(decide(&file, Path::new("/v"), false).unwrap(), None);
        let trust = Trust::load(&file).unwrap();
        let of = |path: &str| trust.of(Path::new(path));
        assert_eq!((of("/w"), of("/v"), of("/w/below"), of("/")), (Some(true), Some(false), None, None));
        assert_eq!(forget(&file, Path::new("/w")).unwrap(), Some(true));
        assert_eq!(forget(&file, Path::new("/w")).unwrap(), None);
        assert!(std::fs::read_to_string(&file).unwrap().contains("later"));
    }

    #[test]
    fn a_broken_file_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trust.json");
        std::fs::write(&file, "{").unwrap();
        let error = decide(&file, Path::new("/w"), true).unwrap_err().to_string();
        assert!(error.contains("trust.json") && error.contains("chela trust"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
    }
}
