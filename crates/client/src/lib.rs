//! The client half: which models there are, and asking them.
//!
//! A [`Catalog`] is built from [`Settings`] and resolves a [`ModelRef`] to a [`Model`], whose
//! limits know where they come from. [`ModelClient::stream`] sends a [`Turn`] to such a model and
//! gives its answer as [`ModelEvent`]s. Both reach servers through a [`Transport`]: [`Http`], the
//! one HTTP client with its egress rules, or [`InProcess`], a service of the same process.
//!
//! The crate reads neither the environment nor the home folder and prints nothing: values are
//! handed in, and what the user should know comes back as warnings, notices and errors.

pub mod catalog;
pub mod fault;
pub mod stream;
pub mod transport;

pub use chela_chat as chat;
pub use chela_openai as openai;

pub use catalog::{Catalog, Listing, Model, ModelRef, ResolveError, Scope, Settings, State};
pub use fault::ExitClass;
pub use stream::{EventStream, ModelClient, ModelError, ModelEvent, Notice, Timing, Turn};
pub use transport::{Http, HttpSettings, InProcess, Transport};
