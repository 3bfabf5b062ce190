use std::{borrow::Cow, io};

use super::{ALIGNMENT, Kind, MAGIC};
use crate::formats::{DType, FormatError, tensor::TensorInfo};

/// Writes a GGUF file of version 3.
///
/// ```
/// # use chela_engine::formats::{DType, gguf};
/// let mut writer = gguf::Writer::new("qwen3");
/// writer.uint("qwen3.block_count", 2);
/// writer.tensor("output_norm.weight", DType::F32, &[1], 1.0f32.to_le_bytes().to_vec())?;
/// let mut file = Vec::new();
/// writer.write(&mut file)?;
/// assert_eq!(gguf::parse(&file)?.tensors.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    entries: Vec<u8>,
    entry_count: u64,
    tensors: Vec<TensorData<'a>>,
}

#[derive(Debug)]
struct TensorData<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl<'a> Writer<'a> {
    /// A file for this `general.architecture`.
    pub fn new(architecture: &str) -> Self {
        let mut writer = Self { entries: Vec::new(), entry_count: 0, tensors: Vec::new() };
        writer.str("general.architecture", architecture);
        writer
    }

    /// Add a whole number, as u32.
    pub fn uint(&mut self, key: &str, value: u32) {
        self.key(key, Kind::U32);
        self.entries.extend(value.to_le_bytes());
    }

    /// Add a number, as f32.
    pub fn float(&mut self, key: &str, value: f32) {
        self.key(key, Kind::F32);
        self.entries.extend(value.to_le_bytes());
    }

    /// Add a truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, Kind::Bool);
        self.entries.push(value.into());
    }

    /// Add text.
    pub fn str(&mut self, key: &str, value: &str) {
        self.key(key, Kind::String);
        push_str(&mut self.entries, value);
    }

    /// Add a list of texts.
    pub fn strs<S: AsRef<str>>(&mut self, key: &str, values: impl IntoIterator<Item = S>) {
        self.array(key, Kind::String, values, |out, value| {
            push_str(out, value.as_ref());
        });
    }

    /// Add a list of whole numbers, as i32.
    pub fn ints(&mut self, key: &str, values: impl IntoIterator<Item = i32>) {
        self.array(key, Kind::I32, values, |out, value| {
            out.extend(value.to_le_bytes());
        });
    }

    /// Add a list of numbers, as f32.
    pub fn floats(&mut self, key: &str, values: impl IntoIterator<Item = f32>) {
        self.array(key, Kind::F32, values, |out, value| {
            out.extend(value.to_le_bytes());
        });
    }

    /// Add a tensor: sizes outermost first, rows one after the other.
    ///
    /// # Errors
    /// [`FormatError`] if ggml has no such type or the data have another size than type and
    /// shape ask for.
    pub fn tensor(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[usize],
        data: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), FormatError> {
        let data = data.into();
        if dtype.ggml().is_none() {
            let what = format!("type {dtype} of tensor {name:?}");
            return Err(FormatError::unsupported(what, "GGUF has no such type"));
        }
        let size = TensorInfo::size(&format!("tensor {name:?}"), dtype, shape)?;
        if size != data.len() as u64 {
            let what = format!("data of tensor {name:?}");
            let expected = format!("{size} bytes");
            return Err(FormatError::invalid(what, None, expected, data.len()));
        }
        self.tensors.push(TensorData { name: name.to_owned(), dtype, shape: shape.to_vec(), data });
        Ok(())
    }

    /// Write the file: metadata in the order in which they were added, then tensors likewise.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut head = MAGIC.to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend(self.entry_count.to_le_bytes());
        head.extend(&self.entries);
        let mut offset = 0u64;
        for tensor in &self.tensors {
            push_str(&mut head, &tensor.name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                head.extend((*size as u64).to_le_bytes());
            }
            head.extend(tensor.dtype.ggml().unwrap_or_default().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset = (offset + tensor.data.len() as u64).next_multiple_of(ALIGNMENT);
        }
        out.write_all(&head)?;
        pad(out, head.len())?;
        for tensor in &self.tensors {
            out.write_all(&tensor.data)?;
            pad(out, tensor.data.len())?;
        }
        out.flush()
    }

    fn key(&mut self, key: &str, kind: Kind) {
        push_str(&mut self.entries, key);
        self.entries.extend((kind as u32).to_le_bytes());
        self.entry_count += 1;
    }

    fn array<T>(
        &mut self,
        key: &str,
        element: Kind,
        values: impl IntoIterator<Item = T>,
        push: impl Fn(&mut Vec<u8>, T),
    ) {
        self.key(key, Kind::Array);
        self.entries.extend((element as u32).to_le_bytes());
        let at = self.entries.len();
        self.entries.extend([0; 8]);
        let mut len = 0u64;
        for value in values {
            push(&mut self.entries, value);
            len += 1;
        }
        self.entries[at..at + 8].copy_from_slice(&len.to_le_bytes());
    }
}

fn push_str(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn pad(out: &mut impl io::Write, len: usize) -> io::Result<()> {
    let alignment = ALIGNMENT as usize;
    out.write_all(&[0; ALIGNMENT as usize][..len.next_multiple_of(alignment) - len])
}
