//! Arguments of `chela setup`.

use clap::{Args, ValueHint};

/// `chela setup`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chela setup                                                    asks, on a terminal
  chela setup --server http://127.0.0.1:8000/v1
  chela setup --server https://host/v1 --api-key-env HOST_KEY --model Qwen/Qwen3-8B
  chela setup --model ~/models/Qwen3-4B-Q4_K_M.gguf
  chela setup --model qwen3:4b                                   one of Ollama's files, without Ollama
  chela setup --demo
  chela setup --non-interactive --server 127.0.0.1:8080 --json | jq .proof

The model is asked to read a file in a temporary folder. If it calls no tool, nothing is written.
Comments and layout of the configuration are kept.

Exit codes: 0 written, or left as it was; 1 the model did not do the task; 2 usage or config;
3 no such server or model.")]
pub struct Setup {
    /// The address of a server.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, conflicts_with = "demo")]
    pub server: Option<String>,
    /// With --server the id of one of its models; alone a .gguf file, a folder, or a name in the Hugging
    /// Face cache or of Ollama's.
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath, conflicts_with = "demo")]
    pub model: Option<String>,
    /// The very small model that is part of chela.
    #[arg(long)]
    pub demo: bool,
    /// The environment variable that has the server's key; its name is written, never the key.
    #[arg(long, value_name = "VAR", requires = "server")]
    pub api_key_env: Option<String>,
    /// Ask nothing.
    #[arg(long)]
    pub non_interactive: bool,
    /// Write it even if the model does not do the task.
    #[arg(long)]
    pub force: bool,
    /// Print JSON, and ask nothing.
    #[arg(long)]
    pub json: bool,
}
