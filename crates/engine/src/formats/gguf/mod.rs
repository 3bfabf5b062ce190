//! GGUF, versions 2 and 3, little-endian: the format of `docs/gguf.md` in the ggml repository.
//!
//! [`parse`] turns the head of a file into a [`Header`] and holds nothing but places in it;
//! values are read from the map when they are asked for, so that a vocabulary of 150,000 strings
//! costs nothing until the tokenizer copies it. [`Gguf`] is an opened file with all its splits,
//! [`Writer`] writes one.

mod file;
mod write;

use std::{collections::BTreeMap, fmt::Display, ops::Range};

pub use file::Gguf;
pub use write::Writer;

use super::{
    DType, FormatError,
    tensor::{TensorInfo, check_disjoint},
    value::{List, Value},
};

const MAGIC: &[u8; 4] = b"GGUF";
/// The alignment of tensor data where `general.alignment` does not give another.
const ALIGNMENT: u64 = 32;
/// Arrays may hold arrays; nothing known goes deeper than two.
const MAX_DEPTH: usize = 4;
/// What ggml allows.
const MAX_DIMS: u32 = 4;
/// The specification's limit for keys; used for names of tensors too.
const MAX_NAME: u64 = 65535;

/// The types of metadata values, with their numbers in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// Bytes of a value; `None` for the types whose values differ in size.
    fn size(self) -> Option<u64> {
        Some(match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String | Self::Array => return None,
        })
    }
}

/// What the head of a GGUF file says: metadata and the places of tensors.
#[derive(Debug)]
pub struct Header {
    /// The format's version, 2 or 3.
    pub version: u32,
    /// The alignment of tensor data, in bytes.
    pub alignment: u64,
    /// Tensors by name; their bytes lie within the file and share none.
    pub tensors: BTreeMap<String, TensorInfo>,
    entries: BTreeMap<String, Entry>,
}

/// The place of a metadata value.
#[derive(Debug)]
enum Entry {
    Scalar(Kind, usize),
    Array(Kind, usize, Range<usize>),
}

/// The metadata of a file: its [`Header`] together with its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    header: &'a Header,
    file: &'a [u8],
}

/// An array in the metadata.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a> {
    element: Kind,
    len: usize,
    bytes: &'a [u8],
}

impl Header {
    /// The metadata, given the bytes from which this header was parsed.
    pub fn metadata<'a>(&'a self, file: &'a [u8]) -> Metadata<'a> {
        Metadata { header: self, file }
    }
}

impl<'a> Metadata<'a> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        match self.header.entries.get(key)? {
            Entry::Scalar(kind, at) => {
                let mut cursor = Cursor { bytes: self.file, at: *at };
                cursor.value(*kind, &"", 0).ok()
            }
            Entry::Array(element, len, range) => Some(Value::List(List::Gguf(Array {
                element: *element,
                len: *len,
                bytes: self.file.get(range.clone())?,
            }))),
        }
    }

    /// All keys in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.header.entries.keys().map(String::as_str)
    }
}

impl<'a> Array<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let element = self.element;
        let mut cursor = Cursor { bytes: self.bytes, at: 0 };
        // `parse` has read the same bytes, so that none of these reads fails.
        (0..self.len).map_while(move |_| cursor.value(element, &"", 0).ok())
    }
}

/// Read the head of a GGUF file, given all its bytes.
///
/// # Errors
/// [`FormatError`] naming the field, its offset, what was expected and what was found, if
/// anything in it does not hold: lengths beyond the end, unknown types, keys or tensors that
/// appear twice, tensors that lie outside of the file or share bytes. Nothing is allocated for
/// a count or length before the bytes that it speaks of were seen.
pub fn parse(file: &[u8]) -> Result<Header, FormatError> {
    let mut cursor = Cursor { bytes: file, at: 0 };
    let magic = cursor.take(4, &"magic")?;
    if magic != MAGIC {
        let found = format!("{:?}", String::from_utf8_lossy(magic));
        return Err(FormatError::invalid("magic", Some(0), "\"GGUF\"", found));
    }
    let version = cursor.u32(&"version")?;
    if !(2..=3).contains(&version) {
        let what = if (2..=3).contains(&version.swap_bytes()) {
            "big-endian GGUF".to_owned()
        } else {
            format!("GGUF version {version}")
        };
        return Err(FormatError::unsupported(
            what,
            "read are little-endian files of versions 2 and 3; convert the model again",
        ));
    }
    let tensor_count = cursor.u64(&"tensor count")?;
    let entry_count = cursor.u64(&"metadata count")?;
    let mut header =
        Header { version, alignment: ALIGNMENT, tensors: BTreeMap::new(), entries: BTreeMap::new() };
    for index in 0..entry_count {
        cursor.entry(index, &mut header.entries)?;
    }
    if let Some(value) = header.metadata(file).get("general.alignment") {
        let alignment = value.as_uint().filter(|n| n.is_power_of_two());
        header.alignment = alignment.ok_or_else(|| {
            FormatError::invalid("general.alignment", None, "a power of two", format!("{value:?}"))
        })?;
    }
    let mut offsets = Vec::new();
    for index in 0..tensor_count {
        offsets.push(cursor.tensor(index, &mut header.tensors)?);
    }
    let start = (cursor.at as u64).checked_next_multiple_of(header.alignment);
    for (name, at, offset) in offsets {
        if let Some(info) = header.tensors.get_mut(name) {
            place(name, at, offset, start, header.alignment, info, file.len())?;
        }
    }
    check_disjoint(header.tensors.iter())?;
    Ok(header)
}

