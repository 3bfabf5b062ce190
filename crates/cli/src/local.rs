//! A model in this process: options from arguments, work that Ctrl-C ends, progress, exit codes.

use std::time::Duration;

use chela_config::env;
use chela_engine::engine::EngineOptions;
use chela_engine::formats::Source;
use chela_engine::model::{LoadError, PanelCache, Plan, Progress, Quantization, Stage};
use chela_engine::spec::ModelSpec;
use chela_kernels::{Isa, KvType};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{CacheType, LocalModel, Rounding};
use crate::commands::agent::Interrupts;
use crate::context::{Context, runtime};
use crate::exit::{Code, Failure};

/// Bytes of repacked weights that are kept on disk at most.
pub const PANEL_LIMIT: u64 = 32 << 30;

/// How the arguments and the environment want the model served.
pub fn options(args: &LocalModel, context: &Context) -> Result<EngineOptions, Failure> {
    Ok(EngineOptions {
        context: args.context,
        memory: args.memory.map(|memory| memory.0),
        quantization: args.quantization.map(|kind| match kind {
            Rounding::Int8 => Quantization::Int8,
            Rounding::Int4 => Quantization::Int4,
        }),
        kv_type: match args.kv_cache_dtype {
            CacheType::F16 => KvType::F16,
            CacheType::Bf16 => KvType::Bf16,
        },
        ..own(context)?
    })
}

/// The options of a model that serves this process and nobody else.
pub fn own(context: &Context) -> Result<EngineOptions, Failure> {
    let isa = context.env().get(env::CHELA_ISA).map(str::parse::<Isa>).transpose();
    Ok(EngineOptions {
        panel_cache: Some(panel_cache(context)),
        isa: isa.map_err(|e| Failure::usage(format!("{}: {e}", env::CHELA_ISA)))?,
        ..EngineOptions::default()
    })
}

/// The window that a model would have here, or why it does not run.
pub fn window(source: &Source, context: &Context) -> Result<usize, Failure> {
    let options = own(context)?;
    let sized = || -> Result<usize, LoadError> {
        let spec = ModelSpec::from_source(source)?;
        Ok(options.size(&spec, &Plan::compile(&spec)?, source)?.window)
    };
    sized().map_err(|error| Failure::new(Code::NoModel, error))
}

/// Where repacked weights are kept.
pub fn panel_cache(context: &Context) -> PanelCache {
    PanelCache { folder: context.paths.cache().join("panels"), limit: PANEL_LIMIT }
}

/// A model that cannot be loaded. What the command line asked for and cannot be had is its fault.
pub fn refused(args: &LocalModel, error: LoadError) -> Failure {
    if !args.model.exists() {
        let failure =
            Failure::new(Code::NoModel, format!("there is no file or folder {}", args.model.display()));
        return failure.hint("MODEL is a .gguf file or a Hugging Face folder");
    }
    let asked = args.context.is_some() || args.memory.is_some();
    let code = match &error {
        LoadError::Memory(_) if asked => Code::Usage,
        LoadError::Quantized { .. } | LoadError::Kernels(chela_kernels::Error::Isa { .. }) => Code::Usage,
        _ => Code::NoModel,
    };
    Failure::new(code, error)
}

/// Runs `work` on a thread of its own until it is done or the user interrupts; then the process is
/// about to end, and nothing waits for the thread.
pub fn interruptible<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(async { until(&mut Interrupts::listen()?, work).await });
    runtime.shutdown_background();
    outcome
}

/// The same on a runtime that is there, for those who go on to listen: an interrupt that comes
/// when the work is just done is not lost.
pub async fn until<T: Send + 'static>(
    interrupts: &mut Interrupts,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => match done {
            Ok(done) => done,
            Err(defect) => Err(Failure::new(Code::Failed, defect)),
        },
        () = interrupts.next() => Err(Failure::new(Code::Interrupted, "interrupted")),
    }
}

/// A bar on stderr, if that is a terminal.
#[derive(Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that shows when there is something to show.
    pub fn new() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
    }

    fn show(&self, template: &str, message: &str, done: u64, total: u64) {
        if self.0.length() != Some(total) || self.0.message() != message {
            // The templates are part of the program; a wrong one leaves the default style.
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.0.set_style(style.progress_chars("=> "));
            }
            self.0.set_message(message.to_owned());
            self.0.set_length(total);
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.0.set_position(done);
    }

    /// How far loading is.
    pub fn loading(&self, progress: Progress) {
        let message = match progress.stage {
            Stage::Loading => "loading weights",
            Stage::Keeping => "keeping repacked weights for the next start",
        };
        let template = "{msg} [{bar:24}] {bytes} of {total_bytes}, {eta} left";
        self.show(template, message, progress.done, progress.total);
    }

    /// How far the prompt is.
    pub fn reading(&self, done: usize, total: usize) {
        self.show(
            "reading the prompt [{bar:24}] {human_pos} of {human_len} tokens, {eta} left",
            "",
            done as u64,
            total as u64,
        );
    }

    /// Something without a measure.
    pub fn busy(&self, message: String) {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            self.0.set_style(style);
        }
        self.0.set_message(message);
        self.0.set_draw_target(ProgressDrawTarget::stderr());
        self.0.enable_steady_tick(Duration::from_millis(120));
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.0.disable_steady_tick();
        self.0.finish_and_clear();
        self.0.reset();
        self.0.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// `1.2 GiB`.
pub fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if bytes >= 1 << 30 => format!("{:.1} GiB", b / f64::from(1 << 30)),
        b if bytes >= 1 << 20 => format!("{:.1} MiB", b / f64::from(1 << 20)),
        b => format!("{:.1} KiB", b / 1024.0),
    }
}
