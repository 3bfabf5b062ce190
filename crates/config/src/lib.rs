//! The configuration file: types, JSON5 loading and comment-keeping edits.
//!
//! [`open`] reads the file that [`Paths::config_file`] found and gives [`Loaded`]: the typed
//! [`Config`] and what is to be said about it, or [`ConfigErrors`], which holds every wrong type
//! and value at once with its place. Strings of the config are [`Text`]s and keys are
//! [`SecretRef`]s: they take their environment variables from an [`Env`] when they are needed.
//! [`edit`] changes one value of the text and keeps the rest.

#[macro_use]
mod macros;

mod agents;
pub mod auth;
mod decode;
mod diagnostic;
pub mod edit;
pub mod env;
mod include;
mod key_path;
mod layout;
mod load;
mod models;
mod network;
mod openclaw;
mod paths;
mod redact;
mod reference;
mod sandbox;
mod secret;
mod shape;
mod show;
mod source;
mod text;
mod tree;
pub mod trust;
mod write;

pub use agents::{AgentDefaults, Agents, ModelChoice, ModelEntry, ModelPattern};
pub use diagnostic::{ConfigErrors, Diagnostic, Severity};
pub use env::Env;
pub use key_path::{BadKeyPath, KeyPath, Segment};
pub use load::{Config, IgnoredKey, Loaded, load, open, parse};
pub use models::{
    Api, Compat, Cost, Effort, Input, MaxTokensField, Mode, Model, Models, Provider, Request, ThinkingFormat,
    Tls, UnsupportedApi,
};
pub use network::Network;
pub use paths::{ConfigFile, NamedBy, NoHome, Paths};
pub use reference::{json_schema, reference_markdown};
pub use sandbox::Sandbox;
pub use secret::{Secret, SecretError, SecretRef, SecretSource};
pub use show::ShowError;
pub use source::Place;
pub use text::{BaseUrl, MissingVariable, Params, PathText, ResolveError, Text};
