//! The first run: with nothing configured, a person at a terminal chooses a model. Where nobody can be
//! asked, the demo model answers. No prompt goes to a server that nobody named.

use chela_client::catalog::{Catalog, Scope};
use chela_config::{ModelChoice, Text};

use crate::args::{Command, Models, Sessions};
use crate::choice;
use crate::context::Context;
use crate::demo;
use crate::env::Stdin;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{printable, prompt, say, tokens};

/// Sees to it that the command has a model, if nothing at all is configured.
pub fn settle(context: &mut Context, command: &Command) -> Outcome {
    let stdin = context.surroundings.stdin;
    let asks = match command {
        Command::Agent(args) => {
            let speaks = args.message.is_some() || stdin != Stdin::Terminal;
            if args.model.is_some() || args.explain_prompt || !speaks {
                return Ok(());
            }
            !args.json
        }
        Command::Chat(args) if args.model.is_none() && stdin != Stdin::Other => true,
        Command::Sessions(Sessions::Resume { json, .. }) => !json,
        Command::Models(Models::Status { model: None, .. } | Models::List { .. }) => false,
        _ => return Ok(()),
    };
    if !is_blank(context)? {
        return Ok(());
    }
    if asks && context.surroundings.can_ask() {
        say("no model is configured yet. There is");
        if let Some(chosen) = choice::choose(context, "the demo model, this once")?
            && chosen.reference != demo::REFERENCE
        {
            chosen.write(context)?;
            context.loaded = chela_config::open(&context.file, context.env()).map_err(Failure::usage)?;
            return Ok(());
        }
        say("the demo model answers this once; `chela setup` asks again, and keeps what you choose");
    } else if !matches!(command, Command::Models(Models::List { .. })) {
        say(demo::STANDS_IN);
    }
    // Not written down: it must not stand in the way of what is configured later.
    let primary = Some(Text::new(demo::REFERENCE, "the demo model"));
    context.loaded.config.agents.defaults.model = Some(ModelChoice { primary, fallbacks: Vec::new() });
    Ok(())
}

/// Whether no model and no server is configured in any way.
pub fn is_blank(context: &Context) -> Result<bool, Failure> {
    let config = &context.loaded.config;
    let defaults = &config.agents.defaults;
    let said = config.models.mode.is_some() || defaults.model.is_some() || !defaults.models.is_empty();
    Ok(!said && context.catalog()?.providers().is_empty())
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
    let model = pick(&models)?;
    say(format_args!("`chela models set {}` makes it the usual one\n", model.reference));
    Ok(Some(model.reference.to_string()))
}

fn pick<T>(choices: &[T]) -> Result<&T, Failure> {
    prompt(format_args!("use which one? [1-{}, or Enter for none]: ", choices.len()));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let line = line.trim();
    if line.is_empty() {
        return Err(Failure::new(Code::NoModel, "no model was chosen"));
    }
    match line.parse::<usize>().ok().and_then(|n| choices.get(n.checked_sub(1)?)) {
        Some(choice) => Ok(choice),
        None => Err(Failure::usage(format!("`{}` is none of 1 to {}", printable(line), choices.len()))),
    }
}
