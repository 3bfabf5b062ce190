//! Which model to use: what there is on this machine, and what a person or a command line says of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chela_agent::prompt::SYSTEM;
use chela_client::catalog::discovery::Cause;
use chela_client::catalog::{self, DiscoveryError, Scanned, Scope, Target, providers};
use chela_client::transport::{Transport, show};
use chela_config::{KeyPath, edit, env};
use chela_engine::bench::{self, Rates};
use chela_engine::formats::Source;
use serde_json::{Value, json};
use url::Url;

use crate::commands::models;
use crate::context::{Context, runtime};
use crate::exit::{Code, Failure, Outcome};
use crate::found::{self, Found};
use crate::in_process::LOCAL;
use crate::local::{self, Bar, interruptible};
use crate::output::{count, printable, prompt, say, tokens};
use crate::{compose, demo, locate};

/// About how long a model is measured.
const MEASURED: Duration = Duration::from_secs(5);

/// A model that was chosen, and what the configuration has to say for it.
pub struct Chosen {
    /// `provider/model`.
    pub reference: String,
    /// Keys of the configuration with their values.
    pub values: Vec<(KeyPath, Value)>,
    /// How fast it is here, where that was measured.
    pub measured: Option<Measured>,
}

/// How fast a model is on this machine.
pub struct Measured {
    rates: Rates,
    /// Tokens of the fixed prompt.
    prompt: usize,
}

/// A server, as it is named.
pub struct Server<'a> {
    /// Its address.
    pub address: &'a str,
    /// The variable that has its key.
    pub key: Option<&'a str>,
    /// One of its models.
    pub model: Option<&'a str>,
    /// Whether a person can be asked for what is missing.
    pub asks: bool,
}

enum Offer {
    Server(Scanned),
    Files(Found),
    Demo,
}

/// Shows what there is and asks; `without` says what Enter leads to. None for that.
pub fn choose(context: &Context, without: &str) -> Result<Option<Chosen>, Failure> {
    let offers = offers(context)?;
    for (n, offer) in offers.iter().enumerate() {
        let words = match offer {
            Offer::Server(server) => models::describe(server),
            Offer::Files(found) => found.describe(context),
            Offer::Demo => demo::WHAT.to_owned(),
        };
        say(format_args!("  {}. {}", n + 1, printable(&words)));
    }
    loop {
        let which = format!("1-{}, an address or a path; Enter: {without}", offers.len());
        let Some(line) = ask(&format!("use which one? [{which}]: "))? else { return Ok(None) };
        let chosen = match line.parse::<usize>().map(|n| offers.get(n.wrapping_sub(1))) {
            Ok(Some(Offer::Server(server))) => {
                let address = server.target.base_url.as_str();
                self::server(context, &Server { address, key: None, model: None, asks: true }).map(Some)
            }
            Ok(Some(Offer::Files(found))) => files(context, &found.name, true),
            Ok(Some(Offer::Demo)) => demo(context).map(Some),
            Ok(None) => Err(Failure::usage(format!("{line} is none of 1 to {}", offers.len()))),
            Err(_) if line.contains("://") => {
                self::server(context, &Server { address: &line, key: None, model: None, asks: true })
                    .map(Some)
            }
            Err(_) => files(context, &line, true),
        };
        match chosen {
            Ok(Some(chosen)) => return Ok(Some(chosen)),
            Ok(None) => {}
            Err(failure) if failure.code == Code::Interrupted => return Err(failure),
            Err(failure) => say(failure),
        }
    }
}

fn offers(context: &Context) -> Result<Vec<Offer>, Failure> {
    let bar = Bar::new();
    bar.busy("looking for servers and models on this machine".to_owned());
    let servers = runtime()?.block_on(models::scan());
    // A server that wants a key is one all the same.
    let mut offers: Vec<Offer> = servers.into_iter().map(Offer::Server).collect();
    offers.extend(found::models(context).into_iter().map(Offer::Files));
    offers.push(Offer::Demo);
    bar.clear();
    Ok(offers)
}

/// A line that a person types; none for an empty one, or none at all.
fn ask(question: &str) -> Result<Option<String>, Failure> {
    prompt(question);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()))
}

/// The demo model.
pub fn demo(context: &Context) -> Result<Chosen, Failure> {
    chosen(context, demo::REFERENCE.to_owned(), Vec::new(), None)
}

