//! Matrices of f32 in memory that belongs to someone else.

use std::marker::PhantomData;
use std::ops::Range;

/// `[rows, cols]` of f32, rows `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Contiguous rows of `cols`.
    ///
    /// # Panics
    /// When the length is not a multiple of `cols`.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && data.len().is_multiple_of(cols), "{} values in rows of {cols}", data.len());
        Self { data, rows: data.len() / cols, cols, stride: cols }
    }

    /// The columns `range` of the same rows, such as the queries of a fused query-key-value product.
    ///
    /// # Panics
    /// When the range is empty or not inside.
    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        let start = range.start.min(self.data.len());
        Self { data: &self.data[start..], cols: range.len(), ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.stride..][..self.cols]
    }
}

/// `[rows, cols]` of writable f32, rows `stride` apart.
#[derive(Debug)]
pub struct RowsMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> RowsMut<'a> {
    /// Contiguous rows of `cols`.
    ///
    /// # Panics
    /// When the length is not a multiple of `cols`.
    pub fn new(data: &'a mut [f32], cols: usize) -> Self {
        assert!(cols > 0 && data.len().is_multiple_of(cols), "{} values in rows of {cols}", data.len());
        Self { rows: data.len() / cols, cols, stride: cols, data }
    }

    /// The columns `range` of the same rows.
    ///
    /// # Panics
    /// When the range is empty or not inside.
    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        let start = range.start.min(self.data.len());
        Self { data: &mut self.data[start..], cols: range.len(), rows: self.rows, stride: self.stride }
    }

    /// The same rows for a shorter time.
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    /// The same rows, read only.
    pub fn as_rows(&self) -> Rows<'_> {
        Rows { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &mut self.data[i * self.stride..][..self.cols]
    }

    pub(crate) fn shared(&mut self) -> SharedRows<'_> {
        SharedRows {
            ptr: self.data.as_mut_ptr(),
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
            life: PhantomData,
        }
    }
}

/// Rows that several workers write at once, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows<'a> {
    ptr: *mut f32,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is used only through `part`, whose callers promise disjoint parts.
unsafe impl Send for SharedRows<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    /// The columns `range` of row `i`.
    ///
    /// # Safety
    /// No other live slice overlaps this part.
    pub(crate) unsafe fn part(&self, i: usize, range: Range<usize>) -> &'a mut [f32] {
        assert!(i < self.rows && range.start <= range.end && range.end <= self.cols);
        // SAFETY: inside the rows by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.stride + range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_the_stride() {
        let mut data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let all = Rows::new(&data, 4);
        let part = all.columns(1..3);
        assert_eq!(part.row(2), [9.0, 10.0]);
        assert_eq!((part.rows(), part.cols()), (3, 2));
        let mut rows = RowsMut::new(&mut data, 4).columns(3..4);
        rows.row_mut(0)[0] = -1.0;
        assert_eq!(rows.as_rows().row(2), [11.0]);
        assert_eq!(data[3], -1.0);
    }
}
