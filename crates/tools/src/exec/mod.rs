//! `exec`: a shell command in the workspace, sandboxed where the system can.

mod environment;
mod keep;
mod output;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chela_agent::shell;
use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec, resolve};
use chela_protocol::{ResultStatus, Right, SessionId};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::Instant;

use crate::sandbox::{Command, End, Running, Sandbox, Scan};
use crate::undo::UndoLog;
use output::Output;

pub use environment::scrub;
pub use keep::Outputs;

/// Seconds that a command may take where it does not say, and at most.
const TIMEOUT: (u64, u64) = (120, 3_600);
/// A command that writes more than this many bytes is stopped.
const MAX_OUTPUT: u64 = 64 << 20;
/// Bytes that are shown while a command runs; the result has its own limit.
const MAX_SHOWN: u64 = 256 << 10;
/// A line that has no end yet is shown after this pause.
const PAUSE: Duration = Duration::from_millis(200);

/// The tool.
pub struct Exec {
    spec: ToolSpec,
    shell: Arc<Shell>,
}

/// What runs commands.
struct Shell {
    sandbox: Arc<Sandbox>,
    settings: Settings,
    undo: Arc<UndoLog>,
    /// Commands that failed in the sandbox for want of a network: run again, they ask for it.
    wanted: Mutex<HashSet<(SessionId, String)>>,
}

/// What the composition root decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The environment of commands; [`scrub`] takes secrets out of one.
    pub env: Vec<(String, String)>,
    /// Where outputs are kept that are longer than a result.
    pub outputs: Outputs,
}

impl Exec {
    /// The tool. What commands change is not kept; `undo` notes that they ran.
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>, settings: Settings, undo: Arc<UndoLog>) -> Self {
        let spec = ToolSpec {
            name: "exec".into(),
            description: "Run a shell command in the workspace.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": {"type": "string"},
                    "cwd": {"type": "string"},
                    "timeout": {"type": "integer", "description": "seconds"}
                },
                "required": ["command"]
            }),
            read_only: false,
        };
        let shell = Shell { sandbox, settings, undo, wanted: Mutex::default() };
        Self { spec, shell: Arc::new(shell) }
    }
}

impl Shell {
    fn request(&self, ctx: &ToolCtx, args: &Args) -> Result<Request, String> {
        let word = |key| args.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let command = word("command");
        if command.trim().is_empty() {
            return Err("error: command is empty; expected a shell command, as in ls -l".to_owned());
        }
        if command.contains('\0') {
            return Err("error: command contains a NUL, which no shell takes".to_owned());
        }
        let written = word("cwd").trim();
        let cwd =
            resolve(&ctx.workspace, written).map_err(|error| format!("error: cwd {written}: {error}"))?;
        if !cwd.starts_with(&ctx.workspace) {
            return Err(format!(
                "error: cwd {written} lies outside the workspace; leave it out, and name other folders in the \
                 command"
            ));
        }
        if !cwd.is_dir() {
            return Err(format!("error: cwd {written} is not a folder"));
        }
        let seconds = args.get("timeout").and_then(serde_json::Value::as_i64).unwrap_or(0);
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).unwrap_or(TIMEOUT.0);
        let timeout = seconds.min(TIMEOUT.1);
        let sandboxed = self.sandbox.holds(&ctx.workspace).is_ok();
        let network = !sandboxed || shell::wants_network(command) || self.wants(ctx.session, command);
        Ok(Request { command: command.to_owned(), cwd, timeout, sandboxed, network })
    }

    fn wants(&self, session: SessionId, command: &str) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.contains(&(session, command.to_owned()))
    }

    async fn run(&self, ctx: &ToolCtx, request: &Request) -> Result<ToolResult, String> {
        let text = format!("what the command {:?} changed", one_line(&request.command));
        self.undo.remark(ctx.session, ctx.turn, &text).map_err(|error| {
            format!("error: the undo journal cannot be written, so the command did not run: {error}")
        })?;
        let before = match request.sandboxed {
            true => Some(self.scan(&ctx.workspace).await?),
            false => None,
        };
        let command = Command {
            text: &request.command,
            cwd: &request.cwd,
            env: environment::for_command(&self.settings.env, &request.cwd, request.sandboxed),
            workspace: &ctx.workspace,
            scan: before.as_ref(),
            network: request.network,
        };
        let started = self.sandbox.start(command).await;
        let mut running =
            started.map_err(|error| format!("error: the command cannot be started: {error}"))?;
        let file = self.settings.outputs.next(ctx.session);
        let mut output = Output::new(ctx.limit, file);
        let cut = follow(ctx, request, &mut running, &mut output).await;
        let end = running.end().cloned();
        running.stop().await;
        if let Some(End::Failed(why)) = &end {
            return Err(format!("error: the command did not run: the sandbox cannot be set up: {why}"));
        }
        let aside = match &before {
            Some(before) => before.put_aside(&self.scan(&ctx.workspace).await?),
            None => Vec::new(),
        };
        Ok(self.result(ctx, request, output, cut, end, &aside))
    }

    async fn scan(&self, workspace: &Path) -> Result<Scan, String> {
        let (sandbox, workspace) = (Arc::clone(&self.sandbox), workspace.to_owned());
        let scan = tokio::task::spawn_blocking(move || sandbox.scan(&workspace)).await;
        scan.map_err(|error| error.to_string())
            .and_then(|scan| scan.map_err(|error| error.to_string()))
            .map_err(|why| format!("error: the workspace cannot be searched for secrets to hide: {why}"))
    }

    fn result(
        &self,
        ctx: &ToolCtx,
        request: &Request,
        output: Output,
        cut: Option<Cut>,
        end: Option<End>,
        aside: &[String],
    ) -> ToolResult {
        let mut notes = Vec::new();
        let code = match (&cut, &end) {
            (None, Some(End::Exited(code))) => Some(*code),
            _ => None,
        };
        let written = output.finish();
        if code != Some(0) && request.sandboxed {
            notes.extend(self.advice(ctx, request, &written));
        }
        notes.extend(aside.iter().map(|text| format!("[{text}]")));
        notes.push(match (&cut, &end) {
            (Some(Cut::Time), _) => format!(
                "[stopped after {} s, the time limit; timeout takes up to {} s]",
                request.timeout, TIMEOUT.1
            ),
            (Some(Cut::Size), _) => format!("[stopped: it wrote more than {} MiB]", MAX_OUTPUT >> 20),
            (Some(Cut::Stopped), _) => "[interrupted: the user stopped the turn]".to_owned(),
            (None, Some(End::Exited(code))) => format!("[exit status {code}]"),
            (None, Some(End::Killed(signal))) => format!("[ended by signal {signal}]"),
            (None, Some(End::Failed(_)) | None) => "[it ended, and nobody said how]".to_owned(),
        });
        let shown = if written.trim().is_empty() { "(no output)".to_owned() } else { written };
        let mut result = ToolResult::ok(format!("{}\n{}", shown.trim_end(), notes.join("\n"))).private();
        result.taint.untrusted = request.network;
        result.status = match (cut, code) {
            (Some(Cut::Stopped), _) => ResultStatus::Interrupted,
            (None, Some(0)) => ResultStatus::Ok,
            _ => ResultStatus::Error,
        };
        result
    }

    /// What the sandbox has to do with a failure.
    fn advice(&self, ctx: &ToolCtx, request: &Request, written: &str) -> Option<String> {
        const NO_NETWORK: &[&str] = &[
            "Could not resolve",
            "could not resolve",
            "Temporary failure in name resolution",
            "Name or service not known",
            "Network is unreachable",
            "network is unreachable",
            "getaddrinfo",
            "EAI_AGAIN",
            "ENETUNREACH",
            "dns error",
            "server misbehaving",
        ];
        const NOT_WRITABLE: &[&str] = &["Read-only file system", "Device or resource busy", "EROFS"];
        let says = |words: &[&str]| words.iter().any(|word| written.contains(word));
        if !request.network && says(NO_NETWORK) {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.insert((ctx.session, request.command.clone()));
            return Some(
                "[The sandbox has no network. Run exactly this command again to ask for it.]".to_owned(),
            );
        }
        says(NOT_WRITABLE).then(|| {
            "[In the sandbox only the workspace and /tmp can be written, and not what instructs agents or makes \
             Git run programs.]"
                .to_owned()
        })
    }
}

