//! `chela models`.

use std::sync::Arc;

use chela_client::catalog::{self, Catalog, Input, Listing, Model, Scanned, Scope, Sourced};
use chela_client::transport::{Http, HttpSettings, Transport, show};
use chela_config::{KeyPath, edit};
use serde_json::{Value, json};

use crate::args;
use crate::commands::models_local;
use crate::context::{Context, runtime, unresolved};
use crate::demo;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, count, say, tokens};

/// Runs the command.
pub fn run(command: args::Models, context: &Context) -> Outcome {
    let runtime = runtime()?;
    match command {
        args::Models::Show(args) => models_local::show(&args, context),
        args::Models::Bench(args) => models_local::bench(args, context),
        args::Models::Cache(command) => models_local::cache(command, context),
        args::Models::List { provider, refresh, json } => {
            let catalog = context.catalog()?;
            list(
                &catalog,
                runtime.block_on(catalog.models(&Scope { provider: provider.clone(), refresh })),
                provider,
                json,
            )
        }
        args::Models::Status { model, refresh, json } => {
            let catalog = context.catalog()?;
            runtime.block_on(status(&catalog, model.as_deref(), refresh, json))
        }
        args::Models::Set { model, json } => {
            let catalog = context.catalog()?;
            runtime.block_on(set(context, &catalog, &model, json))
        }
        args::Models::Scan { json } => {
            let found = runtime.block_on(scan());
            print_scan(&found, json)
        }
    }
}

fn list(catalog: &Catalog, listing: Listing, wanted: Option<String>, as_json: bool) -> Outcome {
    for warning in &listing.warnings {
        say(format_args!("warning: {warning}"));
    }
    let known: Vec<String> = catalog.providers().into_iter().map(|p| p.id).collect();
    if let Some(id) = wanted.as_ref().filter(|id| !known.contains(id)) {
        let failure = Failure::new(Code::NoModel, format!("there is no provider `{id}`"));
        return Err(match known.is_empty() {
            true => failure.hint(catalog::how_to_begin()),
            false => failure.hint(format!("there is: {}", known.join(", "))),
        });
    }
    if as_json {
        let models: Vec<Value> = listing.models.iter().map(model_json).collect();
        output::json(
            &json!({"models": models, "providers": listing.providers, "warnings": listing.warnings}),
        )?;
    } else if !listing.models.is_empty() {
        let head = ["MODEL", "WINDOW", "FROM", "INPUT", "AGE"].map(str::to_owned).to_vec();
        let age =
            |m: &Model| listing.providers.iter().find(|p| p.id == m.reference.provider).and_then(|p| p.age);
        let rows = listing.models.iter().map(|model| {
            let window = &model.limits.context_window;
            let age = age(model).map(|s| format!("{s} s")).unwrap_or_default();
            vec![
                model.reference.to_string(),
                tokens(window.value.into()),
                window.from.to_string(),
                inputs(model),
                if is_demo(model) { "demo model".to_owned() } else { age },
            ]
        });
        output::answer(&output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
        if listing.models.iter().any(is_demo) {
            say(format_args!("{} is {}; `chela setup` connects a larger one", demo::REFERENCE, demo::WHAT));
        }
    }
    if known.is_empty() {
        return Err(
            Failure::new(Code::NoModel, "no model server is configured").hint(catalog::how_to_begin())
        );
    }
    let failed = listing.providers.iter().find(|p| wanted.as_ref() == Some(&p.id)).and_then(|p| p.class);
    match failed {
        // The warning has said why.
        Some(class) => Err(Failure::new(class.into(), "")),
        None => Ok(()),
    }
}

fn is_demo(model: &Model) -> bool {
    model.reference.to_string() == demo::REFERENCE
}

fn inputs(model: &Model) -> String {
    let names = model.caps.input.value.iter().map(|input| match input {
        Input::Text => "text",
        Input::Image => "image",
        Input::Audio => "audio",
    });
    names.collect::<Vec<_>>().join(", ")
}

fn model_json(model: &Model) -> Value {
    json!({
        "model": model.reference,
        "name": model.name,
        "demo": is_demo(model),
        "baseUrl": show(&model.provider.base_url),
        "limits": model.limits,
        "caps": model.caps,
        "cost": model.cost,
        "thinking": model.thinking,
        "warnings": model.warnings,
    })
}

async fn status(catalog: &Catalog, name: Option<&str>, refresh: bool, as_json: bool) -> Outcome {
    if refresh {
        catalog.models(&Scope { provider: None, refresh }).await;
    }
    let model = match name {
        Some(name) => catalog.find(name).await,
        None => catalog.default_model().await,
    };
    let model = model.map_err(unresolved)?;
    let (fallbacks, warnings) = catalog.fallbacks().await;
    for warning in model.warnings.iter().chain(&warnings) {
        say(format_args!("warning: {warning}"));
    }
    if as_json {
        let names: Vec<String> = fallbacks.iter().map(|m| m.reference.to_string()).collect();
        let mut value = model_json(&model);
        value["fallbacks"] = json!(names);
        value["key"] = json!(model.provider.key.as_ref().map(|k| &k.source));
        return output::json(&value);
    }
    let figure = |name: &str, value: String, from: String| vec![name.to_owned(), value, from];
    let yes = |s: &Sourced<bool>| if s.value { "yes" } else { "no" }.to_owned();
    let from = |s: &dyn std::fmt::Display| format!("from: {s}");
    let Model { limits, caps, .. } = &model;
    let key = model.provider.key.as_ref().map_or("none".to_owned(), |_| "***".to_owned());
    let key_from = model.provider.key.as_ref().map(|k| from(&k.source)).unwrap_or_default();
    let mut rows = vec![
        figure("model", model.reference.to_string(), String::new()),
        figure("server", show(&model.provider.base_url), String::new()),
        figure("key", key, key_from),
        figure(
            "context window",
            tokens(limits.context_window.value.into()),
            from(&limits.context_window.from),
        ),
        figure("max tokens", tokens(limits.max_tokens.value.into()), from(&limits.max_tokens.from)),
        figure("tools", yes(&caps.tools), from(&caps.tools.from)),
        figure("reasoning", yes(&caps.reasoning), from(&caps.reasoning.from)),
        figure("input", inputs(&model), from(&caps.input.from)),
    ];
    for fallback in &fallbacks {
        rows.push(figure("fallback", fallback.reference.to_string(), String::new()));
    }
    output::answer(&output::table(&rows))
}

/// Writes the default model; one that its server does not have is written too, and said.
async fn set(context: &Context, catalog: &Catalog, name: &str, as_json: bool) -> Outcome {
    let reference = catalog.reference(name).await.map_err(unresolved)?;
    if let Err(error) = catalog.resolve(&reference).await {
        say(format_args!("warning: {error}"));
    }
    let path: KeyPath = default_key(context).parse().map_err(Failure::usage)?;
    let text = serde_json::to_string(&reference).map_err(|e| Failure::new(Code::Failed, e))?;
    let edited = edit::set_file(&context.file.path, &path, &text, context.env()).map_err(Failure::usage)?;
    if as_json {
        return output::json(
            &json!({"model": reference, "file": context.file.path, "backup": edited.backup}),
        );
    }
    say(format_args!("{path} is now {reference} in {}", context.file.path.display()));
    Ok(())
}

/// The key of the default model. With fallbacks beside it, only the primary one changes.
pub fn default_key(context: &Context) -> &'static str {
    let choice = context.loaded.config.agents.defaults.model.as_ref();
    let object = choice.is_some_and(|choice| !choice.fallbacks.is_empty());
    if object { "agents.defaults.model.primary" } else { "agents.defaults.model" }
}

