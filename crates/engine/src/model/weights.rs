//! From a model's files to matrices in panels.

use std::ops::Range;

use chela_kernels::{Arrangement, Format, Matrix, MatrixBuilder, Pool, RawTensor, RawType, Shape};

use super::panels::PanelFile;
use super::{Linear, PanelCache, PanelStatus, Plan};
use crate::formats::{DType, FormatError, Source, Tensor};
use crate::spec::{ModelSpec, Role, SpecError};

/// Rounding of float weights while they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// 8 bits with a scale per 32 weights.
    Int8,
    /// 4 bits with a scale per 32 weights; embedding and head get 8.
    Int4,
}

/// How to load.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Rounding of float weights.
    pub quantization: Option<Quantization>,
    /// The workers that repack.
    pub pool: &'a Pool,
    /// Where panels are kept.
    pub cache: Option<&'a PanelCache>,
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes read or written.
    pub done: u64,
    /// Bytes to read or write.
    pub total: u64,
}

/// A part of loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The files are read, and repacked unless the panels are mapped.
    Loading,
    /// The panels are written to the cache.
    Keeping,
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The files are damaged or incomplete.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The model is not one that this engine runs.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The kernels refuse it.
    #[error(transparent)]
    Kernels(#[from] chela_kernels::Error),
    /// A tensor has another shape than the description says.
    #[error("tensor {name:?} has shape {got:?}; the model's description asks for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// By the description.
        expected: Vec<usize>,
        /// In the file.
        got: Vec<usize>,
    },
    /// There are no kernels for a tensor's type.
    #[error(
        "tensor {name:?} has type {dtype}; there are kernels for F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K and Q6_K"
    )]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// Quantization on load was asked for a model that is quantized.
    #[error("tensor {name:?} is quantized already, as {dtype}; load the model without quantization")]
    Quantized {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// A panel file does not fit the model; it is built again.
    #[error("the panel file does not fit the model")]
    Panels,
    /// The window that was asked for does not fit the memory.
    #[error("{0}")]
    Memory(String),
}

/// A product's matrices.
#[derive(Debug)]
pub(super) struct Product {
    pub pieces: Vec<Piece>,
    /// Whether gate and up are two pieces, because their types differ.
    pub split: bool,
}

/// A matrix, and the columns of the output that it fills.
#[derive(Debug)]
pub(super) struct Piece {
    pub matrix: Matrix,
    pub bias: Option<Vec<f32>>,
    pub columns: Range<usize>,
}

/// A model's weights.
#[derive(Debug)]
pub struct Weights {
    pub(super) embedding: Matrix,
    /// `None` if it is the embedding.
    pub(super) head: Option<Matrix>,
    pub(super) final_norm: Vec<f32>,
    pub(super) products: Vec<Product>,
    pub(super) vectors: Vec<Vec<f32>>,
}

impl Weights {
    /// Loads the weights that a plan needs, matrix by matrix, each with all workers of `pool`; or maps
    /// them from the cache, if it has them.
    ///
    /// # Errors
    /// If a tensor is missing, damaged or of a type or shape that does not fit.
    pub fn load(
        spec: &ModelSpec,
        plan: &Plan,
        source: &Source,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, PanelStatus), LoadError> {
        let LoadOptions { quantization, pool, cache } = options;
        let mut load = |panels| {
            let at = Progress { stage: Stage::Loading, done: 0, total: total(spec, source)? };
            Loader { spec, source, quantization, pool, panels, progress: &mut *progress, at }.weights(plan)
        };
        let Some(cache) = cache else {
            return Ok((load(None)?, PanelStatus::Off));
        };
        // A panel file that does not fit after all is replaced.
        if let Some(panels) = cache.find(source, quantization)
            && let Ok(weights) = load(Some(panels))
        {
            return Ok((weights, PanelStatus::Mapped));
        }
        let weights = load(None)?;
        let status = match cache.store(source, quantization, &weights, progress) {
            Ok(()) => PanelStatus::Stored,
            Err(error) => PanelStatus::NotStored(error.to_string()),
        };
        Ok((weights, status))
    }

