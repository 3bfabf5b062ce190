//! Weight matrices in panels, and how they are built.

use std::ops::Range;
use std::sync::Arc;

use crate::format::{Format, PANEL_ROWS};
use crate::memory::{AlignedBytes, SharedBytes};
use crate::pool::Pool;
use crate::raw::{RawTensor, RawType};
use crate::repack;
use crate::{Error, Kernels, RowsMut};

/// How rows are placed in panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrangement {
    /// Row `r` in panel `r / 16`.
    Plain,
    /// The two halves of the rows (gate, up) alternate by panel, for [`crate::Then::Glu`].
    Paired,
}

/// Format and size of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    format: Format,
    rows: usize,
    cols: usize,
    arrangement: Arrangement,
    bytes: usize,
}

impl Shape {
    /// A matrix of `rows` outputs and `cols` inputs.
    ///
    /// # Errors
    /// [`Error::Bytes`] when a dimension is zero or too large, when a K format gets columns that are
    /// not a multiple of 256, or when a paired matrix has an odd number of rows.
    pub fn new(format: Format, rows: usize, cols: usize, arrangement: Arrangement) -> Result<Self, Error> {
        let bad = |expected: &str| Error::Bytes {
            what: format!("a [{rows}, {cols}] {format:?} matrix"),
            expected: expected.to_owned(),
        };
        if rows == 0 || cols == 0 || cols > 1 << 31 {
            return Err(bad("1 to 2^31 columns and at least one row"));
        }
        if !format.takes_cols(cols) {
            return Err(bad("a multiple of 256 columns"));
        }
        if arrangement == Arrangement::Paired && !rows.is_multiple_of(2) {
            return Err(bad("an even number of rows, since it is paired"));
        }
        let mut shape = Self { format, rows, cols, arrangement, bytes: 0 };
        shape.bytes = format
            .panel_bytes(cols)
            .checked_mul(shape.panels())
            .ok_or_else(|| bad("a matrix that fits the address space"))?;
        Ok(shape)
    }

    /// Weight format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows: outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Placement of the rows.
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Bytes of all panels.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn panels(&self) -> usize {
        match self.arrangement {
            Arrangement::Plain => self.rows.div_ceil(PANEL_ROWS),
            Arrangement::Paired => (self.rows / 2).div_ceil(PANEL_ROWS) * 2,
        }
    }

    /// Panel and lane of `row`.
    pub(crate) fn place(&self, row: usize) -> (usize, usize) {
        match self.arrangement {
            Arrangement::Plain => (row / PANEL_ROWS, row % PANEL_ROWS),
            Arrangement::Paired => {
                let half = self.rows / 2;
                let (row, second) = (row % half, row / half);
                (row / PANEL_ROWS * 2 + second, row % PANEL_ROWS)
            }
        }
    }
}

/// A weight matrix `[rows, cols]` in panels (see [`Format`]). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Matrix {
    shape: Shape,
    bytes: SharedBytes,
}

impl Matrix {
    /// A matrix over panels that were built before, such as those of a mapped cache file.
    ///
    /// # Errors
    /// [`Error::Bytes`] when the length is not [`Shape::bytes`].
    pub fn from_bytes(shape: Shape, bytes: SharedBytes) -> Result<Self, Error> {
        if bytes.len() != shape.bytes {
            return Err(Error::Bytes {
                what: format!("{} bytes for {shape:?}", bytes.len()),
                expected: format!("{} bytes", shape.bytes),
            });
        }
        Ok(Self { shape, bytes })
    }

    /// A plain matrix of one tensor in `format`.
    ///
    /// # Errors
    /// As [`Shape::new`], [`MatrixBuilder::new`] and [`MatrixBuilder::put`].
    pub fn from_tensor(pool: &Pool, format: Format, tensor: &RawTensor<'_>) -> Result<Self, Error> {
        let shape = Shape::new(format, tensor.rows(), tensor.cols(), Arrangement::Plain)?;
        let mut builder = MatrixBuilder::new(shape)?;
        builder.put(pool, 0, tensor)?;
        builder.finish()
    }

    /// Format and size.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The panels, the same on every instruction set: what a cache file keeps.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the values of `row`.
    ///
    /// # Panics
    /// When there is no such row or `out` is not `cols` long.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.shape.rows && out.len() == self.shape.cols, "row {row} of {:?}", self.shape);
        let (panel, lane) = self.shape.place(row);
        let size = self.shape.format.panel_bytes(self.shape.cols);
        repack::decode_row(self.shape.format, &self.bytes[panel * size..][..size], lane, out);
    }
}

