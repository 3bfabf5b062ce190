//! `chela completions`.

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Outcome;
use crate::output;

/// Prints the script.
pub fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "chela", &mut script);
    output::answer(&String::from_utf8_lossy(&script))
}
