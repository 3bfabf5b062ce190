//! One file per command.

pub mod agent;
pub mod auth;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod models;
pub mod sessions;
