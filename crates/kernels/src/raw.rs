//! Tensors as they stand in model files, and their values.

use half::{bf16, f16};

use crate::Error;

/// Encoding of a tensor in a file. The quantized ones are GGUF's, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RawType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 × i8 and an f16 scale.
    Q8_0,
    /// 32 × 4 bits and an f16 scale.
    Q4_0,
    /// 256 × 4 bits with 6-bit scales and minima per 32.
    Q4K,
    /// 256 × 5 bits with 6-bit scales and minima per 32.
    Q5K,
    /// 256 × 6 bits with 8-bit scales per 16.
    Q6K,
}

impl RawType {
    /// Values per block.
    pub fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}

/// A row-major `[rows, cols]` tensor in its file encoding.
#[derive(Debug, Clone, Copy)]
pub struct RawTensor<'a> {
    raw: RawType,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

impl<'a> RawTensor<'a> {
    /// Checks that `bytes` are exactly the tensor's.
    ///
    /// # Errors
    /// [`Error::Bytes`] when the length or the row length does not fit.
    pub fn new(raw: RawType, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, Error> {
        let want = cols
            .is_multiple_of(raw.block_values())
            .then(|| cols / raw.block_values())
            .and_then(|n| n.checked_mul(raw.block_bytes()))
            .and_then(|n| n.checked_mul(rows));
        match want {
            Some(n) if n == bytes.len() => Ok(Self { raw, rows, cols, bytes }),
            Some(n) => Err(Error::Bytes {
                what: format!("{} bytes of a [{rows}, {cols}] {raw:?} tensor", bytes.len()),
                expected: format!("{n} bytes"),
            }),
            None => Err(Error::Bytes {
                what: format!("a [{rows}, {cols}] {raw:?} tensor"),
                expected: format!("rows of a multiple of {} values", raw.block_values()),
            }),
        }
    }

    /// Encoding.
    pub fn raw(&self) -> RawType {
        self.raw
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of row `i`.
    pub(crate) fn row(&self, i: usize) -> &'a [u8] {
        let n = self.cols / self.raw.block_values() * self.raw.block_bytes();
        &self.bytes[i * n..][..n]
    }

    /// Writes the values of row `i`, the same as the `gguf` package's `dequantize` to the bit.
    ///
    /// # Panics
    /// When there is no such row or `out` is not `cols` long.
    pub fn dequantize_row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.rows && out.len() == self.cols);
        let bytes = self.row(i).chunks_exact(self.raw.block_bytes());
        for (b, out) in bytes.zip(out.chunks_exact_mut(self.raw.block_values())) {
            match self.raw {
                RawType::F32 => out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
                RawType::F16 => out[0] = half_at(b, 0),
                RawType::Bf16 => out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
                RawType::Q8_0 => {
                    let d = half_at(b, 0);
                    for (o, &q) in out.iter_mut().zip(&b[2..]) {
                        *o = d * f32::from(q as i8);
                    }
                }
                RawType::Q4_0 => {
                    let d = half_at(b, 0);
                    for (o, q) in out.iter_mut().zip(q4_0(b)) {
                        *o = d * (f32::from(q) - 8.0);
                    }
                }
                RawType::Q4K | RawType::Q5K => {
                    let k = KBlock::read(self.raw, b);
                    for (j, out) in out.chunks_exact_mut(32).enumerate() {
                        let d = k.d.to_f32() * f32::from(k.scales[j]);
                        let m = k.dmin.to_f32() * f32::from(k.mins[j]);
                        for (o, &q) in out.iter_mut().zip(&k.quants[j * 32..]) {
                            *o = d * f32::from(q) - m;
                        }
                    }
                }
                RawType::Q6K => {
                    let k = K6Block::read(b);
                    for (j, out) in out.chunks_exact_mut(16).enumerate() {
                        let d = k.d.to_f32() * f32::from(k.scales[j]);
                        for (o, &q) in out.iter_mut().zip(&k.quants[j * 16..]) {
                            *o = d * (f32::from(q) - 32.0);
                        }
                    }
                }
            }
        }
    }
}

fn half_at(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// The quants (0..16) of a Q4_0 block in the order of the inputs.
pub(crate) fn q4_0(block: &[u8]) -> [u8; 32] {
    let mut q = [0; 32];
    for (i, &byte) in block[2..18].iter().enumerate() {
        q[i] = byte & 15;
        q[i + 16] = byte >> 4;
    }
    q
}

/// A Q4_K or Q5_K block, unpacked.
pub(crate) struct KBlock {
    pub(crate) d: f16,
    pub(crate) dmin: f16,
    pub(crate) scales: [u8; 8],
    pub(crate) mins: [u8; 8],
    pub(crate) quants: [u8; 256],
}

impl KBlock {
    pub(crate) fn read(raw: RawType, b: &[u8]) -> Self {
        let (high, low) = match raw {
            RawType::Q5K => (Some(&b[16..48]), &b[48..176]),
            _ => (None, &b[16..144]),
        };
        let mut block = Self {
            d: f16::from_le_bytes([b[0], b[1]]),
            dmin: f16::from_le_bytes([b[2], b[3]]),
            scales: [0; 8],
            mins: [0; 8],
            quants: [0; 256],
        };
        let packed = &b[4..16];
        for j in 0..4 {
            block.scales[j] = packed[j] & 63;
            block.mins[j] = packed[j + 4] & 63;
            block.scales[j + 4] = (packed[j + 8] & 15) | (packed[j] >> 6) << 4;
            block.mins[j + 4] = (packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4;
        }
        for (i, q) in block.quants.iter_mut().enumerate() {
            let (sub, l) = (i / 32, i % 32);
            *q = low[sub / 2 * 32 + l] >> (sub % 2 * 4) & 15;
            if let Some(high) = high {
                *q |= (high[l] >> sub & 1) << 4;
            }
        }
        block
    }
}

/// A Q6_K block, unpacked; quants are 0..64.
pub(crate) struct K6Block {
    pub(crate) d: f16,
    pub(crate) scales: [i8; 16],
    pub(crate) quants: [u8; 256],
}

impl K6Block {
    pub(crate) fn read(b: &[u8]) -> Self {
        let (low, high, scales) = (&b[..128], &b[128..192], &b[192..208]);
        let mut block = Self { d: f16::from_le_bytes([b[208], b[209]]), scales: [0; 16], quants: [0; 256] };
        for (to, &from) in block.scales.iter_mut().zip(scales) {
            *to = from as i8;
        }
        for (i, q) in block.quants.iter_mut().enumerate() {
            let (n, quarter, l) = (i / 128, i % 128 / 32, i % 32);
            let nibble = low[n * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
            *q = nibble | (high[n * 32 + l] >> (quarter * 2) & 3) << 4;
        }
        block
    }
}
