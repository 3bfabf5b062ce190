//! The command line.

mod local;
mod setup;

use chela_protocol::{ApproveMode, Thinking};
use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

pub use crate::commands::bench::BenchCommand;
pub use crate::commands::serve::Serve;
pub use local::{Bench, Bytes, Cache, CacheType, Generate, LocalModel, Rounding, Sampling, Show, Structure};
pub use setup::Setup;

/// Your own agent on your own models, in one binary.
#[derive(Debug, Parser)]
#[command(name = "chela", version, max_term_width = 100, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  chela setup                              choose a model: a server's, a file's, or the demo model
  export VLLM_API_KEY=vllm-local           take the models of the vLLM server on this machine
  chela models list                        what it serves
  chela                                    talk with it, on a terminal
  chela agent -m 'What is in this folder?' one task, the answer on stdout
  chela serve MODEL.gguf                   a server of your own, where a vLLM would listen
  git diff | chela agent -m 'Review this'  standard input is context
  chela doctor                             what works, what does not, and the fix

Exit codes: 0 done; 1 the task failed; 2 usage or config; 3 no usable server, model or key;
4 refused by policy for want of approval; 130 interrupted.";

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// The configuration file [default: $CHELA_CONFIG, $CHELA_HOME/chela.json5, ~/.chela/chela.json5].
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Say more on stderr; twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Refuse every connection that leaves this machine and the configured servers.
    #[arg(long, global = true)]
    pub local_only: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Talk with the agent; what `chela` alone does on a terminal.
    Chat(Chat),
    /// Do one task and print the answer.
    Agent(Agent),
    /// Choose a model, have it do one real task, and write it into the configuration.
    Setup(Setup),
    /// Serve a model over the OpenAI-compatible API, as `vllm serve` does.
    Serve(Box<Serve>),
    /// List, inspect and choose models.
    #[command(subcommand)]
    Models(Models),
    /// Measure a server under load.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Complete a prompt with a model in this process, without a server.
    Generate(Box<Generate>),
    /// List, read, search and remove sessions; take back what one changed.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Trust a folder, so that its AGENTS.md, SOUL.md, USER.md and TOOLS.md are loaded.
    Trust(Trust),
    /// Read and change the configuration.
    #[command(subcommand)]
    Config(Config),
    /// Keep keys for providers in a file of their own.
    #[command(subcommand)]
    Auth(Auth),
    /// Check servers, keys, models and limits, and say how to fix what is wrong.
    Doctor(Doctor),
    /// Print the completion script for a shell.
    #[command(
        after_help = "Example:\n  chela completions bash > ~/.local/share/bash-completion/completions/chela"
    )]
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

/// `chela chat`.
#[derive(Args, Debug, Default)]
#[command(after_help = "\
Examples:
  chela                                    a new session, on a terminal
  chela chat --session notes               continue the session `notes`, or begin it
  chela chat --session last                go on where you left off in this folder
  chela chat --model vllm/Qwen/Qwen3-8B --approve edits
  printf '%s\\n' 'List the files' 'Which is the newest?' | chela chat

