//! Matrix products over panels.

use std::ops::Range;

use crate::format::PANEL_ROWS;
use crate::matrix::{Arrangement, Matrix};
use crate::pack::{CHUNK, Packed};
use crate::tile::Tile;
use crate::view::SharedRows;
use crate::{Kernels, Pool, RowsMut};

/// Bytes of weights that a task takes at a time, when every weight is used once: enough for the
/// CPU's prefetcher, few enough to share a small matrix evenly.
const STREAM_BYTES: usize = 64 << 10;
/// Bytes of weights that are kept in the second-level cache while all tokens pass by.
const CACHED_BYTES: usize = 192 << 10;
/// Tasks per thread that a product is cut into at least, if it has the panels.
const TASKS_PER_THREAD: usize = 8;

/// A gate's activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
}

/// What becomes of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// `out = y`.
    Store,
    /// `out += y`: the residual stream.
    Add,
    /// `out = activation(gate) * up`, for a paired matrix; `out` has half as many columns.
    Glu(Activation),
}

/// The end of a matrix product: bias, then [`Then`].
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value per row of the matrix.
    pub bias: Option<&'a [f32]>,
    /// What becomes of the sums.
    pub then: Then,
}

impl Epilogue<'_> {
    /// `out = y`.
    pub const STORE: Self = Self { bias: None, then: Then::Store };
    /// `out += y`.
    pub const ADD: Self = Self { bias: None, then: Then::Add };

    /// `out = activation(gate) * up`.
    pub const fn glu(activation: Activation) -> Self {
        Self { bias: None, then: Then::Glu(activation) }
    }
}

#[repr(align(64))]
struct Sums([f32; CHUNK * PANEL_ROWS]);

struct Product<'a> {
    kernels: Kernels,
    weights: &'a Matrix,
    x: &'a Packed,
    epilogue: Epilogue<'a>,
    out: SharedRows<'a>,
}

impl Kernels {
    /// `y = x Wᵀ`: for every token of `x` and every row of `weights` their inner product, handed to
    /// `epilogue`. `out` is `[tokens, rows]`, or `[tokens, rows / 2]` after [`Then::Glu`].
    ///
    /// A token's result has the same bits whatever the other tokens, their number and the number of
    /// threads.
    ///
    /// # Panics
    /// When the shapes, the kind of `x` or the arrangement of the weights do not fit.
    pub fn matmul(
        &self,
        pool: &Pool,
        weights: &Matrix,
        x: &Packed,
        epilogue: Epilogue<'_>,
        mut out: RowsMut<'_>,
    ) {
        let shape = weights.shape();
        let paired = shape.arrangement() == Arrangement::Paired;
        assert!(
            x.kind() == shape.format().activation() && x.cols() == shape.cols(),
            "{:?} activations of {} inputs for {shape:?}",
            x.kind(),
            x.cols()
        );
        assert!(paired == matches!(epilogue.then, Then::Glu(_)), "{epilogue:?} for {shape:?}");
        let outputs = if paired { shape.rows() / 2 } else { shape.rows() };
        assert!(
            out.rows() == x.rows() && out.cols() == outputs,
            "[{}, {}] outputs for {} tokens and {shape:?}",
            out.rows(),
            out.cols(),
            x.rows()
        );
        assert!(epilogue.bias.is_none_or(|b| b.len() == shape.rows()), "bias for {shape:?}");
        let product = Product { kernels: *self, weights, x, epilogue, out: out.shared() };
        let panels = shape.panels();
        let budget = if x.chunks() > 1 { CACHED_BYTES } else { STREAM_BYTES };
        let step = if paired { 2 } else { 1 };
        let fit = budget / shape.format().panel_bytes(shape.cols());
        let even = panels / (pool.threads() * TASKS_PER_THREAD);
        let group = (fit.min(even) / step * step).max(step);
        pool.run(panels.div_ceil(group), |i| {
            product.panels(i * group..panels.min((i + 1) * group));
        });
    }
}

impl Product<'_> {
    /// All tokens times the panels of `range`.
    fn panels(&self, range: Range<usize>) {
        let step = if matches!(self.epilogue.then, Then::Glu(_)) { 2 } else { 1 };
        let mut sums = [const { Sums([0.0; CHUNK * PANEL_ROWS]) }; 2];
        for chunk in 0..self.x.chunks() {
            let tokens = self.x.chunk(chunk);
            for panel in range.clone().step_by(step) {
                for (i, sums) in sums.iter_mut().take(step).enumerate() {
                    self.inner(panel + i, chunk, sums);
                }
                for (t, token) in tokens.clone().enumerate() {
                    self.finish(panel, token, t, &mut sums);
                }
            }
        }
    }

    /// The products of one panel with the tokens of one chunk.
    fn inner(&self, panel: usize, chunk: usize, sums: &mut Sums) {
        let shape = self.weights.shape();
        let size = shape.format().panel_bytes(shape.cols());
        let weights = &self.weights.bytes()[panel * size..][..size];
        let tokens = self.x.chunk(chunk).len();
        let kernels = self.kernels.table().tiles[shape.format().index()];
        let tiles = tokens.div_ceil(kernels.len());
        for tile in 0..tiles {
            let part = tokens * tile / tiles..tokens * (tile + 1) / tiles;
            let arguments = Tile {
                weights: weights.as_ptr(),
                records: size / shape.format().record_bytes(),
                x: self.x.chunk_words(chunk).wrapping_add(part.start),
                stride: tokens,
                out: sums.0[part.start * PANEL_ROWS..].as_mut_ptr(),
            };
            // SAFETY: a panel has that many records; the pack has the kind of the format and as many
            // (padded) inputs; `sums` has room for a chunk; the set is one that this CPU has.
            unsafe { kernels[part.len() - 1](arguments) };
        }
    }

    fn finish(&self, panel: usize, token: usize, t: usize, sums: &mut [Sums; 2]) {
        let shape = self.weights.shape();
        let lanes = t * PANEL_ROWS..(t + 1) * PANEL_ROWS;
        let [first, second] = sums;
        let (y, up) = (&mut first.0[lanes.clone()], &mut second.0[lanes]);
        let paired = matches!(self.epilogue.then, Then::Glu(_));
        let start = if paired { panel / 2 } else { panel } * PANEL_ROWS;
        let end = self.out.cols.min(start + PANEL_ROWS);
        if let Some(bias) = self.epilogue.bias {
            y.iter_mut().zip(&bias[start..end]).for_each(|(y, b)| *y += b);
            if paired {
                let bias = &bias[shape.rows() / 2..];
                up.iter_mut().zip(&bias[start..end]).for_each(|(y, b)| *y += b);
            }
        }
        // SAFETY: every panel has its own columns, and every panel belongs to one task.
        let out = unsafe { self.out.part(token, start..end) };
        match self.epilogue.then {
            Then::Store => out.copy_from_slice(&y[..end - start]),
            Then::Add => out.iter_mut().zip(y).for_each(|(o, y)| *o += *y),
            Then::Glu(activation) => {
                // SAFETY: both slices have 16 lanes; the set is one that this CPU has.
                unsafe { (self.kernels.table().glu)(activation, y.as_mut_ptr(), up.as_ptr()) };
                out.copy_from_slice(&y[..end - start]);
            }
        }
    }
}
