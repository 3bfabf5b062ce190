/// How the elements of a tensor are stored.
///
/// Plain types hold one element per block; quantized ones pack [`block_len`](Self::block_len)
/// consecutive elements of a row into [`block_bytes`](Self::block_bytes) bytes. Sizes and type
/// numbers are those of `ggml.h`; the names of plain types those of safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    F8E8M0,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq1S,
    Iq1M,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Nvfp4,
}

struct Info {
    dtype: DType,
    name: &'static str,
    ggml: Option<u32>,
    len: usize,
    bytes: usize,
}

const fn info(dtype: DType, name: &'static str, ggml: Option<u32>, len: usize, bytes: usize) -> Info {
    Info { dtype, name, ggml, len, bytes }
}

/// In the order of the enum, so that a type's number is its place.
const TABLE: &[Info] = &[
    info(DType::F64, "F64", Some(28), 1, 8),
    info(DType::F32, "F32", Some(0), 1, 4),
    info(DType::F16, "F16", Some(1), 1, 2),
    info(DType::BF16, "BF16", Some(30), 1, 2),
    info(DType::F8E4M3, "F8_E4M3", None, 1, 1),
    info(DType::F8E5M2, "F8_E5M2", None, 1, 1),
    info(DType::F8E8M0, "F8_E8M0", None, 1, 1),
    info(DType::I64, "I64", Some(27), 1, 8),
    info(DType::I32, "I32", Some(26), 1, 4),
    info(DType::I16, "I16", Some(25), 1, 2),
    info(DType::I8, "I8", Some(24), 1, 1),
    info(DType::U64, "U64", None, 1, 8),
    info(DType::U32, "U32", None, 1, 4),
    info(DType::U16, "U16", None, 1, 2),
    info(DType::U8, "U8", None, 1, 1),
    info(DType::Bool, "BOOL", None, 1, 1),
    info(DType::Q4_0, "Q4_0", Some(2), 32, 18),
    info(DType::Q4_1, "Q4_1", Some(3), 32, 20),
    info(DType::Q5_0, "Q5_0", Some(6), 32, 22),
    info(DType::Q5_1, "Q5_1", Some(7), 32, 24),
    info(DType::Q8_0, "Q8_0", Some(8), 32, 34),
    info(DType::Q2K, "Q2_K", Some(10), 256, 84),
    info(DType::Q3K, "Q3_K", Some(11), 256, 110),
    info(DType::Q4K, "Q4_K", Some(12), 256, 144),
    info(DType::Q5K, "Q5_K", Some(13), 256, 176),
    info(DType::Q6K, "Q6_K", Some(14), 256, 210),
    info(DType::Iq2Xxs, "IQ2_XXS", Some(16), 256, 66),
    info(DType::Iq2Xs, "IQ2_XS", Some(17), 256, 74),
    info(DType::Iq2S, "IQ2_S", Some(22), 256, 82),
    info(DType::Iq3Xxs, "IQ3_XXS", Some(18), 256, 98),
    info(DType::Iq3S, "IQ3_S", Some(21), 256, 110),
    info(DType::Iq1S, "IQ1_S", Some(19), 256, 50),
    info(DType::Iq1M, "IQ1_M", Some(29), 256, 56),
    info(DType::Iq4Nl, "IQ4_NL", Some(20), 32, 18),
    info(DType::Iq4Xs, "IQ4_XS", Some(23), 256, 136),
    info(DType::Tq1_0, "TQ1_0", Some(34), 256, 54),
    info(DType::Tq2_0, "TQ2_0", Some(35), 256, 66),
    info(DType::Mxfp4, "MXFP4", Some(39), 32, 17),
    info(DType::Nvfp4, "NVFP4", Some(40), 64, 36),
];

impl DType {
    fn info(self) -> &'static Info {
        &TABLE[self as usize]
    }

    /// The name that ggml or safetensors gives it, such as `Q4_K` or `BF16`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Elements per block: 1 for plain types, 32, 64 or 256 for quantized ones.
    pub fn block_len(self) -> usize {
        self.info().len
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.info().bytes
    }

    /// ggml's number of the type, if it has one.
    pub fn ggml(self) -> Option<u32> {
        self.info().ggml
    }

    /// The type with this ggml number.
    pub fn from_ggml(number: u32) -> Option<Self> {
        let known = TABLE.iter().find(|info| info.ggml == Some(number));
        known.map(|info| info.dtype)
    }

    /// The plain type that safetensors spells like this.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        let known = TABLE.iter().find(|info| info.len == 1 && info.name == name);
        known.map(|info| info.dtype)
    }

    /// Bytes of a tensor with this many elements in each row and this many rows, or `None` if
    /// rows are no whole number of blocks or the size overflows.
    pub fn tensor_bytes(self, row: u64, rows: u64) -> Option<u64> {
        let len = self.block_len() as u64;
        let blocks = row.is_multiple_of(len).then(|| row / len)?;
        blocks.checked_mul(self.block_bytes() as u64)?.checked_mul(rows)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_enum() {
        for (place, info) in TABLE.iter().enumerate() {
            assert_eq!(info.dtype as usize, place, "{}", info.name);
        }
    }
}
