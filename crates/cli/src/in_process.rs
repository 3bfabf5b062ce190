//! The provider `local`: a model in this process, asked over the same routes and wire types as any
//! server, without a port.

use std::sync::Arc;

use axum::body::Body;
use chela_client::catalog::InProcessServer;
use chela_client::transport::InProcess;
use chela_engine::model::LoadError;
use chela_server::{EngineBackend, Options, ServeError, ServeSettings, router};

use crate::args::{Command, Models, Sessions};
use crate::context::Context;
use crate::exit::{Code, Failure, Outcome};
use crate::local::{self, Bar, interruptible};
use crate::{demo, locate};

/// The provider's id.
pub const LOCAL: &str = "local";

/// Loads the model that the command names as `local/PATH`, or that the configuration names where the
/// command names none.
pub fn prepare(context: &mut Context, command: &Command) -> Outcome {
    let named = match command {
        Command::Agent(args) => args.model.as_deref(),
        Command::Chat(args) => args.model.as_deref(),
        Command::Sessions(Sessions::Resume { .. }) | Command::Models(Models::List { .. }) => None,
        Command::Models(Models::Status { model, .. }) => model.as_deref(),
        Command::Models(Models::Set { model, .. }) => Some(model.as_str()),
        _ => return Ok(()),
    };
    let Some(name) = wanted(context, named)? else { return Ok(()) };
    // A list is no reason to load gigabytes.
    if name == demo::ID || !matches!(command, Command::Models(Models::List { .. })) {
        let server = load(context, &name)?;
        context.in_process.push(server);
    }
    Ok(())
}

/// Loads a model: the demo model, or the files of this name.
pub fn load(context: &Context, name: &str) -> Result<InProcessServer, Failure> {
    let path =
        if name == demo::ID { None } else { Some(locate::model(name, Some(&context.paths), context.env())?) };
    let mut options = local::own(context)?;
    if path.is_none() {
        // The demo model is repacked sooner than what was kept is found.
        options.panel_cache = None;
    }
    let backend = EngineBackend::new(ServeSettings {
        names: vec![name.to_owned()],
        root: name.to_owned(),
        prompt_tokens_details: true,
        ..ServeSettings::default()
    });
    let (loading, name) = (backend.clone(), name.to_owned());
    interruptible(move || {
        let bar = Bar::new();
        let loaded = match path {
            Some(path) => loading.load(&path, &options, &mut |at| bar.loading(at)),
            None => demo::source()
                .map_err(|error| ServeError::from(LoadError::from(error)))
                .and_then(|source| loading.load_source(source, &options, &mut |_| {})),
        };
        bar.clear();
        loaded.map_err(|error| Failure::new(Code::NoModel, format!("{LOCAL}/{name}: {error}")))
    })?;
    let service = router(Arc::new(backend), Options::default());
    let transport = Arc::new(InProcess::new::<_, Body, Body>(service));
    Ok(InProcessServer { id: LOCAL.to_owned(), transport })
}

/// The part after `local/` of the model that is named, by an alias or not, or configured.
fn wanted(context: &Context, named: Option<&str>) -> Result<Option<String>, Failure> {
    let defaults = &context.loaded.config.agents.defaults;
    let text = match named {
        Some(text) => text.to_owned(),
        None => match defaults.model.as_ref().and_then(|model| model.primary.as_ref()) {
            Some(primary) => primary.resolve(context.env()).map_err(Failure::usage)?,
            None => return Ok(None),
        },
    };
    let is_alias =
        |alias: &chela_config::Text| alias.resolve(context.env()).is_ok_and(|alias| alias == text.trim());
    let alias = defaults.models.iter().find_map(|(pattern, entry)| {
        let fits = pattern.provider == LOCAL && entry.alias.as_ref().is_some_and(is_alias);
        pattern.model.clone().filter(|_| fits)
    });
    let direct = || text.trim().strip_prefix(LOCAL)?.strip_prefix('/').map(str::to_owned);
    Ok(alias.or_else(direct).filter(|name| !name.is_empty()))
}
