//! `chela setup`: a model is chosen, proved by one real tool call, and written into the configuration.

use chela_config::edit;
use serde_json::json;

use crate::args;
use crate::choice::{self, Chosen, Server};
use crate::context::{Context, runtime, unresolved};
use crate::exit::{Code, Failure, Outcome};
use crate::in_process::{self, LOCAL};
use crate::output::{self, printable, prompt, say};
use crate::prove::{self, Proof};

/// Runs the command.
pub fn run(args: args::Setup, mut context: Context) -> Outcome {
    let asks = context.surroundings.can_ask() && !args.non_interactive && !args.json;
    let Some(chosen) = wanted(&args, asks, &context)? else {
        say("nothing was chosen, and nothing was changed");
        return Ok(());
    };
    let proof = proof(&chosen, &mut context);
    let lack = match &proof {
        Ok(proof) => {
            say(format_args!("asked it to do a task in a temporary folder: {}", prove::REQUEST));
            if !proof.calls.is_empty() {
                say(format_args!("  it called {}", printable(&proof.words())));
            }
            say(format_args!(
                "  it said: {}, after {:.1} s",
                printable(&proof.answer),
                proof.took.as_secs_f64()
            ));
            proof.lacks().map(|lack| Failure::new(Code::Failed, lack))
        }
        Err(failure) if failure.code == Code::Interrupted => {
            return Err(Failure::new(failure.code, &failure.message));
        }
        Err(failure) => Some(Failure::new(failure.code, &failure.message)),
    };
    let written = lack.is_none() || args.force || (asks && all_the_same(&lack)?);
    if written {
        chosen.write(&context)?;
    }
    if args.json {
        let failed =
            || json!({"ok": false, "request": prove::REQUEST, "error": lack.as_ref().map(|f| &f.message)});
        output::json(&json!({
            "model": chosen.reference,
            "file": context.file.path,
            "written": written,
            "measured": chosen.measured.as_ref().map(choice::Measured::json),
            "proof": proof.as_ref().map_or_else(|_| failed(), Proof::json),
        }))?;
    }
    match lack {
        None => {
            say("try it: chela agent -m 'What is in this folder?', or chela for the chat");
            Ok(())
        }
        Some(lack) if written => {
            say(format_args!("warning: {}", lack.message));
            Ok(())
        }
        Some(lack) => {
            let message = format!("{} was not written: {}", chosen.reference, lack.message);
            Err(Failure::new(lack.code, message).hint("--force writes it all the same"))
        }
    }
}

/// What the command line names, or what a person chooses.
fn wanted(args: &args::Setup, asks: bool, context: &Context) -> Result<Option<Chosen>, Failure> {
    if let Some(address) = &args.server {
        let (key, model) = (args.api_key_env.as_deref(), args.model.as_deref());
        return choice::server(context, &Server { address, key, model, asks }).map(Some);
    }
    if args.demo {
        return choice::demo(context).map(Some);
    }
    if let Some(name) = &args.model {
        return choice::files(context, name, asks);
    }
    if !asks {
        let failure = Failure::usage("nobody can be asked which model to use");
        return Err(failure.hint("name it: --server URL, --model PATH or --demo"));
    }
    if let Some(now) = context.loaded.config.agents.defaults.model.as_ref().and_then(|m| m.primary.as_ref()) {
        say(format_args!("the model is {}", now.raw()));
    }
    choice::choose(context, "leave everything as it is")
}

/// The task, done by the model as it would be configured.
fn proof(chosen: &Chosen, context: &mut Context) -> Result<Proof, Failure> {
    context.loaded =
        edit::preview(&context.file.path, &chosen.values, context.env()).map_err(Failure::usage)?;
    if let Some(name) = chosen.reference.strip_prefix(LOCAL).and_then(|rest| rest.strip_prefix('/')) {
        let server = in_process::load(context, name)?;
        context.in_process.push(server);
    }
    let catalog = context.catalog()?;
    let runtime = runtime()?;
    let proof = runtime.block_on(async {
        let model = catalog.find(&chosen.reference).await.map_err(unresolved)?;
        model.warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        prove::prove(context, catalog, model).await
    });
    runtime.shutdown_background();
    proof
}

fn all_the_same(lack: &Option<Failure>) -> Result<bool, Failure> {
    if let Some(lack) = lack {
        say(format_args!("it does not work: {lack}"));
    }
    prompt("write it all the same? [y]es, [N]o: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