/// The files of a model; with `asks` a person sees how fast it is and may say no.
pub fn files(context: &Context, name: &str, asks: bool) -> Result<Option<Chosen>, Failure> {
    let path = locate::model(name, Some(&context.paths), context.env())?;
    let refused = |why: &dyn std::fmt::Display| Failure::new(Code::NoModel, format!("{name}: {why}"));
    let source = Source::open(&path).map_err(|error| refused(&error))?;
    let window = local::window(&source, context).map_err(|failure| refused(&failure))?;
    if source.chat_template().is_none() {
        return Err(refused(&"it has no chat template, so it cannot talk"));
    }
    say(format_args!(
        "{name}: window {} tokens; measuring it for about {} s",
        tokens(window as u64),
        MEASURED.as_secs()
    ));
    let measured = measure(context, source)?;
    say(format_args!("  {}", measured.words()));
    if asks && ask("use it? [Y]es, [n]o: ")?.is_some_and(|line| !matches!(line.as_str(), "y" | "Y" | "yes")) {
        return Ok(None);
    }
    // A name of a cache stays one; a path is the same in every folder.
    let home = context.env().get(env::HOME).map(Path::new);
    let name = match name.starts_with("~/") || !Path::new(name).exists() {
        true => name.to_owned(),
        false => found::shown(&std::path::absolute(name)?, home),
    };
    chosen(context, format!("{LOCAL}/{name}"), Vec::new(), Some(measured)).map(Some)
}

/// Reads and writes with the model for a while.
fn measure(context: &Context, source: Source) -> Result<Measured, Failure> {
    let schemas = compose::tools(context, &context.workspace()?, context.http()).registry.schemas();
    let options = local::own(context)?;
    interruptible(move || {
        let failed = |why: &dyn std::fmt::Display| Failure::new(Code::NoModel, why.to_string());
        let tokenizer = source.tokenizer().map_err(|error| failed(&error))?;
        let prompt = tokenizer
            .encode(&format!("{SYSTEM}{schemas}"), false, false)
            .map_err(|error| failed(&error))?
            .len();
        let bar = Bar::new();
        let rates = bench::rates(source, &options, prompt, MEASURED, &mut |at| bar.loading(at));
        bar.clear();
        Ok(Measured { rates: rates.map_err(|error| failed(&error))?, prompt })
    })
}

impl Measured {
    /// Seconds to the first token of an answer behind nothing but the fixed prompt.
    fn first_token(&self) -> f64 {
        self.prompt as f64 / self.rates.prefill + 1.0 / self.rates.decode
    }

    fn words(&self) -> String {
        format!(
            "reads about {:.0} tokens/s, writes about {:.1} tokens/s; the first word of a new session after about {:.1} s \
             (the fixed prompt has {} tokens)",
            self.rates.prefill,
            self.rates.decode,
            self.first_token(),
            tokens(self.prompt as u64)
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "prefillTokensPerSecond": self.rates.prefill, "decodeTokensPerSecond": self.rates.decode,
            "promptTokens": self.prompt, "firstTokenSeconds": self.first_token(),
        })
    }
}

/// A server, asked which models it has.
pub fn server(context: &Context, wish: &Server<'_>) -> Result<Chosen, Failure> {
    let runtime = runtime()?;
    let mut base = address(wish.address)?;
    let mut key = wish.key.map(str::to_owned);
    let mut kind = None;
    match runtime.block_on(look(context, &base)) {
        None => {
            let failure = Failure::new(Code::NoModel, format!("nothing answers at {}", show(&base)));
            return Err(failure
                .hint("start the server, or correct the address; `chela models scan` looks for others"));
        }
        Some(Ok(found)) => kind = Some(found.kind),
        Some(Err(DiscoveryError { cause: Cause::MissingV1, .. })) => {
            base = with_v1(&base);
            kind = runtime.block_on(look(context, &base)).and_then(Result::ok).map(|found| found.kind);
        }
        Some(Err(DiscoveryError { cause: Cause::KeyWanted(_), .. })) if key.is_none() => {
            let question = format!("{} wants a key; which environment variable has it? ", show(&base));
            key = if wish.asks { ask(&question)? } else { None };
            if key.is_none() {
                let failure = Failure::new(Code::NoModel, format!("{} wants a key", show(&base)));
                return Err(failure.hint("export it in a variable and name that with --api-key-env"));
            }
        }
        // With a key it may say something else; if not, the catalog says what is wrong.
        Some(Err(_)) => {}
    }
    if let Some(name) = key.as_deref().filter(|name| context.env().get(name).is_none()) {
        return Err(Failure::new(Code::NoModel, format!("the environment variable {name} is not set")));
    }
    let id = provider_id(context, &base, kind.as_deref());
    let mut values = vec![(path(&format!("models.providers.{id}.baseUrl"))?, json!(show(&base)))];
    if let Some(name) = key {
        values.push((path(&format!("models.providers.{id}.apiKey"))?, json!(format!("${{{name}}}"))));
    }
    let loaded = edit::preview(&context.file.path, &values, context.env()).map_err(Failure::usage)?;
    let catalog = context.catalog_of(&loaded)?;
    let listing = runtime.block_on(catalog.models(&Scope { provider: Some(id.clone()), refresh: true }));
    let ids: Vec<&str> = listing.models.iter().map(|model| model.reference.model.as_str()).collect();
    let model = match (wish.model, ids.as_slice()) {
        (_, []) => {
            let why = listing.providers.iter().find_map(|status| status.error.clone());
            return Err(Failure::new(
                Code::NoModel,
                why.unwrap_or_else(|| format!("{} has no model", show(&base))),
            ));
        }
        (Some(named), ids) if ids.contains(&named) => named,
        (None, [one]) => one,
        (None, ids) if wish.asks => pick(ids)?,
        (named, ids) => {
            let what = named.map_or("several models".to_owned(), |named| format!("no model {named}"));
            let failure = Failure::usage(format!("{} has {what}", show(&base)));
            return Err(failure.hint(format!("name one with --model: {}", ids.join(", "))));
        }
    };
    let reference = format!("{id}/{model}");
    chosen(context, reference, values, None)
}