    /// Bytes that [`Weights::load`] will take.
    ///
    /// # Errors
    /// As [`Weights::load`], as far as it shows without reading the data.
    pub fn bytes(
        spec: &ModelSpec,
        source: &Source,
        quantization: Option<Quantization>,
    ) -> Result<u64, LoadError> {
        let mut bytes = 0;
        for (role, [rows, cols]) in spec.tensors() {
            bytes += match rows {
                1 => cols * 4,
                _ => {
                    let tensor = tensor(spec, source, role, &[rows, cols])?;
                    let format = format(&tensor, role, quantization)?;
                    rows.div_ceil(chela_kernels::PANEL_ROWS) * format.panel_bytes(cols)
                }
            } as u64;
        }
        Ok(bytes)
    }

    /// The matrices that a step multiplies with, the head last.
    pub fn multiplied(&self) -> impl Iterator<Item = &Matrix> {
        let pieces = self.products.iter().flat_map(|p| &p.pieces).map(|p| &p.matrix);
        pieces.chain([self.head()])
    }

    /// The types in which the matrices are held, with the number of matrices of each.
    #[must_use]
    pub fn formats(&self) -> Vec<(Format, usize)> {
        let mut counts: Vec<(Format, usize)> = Vec::new();
        let lookup = self.head.is_some().then_some(&self.embedding);
        for matrix in self.multiplied().chain(lookup) {
            let format = matrix.shape().format();
            match counts.iter_mut().find(|(f, _)| *f == format) {
                Some((_, n)) => *n += 1,
                None => counts.push((format, 1)),
            }
        }
        counts
    }

    /// All matrices in the order of loading.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Matrix> {
        let pieces = self.products.iter().flat_map(|p| &p.pieces).map(|p| &p.matrix);
        [&self.embedding].into_iter().chain(&self.head).chain(pieces)
    }

    pub(super) fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

fn tensor<'a>(
    spec: &ModelSpec,
    source: &'a Source,
    role: Role,
    expected: &[usize],
) -> Result<Tensor<'a>, LoadError> {
    let name = spec.names.name(role);
    let tensor = source.need_tensor(&name)?;
    if tensor.shape != expected {
        return Err(LoadError::Shape { name, expected: expected.to_vec(), got: tensor.shape.to_vec() });
    }
    Ok(tensor)
}

fn raw_type(tensor: &Tensor) -> Result<RawType, LoadError> {
    Ok(match tensor.dtype {
        DType::F32 => RawType::F32,
        DType::F16 => RawType::F16,
        DType::BF16 => RawType::Bf16,
        DType::Q8_0 => RawType::Q8_0,
        DType::Q4_0 => RawType::Q4_0,
        DType::Q4K => RawType::Q4K,
        DType::Q5K => RawType::Q5K,
        DType::Q6K => RawType::Q6K,
        dtype => return Err(LoadError::Type { name: tensor.name.to_owned(), dtype }),
    })
}

fn format(tensor: &Tensor, role: Role, quantization: Option<Quantization>) -> Result<Format, LoadError> {
    let raw = raw_type(tensor)?;
    let Some(quantization) = quantization else { return Ok(raw.native_format()) };
    if !matches!(raw, RawType::F32 | RawType::F16 | RawType::Bf16) {
        return Err(LoadError::Quantized { name: tensor.name.to_owned(), dtype: tensor.dtype });
    }
    Ok(match (quantization, role) {
        (Quantization::Int4, Role::Layer(..)) => Format::W4,
        _ => Format::W8,
    })
}

fn total(spec: &ModelSpec, source: &Source) -> Result<u64, LoadError> {
    let bytes = |(role, _)| Ok(source.need_tensor(&spec.names.name(role))?.data.len() as u64);
    spec.tensors().into_iter().map(bytes).sum()
}

struct Loader<'a> {
    spec: &'a ModelSpec,
    source: &'a Source,
    quantization: Option<Quantization>,
    pool: &'a Pool,
    panels: Option<PanelFile>,
    progress: &'a mut dyn FnMut(Progress),
    at: Progress,
}

