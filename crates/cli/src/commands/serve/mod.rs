//! `chela serve`: the OpenAI-compatible server over the engine.

mod args;
pub mod flags;
mod listen;
mod options;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chela_config::env;
use chela_engine::engine::EngineOptions;
use chela_engine::model::LoadError;
use chela_server::{EngineBackend, ServeError, router};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

pub use args::Serve;
use listen::{Listener, Place};

use crate::args::Global;
use crate::context::{self, runtime};
use crate::env::Surroundings;
use crate::exit::{Code, Failure, Outcome};
use crate::local::Bar;
use crate::output::say;
use crate::{locate, logging};

/// Runs the command.
pub fn run(args: Serve, global: &Global, surroundings: &Surroundings) -> Outcome {
    let env = &surroundings.variables;
    let paths = context::locate(global, env).map(|(paths, _)| paths).ok();
    let quiet = if args.disable_log_requests { "chela_server::metrics=warn" } else { "" };
    let filter = env.get(env::CHELA_LOG);
    let folder = paths.as_ref().map(chela_config::Paths::logs);
    logging::start(folder.as_deref(), filter, global.verbose + 1, quiet).map_err(Failure::usage)?;

    let name = args.model.as_ref().or(args.model_flag.as_ref());
    let name = name.ok_or_else(|| Failure::usage("no model: chela serve MODEL"))?.clone();
    let mut keys = args.api_key.clone();
    if keys.is_empty() {
        keys.extend(env.get(env::VLLM_API_KEY).map(str::to_owned));
    }
    let place = Place::of(&args, !keys.is_empty())?;
    let cache = paths.as_ref().map(chela_config::Paths::cache);
    let engine = options::engine(&args, cache.as_deref(), env)?;
    let serving = options::serving(&args, &name)?;
    let answers = options::answers(&args, keys)?;
    let path = locate::model(&name, paths.as_ref(), env)?;

    let runtime = runtime()?;
    let names = serving.names.clone();
    let backend = EngineBackend::new(serving);
    let outcome = runtime.block_on(async {
        let began = Instant::now();
        let listener = Listener::bind(&place).await?;
        let url = listener.url();
        let app = router(Arc::new(backend.clone()), answers);
        let (stop, stopped) = oneshot::channel();
        let loading = load(backend.clone(), path, engine);
        let watch = async {
            loading.await?;
            if let Some(served) = backend.served() {
                say(report::start_line(&args, &served, &names, &url, began.elapsed()));
            }
            if args.disable_log_stats {
                std::future::pending().await
            } else {
                report::throughput(backend.clone()).await;
                Ok(())
            }
        };
        tokio::select! {
            // a failed load ends the server; its end by itself does not come
            failed = watch => failed,
            served = listener.serve(app, async { drop(stopped.await) }) => served,
            stopped = signals(&backend, stop) => stopped,
        }
    });
    // What still runs on other threads must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Loads the model on a thread of its own.
async fn load(backend: EngineBackend, path: PathBuf, options: EngineOptions) -> Outcome {
    let work = move || {
        let bar = Bar::new();
        let loaded = backend.load(&path, &options, &mut |at| bar.loading(at));
        bar.clear();
        loaded
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(refused(&error)),
        Err(error) => Err(Failure::new(Code::Failed, error)),
    }
}

/// What a model that cannot be served means for the exit status.
fn refused(error: &ServeError) -> Failure {
    let code = match error {
        ServeError::Load(LoadError::Memory(_) | LoadError::Quantized { .. }) | ServeError::Template(_) => {
            Code::Usage
        }
        _ => Code::NoModel,
    };
    Failure::new(code, error)
}

/// The first SIGTERM or Ctrl-C lets what runs come to its end, the second does not wait for it.
async fn signals(backend: &EngineBackend, stop: oneshot::Sender<()>) -> Outcome {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
    backend.drain();
    let left = backend.stats().map_or(0, |stats| stats.load.running + stats.load.waiting);
    match left {
        0 => say("stopping"),
        left => {
            say(format_args!("stopping when {left} requests under way are answered; once more stops at once"))
        }
    }
    let idle = async {
        while backend.stats().is_some_and(|stats| stats.load.running + stats.load.waiting > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // From here on new connections are refused; until now they were answered 503.
        let _ = stop.send(());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = idle => {}
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    Err(Failure::new(Code::Interrupted, "stopped at once"))
}
