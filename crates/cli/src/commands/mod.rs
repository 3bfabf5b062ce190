//! One file per command.

pub mod agent;
pub mod auth;
pub mod bench;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod explain;
pub mod generate;
pub mod models;
pub mod models_local;
pub mod serve;
pub mod sessions;
pub mod setup;
pub mod trust;
