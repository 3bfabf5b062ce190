//! `chela doctor`: what works, what does not, and the fix for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chela_client::ExitClass;
use chela_client::catalog::{Catalog, Model, ProviderStatus, Scope, Settings, Source, how_to_begin};
use chela_client::stream::{ModelClient, ModelError, ModelEvent, Timing, Turn};
use chela_client::transport::{Http, show};
use chela_config::auth;
use chela_openai::chat::Message;
use futures_util::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args;
use crate::compose;
use crate::context::{Context, runtime, unresolved};
use crate::exit::{Code, Failure, Outcome};
use crate::local::size;
use crate::output::{self, count, tokens};
use crate::{demo, first_run, in_process, prove};

/// How long the probe waits for a first token.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    verdict: Verdict,
    what: String,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    #[serde(skip)]
    code: Option<Code>,
}

/// The checks so far; each is printed as soon as it is known.
struct Report {
    checks: Vec<Check>,
    json: bool,
}

impl Report {
    fn add(&mut self, check: Check) -> Outcome {
        if !self.json {
            let sign = match check.verdict {
                Verdict::Ok => "ok      ",
                Verdict::Warning => "warning ",
                Verdict::Problem => "problem ",
            };
            let fix = check.fix.as_ref().map(|fix| format!("          fix: {fix}\n")).unwrap_or_default();
            output::answer(&format!("{sign}  {}: {}\n{fix}", check.what, check.found))?;
        }
        self.checks.push(check);
        Ok(())
    }

    /// Prints what is left to print; the first problem decides the exit code.
    fn end(self) -> Outcome {
        if self.json {
            output::json(&self.checks)?;
        }
        let problems: Vec<&Check> = self.checks.iter().filter(|c| c.verdict == Verdict::Problem).collect();
        match problems.first().and_then(|check| check.code) {
            None => Ok(()),
            Some(code) => Err(Failure::new(code, count(problems.len(), "problem"))),
        }
    }

    fn ok(&mut self, what: impl Into<String>, found: impl Into<String>) -> Outcome {
        self.add(Check {
            verdict: Verdict::Ok,
            what: what.into(),
            found: found.into(),
            fix: None,
            code: None,
        })
    }

