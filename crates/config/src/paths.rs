//! Where Chela's files stand: the home folder's layout, and the order in which the config is found.

use std::path::{Path, PathBuf};

use crate::env::{CHELA_CONFIG, CHELA_HOME, Env, HOME};

/// The folder of Chela's files and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    home: PathBuf,
}

/// Neither `CHELA_HOME` nor `HOME` is set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no folder for Chela's files: neither CHELA_HOME nor HOME is set; set CHELA_HOME to one")]
pub struct NoHome;

macro_rules! layout {
    ($($(#[doc = $doc:literal])+ $method:ident => $name:literal;)*) => {
        impl Paths {
            $($(#[doc = $doc])+ pub fn $method(&self) -> PathBuf { self.home.join($name) })*
        }

        /// Everything that stands in the home folder: name, and what it is.
        pub(crate) const LAYOUT: &[(&str, &str)] = &[$(($name, concat!($($doc),+))),*];
    };
}

layout! {
    /// The config file.
    config => "chela.json5";
    /// Keys of providers, readable by the user alone.
    auth => "auth.json";
    /// Sessions, memory and their index.
    sessions => "sessions.db";
    /// Which folders the user trusts.
    trust => "trust.json";
    /// What was typed in the chat, readable by the user alone.
    history => "history";
    /// What can be deleted at any time: discovered models, probe results.
    cache => "cache";
    /// Models, by name.
    models => "models";
    /// Locks and sockets of running processes.
    run => "run";
    /// Rotating log files.
    logs => "logs";
    /// What files held before a tool changed them.
    undo => "undo";
    /// Outputs of commands that were too long for the model.
    outputs => "outputs";
}

/// Which file holds the config, and who named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// Who named it. A file that was named must exist; the one in the home folder need not.
    pub named_by: NamedBy,
}

/// Who named the config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// `--config`.
    Flag,
    /// `CHELA_CONFIG`.
    Variable,
    /// Nobody: it is the one in the home folder.
    Default,
}

impl Paths {
    /// The layout below the folder `home`.
    pub fn new(home: impl Into<PathBuf>) -> Paths {
        Paths { home: home.into() }
    }

    /// The layout below `$CHELA_HOME`, else `~/.chela`.
    pub fn from_env(env: &Env) -> Result<Paths, NoHome> {
        match (env.get(CHELA_HOME), env.get(HOME)) {
            (Some(home), _) => Ok(Paths::new(home)),
            (None, Some(user)) => Ok(Paths::new(Path::new(user).join(".chela"))),
            (None, None) => Err(NoHome),
        }
    }

    /// The folder itself.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The config file: `flag`, else `$CHELA_CONFIG`, else the one in the home folder.
    pub fn config_file(&self, flag: Option<&Path>, env: &Env) -> ConfigFile {
        let (path, named_by) = match (flag, env.get(CHELA_CONFIG)) {
            (Some(path), _) => (path.to_owned(), NamedBy::Flag),
            (None, Some(path)) => (PathBuf::from(path), NamedBy::Variable),
            (None, None) => (self.config(), NamedBy::Default),
        };
        ConfigFile { path, named_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_looked_up_in_the_documented_order() {
        let env = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Env>();
        let all = [("CHELA_HOME", "/c"), ("CHELA_CONFIG", "/v.json5"), ("HOME", "/u")];
        type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], &'a str, NamedBy);
        let table: [Case; 5] = [
            (Some("/f.json5"), &all, "/f.json5", NamedBy::Flag),
            (None, &all, "/v.json5", NamedBy::Variable),
            (None, &[("CHELA_HOME", "/c"), ("HOME", "/u")], "/c/chela.json5", NamedBy::Default),
            (None, &[("HOME", "/u")], "/u/.chela/chela.json5", NamedBy::Default),
            (
                None,
                &[("CHELA_HOME", ""), ("CHELA_CONFIG", ""), ("HOME", "/u")],
                "/u/.chela/chela.json5",
                NamedBy::Default,
            ),
        ];
        for (flag, pairs, path, named_by) in table {
            let env = env(pairs);
            let paths = Paths::from_env(&env).unwrap();
            let file = paths.config_file(flag.map(Path::new), &env);
            assert_eq!(file, ConfigFile { path: path.into(), named_by });
        }
        assert_eq!(Paths::from_env(&Env::default()), Err(NoHome));
    }
}
