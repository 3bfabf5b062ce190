//! Reading a config: text or file in, [`Loaded`] or all its errors out.

use std::path::{Path, PathBuf};

use crate::agents::Agents;
use crate::decode::{Decode, Decoder};
use crate::diagnostic::{ConfigErrors, Diagnostic};
use crate::env::Env;
use crate::include;
use crate::models::Models;
use crate::network::Network;
use crate::paths::{ConfigFile, NamedBy};
use crate::sandbox::Sandbox;
use crate::source::{Source, Sources};
use crate::text::{MissingVariable, Text};
use crate::tree::{self, Node, Value};

object! {
    /// The config.
    #[derive(Default)]
    pub struct Config {
        /// The address of the JSON Schema, for editors.
        "$schema" => schema: Option<Text>,
        /// The agent.
        "agents" => agents: Agents,
        /// Providers and the models that they serve.
        "models" => models: Models,
        /// Which addresses may be reached at all.
        "network" => network: Network,
        /// The sandbox in which commands run.
        "sandbox" => sandbox: Sandbox,
    }
}

/// A config that was read, with what is to be said about it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The typed config.
    pub config: Config,
    /// What is doubtful, in the order of the text.
    pub warnings: Vec<Diagnostic>,
    /// OpenClaw's keys that have no effect here.
    pub ignored: Vec<IgnoredKey>,
    /// The files it was read from, the main one first; none for a config that is not there.
    pub files: Vec<PathBuf>,
    pub(crate) sources: Sources,
    pub(crate) tree: Option<Node>,
}

/// A key that is known from OpenClaw and has no effect here, with all that stands below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// Its path.
    pub key: String,
    /// The file that holds it.
    pub file: PathBuf,
    /// Its line, counted from 1.
    pub line: usize,
}

/// The bytes of a config file at most.
pub(crate) const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Reads a config from a text; `name` is what errors call it. A `$include` is refused: there is no
/// folder to look in.
pub fn parse(text: &str, name: &str, env: &Env) -> Result<Loaded, ConfigErrors> {
    build(Path::new(name), text, env, false)
}

/// Reads a config file with all that it includes.
pub fn load(path: &Path, env: &Env) -> Result<Loaded, ConfigErrors> {
    let text = read(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
    build(path, &text, env, true)
}

/// Reads the config file that was found; one that nobody named need not be there.
pub fn open(file: &ConfigFile, env: &Env) -> Result<Loaded, ConfigErrors> {
    match read(&file.path) {
        Ok(text) => build(&file.path, &text, env, true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.named_by == NamedBy::Default => {
            Ok(Loaded::default())
        }
        Err(error) => Err(ConfigErrors::unreadable(&file.path, &error)),
    }
}

/// A file's text; refuses what is not a regular file, or larger than [`MAX_BYTES`].
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    if metadata.len() > MAX_BYTES {
        let reason = format!("it has {} bytes; at most {MAX_BYTES} are read", metadata.len());
        return Err(std::io::Error::other(reason));
    }
    std::fs::read_to_string(path)
}

/// Reads a text that stands, or is to stand, at `path`.
pub(crate) fn build(path: &Path, text: &str, env: &Env, on_disk: bool) -> Result<Loaded, ConfigErrors> {
    let mut sources = Sources::default();
    let parsed =
        tree::parse(&mut sources, Source::new(path, text)).map_err(|error| ConfigErrors(vec![*error]))?;
    let (tree, unresolved) = include::resolve(parsed.root, &mut sources, env, on_disk);
    let mut decoder = Decoder::new(&sources, env);
    let config = Config::decode(&tree, &mut decoder);
    let Decoder { errors: wrong, mut warnings, ignored, .. } = decoder;
    let mut errors = parsed.duplicates;
    errors.extend(unresolved);
    errors.extend(wrong);
    let config = match config {
        Some(config) if errors.is_empty() => config,
        _ => {
            sort(&mut errors, &sources);
            return Err(ConfigErrors(errors));
        }
    };
    sort(&mut warnings, &sources);
    let files = sources.0.iter().map(|source| source.path.clone()).collect();
    Ok(Loaded { config, warnings, ignored, files, sources, tree: Some(tree) })
}

/// In the order of the files and lines.
fn sort(diagnostics: &mut [Diagnostic], sources: &Sources) {
    diagnostics.sort_by_key(|diagnostic| {
        diagnostic.place.as_ref().map(|place| {
            let file = sources.0.iter().position(|source| source.path == place.file);
            (file, place.line, place.column)
        })
    });
}

impl Loaded {
    /// One line about the keys that have no effect here, if there are any.
    pub fn ignored_line(&self) -> Option<String> {
        let keys = match self.ignored.len() {
            0 => return None,
            1 => "1 key of OpenClaw has".to_owned(),
            n => format!("{n} keys of OpenClaw have"),
        };
        Some(format!("{keys} no effect here (`chela config validate` lists them)"))
    }

    /// The environment variables that strings of the config take and that are missing. Each is an
    /// error once its key is needed.
    pub fn missing_variables(&self, env: &Env) -> Vec<MissingVariable> {
        let mut decoder = Decoder::new(&self.sources, env);
        let mut missing = Vec::new();
        if let Some(tree) = &self.tree {
            collect_missing(tree, &mut decoder, &mut missing);
        }
        missing
    }
}

fn collect_missing(node: &Node, cx: &mut Decoder<'_>, missing: &mut Vec<MissingVariable>) {
    use crate::key_path::Segment;
    match &node.value {
        Value::String(raw) => missing.extend(crate::text::resolve(raw, &cx.origin(node), cx.env).err()),
        Value::Array(nodes) => {
            for (n, node) in nodes.iter().enumerate() {
                cx.within(Segment::Index(n), |cx| collect_missing(node, cx, missing));
            }
        }
        Value::Object(entries) => {
            for entry in entries {
                cx.within(Segment::Key(entry.key.clone()), |cx| collect_missing(&entry.value, cx, missing));
            }
        }
        _ => {}
    }
}