/// Turn a tensor's offset into its range of bytes in the file.
fn place(
    name: &str,
    at: u64,
    offset: u64,
    start: Option<u64>,
    alignment: u64,
    info: &mut TensorInfo,
    file: usize,
) -> Result<(), FormatError> {
    let what = format!("offset of tensor {name:?}");
    if !offset.is_multiple_of(alignment) {
        let expected = format!("a multiple of {alignment}");
        return Err(FormatError::invalid(what, Some(at), expected, offset));
    }
    let size = TensorInfo::size(&format!("tensor {name:?}"), info.dtype, &info.shape)?;
    let Some(begin) = start.and_then(|start| start.checked_add(offset)) else {
        return Err(FormatError::invalid(what, Some(at), "a place in the file", offset));
    };
    let left = (file as u64).saturating_sub(begin);
    if size > left {
        return Err(FormatError::Truncated {
            what: format!("data of tensor {name:?}"),
            offset: begin,
            expected: size,
            found: left,
        });
    }
    // Both ends lie within the file, whose length is a usize. A tensor without elements may
    // stand beyond the end; it gets an empty range there.
    info.bytes = if size == 0 { 0..0 } else { begin as usize..(begin + size) as usize };
    Ok(())
}

/// A place in the bytes, with reads that check.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What is being read, for errors; formatted only if there is one.
type What<'w> = &'w dyn Display;

