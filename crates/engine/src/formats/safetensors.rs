//! Safetensors: eight bytes of length, a JSON header, tensor data.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{
    DType, FormatError, Mmap, Tensor,
    tensor::{TensorInfo, check_disjoint},
};

/// The format's own limit for the header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// What the head of a safetensors file says.
#[derive(Debug)]
pub struct Header {
    /// Tensors by name; together their bytes are the rest of the file, without hole or overlap.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The `__metadata__` of the file.
    pub metadata: BTreeMap<String, String>,
}

/// A mapped safetensors file.
#[derive(Debug)]
pub struct Safetensors {
    map: Mmap,
    header: Header,
}

impl Safetensors {
    /// Open and check a file.
    ///
    /// # Errors
    /// [`FormatError`] with the file's path, if it cannot be read or its header does not hold.
    pub fn open(path: &std::path::Path) -> Result<Self, FormatError> {
        let map = Mmap::open(path)?;
        let header = parse_header(&map).map_err(|error| error.in_file(path))?;
        Ok(Self { map, header })
    }

    /// The tensor of this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (name, info) = self.header.tensors.get_key_value(name)?;
        Some(info.view(name, &self.map))
    }

    /// All tensors in alphabetical order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        let tensors = self.header.tensors.iter();
        tensors.map(|(name, info)| info.view(name, &self.map))
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.map.len() as u64
    }
}

/// Read the header of a safetensors file, given all its bytes.
///
/// # Errors
/// [`FormatError`] naming the tensor or field, what was expected and what was found, if anything
/// does not hold: a header longer than the file, JSON of another shape, a tensor named twice, of
/// an unknown type, or whose bytes are not as many as its shape asks for; bytes that belong to no
/// tensor or to two.
pub fn parse_header(file: &[u8]) -> Result<Header, FormatError> {
    let truncated = |what: &str, offset, expected, found| FormatError::Truncated {
        what: what.to_owned(),
        offset,
        expected,
        found,
    };
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        let found = file.len() as u64;
        return Err(truncated("length of the header", 0, 8, found));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        let expected = format!("at most {MAX_HEADER}");
        let what = "length of the header";
        return Err(FormatError::invalid(what, Some(0), expected, length));
    }
    // MAX_HEADER fits a usize.
    let Some((json, data)) = rest.split_at_checked(length as usize) else {
        return Err(truncated("header", 8, length, rest.len() as u64));
    };
    let raw: RawHeader = serde_json::from_slice(json).map_err(|error| {
        let expected = "JSON with dtype, shape and data_offsets of each tensor";
        FormatError::invalid("header", Some(8), expected, error)
    })?;
    let mut header = Header { tensors: BTreeMap::new(), metadata: raw.metadata };
    let start = file.len() - data.len();
    for (name, entry) in raw.tensors {
        let info = entry.place(&name, start, data.len())?;
        header.tensors.insert(name, info);
    }
    check_disjoint(header.tensors.iter())?;
    let covered: usize = header.tensors.values().map(|info| info.bytes.len()).sum();
    if covered != data.len() {
        let expected = format!("{covered} bytes, which its tensors take");
        let at = Some(start as u64);
        return Err(FormatError::invalid("data", at, expected, data.len()));
    }
    Ok(header)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl RawTensor {
    fn place(self, name: &str, start: usize, data: usize) -> Result<TensorInfo, FormatError> {
        let what = format!("tensor {name:?}");
        let dtype = DType::from_safetensors(&self.dtype).ok_or_else(|| {
            FormatError::unsupported(
                format!("type {:?} of {what}", self.dtype),
                "the file may be newer than this program",
            )
        })?;
        let size = TensorInfo::size(&what, dtype, &self.shape)?;
        let [begin, end] = self.data_offsets;
        if end > data {
            return Err(FormatError::Truncated {
                what: format!("data of {what}"),
                offset: (start + begin.min(data)) as u64,
                expected: end.saturating_sub(begin) as u64,
                found: data.saturating_sub(begin) as u64,
            });
        }
        if end.checked_sub(begin).map(|len| len as u64) != Some(size) {
            let expected = format!("{size} bytes, for {dtype} {:?}", self.shape);
            let what = format!("data_offsets of {what}");
            return Err(FormatError::invalid(what, None, expected, format!("{begin}..{end}")));
        }
        Ok(TensorInfo { dtype, shape: self.shape, bytes: start + begin..start + end })
    }
}

/// The header's JSON, in which a name may stand only once.
struct RawHeader {
    tensors: BTreeMap<String, RawTensor>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Header;
        impl<'de> Visitor<'de> for Header {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    let twice = if name == "__metadata__" {
                        metadata.replace(map.next_value()?).is_some()
                    } else {
                        tensors.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if twice {
                        return Err(A::Error::custom(format_args!("{name:?} stands twice")));
                    }
                }
                let metadata = metadata.unwrap_or_default();
                Ok(RawHeader { tensors, metadata })
            }
        }
        deserializer.deserialize_map(Header)
    }
}