fn address(text: &str) -> Result<Url, Failure> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&full) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(Failure::usage(format!("`{}` is no address", printable(text)))
            .hint("expected one like http://127.0.0.1:8000/v1")),
    }
}

fn with_v1(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/v1", base.path().trim_end_matches('/')));
    url
}

/// Asks for the list of models, without a key; none where nothing listens.
async fn look(context: &Context, base: &Url) -> Option<Result<catalog::Discovered, DiscoveryError>> {
    let http = context.http();
    http.egress().trust(base);
    let target = Target { provider: "server".to_owned(), base_url: base.clone() };
    catalog::scan(&[target], http as Arc<dyn Transport>).await.pop().map(|scanned| scanned.found)
}

/// What the server is, as an id that no other server has in the configuration.
fn provider_id(context: &Context, base: &Url, kind: Option<&str>) -> String {
    let usual = || catalog::targets().into_iter().find(|target| target.base_url == *base).map(|t| t.provider);
    let kind = kind.filter(|kind| *kind != providers::generic().id).map(str::to_owned);
    let id = kind.or_else(usual).unwrap_or_else(|| "server".to_owned());
    let known = &context.loaded.config.models.providers;
    let is_free = |id: &str| {
        let Some(provider) = known.get(id) else { return true };
        let there = provider.base_url.as_ref().and_then(|url| url.resolve(context.env()).ok());
        there.is_none_or(|there| there.trim_end_matches('/') == show(base).trim_end_matches('/'))
    };
    let others = (2..).map(|n| format!("{id}{n}"));
    std::iter::once(id.clone()).chain(others).find(|id| is_free(id)).unwrap_or(id)
}

fn pick<'a>(ids: &[&'a str]) -> Result<&'a str, Failure> {
    say(format_args!("it has {}", count(ids.len(), "model")));
    for (n, id) in ids.iter().enumerate() {
        say(format_args!("  {}. {}", n + 1, printable(id)));
    }
    let line = ask(&format!("which one? [1-{}]: ", ids.len()))?.unwrap_or_default();
    let chosen = line.parse::<usize>().ok().and_then(|n| ids.get(n.wrapping_sub(1)));
    chosen
        .copied()
        .ok_or_else(|| Failure::usage(format!("`{}` is none of 1 to {}", printable(&line), ids.len())))
}

fn path(text: &str) -> Result<KeyPath, Failure> {
    text.parse().map_err(Failure::usage)
}

fn chosen(
    context: &Context,
    reference: String,
    mut values: Vec<(KeyPath, Value)>,
    measured: Option<Measured>,
) -> Result<Chosen, Failure> {
    values.push((path(models::default_key(context))?, json!(reference)));
    Ok(Chosen { reference, values, measured })
}

impl Chosen {
    /// Writes it into the configuration.
    pub fn write(&self, context: &Context) -> Outcome {
        let file = &context.file.path;
        let edited = edit::set_values(file, &self.values, context.env()).map_err(Failure::usage)?;
        let backup = edited.backup.as_ref().map(|b| format!("; before: {}", b.display())).unwrap_or_default();
        say(format_args!("{} is now the model, written to {}{backup}", self.reference, file.display()));
        Ok(())
    }
}
