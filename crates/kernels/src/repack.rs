//! One row of a tensor into, and out of, its lane of a panel. The layout is told in `format`.

use half::{bf16, f16};

use crate::format::{Format, LINE, PANEL_ROWS};
use crate::raw::{K6Block, KBlock, RawTensor, RawType, q4_0};

/// The format that holds `raw` without loss.
pub(crate) fn native(raw: RawType) -> Format {
    match raw {
        RawType::F32 => Format::F32,
        RawType::F16 => Format::F16,
        RawType::Bf16 => Format::Bf16,
        RawType::Q8_0 => Format::W8,
        RawType::Q4_0 => Format::W4,
        RawType::Q4K => Format::K4,
        RawType::Q5K => Format::K5,
        RawType::Q6K => Format::K6,
    }
}

/// Whether rows of `raw` can become `format`.
pub(crate) fn convertible(raw: RawType, format: Format) -> bool {
    native(raw) == format || format.record_cols() == 64
}

/// Writes row `i` of `tensor` to `lane` of `panel`. `values` is scratch of one row.
pub(crate) fn encode_row(
    tensor: &RawTensor<'_>,
    i: usize,
    format: Format,
    panel: &mut [u8],
    lane: usize,
    values: &mut [f32],
) {
    let bytes = tensor.row(i);
    match (tensor.raw(), format) {
        (RawType::Q8_0, Format::W8) => {
            for (b, block) in bytes.chunks_exact(34).enumerate() {
                let q: [u8; 32] = std::array::from_fn(|k| block[2 + k] ^ 0x80);
                put_w8(panel, lane, b, &q, [block[0], block[1]]);
            }
        }
        (RawType::Q4_0, Format::W4) => {
            for (b, block) in bytes.chunks_exact(18).enumerate() {
                put_w4(panel, lane, b, &q4_0(block), [block[0], block[1]]);
            }
        }
        (RawType::Q4K | RawType::Q5K, Format::K4 | Format::K5) => {
            let records = panel.chunks_exact_mut(format.record_bytes());
            for (block, record) in bytes.chunks_exact(tensor.raw().block_bytes()).zip(records) {
                put_k(record, lane, format, &KBlock::read(tensor.raw(), block));
            }
        }
        (RawType::Q6K, Format::K6) => {
            let records = panel.chunks_exact_mut(format.record_bytes());
            for (block, record) in bytes.chunks_exact(210).zip(records) {
                put_k6(record, lane, &K6Block::read(block));
            }
        }
        (RawType::F16, Format::F16) => {
            for (k, v) in bytes.chunks_exact(2).enumerate() {
                panel[half_at(k, lane)..][..2].copy_from_slice(v);
            }
        }
        (RawType::Bf16, Format::Bf16) => {
            for (k, v) in bytes.chunks_exact(2).enumerate() {
                panel[bf16_at(k, lane)..][..2].copy_from_slice(v);
            }
        }
        _ => {
            tensor.dequantize_row(i, values);
            encode_values(values, format, panel, lane);
        }
    }
}

/// Rounds `values` to `format`, which is not one of the K formats.
fn encode_values(values: &[f32], format: Format, panel: &mut [u8], lane: usize) {
    match format {
        Format::F32 => {
            for (k, v) in values.iter().enumerate() {
                panel[k * LINE + lane * 4..][..4].copy_from_slice(&v.to_le_bytes());
            }
        }
        Format::F16 => {
            for (k, &v) in values.iter().enumerate() {
                panel[half_at(k, lane)..][..2].copy_from_slice(&f16::from_f32(v).to_le_bytes());
            }
        }
        Format::Bf16 => {
            for (k, &v) in values.iter().enumerate() {
                panel[bf16_at(k, lane)..][..2].copy_from_slice(&bf16::from_f32(v).to_le_bytes());
            }
        }
        Format::W8 => {
            for (b, v) in values.chunks(32).enumerate() {
                let (q, d) = quantize_8(v);
                put_w8(panel, lane, b, &q, d.to_le_bytes());
            }
        }
        Format::W4 => {
            for (b, v) in values.chunks(32).enumerate() {
                let (q, d) = quantize_4(v);
                put_w4(panel, lane, b, &q, d.to_le_bytes());
            }
        }
        Format::K4 | Format::K5 | Format::K6 => {
            unreachable!("`convertible` lets only their own encodings through")
        }
    }
}

