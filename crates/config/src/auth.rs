//! The auth file: keys of providers, kept apart from the config and readable by the user alone.
//!
//! `{"profiles": {"vllm:default": {"provider": "vllm", "key": "…"}}}`, JSON. Fields that are not
//! known are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::{Secret, SecretSource};
use crate::{load, write};

/// The profiles of an auth file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// One key. Its `Debug` shows the provider only.
#[derive(Clone, Serialize, Deserialize)]
pub struct Profile {
    /// The provider it is for.
    pub provider: String,
    key: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Why an auth file was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
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
        "{}:{line}:{column}: expected {{\"profiles\": {{\"vllm:default\": {{\"provider\": \"vllm\", \"key\": \"…\"}}}}}}; \
         repair the file, or remove it and add the keys again with `chela auth add`",
        file.display()
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where reading stopped, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// A profile needs a name, a provider and a key.
    #[error("an auth profile needs a {0} that is not empty")]
    Empty(&'static str),
}

impl Profiles {
    /// The profiles of the file; none if there is no file.
    pub fn load(file: &Path) -> Result<Profiles, AuthError> {
        let text = match load::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Profiles::default()),
            Err(source) => return Err(AuthError::Io { action: "read", file: file.to_owned(), source }),
        };
        // The parser's own message may quote what it found, which may be a key.
        serde_json::from_str(&text).map_err(|error| AuthError::Malformed {
            file: file.to_owned(),
            line: error.line(),
            column: error.column(),
        })
    }

    /// Every profile: its name and what it is for.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.profiles.iter().map(|(name, profile)| (name.as_str(), profile))
    }

    /// The key for a provider: that of the profile `<provider>:default`, else of the first by name.
    pub fn key_for(&self, provider: &str) -> Option<Secret> {
        let default = format!("{provider}:default");
        let of_provider = || self.profiles.iter().filter(|(_, profile)| profile.provider == provider);
        let (name, profile) =
            of_provider().find(|(name, _)| **name == default).or_else(|| of_provider().next())?;
        Some(Secret::new(profile.key.as_str(), SecretSource::Profile(name.clone())))
    }
}

/// The permissions of the auth file if others than the user can read or write it.
pub fn loose_mode(file: &Path) -> Option<u32> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Adds or replaces a profile; gives whether one of that name was there.
pub fn add(file: &Path, name: &str, provider: &str, key: &str) -> Result<bool, AuthError> {
    for (what, value) in [("name", name), ("provider", provider), ("key", key)] {
        if value.trim().is_empty() {
            return Err(AuthError::Empty(what));
        }
    }
    let profile =
        Profile { provider: provider.to_owned(), key: key.trim().to_owned(), rest: Default::default() };
    change(file, |profiles| profiles.insert(name.to_owned(), profile).is_some())
}

/// Removes a profile; gives whether it was there.
pub fn remove(file: &Path, name: &str) -> Result<bool, AuthError> {
    change(file, |profiles| profiles.remove(name).is_some())
}

fn change(file: &Path, edit: impl FnOnce(&mut BTreeMap<String, Profile>) -> bool) -> Result<bool, AuthError> {
    let failed = |action| move |source| AuthError::Io { action, file: file.to_owned(), source };
    let target = write::Target::lock(file).map_err(failed("lock"))?.with_mode(0o600);
    let mut profiles = Profiles::load(file)?;
    let was_there = edit(&mut profiles.profiles);
    let text = serde_json::to_string_pretty(&profiles).map_err(|error| failed("write")(error.into()))?;
    target.replace(&format!("{text}\n")).map_err(failed("write"))?;
    Ok(was_there)
}
