//! The agent, put together: catalog, client, tools, policy and sessions.

use std::path::PathBuf;
use std::sync::Arc;

use chela_agent::journal::Journal;
use chela_agent::policy::Policy;
use chela_agent::remote::Remote;
use chela_agent::tool::Registry;
use chela_agent::{Agent, Parts, Settings};
use chela_client::{Catalog, ModelClient, Timing};
use chela_protocol::{ApproveMode, Thinking};
use chela_tools::files::{self, Files};
use chela_tools::undo::UndoLog;
use jiff::tz::TimeZone;

use crate::context::{Context, unresolved};
use crate::exit::Failure;
use crate::output::say;
use crate::sessions::Stored;

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

/// The tools of a workspace, in the order in which the model sees them.
pub fn tools(context: &Context) -> (Registry, Arc<UndoLog>) {
    let undo = Arc::new(UndoLog::new(context.paths.undo()));
    let home = context.env().get(chela_config::env::HOME).map(PathBuf::from);
    let files = Files::new(Arc::clone(&undo), home);
    (Registry::new(files::tools(&files)), undo)
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
    let models = Remote::new(catalog, client);
    let model = models.model(model, fallbacks);
    let sessions = Stored::open(context, &workspace)?;
    let journal: Arc<dyn Journal> = sessions.session(wishes.session.as_deref())?;
    let (tools, undo) = tools(context);
    Ok(Agent::new(Parts {
        settings: settings(context, &wishes, workspace.clone()),
        tools,
        policy: policy(context, workspace),
        models: Arc::new(models),
        model,
        sessions: Arc::new(sessions),
        journal,
        undo: Some(undo),
        recall: None,
    }))
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
    let home = context.paths.home().to_owned();
    let home = home.canonicalize().unwrap_or(home);
    let mut protected = vec![home];
    protected.extend(context.loaded.files.iter().filter_map(|file| file.canonicalize().ok()));
    Policy { workspace, protected, instructions: Vec::new() }
}
