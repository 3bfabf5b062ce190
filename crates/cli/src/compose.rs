//! The agent, put together: catalog, client, tools, policy and sessions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chela_agent::journal::{Journal, MemoryJournal, MemorySessions};
use chela_agent::policy::Policy;
use chela_agent::remote::Remote;
use chela_agent::tool::{Registry, resolve};
use chela_agent::{Agent, Parts, Recall, Settings};
use chela_client::catalog::Model;
use chela_client::{Catalog, Http, ModelClient, Timing};
use chela_protocol::{ApproveMode, Thinking};
use chela_tools::exec::{self, Exec, Outputs};
use chela_tools::files::{self, Files};
use chela_tools::memory::{Memory, Notes};
use chela_tools::sandbox::{self, Sandbox};
use chela_tools::undo::UndoLog;
use chela_tools::web::WebFetch;
use jiff::tz::TimeZone;

use crate::context::{Context, unresolved};
use crate::exit::Failure;
use crate::output::say;
use crate::sessions::Stored;
use crate::trust;

/// What a front end decides about its agent.
pub struct Wishes {
    /// The model, or the configured one.
    pub model: Option<String>,
    /// The session to continue or begin.
    pub session: Option<String>,
    /// Whether a person can answer.
    pub can_ask: bool,
    /// What is allowed without asking.
    pub approve: ApproveMode,
    /// How much the model thinks, if not as usual.
    pub thinking: Option<Thinking>,
    /// Requests to the model at most, if not as usual.
    pub max_steps: Option<u32>,
}

/// The tools of a workspace, and what they share.
pub struct Tools {
    /// In the order in which the model sees them.
    pub registry: Registry,
    undo: Arc<UndoLog>,
    notes: Arc<Notes>,
}

/// The tools of a workspace. The web is reached through `http`.
pub fn tools(context: &Context, workspace: &Path, http: Arc<Http>) -> Tools {
    let undo = Arc::new(UndoLog::new(context.paths.undo()));
    let home = context.env().get(chela_config::env::HOME).map(PathBuf::from);
    let files = Files::new(Arc::clone(&undo), home);
    let notes = Notes::new(workspace.to_owned(), Arc::clone(&undo), TimeZone::system());
    let mut tools = files::tools(&files);
    tools.push(Arc::new(exec(context, workspace, Arc::clone(&undo))));
    tools.push(Arc::new(WebFetch::new(http)));
    tools.push(Arc::new(Memory::new(Arc::clone(&notes))));
    Tools { registry: Registry::new(tools), undo, notes }
}

/// Finds the model, opens the session, and puts the agent together.
pub async fn agent(context: &Context, catalog: Arc<Catalog>, wishes: Wishes) -> Result<Agent, Failure> {
    let model = match &wishes.model {
        Some(name) => catalog.find(name).await,
        None => catalog.default_model().await,
    };
    let model = model.map_err(unresolved)?;
    // A model that is named for this task is the one that answers: nobody stands in for it.
    let fallbacks = if wishes.model.is_some() {
        Vec::new()
    } else {
        let (fallbacks, warnings) = catalog.fallbacks().await;
        warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        fallbacks
    };
    for warning in &model.warnings {
        say(format_args!("warning: {warning}"));
    }
    let workspace = context.workspace()?;
    let client = ModelClient::new(catalog.state().clone(), Timing::default());
    let Tools { registry, undo, notes } = tools(context, &workspace, Arc::clone(catalog.http()));
    let models = Remote::new(catalog, client);
    let model = models.model(model, fallbacks);
    let trusted = trust::settle(context, &workspace, wishes.can_ask).await?;
    let sessions = Stored::open(context, &workspace)?;
    let journal: Arc<dyn Journal> = sessions.session(wishes.session.as_deref())?;
    let settings = Settings { trusted, ..settings(context, &wishes, workspace.clone()) };
    // Notes of a folder that nobody vouches for are for the model to search, not to be put before it.
    let recall = settings.trusted.then_some(notes as Arc<dyn Recall>);
    Ok(Agent::new(Parts {
        settings,
        tools: registry,
        policy: policy(context, workspace),
        models: Arc::new(models),
        model,
        sessions: Arc::new(sessions),
        journal,
        undo: Some(undo),
        recall,
    }))
}

