//! The words that the agent and its front ends share.
//!
//! A front end sends an [`Op`] and receives [`Envelope`]s, each of which carries one
//! [`Event`]; both travel over a channel in process or as JSON lines over a socket. What was
//! said is kept as [`Record`]s: one [`Item`] each, written once and never changed, from which
//! the messages of every request are built again, byte for byte.
//!
//! JSON forms: an op is tagged by `"op"`, an event by `"type"`, an item by `"kind"`, all in
//! snake case; an absent field means its default, and empty fields are left out. The forms are
//! held by the tests of this crate and may grow by fields and variants only.

mod event;
mod ids;
mod item;
mod op;

pub use event::{
    Budget, Envelope, Event, FailureKind, Level, Listing, ModelRow, Outcome, SessionRow, Status, ToolRow,
};
pub use ids::{ApprovalId, IdError, ItemId, QuestionId, SessionId, TurnId};
pub use item::{
    Attachment, Call, Compaction, Finish, Image, Item, Provenance, Record, ResultStatus, Right, Shortened,
    Taint, Usage,
};
pub use op::{ApproveMode, Decision, ListWhat, Op, Thinking, UnknownName};

/// For `skip_serializing_if`.
fn is_false(value: &bool) -> bool {
    !*value
}