/// A call, understood.
#[derive(Debug, Clone)]
struct Request {
    command: String,
    cwd: PathBuf,
    timeout: u64,
    sandboxed: bool,
    network: bool,
}

impl Request {
    fn right(&self) -> Right {
        Right::Exec {
            command: self.command.clone(),
            cwd: self.cwd.display().to_string(),
            sandboxed: self.sandboxed,
            network: self.network,
        }
    }
}

/// Why a command was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Time,
    Size,
    Stopped,
}

impl Tool for Exec {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(vec![self.shell.request(ctx, args)?.right()])
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let request = match self.shell.request(ctx, &args) {
                Ok(request) if ctx.granted(&request.right()) => request,
                Ok(_) => {
                    return ToolResult::error(
                        "error: the command now needs other rights than were allowed. Try again.",
                    );
                }
                Err(text) => return ToolResult::error(text),
            };
            // Its own task, so that what comes after the command is done even where nobody waits
            // for the result any more.
            let (shell, ctx) = (Arc::clone(&self.shell), ctx.clone());
            let run = tokio::spawn(async move { shell.run(&ctx, &request).await });
            match run.await {
                Ok(done) => done.unwrap_or_else(ToolResult::error),
                Err(error) => ToolResult::error(format!("error: the tool failed: {error}")),
            }
        })
    }
}

/// Reads the output to its end, shows it, and says why the command has to be stopped, if it has.
async fn follow(ctx: &ToolCtx, request: &Request, running: &mut Running, output: &mut Output) -> Option<Cut> {
    let deadline = Instant::now() + Duration::from_secs(request.timeout);
    let mut buffer = vec![0; 16 << 10];
    let mut shown = 0;
    loop {
        // A front end that is behind must not keep the command from being stopped.
        let step = async {
            let read = match tokio::time::timeout(PAUSE, running.read(&mut buffer)).await {
                Ok(read) => read.unwrap_or(0),
                Err(_) => {
                    show(ctx, output.unfinished(), &mut shown).await;
                    running.read(&mut buffer).await.unwrap_or(0)
                }
            };
            let text = output.push(&buffer[..read]);
            show(ctx, text, &mut shown).await;
            read
        };
        let read = tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return Some(Cut::Stopped),
            () = tokio::time::sleep_until(deadline) => return Some(Cut::Time),
            read = step => read,
        };
        if read == 0 {
            return None;
        }
        if output.bytes() > MAX_OUTPUT {
            return Some(Cut::Size);
        }
    }
}

async fn show(ctx: &ToolCtx, text: String, shown: &mut u64) {
    if text.is_empty() || *shown > MAX_SHOWN {
        return;
    }
    *shown += text.len() as u64;
    ctx.output.send(text).await;
    if *shown > MAX_SHOWN {
        ctx.output.send("\n[more output than is shown here]\n".to_owned()).await;
    }
}

/// The beginning of a command, for a line about it.
fn one_line(command: &str) -> String {
    const SHOWN: usize = 120;
    let line = command.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
