//! The project's own chores, started as `cargo xtask NAME`.
//!
//! It depends on none of the project's crates, so that [`tidy`] builds in seconds: a chore that
//! needs a crate is an example, a bench or a hidden command of that crate, and is started from here.

mod bench;
mod docs;
mod exam;
mod perplexity;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask CHORE

chores:
  tidy            crate edges, function length, where `unsafe` stands, line budgets
  bench agent     what the agent costs beside the model, next to OpenClaw's figures
  soak [N [M]]    `chela serve` under N clients (64) for M minutes (10), on a release build
  exam MODEL      put the exams of the demo model to a GGUF file, through the real agent
  perplexity MODEL TEXT [--quantization none|int8|int4]
                  of a text file, as stored and at 8 and 4 bits; JSON
  docs [--check]  write (or check) the documents that are generated from the code
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["bench", "agent"] => bench::agent(),
        ["soak", rest @ ..] => bench::soak(rest),
        ["exam", rest @ ..] => exam::run(rest),
        ["perplexity", rest @ ..] => perplexity::run(rest),
        ["docs"] => docs::run(false),
        ["docs", "--check"] => docs::run(true),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("xtask: no chore `{}`\n\n{HELP}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
