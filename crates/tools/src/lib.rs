//! The built-in tools.
//!
//! [`files::tools`] makes the tools that work on files from [`files::Files`]; what they change is
//! first written to an [`undo::UndoLog`], which takes it back byte for byte. [`web::WebFetch`]
//! reads pages through the one HTTP client, [`memory::Memory`] keeps notes. Tools get a
//! [`ToolCtx`](chela_agent::tool::ToolCtx) and give a
//! [`ToolResult`](chela_agent::tool::ToolResult): lenient in what they take, exact in what they
//! say, never blank.

pub mod exec;
pub mod files;
pub mod memory;
pub mod sandbox;
pub mod undo;
pub mod web;
