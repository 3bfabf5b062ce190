//! The agent: one loop, its prompt, its policy, and the seams it stands on.
//!
//! An [`Agent`] is made of [`Parts`] and run with [`Agent::run`]: operations in, events out. It
//! asks a [`Model`](model::Model) (the adapter to a server is [`remote`]), lets the
//! [`Policy`](policy::Policy) decide about each call, runs [`Tool`](tool::Tool)s, and writes
//! everything to a [`Journal`](journal::Journal) before it acts on it.

mod agent;
mod approve;
mod args;
mod breaker;
mod calls;
mod compact;
mod core;
mod deeds;
pub mod journal;
mod meter;
pub mod model;
pub mod policy;
pub mod prompt;
pub mod remote;
mod repeat;
pub mod secrets;
mod settings;
pub mod shell;
mod step;
pub mod tool;
pub mod transcript;
mod turn;

pub use agent::Agent;
pub use meter::Count;
pub use settings::{Budgets, Parts, Quote, Recall, Settings, Undo, Undone};
