//! What every command starts from: surroundings, the layout of the home folder, and the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use chela_client::ExitClass;
use chela_client::catalog::{Catalog, InProcessServer, ResolveError, Settings};
use chela_client::transport::{Http, HttpSettings, ProxyRules};
use chela_config::auth::Profiles;
use chela_config::{ConfigFile, Env, Loaded, Paths, Secret, env};

use crate::args::Global;
use crate::env::Surroundings;
use crate::exit::{Code, Failure};
use crate::logging;
use crate::output::say;

/// Surroundings, layout and configuration of one run.
#[derive(Debug)]
pub struct Context {
    /// What the process was given.
    pub surroundings: Surroundings,
    /// The layout of `$CHELA_HOME`.
    pub paths: Paths,
    /// The configuration file.
    pub file: ConfigFile,
    /// The configuration.
    pub loaded: Loaded,
    /// Refuse every connection that leaves this machine and the configured servers.
    pub local_only: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Servers of this process.
    pub in_process: Vec<InProcessServer>,
}

impl Context {
    /// Reads the configuration, starts the log, and says what is doubtful about the file.
    pub fn new(global: &Global, surroundings: Surroundings) -> Result<Self, Failure> {
        let (paths, file) = locate(global, &surroundings.variables)?;
        start_log(&paths, global, &surroundings.variables)?;
        let loaded = chela_config::open(&file, &surroundings.variables).map_err(Failure::usage)?;
        for warning in &loaded.warnings {
            say(warning);
        }
        if let Some(line) = loaded.ignored_line() {
            say(format_args!("note: {line}"));
        }
        let local_only = global.local_only || loaded.config.network.local_only.unwrap_or(false);
        let verbose = global.verbose;
        Ok(Self { surroundings, paths, file, loaded, local_only, verbose, in_process: Vec::new() })
    }

    /// The environment.
    pub fn env(&self) -> &Env {
        &self.surroundings.variables
    }
}

/// Finds the home folder's layout and the configuration file.
pub fn locate(global: &Global, env: &Env) -> Result<(Paths, ConfigFile), Failure> {
    let paths =
        Paths::from_env(env).map_err(|e| Failure::usage(e).hint("set CHELA_HOME to a folder of yours"))?;
    let file = paths.config_file(global.config.as_deref(), env);
    Ok((paths, file))
}

/// Starts the log in `$CHELA_HOME/logs`.
pub fn start_log(paths: &Paths, global: &Global, variables: &Env) -> Result<(), Failure> {
    logging::start(Some(&paths.logs()), variables.get(env::CHELA_LOG), global.verbose, "")
        .map_err(Failure::usage)
}

impl Context {
    /// The one HTTP client, with nothing opened yet.
    pub fn http(&self) -> Arc<Http> {
        Arc::new(Http::new(HttpSettings {
            local_only: self.local_only,
            proxy: ProxyRules::from_environment(self.env()),
            ca_bundle: self.env().get(env::SSL_CERT_FILE).map(Into::into),
            lookup: None,
        }))
    }

    /// The catalog of the configuration.
    pub fn catalog(&self) -> Result<Catalog, Failure> {
        self.catalog_of(&self.loaded)
    }

    /// The catalog of a configuration that was just changed.
    pub fn catalog_of(&self, loaded: &Loaded) -> Result<Catalog, Failure> {
        self.catalog_over(loaded, self.http())
    }

    /// A catalog over this HTTP client.
    pub fn catalog_over(&self, loaded: &Loaded, http: Arc<Http>) -> Result<Catalog, Failure> {
        Ok(Catalog::new(Settings {
            config: Arc::new(loaded.config.clone()),
            env: Arc::new(self.env().clone()),
            profiles: self.keys()?,
            cache: Some(self.paths.cache()),
            http,
            in_process: self.in_process.clone(),
        }))
    }

    /// The keys of the auth file, by provider.
    fn keys(&self) -> Result<BTreeMap<String, Secret>, Failure> {
        let profiles = Profiles::load(&self.paths.auth()).map_err(Failure::usage)?;
        let providers: BTreeSet<&str> =
            profiles.iter().map(|(_, profile)| profile.provider.as_str()).collect();
        Ok(providers.into_iter().filter_map(|id| Some((id.to_owned(), profiles.key_for(id)?))).collect())
    }

    /// The folder that the agent works in, absolute and with symlinks resolved.
    pub fn workspace(&self) -> Result<PathBuf, Failure> {
        let named = self.loaded.config.agents.defaults.workspace.as_ref();
        let path = match named {
            Some(text) => text.resolve(self.env()).map_err(Failure::usage)?,
            None => self
                .surroundings
                .folder
                .as_ref()
                .map_err(|e| Failure::new(Code::Failed, format!("the current folder is gone: {e}")))?
                .clone(),
        };
        let whose = if named.is_some() { "agents.defaults.workspace" } else { "the current folder" };
        let path =
            path.canonicalize().map_err(|e| Failure::usage(format!("{whose} {}: {e}", path.display())))?;
        if path.is_dir() {
            Ok(path)
        } else {
            Err(Failure::usage(format!("{whose} {} is not a folder", path.display())))
        }
    }
}

/// A tokio runtime for one command.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Code::Failed, format!("cannot start the runtime: {e}")))
}

impl From<ExitClass> for Code {
    fn from(class: ExitClass) -> Self {
        match class {
            ExitClass::Failed => Code::Failed,
            ExitClass::Usage => Code::Usage,
            ExitClass::Unusable => Code::NoModel,
            ExitClass::Interrupted => Code::Interrupted,
        }
    }
}

/// A model that cannot be used.
pub fn unresolved(error: ResolveError) -> Failure {
    Failure::new(error.exit_class().into(), error)
}