/// Looks at the well-known ports of this machine; no key is sent.
pub async fn scan() -> Vec<Scanned> {
    let http = Http::new(HttpSettings { local_only: true, ..HttpSettings::default() });
    catalog::scan(&catalog::targets(), Arc::new(http) as Arc<dyn Transport>).await
}

fn print_scan(found: &[Scanned], as_json: bool) -> Outcome {
    if as_json {
        let rows: Vec<Value> = found.iter().map(scanned_json).collect();
        return output::json(&rows);
    }
    for server in found {
        output::answer(&format!("{}\n", describe(server)))?;
    }
    if found.is_empty() {
        let ports: Vec<String> = catalog::targets().iter().map(|t| show(&t.base_url)).collect();
        say(format_args!("no model server answers on this machine; looked at {}", ports.join(", ")));
        return Err(Failure::new(Code::NoModel, ""));
    }
    Ok(())
}

fn scanned_json(server: &Scanned) -> Value {
    let models =
        server.found.as_ref().map(|d| d.models.iter().map(|m| m.id.clone()).collect::<Vec<_>>()).ok();
    let error = server.found.as_ref().err().map(ToString::to_string);
    json!({"provider": server.target.provider, "baseUrl": show(&server.target.base_url), "models": models, "error": error})
}

/// One line about a server that was found.
pub fn describe(server: &Scanned) -> String {
    let address = show(&server.target.base_url);
    match &server.found {
        Ok(found) => {
            let names: Vec<&str> = found.models.iter().map(|m| m.id.as_str()).collect();
            format!("{address} ({}): {}: {}", found.kind, count(names.len(), "model"), names.join(", "))
        }
        Err(error) => format!("{address}: {error}"),
    }
}