/// An agent for one trial in a folder of its own: it changes nothing and leaves nothing behind.
pub fn trial(context: &Context, catalog: Arc<Catalog>, model: Model, workspace: PathBuf) -> Agent {
    let http = Arc::clone(catalog.http());
    let Tools { registry, undo, .. } = tools(context, &workspace, http);
    let models =
        Remote::new(Arc::clone(&catalog), ModelClient::new(catalog.state().clone(), Timing::default()));
    let mut settings = Settings::new(workspace.clone());
    settings.budgets.steps = 5;
    Agent::new(Parts {
        settings,
        tools: registry,
        policy: policy(context, workspace),
        model: models.model(model, Vec::new()),
        models: Arc::new(models),
        sessions: Arc::new(MemorySessions::default()),
        journal: Arc::new(MemoryJournal::new(Vec::new())),
        undo: Some(undo),
        recall: None,
    })
}

fn settings(context: &Context, wishes: &Wishes, workspace: PathBuf) -> Settings {
    let mut settings = Settings::new(workspace);
    settings.approve = wishes.approve;
    settings.can_ask = wishes.can_ask;
    settings.budgets.time = context.loaded.config.agents.defaults.timeout;
    settings.time_zone = TimeZone::system();
    settings.thinking = wishes.thinking.unwrap_or(settings.thinking);
    settings.budgets.steps = wishes.max_steps.unwrap_or(settings.budgets.steps);
    settings
}

/// Keys, configuration and the store are never written by the agent.
fn policy(context: &Context, workspace: PathBuf) -> Policy {
    let (protected, instructions) = (protected(context), instructions(&workspace));
    let readable = vec![outputs(context, &workspace).folder().to_owned()];
    Policy { workspace, protected, instructions, readable }
}

fn protected(context: &Context) -> Vec<PathBuf> {
    let mut protected = vec![own_folder(context)];
    protected.extend(context.loaded.files.iter().filter_map(|file| file.canonicalize().ok()));
    protected
}

/// The folder may not be there yet.
fn own_folder(context: &Context) -> PathBuf {
    let home = context.paths.home();
    resolve(home, "").unwrap_or_else(|_| home.to_owned())
}

fn instructions(workspace: &Path) -> Vec<PathBuf> {
    vec![workspace.join("memory")]
}

/// Outputs of commands in this workspace; of another one's, the model reads nothing.
fn outputs(context: &Context, workspace: &Path) -> Outputs {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    workspace.hash(&mut hasher);
    let name = format!("{:08x}", hasher.finish() >> 32);
    Outputs::new(own_folder(context).join(context.paths.outputs().file_name().unwrap_or_default()).join(name))
}

fn exec(context: &Context, workspace: &Path, undo: Arc<UndoLog>) -> Exec {
    let env = context.env().iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = exec::Settings { env: exec::scrub(env), outputs: outputs(context, workspace) };
    Exec::new(Arc::new(sandbox(context, workspace)), settings, undo)
}

/// The sandbox of a workspace.
pub fn sandbox(context: &Context, workspace: &Path) -> Sandbox {
    Sandbox::new(sandbox::Settings {
        program: PathBuf::from("/proc/self/exe"),
        home: context.env().get(chela_config::env::HOME).map(PathBuf::from),
        visible: visible(context),
        hidden: protected(context),
        frozen: instructions(workspace),
    })
}

/// What commands see of the home folder. A path that takes a variable that is not set is left out.
fn visible(context: &Context) -> Vec<PathBuf> {
    /// Where toolchains lie, below the home folder.
    const TOOLCHAINS: &[&str] = &[".cargo", ".rustup", ".local", ".npm", ".nvm", ".pyenv", ".gitconfig"];
    /// The same, where the user says so.
    const VARIABLES: &[&str] = &["CARGO_HOME", "RUSTUP_HOME", "NVM_DIR", "PYENV_ROOT"];
    let env = context.env();
    if let Some(paths) = &context.loaded.config.sandbox.visible {
        return paths.iter().filter_map(|path| path.resolve(env).ok()).collect();
    }
    let home = env.get(chela_config::env::HOME).map(PathBuf::from);
    let below_home = home.iter().flat_map(|home| TOOLCHAINS.iter().map(|name| home.join(name)));
    let named = VARIABLES.iter().filter_map(|name| env.get(name)).map(PathBuf::from);
    below_home.chain(named).filter(|path| path.is_absolute()).collect()
}
