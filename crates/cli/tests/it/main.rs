//! The real binary against the scripted server over a real socket.
#![allow(clippy::unwrap_used)]

mod agent;
mod attach;
mod auth;
mod basics;
mod bench;
mod chat_pipe;
mod chat_terminal;
mod config;
mod context;
mod demo_exam;
mod doctor;
mod exec;
mod first_run;
mod golden;
mod hostile;
mod kill;
mod local;
mod memory;
mod models;
mod sandbox;
mod scenarios;
mod seed;
mod serve;
mod served;
mod sessions;
mod setup;
mod soak;
mod stop;
mod terminal;
mod trust;
mod wire;
mod world;
