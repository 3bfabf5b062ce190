//! The client against scripted and misbehaving servers over real loopback sockets.

#![allow(clippy::unwrap_used)]

mod answers;
mod common;
mod discovery;
mod egress;
mod fallback;
mod golden;
mod liveness;
mod requests;
mod scale;
mod tls;
mod tools;
