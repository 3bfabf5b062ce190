//! Weight formats: what a panel of each looks like.
//!
//! A panel holds 16 output rows, one per vector lane, as a run of records along the input
//! dimension. All formats share the 64-byte line: lane `r` of a line is its bytes `4r..4r+4`.
//! A *quad* is four consecutive inputs of all 16 rows as bytes. A block is 32 inputs, 8 quads.
//!
//! | format | inputs per record | record |
//! | --- | --- | --- |
//! | `F32` | 64 | 64 lines, one per input |
//! | `F16` | 64 | 32 lines; line `j`: 16 halves of input `2j`, then 16 of input `2j+1` |
//! | `Bf16` | 64 | 32 lines; lane: inputs `2j` (low half), `2j+1` (high half) |
//! | `W8` | 64 | 2 blocks of 8 quads (value + 128), then 2 × 16 f16 scales |
//! | `W4` | 64 | 2 blocks of 4 nibble lines (value + 8), then 2 × 16 f16 scales |
//! | `K4` | 256 | 8 blocks of 4 nibble lines, then the trailer |
//! | `K5` | 256 | 8 blocks of 4 nibble lines and a line of fifth bits, then the trailer |
//! | `K6` | 256 | 8 blocks of 4 nibble lines and 2 lines of bits 4 and 5, then the trailer |
//!
//! Nibble line `j` has quad `2j` in the low and quad `2j+1` in the high nibbles. In the line of
//! fifth bits, quads 0..4 are bits 4..8 and quads 4..8 are bits 0..4. In the first line of two-bit
//! fields quads 0, 1, 2, 3 are at bits 4, 6, 0, 2; the second line holds quads 4..8 likewise.
//!
//! Trailer of `K4` and `K5`: u8 scales `[8][16]`, u8 minima `[8][16]`, f16 super-scales `[16]` of
//! the scales and `[16]` of the minima; a weight is `d*scale*q - dmin*min`. Trailer of `K6`: i8
//! scales `[16][16]`, f16 super-scales `[16]`, 32 unused bytes; a weight is `d*scale*(q - 32)`.
//!
//! `W8` holds Q8_0 and `W4` Q4_0 without loss, `K4`, `K5` and `K6` hold Q4_K, Q5_K and Q6_K.
//! Rows and columns beyond the matrix are zero bytes, which means a scale of zero.

/// Output rows per panel.
pub const PANEL_ROWS: usize = 16;
/// Number of the layout of panels, raised when their bytes change: a part of the name of a cache.
pub const PANEL_LAYOUT: u32 = 1;
/// Bytes of a line.
pub(crate) const LINE: usize = 64;
/// Bytes of the trailer of the K formats.
pub(crate) const K_TRAILER: usize = 320;

/// How the weights of a [`crate::Matrix`] are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half precision; computed in f32.
    F16,
    /// bfloat16; activations are rounded to bfloat16 too.
    Bf16,
    /// 8 bits with an f16 scale per 32 inputs.
    W8,
    /// 4 bits with an f16 scale per 32 inputs.
    W4,
    /// 4 bits with a 6-bit scale and minimum per 32 inputs (Q4_K).
    K4,
    /// 5 bits with a 6-bit scale and minimum per 32 inputs (Q5_K).
    K5,
    /// 6 bits with an 8-bit scale per 16 inputs (Q6_K).
    K6,
}

/// How activations are given to a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActivationKind {
    /// As they are.
    F32,
    /// Rounded to bfloat16.
    Bf16,
    /// 8 bits with an f32 scale per token and 32 inputs.
    Q8,
}

impl Format {
    /// Every format, in the order of [`Format::index`].
    pub const ALL: [Self; 8] =
        [Self::F32, Self::F16, Self::Bf16, Self::W8, Self::W4, Self::K4, Self::K5, Self::K6];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Inputs per record. The number of columns is padded to a multiple of 64.
    pub fn record_cols(self) -> usize {
        match self {
            Self::K4 | Self::K5 | Self::K6 => 256,
            _ => 64,
        }
    }

    /// Bytes of a record of one panel, a multiple of 64.
    pub fn record_bytes(self) -> usize {
        match self {
            Self::F32 => 64 * LINE,
            Self::F16 | Self::Bf16 => 32 * LINE,
            Self::W8 => 17 * LINE,
            Self::W4 => 9 * LINE,
            Self::K4 => 8 * 4 * LINE + K_TRAILER,
            Self::K5 => 8 * 5 * LINE + K_TRAILER,
            Self::K6 => 8 * 6 * LINE + K_TRAILER,
        }
    }

    /// Bytes of a panel of 16 rows and `cols` columns.
    pub fn panel_bytes(self, cols: usize) -> usize {
        cols.div_ceil(self.record_cols()) * self.record_bytes()
    }

    /// What the product with this format takes.
    pub fn activation(self) -> ActivationKind {
        match self {
            Self::F32 | Self::F16 => ActivationKind::F32,
            Self::Bf16 => ActivationKind::Bf16,
            Self::W8 | Self::W4 | Self::K4 | Self::K5 | Self::K6 => ActivationKind::Q8,
        }
    }

    /// Whether a matrix of `cols` columns can have this format: the K formats want a multiple of
    /// 256.
    pub fn takes_cols(self, cols: usize) -> bool {
        self.record_cols() == 64 || cols.is_multiple_of(256)
    }
}

/// Columns after padding, common to all formats.
pub(crate) fn padded(cols: usize) -> usize {
    cols.next_multiple_of(64)
}
