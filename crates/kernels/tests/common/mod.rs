//! Random tensors and plain re-implementations of the formats, written from their specifications
//! and sharing no code with the crate.
#![allow(dead_code, reason = "each test file uses its part")]

use chela_kernels::{Isa, Kernels, RawType};
use half::{bf16, f16};

/// A small deterministic generator (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// In -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Values of mixed magnitude, some of them zero.
    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| match self.below(12) {
                0 => 0.0,
                1 => self.unit() * 30.0,
                2 => self.unit() * 1e-3,
                _ => self.unit(),
            })
            .collect()
    }

    fn scale(&mut self) -> [u8; 2] {
        f16::from_f32(self.unit() * 0.1).to_le_bytes()
    }

    /// Random blocks of `raw`: every bit pattern of the quants, finite scales.
    pub fn tensor(&mut self, raw: RawType, rows: usize, cols: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..rows * cols / raw.block_values() {
            let start = out.len();
            out.extend((0..raw.block_bytes()).map(|_| 0));
            let block = &mut out[start..];
            block.iter_mut().for_each(|b| *b = self.next() as u8);
            match raw {
                RawType::F32 => block.copy_from_slice(&self.unit().to_le_bytes()),
                RawType::F16 => block.copy_from_slice(&f16::from_f32(self.unit()).to_le_bytes()),
                RawType::Bf16 => block.copy_from_slice(&bf16::from_f32(self.unit()).to_le_bytes()),
                RawType::Q8_0 | RawType::Q4_0 => block[..2].copy_from_slice(&self.scale()),
                RawType::Q4K | RawType::Q5K => {
                    block[..2].copy_from_slice(&self.scale());
                    block[2..4].copy_from_slice(&self.scale());
                }
                RawType::Q6K => block[208..].copy_from_slice(&self.scale()),
            }
        }
        out
    }
}

pub const RAW_TYPES: [RawType; 8] = [
    RawType::F32,
    RawType::F16,
    RawType::Bf16,
    RawType::Q8_0,
    RawType::Q4_0,
    RawType::Q4K,
    RawType::Q5K,
    RawType::Q6K,
];

pub fn kernels() -> Vec<Kernels> {
    Isa::available().map(|isa| Kernels::for_isa(isa).unwrap()).collect()
}

pub fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| v.to_bits()).collect()
}

/// A group of quants with one scale: `value = scale * q - min`.
pub struct Group {
    pub scale: f32,
    pub min: f32,
    pub quants: Vec<i32>,
}

fn half_at(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// The groups of one row of a quantized tensor, 32 values each (16 for Q6_K).
pub fn groups(raw: RawType, row: &[u8]) -> Vec<Group> {
    let mut out = Vec::new();
    for b in row.chunks_exact(raw.block_bytes()) {
        match raw {
            RawType::Q8_0 => out.push(Group {
                scale: half_at(b, 0),
                min: 0.0,
                quants: b[2..].iter().map(|&q| i32::from(q as i8)).collect(),
            }),
            RawType::Q4_0 => {
                let low = b[2..].iter().map(|&q| i32::from(q % 16) - 8);
                let high = b[2..].iter().map(|&q| i32::from(q / 16) - 8);
                let quants = low.chain(high).collect();
                out.push(Group { scale: half_at(b, 0), min: 0.0, quants });
            }
            RawType::Q4K | RawType::Q5K => k_groups(raw, b, &mut out),
            RawType::Q6K => k6_groups(b, &mut out),
            _ => panic!("{raw:?} has no groups"),
        }
    }
    out
}

fn k_groups(raw: RawType, b: &[u8], out: &mut Vec<Group>) {
    // The 12 bytes hold, as in ggml's get_scale_min_k4, 8 scales and 8 minima of 6 bits.
    let s = &b[4..16];
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for j in 0..8 {
        let (scale, min) = if j < 4 {
            (s[j] & 63, s[j + 4] & 63)
        } else {
            ((s[j + 4] & 0xf) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4))
        };
        let quants = (0..32)
            .map(|l| {
                let (low, high) = match raw {
                    RawType::Q5K => (b[48 + j / 2 * 32 + l], b[16 + l] >> j & 1),
                    _ => (b[16 + j / 2 * 32 + l], 0),
                };
                let nibble = if j % 2 == 0 { low & 0xf } else { low >> 4 };
                i32::from(nibble) + 16 * i32::from(high)
            })
            .collect();
        out.push(Group { scale: d * f32::from(scale), min: dmin * f32::from(min), quants });
    }
}

fn k6_groups(b: &[u8], out: &mut Vec<Group>) {
    let mut q = vec![0; 256];
    for half in 0..2 {
        let (ql, qh) = (&b[half * 64..], &b[128 + half * 32..]);
        for l in 0..32 {
            let y = &mut q[half * 128..];
            y[l] = i32::from((ql[l] & 0xf) | ((qh[l] & 3) << 4)) - 32;
            y[l + 32] = i32::from((ql[l + 32] & 0xf) | (((qh[l] >> 2) & 3) << 4)) - 32;
            y[l + 64] = i32::from((ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4)) - 32;
            y[l + 96] = i32::from((ql[l + 32] >> 4) | ((qh[l] >> 6) << 4)) - 32;
        }
    }
    for (j, q) in q.chunks_exact(16).enumerate() {
        let scale = half_at(b, 208) * f32::from(b[192 + j] as i8);
        out.push(Group { scale, min: 0.0, quants: q.to_vec() });
    }
}