/// A matrix under construction, from one tensor or several stacked ones.
#[derive(Debug)]
pub struct MatrixBuilder {
    shape: Shape,
    bytes: AlignedBytes,
    filled: Vec<Range<usize>>,
}

struct Panels(*mut u8);

// SAFETY: tasks write disjoint panels through the pointer.
unsafe impl Sync for Panels {}

impl MatrixBuilder {
    /// Memory for `shape`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(shape: Shape) -> Result<Self, Error> {
        Ok(Self { shape, bytes: AlignedBytes::zeroed(shape.bytes)?, filled: Vec::new() })
    }

    /// Repacks `tensor` into the rows from `first` on, in parallel.
    ///
    /// # Errors
    /// [`Error::Bytes`] when it does not fit there, [`Error::Conversion`] when its encoding cannot
    /// become the matrix' format.
    pub fn put(&mut self, pool: &Pool, first: usize, tensor: &RawTensor<'_>) -> Result<(), Error> {
        let shape = self.shape;
        let end = first.checked_add(tensor.rows()).filter(|&end| end <= shape.rows);
        let Some(end) = end.filter(|_| tensor.cols() == shape.cols) else {
            return Err(Error::Bytes {
                what: format!("a [{}, {}] tensor at row {first}", tensor.rows(), tensor.cols()),
                expected: format!("a part of a [{}, {}] matrix", shape.rows, shape.cols),
            });
        };
        if !repack::convertible(tensor.raw(), shape.format) {
            return Err(Error::Conversion {
                raw: tensor.raw(),
                format: shape.format,
                native: repack::native(tensor.raw()),
            });
        }
        let size = shape.format.panel_bytes(shape.cols);
        let mut groups: Vec<Range<usize>> = Vec::new();
        for row in first..end {
            match groups.last_mut() {
                Some(g) if shape.place(g.start).0 == shape.place(row).0 => g.end = row + 1,
                _ => groups.push(row..row + 1),
            }
        }
        let panels = Panels(self.bytes.as_mut_ptr());
        let panels = &panels;
        pool.run(groups.len(), |g| {
            let (panel, _) = shape.place(groups[g].start);
            // SAFETY: inside the buffer, since `panel` is below `panels()`; every group has a panel
            // of its own, and `self` is borrowed exclusively.
            let bytes = unsafe { std::slice::from_raw_parts_mut(panels.0.add(panel * size), size) };
            let mut values = vec![0.0; shape.cols];
            for row in groups[g].clone() {
                let lane = shape.place(row).1;
                repack::encode_row(tensor, row - first, shape.format, bytes, lane, &mut values);
            }
        });
        self.filled.push(first..end);
        Ok(())
    }

    /// The matrix.
    ///
    /// # Errors
    /// [`Error::Bytes`] when not every row was put exactly once.
    pub fn finish(mut self) -> Result<Matrix, Error> {
        self.filled.sort_by_key(|r| r.start);
        let mut next = 0;
        for r in &self.filled {
            if r.start != next {
                next = usize::MAX;
                break;
            }
            next = r.end;
        }
        if next != self.shape.rows {
            return Err(Error::Bytes {
                what: format!("rows {:?}", self.filled),
                expected: format!("each of {} rows once", self.shape.rows),
            });
        }
        let len = self.bytes.len();
        let bytes = SharedBytes::new(Arc::new(self.bytes), 0..len)?;
        Matrix::from_bytes(self.shape, bytes)
    }
}

impl RawType {
    /// The format that holds this encoding without loss.
    pub fn native_format(self) -> Format {
        repack::native(self)
    }
}

impl Kernels {
    /// Writes the rows `ids` of `table` to `out` `[ids, cols]`, times `scale`.
    ///
    /// # Panics
    /// When an id is not a row of the table or `out` has another shape.
    pub fn embed(&self, pool: &Pool, table: &Matrix, ids: &[u32], scale: f32, mut out: RowsMut<'_>) {
        assert!(out.rows() == ids.len() && out.cols() == table.shape.cols, "embedding of {} ids", ids.len());
        let cols = out.cols();
        let out = out.shared();
        pool.run(ids.len(), |i| {
            // SAFETY: every task has its own row.
            let row = unsafe { out.part(i, 0..cols) };
            table.read_row(ids[i] as usize, row);
            if scale != 1.0 {
                row.iter_mut().for_each(|v| *v *= scale);
            }
        });
    }
}