/// Up to 32 values as `128 + round(v / d)` with `d = max |v| / 127` rounded to f16.
fn quantize_8(values: &[f32]) -> ([u8; 32], f16) {
    let d = f16::from_f32(values.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0);
    let inverse = if d > f16::ZERO { 1.0 / d.to_f32() } else { 0.0 };
    let mut q = [128; 32];
    for (q, v) in q.iter_mut().zip(values) {
        *q = ((v * inverse).round_ties_even().clamp(-127.0, 127.0) + 128.0) as u8;
    }
    (q, d)
}

/// Up to 32 values as `8 + round(v / d)`, the value of largest magnitude at -8, `d` rounded to f16.
fn quantize_4(values: &[f32]) -> ([u8; 32], f16) {
    let peak = values.iter().fold(0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let d = f16::from_f32(peak / -8.0);
    let inverse = if d == f16::ZERO { 0.0 } else { 1.0 / d.to_f32() };
    let mut q = [8; 32];
    for (q, v) in q.iter_mut().zip(values) {
        *q = ((v * inverse).round_ties_even() + 8.0).clamp(0.0, 15.0) as u8;
    }
    (q, d)
}

/// Byte of input `k` in the lane of an `F16` panel.
fn half_at(k: usize, lane: usize) -> usize {
    k * 32 + lane * 2
}

/// Byte of input `k` in the lane of a `Bf16` panel.
fn bf16_at(k: usize, lane: usize) -> usize {
    k / 2 * LINE + lane * 4 + k % 2 * 2
}

/// Starts of the quants and of the scales of block `b` of a `W8` or `W4` panel.
fn block_at(format: Format, b: usize) -> (usize, usize) {
    let quants = format.record_bytes() - LINE;
    let record = b / 2 * format.record_bytes();
    (record + b % 2 * (quants / 2), record + quants + b % 2 * 32)
}

fn put_w8(panel: &mut [u8], lane: usize, b: usize, q: &[u8; 32], scale: [u8; 2]) {
    let (quants, scales) = block_at(Format::W8, b);
    for (j, quad) in q.chunks_exact(4).enumerate() {
        panel[quants + j * LINE + lane * 4..][..4].copy_from_slice(quad);
    }
    panel[scales + lane * 2..][..2].copy_from_slice(&scale);
}

fn put_w4(panel: &mut [u8], lane: usize, b: usize, q: &[u8; 32], scale: [u8; 2]) {
    let (quants, scales) = block_at(Format::W4, b);
    put_nibbles(&mut panel[quants..], lane, q);
    panel[scales + lane * 2..][..2].copy_from_slice(&scale);
}

/// The low four bits of a block's 32 quants into 4 nibble lines.
fn put_nibbles(lines: &mut [u8], lane: usize, q: &[u8]) {
    for (j, q) in q.chunks_exact(8).enumerate() {
        for c in 0..4 {
            lines[j * LINE + lane * 4 + c] = q[c] & 15 | q[4 + c] << 4;
        }
    }
}

fn get_nibbles(lines: &[u8], lane: usize) -> [u8; 32] {
    std::array::from_fn(|k| lines[k / 8 * LINE + lane * 4 + k % 4] >> (k / 4 % 2 * 4) & 15)
}

/// Where the fifth bit of quad `i` stands in its line.
fn fifth_bit(i: usize) -> usize {
    (i + 4) % 8
}

/// Line and bit of the two-bit field of quad `i`.
fn two_bits(i: usize) -> (usize, usize) {
    (i / 4, [4, 6, 0, 2][i % 4])
}

fn put_k(record: &mut [u8], lane: usize, format: Format, block: &KBlock) {
    let lines = if format == Format::K5 { 5 } else { 4 };
    for (b, q) in block.quants.chunks_exact(32).enumerate() {
        let part = &mut record[b * lines * LINE..];
        put_nibbles(part, lane, q);
        if format == Format::K5 {
            for (k, q) in q.iter().enumerate() {
                let byte = &mut part[4 * LINE + lane * 4 + k % 4];
                let at = fifth_bit(k / 4);
                *byte = *byte & !(1 << at) | (q >> 4) << at;
            }
        }
    }
    let trailer = &mut record[8 * lines * LINE..];
    for j in 0..8 {
        trailer[j * PANEL_ROWS + lane] = block.scales[j];
        trailer[128 + j * PANEL_ROWS + lane] = block.mins[j];
    }
    trailer[256 + lane * 2..][..2].copy_from_slice(&block.d.to_le_bytes());
    trailer[288 + lane * 2..][..2].copy_from_slice(&block.dmin.to_le_bytes());
}

fn put_k6(record: &mut [u8], lane: usize, block: &K6Block) {
    for (b, q) in block.quants.chunks_exact(32).enumerate() {
        let part = &mut record[b * 6 * LINE..];
        put_nibbles(part, lane, q);
        for (k, q) in q.iter().enumerate() {
            let (line, at) = two_bits(k / 4);
            let byte = &mut part[(4 + line) * LINE + lane * 4 + k % 4];
            *byte = *byte & !(3 << at) | (q >> 4) << at;
        }
    }
    let trailer = &mut record[8 * 6 * LINE..];
    for (j, &scale) in block.scales.iter().enumerate() {
        trailer[j * PANEL_ROWS + lane] = scale as u8;
    }
    trailer[256 + lane * 2..][..2].copy_from_slice(&block.d.to_le_bytes());
}

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The values of one lane of a panel.
pub(crate) fn decode_row(format: Format, panel: &[u8], lane: usize, out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (k, o) in out.iter_mut().enumerate() {
                let b = &panel[k * LINE + lane * 4..][..4];
                *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Format::F16 => {
            for (k, o) in out.iter_mut().enumerate() {
                *o = f16_at(panel, half_at(k, lane));
            }
        }
        Format::Bf16 => {
            for (k, o) in out.iter_mut().enumerate() {
                let at = bf16_at(k, lane);
                *o = bf16::from_le_bytes([panel[at], panel[at + 1]]).to_f32();
            }
        }
        Format::W8 => {
            for (b, out) in out.chunks_mut(32).enumerate() {
                let (quants, scales) = block_at(format, b);
                let d = f16_at(panel, scales + lane * 2);
                for (k, o) in out.iter_mut().enumerate() {
                    let q = panel[quants + k / 4 * LINE + lane * 4 + k % 4];
                    *o = d * (f32::from(q) - 128.0);
                }
            }
        }
        Format::W4 => {
            for (b, out) in out.chunks_mut(32).enumerate() {
                let (quants, scales) = block_at(format, b);
                let d = f16_at(panel, scales + lane * 2);
                for (o, q) in out.iter_mut().zip(get_nibbles(&panel[quants..], lane)) {
                    *o = d * (f32::from(q) - 8.0);
                }
            }
        }
        Format::K4 | Format::K5 | Format::K6 => {
            let records = panel.chunks_exact(format.record_bytes());
            for (record, out) in records.zip(out.chunks_exact_mut(256)) {
                decode_k(format, record, lane, out);
            }
        }
    }
}

fn decode_k(format: Format, record: &[u8], lane: usize, out: &mut [f32]) {
    let lines = match format {
        Format::K4 => 4,
        Format::K5 => 5,
        _ => 6,
    };
    let trailer = &record[8 * lines * LINE..];
    let d = f16_at(trailer, 256 + lane * 2);
    for (b, out) in out.chunks_exact_mut(32).enumerate() {
        let part = &record[b * lines * LINE..];
        let mut q = get_nibbles(part, lane);
        for (k, q) in q.iter_mut().enumerate() {
            if format == Format::K5 {
                *q |= (part[4 * LINE + lane * 4 + k % 4] >> fifth_bit(k / 4) & 1) << 4;
            } else if format == Format::K6 {
                let (line, at) = two_bits(k / 4);
                *q |= (part[(4 + line) * LINE + lane * 4 + k % 4] >> at & 3) << 4;
            }
        }
        if format == Format::K6 {
            for (k, o) in out.iter_mut().enumerate() {
                let scale = trailer[(b * 2 + k / 16) * PANEL_ROWS + lane] as i8;
                *o = d * f32::from(scale) * (f32::from(q[k]) - 32.0);
            }
        } else {
            let d = d * f32::from(trailer[b * PANEL_ROWS + lane]);
            let m = f16_at(trailer, 288 + lane * 2) * f32::from(trailer[128 + b * PANEL_ROWS + lane]);
            for (o, q) in out.iter_mut().zip(q) {
                *o = d * f32::from(q) - m;
            }
        }
    }
}
