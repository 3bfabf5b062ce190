//! The provider `local`: a model in this process, asked over the same routes and wire types as any
//! server, without a port.

use std::sync::Arc;

use axum::body::Body;
use chela_client::catalog::InProcessServer;
use chela_client::transport::InProcess;
use chela_config::env;
use chela_engine::engine::EngineOptions;
use chela_server::{EngineBackend, Options, ServeSettings, router};

use crate::args::{Command, Models};
use crate::context::Context;
use crate::exit::{Code, Failure, Outcome};
use crate::local::{Bar, interruptible, panel_cache};
use crate::locate;

/// The provider's id.
const LOCAL: &str = "local";

/// Loads the model that the command names as `local/PATH`, or that the configuration names where the
/// command names none.
pub fn prepare(context: &mut Context, command: &Command) -> Outcome {
    let named = match command {
        Command::Agent(args) => args.model.as_deref(),
        Command::Chat(args) => args.model.as_deref(),
        Command::Models(Models::Status { model, .. }) => model.as_deref(),
        Command::Models(Models::Set { model, .. }) => Some(model.as_str()),
        _ => return Ok(()),
    };
    let Some(name) = wanted(context, named)? else { return Ok(()) };
    let path = locate::model(&name, Some(&context.paths), context.env())?;
    let isa = context.env().get(env::CHELA_ISA).map(str::parse).transpose();
    let options = EngineOptions {
        panel_cache: Some(panel_cache(context)),
        isa: isa.map_err(|error| Failure::usage(format!("{}: {error}", env::CHELA_ISA)))?,
        ..EngineOptions::default()
    };
    let backend = EngineBackend::new(ServeSettings {
        names: vec![name.clone()],
        root: name.clone(),
        prompt_tokens_details: true,
        ..ServeSettings::default()
    });
    let loading = backend.clone();
    interruptible(move || {
        let bar = Bar::new();
        let loaded = loading.load(&path, &options, &mut |at| bar.loading(at));
        bar.clear();
        loaded.map_err(|error| Failure::new(Code::NoModel, format!("{LOCAL}/{name}: {error}")))
    })?;
    let service = router(Arc::new(backend), Options::default());
    let transport = Arc::new(InProcess::new::<_, Body, Body>(service));
    context.in_process.push(InProcessServer { id: LOCAL.to_owned(), transport });
    Ok(())
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