impl<'a> Cursor<'a> {
    fn take(&mut self, len: u64, what: What<'_>) -> Result<&'a [u8], FormatError> {
        let left = &self.bytes[self.at.min(self.bytes.len())..];
        let taken = usize::try_from(len).ok().and_then(|len| left.get(..len));
        let Some(taken) = taken else {
            return Err(FormatError::Truncated {
                what: what.to_string(),
                offset: self.at as u64,
                expected: len,
                found: left.len() as u64,
            });
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: What<'_>) -> Result<[u8; N], FormatError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: What<'_>) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: What<'_>) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn text(&mut self, what: What<'_>) -> Result<&'a str, FormatError> {
        let len = self.u64(&format_args!("length of {what}"))?;
        let at = self.at as u64;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes)
            .map_err(|error| FormatError::invalid(what.to_string(), Some(at), "UTF-8", error))
    }

    /// A key or a tensor's name.
    fn name(&mut self, what: What<'_>) -> Result<&'a str, FormatError> {
        let at = self.at as u64;
        let name = self.text(what)?;
        if (1..=MAX_NAME).contains(&(name.len() as u64)) {
            return Ok(name);
        }
        let expected = format!("1 to {MAX_NAME} bytes");
        Err(FormatError::invalid(what.to_string(), Some(at), expected, name.len()))
    }

    fn kind(&mut self, what: What<'_>) -> Result<Kind, FormatError> {
        let at = self.at as u64;
        let number = self.u32(&format_args!("type of {what}"))?;
        Kind::ALL.get(number as usize).copied().ok_or_else(|| {
            let what = format!("type of {what}");
            FormatError::invalid(what, Some(at), "a number from 0 to 12", number)
        })
    }

    /// A value, read and checked to its last element.
    fn value(&mut self, kind: Kind, what: What<'_>, depth: usize) -> Result<Value<'a>, FormatError> {
        let int = |value: i64| u64::try_from(value).map_or(Value::Int(value), Value::Uint);
        Ok(match kind {
            Kind::U8 => Value::Uint(self.array::<1>(what)?[0].into()),
            Kind::I8 => int(i8::from_le_bytes(self.array(what)?).into()),
            Kind::U16 => Value::Uint(u16::from_le_bytes(self.array(what)?).into()),
            Kind::I16 => int(i16::from_le_bytes(self.array(what)?).into()),
            Kind::U32 => Value::Uint(self.u32(what)?.into()),
            Kind::I32 => int(i32::from_le_bytes(self.array(what)?).into()),
            Kind::U64 => Value::Uint(self.u64(what)?),
            Kind::I64 => int(i64::from_le_bytes(self.array(what)?)),
            Kind::F32 => Value::Float(f32::from_le_bytes(self.array(what)?).into()),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            Kind::Bool => match self.array(what)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [found] => {
                    let at = Some(self.at as u64 - 1);
                    return Err(FormatError::invalid(
                        what.to_string(),
                        at,
                        "0 or 1, as a truth value",
                        found,
                    ));
                }
            },
            Kind::String => Value::Str(self.text(what)?),
            Kind::Array => {
                let (element, len, range) = self.elements(what, depth)?;
                Value::List(List::Gguf(Array { element, len, bytes: &self.bytes[range] }))
            }
        })
    }

    /// Element type, number of elements and place of an array's elements, all of them checked.
    fn elements(&mut self, what: What<'_>, depth: usize) -> Result<(Kind, usize, Range<usize>), FormatError> {
        if depth == MAX_DEPTH {
            return Err(FormatError::invalid(
                what.to_string(),
                Some(self.at as u64),
                format!("arrays nested at most {MAX_DEPTH} deep"),
                "a deeper one",
            ));
        }
        let element = self.kind(&format_args!("elements of {what}"))?;
        let len = self.u64(&format_args!("length of {what}"))?;
        let start = self.at;
        match element.size() {
            Some(size) if element != Kind::Bool => {
                // A product that saturates is larger than any file.
                self.take(len.saturating_mul(size), what)?;
            }
            _ => {
                for index in 0..len {
                    let what = format_args!("element {index} of {what}");
                    self.value(element, &what, depth + 1)?;
                }
            }
        }
        // Each element took at least a byte of a file whose length is a usize.
        Ok((element, len as usize, start..self.at))
    }

    fn entry(&mut self, index: u64, entries: &mut BTreeMap<String, Entry>) -> Result<(), FormatError> {
        let start = self.at as u64;
        let key = self.name(&format_args!("metadata key {index}"))?;
        let kind = self.kind(&format_args!("{key:?}"))?;
        let entry = if kind == Kind::Array {
            let (element, len, range) = self.elements(&format_args!("{key:?}"), 0)?;
            Entry::Array(element, len, range)
        } else {
            let at = self.at;
            self.value(kind, &format_args!("{key:?}"), 0)?;
            Entry::Scalar(kind, at)
        };
        if entries.insert(key.to_owned(), entry).is_some() {
            let what = format!("metadata key {key:?}");
            return Err(FormatError::invalid(what, Some(start), "it once", "twice"));
        }
        Ok(())
    }

    /// A tensor's entry, its data not yet placed. Gives its name, and its offset with the place
    /// where that stands.
    fn tensor(
        &mut self,
        index: u64,
        tensors: &mut BTreeMap<String, TensorInfo>,
    ) -> Result<(&'a str, u64, u64), FormatError> {
        let start = self.at as u64;
        let name = self.name(&format_args!("name of tensor {index}"))?;
        let at = self.at as u64;
        let dims = self.u32(&format_args!("number of dimensions of tensor {name:?}"))?;
        if dims > MAX_DIMS {
            let what = format!("number of dimensions of tensor {name:?}");
            let expected = format!("at most {MAX_DIMS}");
            return Err(FormatError::invalid(what, Some(at), expected, dims));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let at = self.at as u64;
            let size = self.u64(&format_args!("shape of tensor {name:?}"))?;
            let size = usize::try_from(size).map_err(|_| {
                let what = format!("shape of tensor {name:?}");
                FormatError::invalid(what, Some(at), "a size below 2^32", size)
            })?;
            shape.push(size);
        }
        shape.reverse();
        let at = self.at as u64;
        let number = self.u32(&format_args!("type of tensor {name:?}"))?;
        let dtype = DType::from_ggml(number).ok_or_else(|| {
            FormatError::unsupported(
                format!("ggml type {number} of tensor {name:?} (byte {at})"),
                "the file may be damaged, or newer than this program",
            )
        })?;
        let at = self.at as u64;
        let offset = self.u64(&format_args!("offset of tensor {name:?}"))?;
        let info = TensorInfo { dtype, shape, bytes: 0..0 };
        if tensors.insert(name.to_owned(), info).is_some() {
            let what = format!("tensor {name:?}");
            return Err(FormatError::invalid(what, Some(start), "it once", "twice"));
        }
        Ok((name, at, offset))
    }
}
