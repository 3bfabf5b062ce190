//! The `chela` binary: the one place where crates are put together.
//!
//! [`args`] is the command line, [`env`] all that is read from the surroundings, [`context`] what
//! every command starts from; each command has a file in [`commands`] and ends with an
//! [`exit::Outcome`].

mod args;
mod attach;
mod chat;
mod choice;
mod commands;
mod compose;
mod context;
mod demo;
mod env;
mod exit;
mod first_run;
mod found;
mod front;
mod in_process;
mod local;
mod locate;
mod logging;
mod output;
mod prove;
mod sessions;
mod trust;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::env::Surroundings;
use crate::exit::{Code, Outcome};

fn main() -> ExitCode {
    // First of all, while there is one thread: what the sandbox changes holds for a thread alone.
    if let Some(code) = env::sandbox_helper() {
        return code;
    }
    let line = match commands::serve::flags::translate(std::env::args_os().collect()) {
        Ok(line) => line,
        Err(message) => {
            output::say(format_args!("chela: {message}"));
            return Code::Usage.into();
        }
    };
    let cli = Cli::parse_from(line.args);
    line.notes.iter().for_each(|note| output::say(format_args!("note: {note}")));
    match run(cli, Surroundings::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::say(format_args!("chela: {failure}"));
            }
            failure.code.into()
        }
    }
}

fn run(cli: Cli, surroundings: Surroundings) -> Outcome {
    let command = match cli.command {
        Some(command) => command,
        None if surroundings.can_ask() && surroundings.stdout_is_terminal => {
            Command::Chat(args::Chat::default())
        }
        None => return output::answer(&Cli::command().render_help().to_string()),
    };
    match command {
        Command::Completions { shell } => commands::completions::run(shell),
        Command::Serve(args) => commands::serve::run(*args, &cli.global, &surroundings),
        Command::Config(command) => commands::config::run(command, &cli.global, &surroundings),
        command => {
            let mut context = context::Context::new(&cli.global, surroundings)?;
            first_run::settle(&mut context, &command)?;
            in_process::prepare(&mut context, &command)?;
            match command {
                Command::Chat(args) => chat::run(args, &context),
                Command::Agent(args) => commands::agent::run(args, &context),
                Command::Generate(args) => commands::generate::run(*args, &context),
                Command::Bench(command) => commands::bench::run(command, &context),
                Command::Models(command) => commands::models::run(command, &context),
                Command::Sessions(command) => commands::sessions::run(command, &context),
                Command::Trust(args) => commands::trust::run(args, &context),
                Command::Auth(command) => commands::auth::run(command, &context),
                Command::Setup(args) => commands::setup::run(args, context),
                Command::Doctor(args) => commands::doctor::run(args, &context),
                Command::Completions { .. } | Command::Config(_) | Command::Serve(_) => Ok(()),
            }
        }
    }
}