In the chat /help lists the commands. A line that ends with a backslash goes on in the next one, and
so does a block between lines of ```. Ctrl-C stops the model and keeps the chat, Ctrl-D leaves.
Through a pipe every line is a message and waits for the answer to the one before; the answers are
on stdout, everything else on stderr, and the exit code is that of the last message that failed.")]
pub struct Chat {
    /// Continue the session of this name, or begin it; `last` is the newest of this folder.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// The model, as `provider/id` or an alias [default: agents.defaults.model].
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// How much the model thinks: off, low, medium or high.
    #[arg(long, value_name = "LEVEL")]
    pub thinking: Option<Thinking>,
    /// What is allowed without asking: ask, edits, all or none [default: ask on a terminal, else none].
    #[arg(long, value_name = "MODE")]
    pub approve: Option<ApproveMode>,
    /// Requests to the model for each message at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_steps: Option<u32>,
}

/// `chela agent`.
#[derive(Args, Debug, Default)]
#[command(after_help = "\
Examples:
  chela agent -m 'Summarise README.md'
  chela agent --model vllm/Qwen/Qwen3-8B -m 'What changed here?' < changes.txt
  echo 'List the largest files' | chela agent
  chela agent --session notes -m 'And what else?'
  chela agent -m 'What is wrong in @src/main.rs?'
  chela agent --approve edits -m 'Fix the typo in README.md'
  chela agent --json -m 'hi' | jq -r 'select(.type == \"text_delta\").text'")]
pub struct Agent {
    /// The message. Without it, standard input is the message; with it, standard input is context.
    /// `@path` in it attaches a file: a text, a folder's listing, or a picture.
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// The model, as `provider/id` or an alias [default: agents.defaults.model].
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Print the events as JSON lines instead of the answer.
    #[arg(long)]
    pub json: bool,
    /// Continue the session of this name, or begin it; `last` is the newest of this folder.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// How much the model thinks: off, low, medium or high.
    #[arg(long, value_name = "LEVEL")]
    pub thinking: Option<Thinking>,
    /// What is allowed without asking: ask, edits, all or none [default: ask on a terminal, else none].
    #[arg(long, value_name = "MODE")]
    pub approve: Option<ApproveMode>,
    /// Requests to the model at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_steps: Option<u32>,
    /// Print the fixed prompt with its tokens per section and tool, and stop; exact where the server counts.
    #[arg(long)]
    pub explain_prompt: bool,
}

/// `chela trust`.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  chela trust                  trust this folder
  chela trust ~/work/site      trust another one; those below it are not meant
  chela trust list
  chela trust remove ~/work/site"
)]
pub struct Trust {
    /// The folder [default: the workspace].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<TrustCommand>,
}

/// What else `chela trust` does.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// List the folders about which something was decided.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget what was decided about a folder.
    Remove {
        /// The folder [default: the workspace].
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `chela sessions`.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List the sessions, the newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what was said in a session.
    #[command(after_help = "Examples:\n  chela sessions show notes\n  chela sessions show 01a207ea --json")]
    Show {
        /// Its name, its id, or enough of the id.
        session: String,
        /// Print the stored items as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on with a session: in the chat, or with one message.
    #[command(
        after_help = "Examples:\n  chela sessions resume\n  chela sessions resume notes -m 'And who is coming?'"
    )]
    Resume {
        /// Its name, its id, or enough of the id [default: the newest of this folder].
        session: Option<String>,
        /// One message, as with `chela agent`; without it the chat opens.
        #[arg(short, long, value_name = "TEXT")]
        message: Option<String>,
        /// With -m: print the events as JSON lines instead of the answer.
        #[arg(long, requires = "message")]
        json: bool,
    },
    /// Find the items in which all words occur.
    Search {
        /// The words.
        #[arg(required = true)]
        words: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take back what `write` and `edit` did in the newest turn that changed a file.
    Undo {
        /// Its name, its id, or enough of the id.
        session: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a session and what is kept for its undo.
    Delete {
        /// Its name, its id, or enough of the id.
        session: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `chela models`.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// List the models of every provider.
    #[command(
        after_help = "Examples:\n  chela models list\n  chela models list --provider vllm --refresh --json"
    )]
    List {
        /// Only this provider; exit code 3 if it cannot be asked.
        #[arg(long, value_name = "ID")]
        provider: Option<String>,
        /// Ask the servers now instead of taking what is remembered.
        #[arg(long)]
        refresh: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the chosen model, its limits, and where each figure comes from.
    Status {
        /// The model [default: agents.defaults.model].
        model: Option<String>,
        /// Ask the servers now instead of taking what is remembered.
        #[arg(long)]
        refresh: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a model the default, in the configuration file.
    #[command(after_help = "Example:\n  chela models set vllm/Qwen/Qwen3-8B")]
    Set {
        /// The model, as `provider/id`.
        model: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look for model servers on the well-known ports of this machine.
    Scan {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a model's files hold, what memory it takes, and whether it runs here.
    Show(Show),
    /// Measure how fast a model runs here, beside what the machine can do.
    Bench(Bench),
    /// Repacked weights on disk, from which a second start is quick.
    #[command(subcommand)]
    Cache(Cache),
}

/// `chela config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print a value; secrets show as `***` with where they come from.
    #[command(after_help = "Examples:\n  chela config get\n  chela config get models.providers.vllm.baseUrl")]
    Get {
        /// Dotted path, keys with dots or slashes quoted: `agents.defaults.models["vllm/*"]` [default: all].
        path: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change one value and keep every comment and the layout of the rest.
    #[command(
        after_help = "Examples:\n  chela config set agents.defaults.model vllm/my-model\n  chela config set models.providers.vllm.timeoutSeconds 600"
    )]
    Set {
        /// Dotted path.
        path: String,
        /// JSON5, or a plain word, which is a string.
        value: String,
    },
    /// Remove one value.
    Unset {
        /// Dotted path.
        path: String,
    },
    /// Check the file: errors, unknown keys, keys without effect here.
    Validate {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the file.
    Schema,
    /// Print the path of the file.
    Path,
}

/// `chela auth`.
#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Keep a key for a provider; it is read from standard input, never from the command line.
    #[command(after_help = "Example:\n  printf %s \"$KEY\" | chela auth add vllm")]
    Add {
        /// The provider.
        provider: String,
    },
    /// List the profiles, without their keys.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget the key of a provider.
    Remove {
        /// The provider.
        provider: String,
    },
}

/// `chela doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chela doctor
  chela doctor --self-test                 a task with the demo model, without any server
  chela doctor --json | jq '.[] | select(.verdict != \"ok\")'")]
pub struct Doctor {
    /// Have the demo model read a file in a temporary folder, through the whole agent: a few seconds,
    /// without configuration, server or network. Exit code 1 if it fails.
    #[arg(long)]
    pub self_test: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
