//! The first run: with nothing configured, a person at a terminal is asked once which of the servers
//! on this machine to use. No prompt goes to a server that nobody named.

use chela_client::catalog::{Catalog, Scanned, Scope};
use chela_client::transport::show;
use chela_config::{ConfigFile, KeyPath, edit};

use crate::commands::models;
use crate::context::Context;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{printable, prompt, say, tokens};

/// The catalog of the configuration; on a terminal with nothing configured, of the server that the
/// user chooses now, which is written down.
pub async fn catalog(context: &Context) -> Result<Catalog, Failure> {
    let catalog = context.catalog()?;
    if !catalog.providers().is_empty() || !context.surroundings.can_ask() {
        return Ok(catalog);
    }
    say("no model server is configured; looking at the well-known ports of this machine");
    let found: Vec<Scanned> = models::scan().await.into_iter().filter(|s| s.found.is_ok()).collect();
    let Some(chosen) = choose(&found)? else { return Ok(catalog) };
    write(context, chosen)?;
    let loaded = chela_config::open(&context.file, context.env()).map_err(Failure::usage)?;
    context.catalog_of(&loaded)
}

/// The model to talk with: the one that was named, else the configured one, else the only one; where
/// there are several, a person is asked.
pub async fn model(
    context: &Context,
    catalog: &Catalog,
    named: Option<String>,
) -> Result<Option<String>, Failure> {
    let configured = context.loaded.config.agents.defaults.model.is_some();
    if named.is_some() || configured || !context.surroundings.can_ask() {
        return Ok(named);
    }
    let models = catalog.models(&Scope::default()).await.models;
    if models.len() < 2 {
        return Ok(None);
    }
    say("no model is chosen; there are");
    for (n, model) in models.iter().enumerate() {
        let window = tokens(u64::from(model.limits.context_window.value));
        say(format_args!("  {}. {}, window {window} tokens", n + 1, printable(&model.reference.to_string())));
    }
    let model = pick(&models, "no model was chosen")?;
    say(format_args!("`chela models set {}` makes it the usual one\n", model.reference));
    Ok(Some(model.reference.to_string()))
}

fn choose(found: &[Scanned]) -> Result<Option<&Scanned>, Failure> {
    if found.is_empty() {
        say("none answers");
        return Ok(None);
    }
    for (n, server) in found.iter().enumerate() {
        say(format_args!("  {}. {}", n + 1, models::describe(server)));
    }
    pick(found, "no server was chosen").map(Some)
}

/// Asks for a number; `none` says what is so without one.
fn pick<'a, T>(choices: &'a [T], none: &str) -> Result<&'a T, Failure> {
    let numbers = if choices.len() == 1 { "1".to_owned() } else { format!("1-{}", choices.len()) };
    prompt(format_args!("use which one? [{numbers}, or Enter for none]: "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let line = line.trim();
    if line.is_empty() {
        return Err(Failure::new(Code::NoModel, none));
    }
    match line.parse::<usize>().ok().and_then(|n| choices.get(n.checked_sub(1)?)) {
        Some(choice) => Ok(choice),
        None => Err(Failure::usage(format!("`{}` is none of 1 to {}", printable(line), choices.len()))),
    }
}

/// Names the server in the configuration, and its model if it has just one.
fn write(context: &Context, server: &Scanned) -> Outcome {
    let ConfigFile { path: file, .. } = &context.file;
    let provider = &server.target.provider;
    let set = |path: String, value: &str| {
        let path: KeyPath = path.parse().map_err(Failure::usage)?;
        edit::set_file(file, &path, value, context.env()).map_err(Failure::usage)
    };
    set(format!("models.providers.{provider}.baseUrl"), &show(&server.target.base_url))?;
    if let Ok([model]) = server.found.as_ref().map(|found| found.models.as_slice()) {
        set("agents.defaults.model".to_owned(), &format!("{provider}/{}", model.id))?;
    }
    say(format_args!("written to {}", file.display()));
    Ok(())
}