impl Loader<'_> {
    fn weights(mut self, plan: &Plan) -> Result<Weights, LoadError> {
        let (vocab, hidden) = (self.spec.vocab, self.spec.hidden);
        Ok(Weights {
            embedding: self.matrix(&[(Role::Embedding, vocab)], hidden, Arrangement::Plain)?,
            head: match self.spec.tied {
                true => None,
                false => Some(self.matrix(&[(Role::Head, vocab)], hidden, Arrangement::Plain)?),
            },
            final_norm: self.vector(Role::FinalNorm, hidden)?,
            products: plan
                .linears
                .iter()
                .zip(plan.glus())
                .map(|(linear, glu)| self.product(linear, glu))
                .collect::<Result<_, _>>()?,
            vectors: plan.vectors.iter().map(|role| self.any_vector(*role)).collect::<Result<_, _>>()?,
        })
    }

    fn read(&mut self, tensor: &Tensor) {
        self.at.done += tensor.data.len() as u64;
        (self.progress)(self.at);
    }

    fn vector(&mut self, role: Role, len: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = tensor(self.spec, self.source, role, &[len])?;
        self.read(&tensor);
        Ok(tensor.to_f32()?)
    }

    /// A vector whose length the description gives.
    fn any_vector(&mut self, role: Role) -> Result<Vec<f32>, LoadError> {
        let all = self.spec.tensors();
        let len = all.iter().find(|(r, _)| *r == role).map_or(0, |(_, [_, len])| *len);
        self.vector(role, len)
    }

    /// Stacks tensors of one format to a matrix.
    fn matrix(
        &mut self,
        parts: &[(Role, usize)],
        cols: usize,
        arrangement: Arrangement,
    ) -> Result<Matrix, LoadError> {
        let format = self.format(parts[0].0, [parts[0].1, cols])?;
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let shape = Shape::new(format, rows, cols, arrangement)?;
        if let Some(panels) = &mut self.panels {
            let matrix = panels.next(shape).ok_or(LoadError::Panels)?;
            for (role, rows) in parts {
                self.read(&tensor(self.spec, self.source, *role, &[*rows, cols])?);
            }
            return Ok(matrix);
        }
        let mut builder = MatrixBuilder::new(shape)?;
        let mut first = 0;
        for (role, rows) in parts {
            let tensor = tensor(self.spec, self.source, *role, &[*rows, cols])?;
            let raw = RawTensor::new(raw_type(&tensor)?, *rows, cols, tensor.data)?;
            builder.put(self.pool, first, &raw)?;
            first += rows;
            self.read(&tensor);
        }
        Ok(builder.finish()?)
    }

    fn format(&self, role: Role, shape: [usize; 2]) -> Result<Format, LoadError> {
        format(&tensor(self.spec, self.source, role, &shape)?, role, self.quantization)
    }

    /// A product as few matrices as the formats allow.
    fn product(&mut self, linear: &Linear, glu: bool) -> Result<Product, LoadError> {
        let parts: Vec<_> = linear.weights.iter().copied().zip(linear.rows.iter().copied()).collect();
        let formats = parts.iter().map(|(role, rows)| self.format(*role, [*rows, linear.cols]));
        let formats = formats.collect::<Result<Vec<_>, _>>()?;
        let mut pieces = Vec::new();
        let (mut from, mut column) = (0, 0);
        for run in formats.chunk_by(|a, b| a == b) {
            let range = from..from + run.len();
            let paired = glu && run.len() == parts.len();
            let arrangement = if paired { Arrangement::Paired } else { Arrangement::Plain };
            let matrix = self.matrix(&parts[range.clone()], linear.cols, arrangement)?;
            let mut bias = Vec::new();
            for (role, rows) in linear.biases.iter().zip(&linear.rows).skip(range.start).take(range.len()) {
                bias.extend(self.vector(*role, *rows)?);
            }
            let width = if paired { linear.rows[0] } else { linear.rows[range.clone()].iter().sum() };
            let bias = if bias.is_empty() { None } else { Some(bias) };
            pieces.push(Piece { matrix, bias, columns: column..column + width });
            (from, column) = (range.end, column + width);
        }
        let split = glu && pieces.len() > 1;
        Ok(Product { pieces, split })
    }
}
