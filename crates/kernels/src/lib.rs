//! CPU kernels of the inference engine.
//!
//! [`Kernels`] are the operations of one instruction set (the best of this CPU, or a forced one);
//! [`Pool`] is the workers they run on; a [`Matrix`] holds weights in panels, made for the kernels
//! by [`MatrixBuilder`]. A layer packs its activations once ([`Kernels::pack`]) and multiplies them
//! with each matrix ([`Kernels::matmul`]); keys and values live in a paged [`KvCache`] that
//! [`Kernels::attention`] reads.
//!
//! Two laws hold for every operation. *Invariance*: a token's result has the same bits whatever
//! else is in the batch, wherever a prompt was cut, and however many threads run, because each sum
//! has one order. *Agreement*: all instruction sets give the same bits, except where `Bf16` weights
//! meet AVX512-BF16, whose instruction rounds in its own way.
//!
//! Shape mismatches are bugs of the caller and panic; sizes and bytes that come from files are
//! checked with errors.

mod attention;
mod dispatch;
mod error;
mod format;
mod generic;
mod kv;
mod matmul;
mod matrix;
mod measure;
mod memory;
mod pack;
mod pool;
mod raw;
mod repack;
mod rows;
mod simd;
mod tile;
mod view;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use attention::{AttentionOptions, Span};
pub use dispatch::{Isa, Kernels};
pub use error::Error;
pub use format::{ActivationKind, Format, PANEL_LAYOUT, PANEL_ROWS};
pub use kv::{BLOCK_TOKENS, KvCache, KvLayout, KvType, MAX_HEAD_DIM};
pub use matmul::{Activation, Epilogue, Then};
pub use matrix::{Arrangement, Matrix, MatrixBuilder, Shape};
pub use measure::BandwidthProbe;
pub use memory::{ALIGN, AlignedBytes, SharedBytes};
pub use pack::Packed;
pub use pool::{Pool, PoolOptions};
pub use raw::{RawTensor, RawType};
pub use rows::{RopeAngles, RopeStyle};
pub use view::{Rows, RowsMut};
