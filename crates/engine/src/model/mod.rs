//! A model on the kernels: its weights in panels and the operations of a step.
//!
//! [`Weights`] are loaded for a [`Plan`], the compiled spec; a [`Model`] runs the plan for a
//! [`Batch`](crate::scheduler::Batch) over a [`KvStore`] and hands out logits, for the wanted rows only.

mod cache;
mod panels;
mod plan;
mod run;
mod weights;

pub use cache::KvStore;
pub use panels::{PanelCache, PanelEntry, PanelStatus};
pub use plan::{Buffer, Linear, Op, Plan, Then};
pub use run::Model;
pub use weights::{LoadError, LoadOptions, Progress, Quantization, Stage, Weights};
