use std::ops::Range;

use super::{DType, FormatError, dequant};

/// A tensor in a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// The tensor's name in the file.
    pub name: &'a str,
    /// How elements are stored.
    pub dtype: DType,
    /// Sizes, outermost first (a weight matrix is `[outputs, inputs]`). Empty for a scalar.
    pub shape: &'a [usize],
    /// The stored bytes, rows one after the other: exactly as many as dtype and shape ask for.
    pub data: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Elements in a row, the innermost size; 1 for a scalar.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// All elements as f32, rows one after the other.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] if the type is one that we cannot read.
    pub fn to_f32(&self) -> Result<Vec<f32>, FormatError> {
        self.check_readable()?;
        let mut out = vec![0.0; self.len()];
        dequant::dequantize(self.dtype, self.data, &mut out);
        Ok(out)
    }

    /// Whether the elements can be read as numbers.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`], naming the tensor and its type, if not.
    pub fn check_readable(&self) -> Result<(), FormatError> {
        if dequant::is_supported(self.dtype) {
            return Ok(());
        }
        Err(FormatError::unsupported(
            format!("type {} of tensor {:?}", self.dtype, self.name),
            "readable are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K",
        ))
    }
}

/// Where a tensor lies: everything of a [`Tensor`] but its name and file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// How elements are stored.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The bytes, from the start of the file.
    pub bytes: Range<usize>,
}

impl TensorInfo {
    pub(super) fn view<'a>(&'a self, name: &'a str, file: &'a [u8]) -> Tensor<'a> {
        Tensor { name, dtype: self.dtype, shape: &self.shape, data: &file[self.bytes.clone()] }
    }

    /// The bytes that a tensor of this type and shape takes, or an error that names it.
    pub(super) fn size(what: &str, dtype: DType, shape: &[usize]) -> Result<u64, FormatError> {
        let row = shape.last().map_or(1, |n| *n as u64);
        let outer = shape.split_last().map_or(&[][..], |(_, outer)| outer);
        let rows = outer.iter().try_fold(1u64, |rows, n| rows.checked_mul(*n as u64));
        let len = rows.and_then(|rows| rows.checked_mul(row));
        let size = rows.and_then(|rows| dtype.tensor_bytes(row, rows));
        // The number of elements must be a usize as well, since views count with it.
        size.filter(|_| len.is_some_and(|len| usize::try_from(len).is_ok())).ok_or_else(|| {
            FormatError::invalid(
                format!("shape of {what}"),
                None,
                format!(
                    "rows of whole {dtype} blocks ({} elements) and a size below 2^64",
                    dtype.block_len()
                ),
                format!("{shape:?}"),
            )
        })
    }
}

/// Refuse tensors that share bytes: nothing writes such files, and they would let a small file
/// ask for any amount of memory when its weights are repacked.
pub(super) fn check_disjoint<'a>(
    tensors: impl Iterator<Item = (&'a String, &'a TensorInfo)>,
) -> Result<(), FormatError> {
    let mut spans: Vec<_> = tensors
        .map(|(name, info)| (info.bytes.start, info.bytes.end, name))
        .filter(|(start, end, _)| start < end)
        .collect();
    spans.sort_unstable();
    for pair in spans.windows(2) {
        let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
        if start < end {
            return Err(FormatError::invalid(
                format!("data of tensor {second:?}"),
                Some(start as u64),
                format!("bytes of its own, from {end} where {first:?} ends"),
                start,
            ));
        }
    }
    Ok(())
}