    fn warning(
        &mut self,
        what: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Outcome {
        let fix = Some(fix.into()).filter(|fix: &String| !fix.is_empty());
        self.add(Check { verdict: Verdict::Warning, what: what.into(), found: found.into(), fix, code: None })
    }

    fn problem(
        &mut self,
        what: impl Into<String>,
        found: impl Into<String>,
        fix: Option<String>,
        code: Code,
    ) -> Outcome {
        self.add(Check {
            verdict: Verdict::Problem,
            what: what.into(),
            found: found.into(),
            fix,
            code: Some(code),
        })
    }
}

/// Runs the command.
pub fn run(args: args::Doctor, context: &Context) -> Outcome {
    let mut report = Report { checks: Vec::new(), json: args.json };
    if args.self_test {
        self_test(context, &mut report)?;
        return report.end();
    }
    files(context, &mut report)?;
    sandbox(context, &mut report)?;
    let http = context.http();
    let catalog = context.catalog_over(&context.loaded, Arc::clone(&http))?;
    runtime()?.block_on(servers(context, &catalog, &http, &mut report))?;
    report.end()
}

/// The whole agent with the demo model, whatever is configured: it reads a file in a temporary folder.
fn self_test(context: &Context, report: &mut Report) -> Outcome {
    let began = Instant::now();
    let server = match in_process::load(context, demo::ID) {
        Ok(server) => server,
        Err(failure) => return report.problem("demo model", failure.message, None, Code::Failed),
    };
    let loaded = began.elapsed().as_secs_f64();
    report.ok("demo model", format!("{}, loaded in {loaded:.2} s", size(demo::size())))?;
    let catalog = Catalog::new(Settings {
        config: Arc::default(),
        env: Arc::default(),
        profiles: BTreeMap::new(),
        cache: None,
        http: context.http(),
        in_process: vec![server],
    });
    report.ok("task", format!("{} (in a temporary folder)", prove::REQUEST))?;
    let runtime = runtime()?;
    let proof = runtime.block_on(async {
        let model = catalog.find(demo::REFERENCE).await.map_err(unresolved)?;
        prove::prove(context, catalog, model).await
    });
    runtime.shutdown_background();
    let proof = match proof {
        Err(failure) if failure.code == Code::Interrupted => return Err(failure),
        Err(failure) => return report.problem("task", failure.message, None, Code::Failed),
        Ok(proof) => proof,
    };
    match proof.lacks() {
        Some(lack) => {
            let found = format!("{lack}; it said: {}", output::printable(&proof.answer));
            return report.problem("tool call", found, None, Code::Failed);
        }
        None => report.ok("tool call", proof.words())?,
    }
    let answer = output::printable(&proof.answer);
    if !proof.answers() {
        return report.problem(
            "answer",
            format!("not what stands in the file: {answer}"),
            None,
            Code::Failed,
        );
    }
    report.ok("answer", answer)?;
    report.ok("self-test", format!("passed in {:.2} s", began.elapsed().as_secs_f64()))
}

fn files(context: &Context, report: &mut Report) -> Outcome {
    let file = context.file.path.display().to_string();
    match context.loaded.warnings.len() {
        _ if context.loaded.files.is_empty() => {
            report.ok("configuration", format!("none at {file}; the defaults hold"))?
        }
        0 => report.ok("configuration", file)?,
        n => report.warning(
            "configuration",
            format!("{file}: {}", count(n, "warning")),
            "chela config validate",
        )?,
    }
    for missing in context.loaded.missing_variables(context.env()) {
        report.problem("configuration", missing.to_string(), Some(missing.hint()), Code::Usage)?;
    }
    let auth_file = context.paths.auth();
    if let Some(mode) = auth::loose_mode(&auth_file) {
        let fix = format!("chmod 600 {}", auth_file.display());
        report.warning(
            "auth file",
            format!("{} has mode {mode:o}: others can read it", auth_file.display()),
            fix,
        )?;
    }
    Ok(())
}

/// The sandbox of commands, layer by layer.
fn sandbox(context: &Context, report: &mut Report) -> Outcome {
    let workspace = match context.workspace() {
        Ok(workspace) => workspace,
        Err(failure) => return report.problem("workspace", failure.message, failure.hint, failure.code),
    };
    let sandbox = compose::sandbox(context, &workspace);
    for layer in sandbox.layers() {
        let what = format!("sandbox: {}", layer.name);
        match &layer.missing {
            None => report.ok(what, layer.purpose.clone())?,
            Some(why) => report.warning(what, format!("missing ({}): {why}", layer.purpose), "")?,
        }
    }
    match sandbox.holds(&workspace) {
        Ok(()) => report.ok("sandbox", "commands run in it"),
        Err(why) => report.warning(
            "sandbox",
            format!("commands run without one, and each asks: {why}"),
            "a kernel that lets this user make user namespaces (sysctl user.max_user_namespaces, \
             kernel.apparmor_restrict_unprivileged_userns; in a container, its seccomp profile)",
        ),
    }
}

async fn servers(context: &Context, catalog: &Catalog, http: &Http, report: &mut Report) -> Outcome {
    let listing = catalog.models(&Scope { provider: None, refresh: true }).await;
    if listing.providers.is_empty() {
        let found = super::models::scan().await;
        for server in &found {
            report.warning("found, not configured", super::models::describe(server), "")?;
        }
        if first_run::is_blank(context)? {
            let found = "none is configured; the demo model answers, a very small one that is part of chela";
            report.warning("server", found, how_to_begin())?;
            return report.ok("demo model", "`chela doctor --self-test` has it do a task");
        }
        return report.problem(
            "server",
            "no model server is configured",
            Some(how_to_begin()),
            Code::NoModel,
        );
    }
    for status in &listing.providers {
        provider(catalog, http, status, report)?;
    }
    let model = match catalog.default_model().await {
        Ok(model) => model,
        Err(error) => {
            let fix = Some("chela models set PROVIDER/MODEL".to_owned());
            return report.problem("model", error.to_string(), fix, code_of(error.exit_class()));
        }
    };
    limits(&model, report)?;
    first_token(context, catalog, model, report).await
}

fn code_of(class: ExitClass) -> Code {
    class.into()
}

fn provider(catalog: &Catalog, http: &Http, status: &ProviderStatus, report: &mut Report) -> Outcome {
    let what = format!("server {}", status.id);
    let address = status.base_url.clone().unwrap_or_else(|| "no address".to_owned());
    if let Some(error) = &status.error {
        return report.problem(what, error.clone(), None, status.class.map_or(Code::NoModel, Code::from));
    }
    let key = status.key.as_ref().map_or("no key".to_owned(), |from| format!("key from {from}"));
    report.ok(what, format!("{address}, {}, {key}", count(status.models, "model")))?;
    let Ok(endpoint) = catalog.endpoint(&status.id) else { return Ok(()) };
    match http.proxy_for(&endpoint.base_url) {
        Some(proxy) => report.warning(
            format!("proxy of {}", status.id),
            format!("requests go through {}", show(proxy)),
            "a configured server is reached directly; NO_PROXY names others",
        ),
        None => Ok(()),
    }
}

fn limits(model: &Model, report: &mut Report) -> Outcome {
    let window = &model.limits.context_window;
    let answer = &model.limits.max_tokens;
    report.ok("model", model.reference.to_string())?;
    let found = format!(
        "{} tokens ({}); an answer has at most {} ({})",
        tokens(window.value.into()),
        window.from,
        tokens(answer.value.into()),
        answer.from
    );
    if window.from == Source::Assumed {
        let fix = format!(
            "chela config set models.providers.{}.models with id and contextWindow",
            model.reference.provider
        );
        report.warning("context window", found, fix)?;
    } else {
        report.ok("context window", found)?;
    }
    for warning in &model.warnings {
        report.warning("model", warning.clone(), "")?;
    }
    Ok(())
}

/// Asks for one word and takes the time.
async fn first_token(context: &Context, catalog: &Catalog, model: Model, report: &mut Report) -> Outcome {
    let client = ModelClient::new(catalog.state().clone(), Timing::default());
    let mut turn = Turn::new(model, vec![Message::user("Say ok.")]);
    turn.max_tokens = Some(16);
    let begun = Instant::now();
    let mut stream = client.stream(turn, CancellationToken::new());
    let probe = async {
        while let Some(event) = stream.next().await {
            match event {
                Ok(ModelEvent::Text(_) | ModelEvent::Reasoning(_) | ModelEvent::Done { .. }) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, probe).await {
        Ok(Ok(())) => report.ok("first token", format!("after {:.2} s", begun.elapsed().as_secs_f64()))?,
        Ok(Err(error)) => {
            report.problem("first token", error.to_string(), fix_of(&error), code_of(error.exit_class()))?
        }
        Err(_) => {
            let fix =
                "a server that reads its first prompt this slowly is usable, and takes patience".to_owned();
            report.problem(
                "first token",
                format!("none within {} s", PATIENCE.as_secs()),
                Some(fix),
                Code::Failed,
            )?;
        }
    }
    if context.local_only {
        report.ok("network", "locked to this machine and the configured servers")?;
    }
    Ok(())
}

fn fix_of(error: &ModelError) -> Option<String> {
    matches!(error, ModelError::NoSuchModel { .. }).then(|| "chela models set PROVIDER/MODEL".to_owned())
}
