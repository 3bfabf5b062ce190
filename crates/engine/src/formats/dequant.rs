//! Stored elements to f32, with the operations in the order of the `gguf` Python package
//! (0.19.0, `gguf/quants.py`), so that every finite result is the same to the last bit.

use half::{bf16, f16};

use super::DType;

/// Whether [`dequantize`] knows the type.
pub fn is_supported(dtype: DType) -> bool {
    decoder(dtype).is_some()
}

/// Write the elements stored in `bytes` to `out`. Gives `false`, and writes nothing, if the
/// type is not one that [`is_supported`], or the lengths do not fit each other.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> bool {
    let Some(decode) = decoder(dtype) else {
        return false;
    };
    let (len, size) = (dtype.block_len(), dtype.block_bytes());
    let blocks = bytes.len() / size;
    if !bytes.len().is_multiple_of(size) || out.len() != blocks * len {
        return false;
    }
    for (block, out) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(len)) {
        decode(block, out);
    }
    true
}

/// A function from one block to its elements. Block lengths are checked by the caller.
type Decode = fn(&[u8], &mut [f32]);

fn decoder(dtype: DType) -> Option<Decode> {
    Some(match dtype {
        DType::F32 => |b, out| out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        DType::F16 => |b, out| out[0] = f16_at(b, 0),
        DType::BF16 => |b, out| out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        DType::Q4_0 => q4_0,
        DType::Q4_1 => q4_1,
        DType::Q5_0 => q5_0,
        DType::Q5_1 => q5_1,
        DType::Q8_0 => q8_0,
        DType::Q4K => q4_k,
        DType::Q5K => q5_k,
        DType::Q6K => q6_k,
        _ => return None,
    })
}

fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `d` f16, 16 bytes: low nibbles are elements 0..16, high ones 16..32; value `d * (q - 8)`.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (i, q) in block[2..18].iter().enumerate() {
        out[i] = d * (f32::from(q & 0x0f) - 8.0);
        out[i + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// `d` f16, `m` f16, nibbles as in Q4_0; value `d * q + m`.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (i, q) in block[4..20].iter().enumerate() {
        out[i] = d * f32::from(q & 0x0f) + m;
        out[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The 32 five-bit values of a Q5 block: a bit each in `high`, a nibble each in `low`.
fn five_bits(high: &[u8], low: &[u8], mut put: impl FnMut(usize, f32)) {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let bit = |i: usize| ((high >> i & 1) as u8) << 4;
    for (i, q) in low.iter().enumerate() {
        put(i, f32::from((q & 0x0f) | bit(i)));
        put(i + 16, f32::from((q >> 4) | bit(i + 16)));
    }
}

/// `d` f16, 32 high bits, nibbles; value `d * (q - 16)`.
fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    five_bits(&block[2..6], &block[6..22], |i, q| out[i] = d * (q - 16.0));
}

/// `d` f16, `m` f16, 32 high bits, nibbles; value `d * q + m`.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    five_bits(&block[4..8], &block[8..24], |i, q| out[i] = d * q + m);
}

/// `d` f16, 32 signed bytes; value `q * d`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, q) in out.iter_mut().zip(&block[2..34]) {
        *out = f32::from(*q as i8) * d;
    }
}

/// The six-bit scale and minimum of 32-element group `j` (0..8) in the 12 bytes that Q4_K and
/// Q5_K share: groups 0..4 in the low six bits of bytes `j` and `j + 4`, groups 4..8 in the
/// nibbles of byte `j + 4` with their top two bits above those of group `j - 4`.
fn k_scale_min(scales: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 0x3f, scales[j + 4] & 0x3f)
    } else {
        ((scales[j + 4] & 0x0f) | (scales[j - 4] >> 2 & 0x30), (scales[j + 4] >> 4) | (scales[j] >> 2 & 0x30))
    }
}

/// `d` f16, `dmin` f16, 12 bytes of scales, 128 of nibbles: each 32 bytes hold group 2n in the
/// low nibbles and group 2n + 1 in the high ones; value `(d * scale) * q - dmin * min`.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = k_scale_min(&block[4..16], j);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
        let nibbles = &block[16 + j / 2 * 32..][..32];
        for (out, q) in out.iter_mut().zip(nibbles) {
            *out = d * f32::from(q >> (j % 2 * 4) & 0x0f) - m;
        }
    }
}

/// Q4_K with a fifth bit: bit `j` of byte `i` in the 32 bytes before the nibbles belongs to
/// element `i` of group `j`.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = k_scale_min(&block[4..16], j);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
        let nibbles = &block[48 + j / 2 * 32..][..32];
        for ((out, q), high) in out.iter_mut().zip(nibbles).zip(&block[16..48]) {
            let q = (q >> (j % 2 * 4) & 0x0f) | (high >> j & 1) << 4;
            *out = d * f32::from(q) - m;
        }
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, `d` f16; in each half of
/// 128 elements, group `g` (0..4) of 32 takes nibbles `g % 2 * 32..` (high ones from g = 2) and
/// bits `2g` of the 32 pair bytes; value `(d * scale) * (q - 32)`, a scale per 16 elements.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 208);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (half, group) = (j / 4, j % 4);
        let low = &block[half * 64 + group % 2 * 32..][..32];
        let high = &block[128 + half * 32..][..32];
        for (i, out) in out.iter_mut().enumerate() {
            let q = (low[i] >> (group / 2 * 4) & 0x0f) | (high[i] >> (group * 2) & 3) << 4;
            let scale = f32::from(block[192 + j * 2 + i / 16] as i8);
            *out = d * scale * (f32::from(q) - 32.0);
        }
    }
}
