//! Panels hold what was put into them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use chela_kernels::{
    Arrangement, Error, Format, Kernels, Matrix, MatrixBuilder, Pool, RawTensor, RawType, RowsMut, Shape,
    SharedBytes,
};
use common::{RAW_TYPES, Random, bits, groups};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn native_formats_are_lossless(
        raw in proptest::sample::select(&RAW_TYPES[..]),
        rows in 1usize..40, blocks in 1usize..4, seed in any::<u64>()
    ) {
        let cols = if raw.block_values() == 1 { blocks * 33 } else { raw.block_values() * blocks };
        let bytes = Random::new(seed).tensor(raw, rows, cols);
        let tensor = RawTensor::new(raw, rows, cols, &bytes).unwrap();
        let pool = Pool::new(2).unwrap();
        let w = Matrix::from_tensor(&pool, raw.native_format(), &tensor).unwrap();
        let (mut want, mut got) = (vec![0.0; cols], vec![0.0; cols]);
        for row in 0..rows {
            tensor.dequantize_row(row, &mut want);
            w.read_row(row, &mut got);
            prop_assert_eq!(bits(&got), bits(&want));
        }
    }

    #[test]
    fn dequantization_follows_the_block_formats(
        raw in proptest::sample::select(&RAW_TYPES[3..]), seed in any::<u64>()
    ) {
        let cols = 512;
        let bytes = Random::new(seed).tensor(raw, 1, cols);
        let mut got = vec![0.0; cols];
        RawTensor::new(raw, 1, cols, &bytes).unwrap().dequantize_row(0, &mut got);
        let want: Vec<f32> = groups(raw, &bytes)
            .iter()
            .flat_map(|g| g.quants.iter().map(move |&q| g.scale * q as f32 - g.min))
            .collect();
        prop_assert_eq!(got, want);
    }

    /// 8 bits: half a step of 1/127 of the block's peak, and the rounding of the scale to f16
    /// (2^-11). 4 bits: a step of 1/8, where the far side of the peak is cut at 7/8.
    #[test]
    fn quantization_is_within_its_step(seed in any::<u64>(), blocks in 1usize..5) {
        let cols = blocks * 32;
        let x = Random::new(seed).values(cols);
        let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = RawTensor::new(RawType::F32, 1, cols, &bytes).unwrap();
        let pool = Pool::new(1).unwrap();
        for (format, step) in [(Format::W8, 0.5 / 127.0 + 1.0 / 2048.0), (Format::W4, 1.01 / 8.0)] {
            let mut got = vec![0.0; cols];
            Matrix::from_tensor(&pool, format, &tensor).unwrap().read_row(0, &mut got);
            for (x, got) in x.chunks(32).zip(got.chunks(32)) {
                let peak = x.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (x, got) in x.iter().zip(got) {
                    prop_assert!((x - got).abs() <= step * peak + 1e-6, "{format:?} {x} {got} {peak}");
                }
            }
        }
    }
}

#[test]
fn stacked_and_paired_rows_are_where_they_belong() {
    let (n, cols) = (21, 64);
    let pool = Pool::new(2).unwrap();
    let mut random = Random::new(7);
    let parts: Vec<Vec<u8>> = (0..2).map(|_| random.tensor(RawType::Q4_0, n, cols)).collect();
    for arrangement in [Arrangement::Plain, Arrangement::Paired] {
        let shape = Shape::new(Format::W4, 2 * n, cols, arrangement).unwrap();
        let mut builder = MatrixBuilder::new(shape).unwrap();
        for (i, part) in parts.iter().enumerate() {
            let tensor = RawTensor::new(RawType::Q4_0, n, cols, part).unwrap();
            builder.put(&pool, i * n, &tensor).unwrap();
        }
        let w = builder.finish().unwrap();
        let (mut want, mut got) = (vec![0.0; cols], vec![0.0; cols]);
        for row in 0..2 * n {
            let tensor = RawTensor::new(RawType::Q4_0, n, cols, &parts[row / n]).unwrap();
            tensor.dequantize_row(row % n, &mut want);
            w.read_row(row, &mut got);
            assert_eq!(got, want, "{arrangement:?} {row}");
        }
    }
}

#[test]
fn panels_survive_as_bytes() {
    let pool = Pool::new(1).unwrap();
    let bytes = Random::new(2).tensor(RawType::Q6K, 20, 256);
    let tensor = RawTensor::new(RawType::Q6K, 20, 256, &bytes).unwrap();
    let w = Matrix::from_tensor(&pool, Format::K6, &tensor).unwrap();
    let mut file = chela_kernels::AlignedBytes::zeroed(64 + w.bytes().len()).unwrap();
    file[64..].copy_from_slice(w.bytes());
    let range = 64..file.len();
    let again = Matrix::from_bytes(w.shape(), SharedBytes::new(Arc::new(file), range).unwrap());
    let (mut a, mut b) = (vec![0.0; 256], vec![0.0; 256]);
    w.read_row(19, &mut a);
    again.unwrap().read_row(19, &mut b);
    assert_eq!(a, b);
    let short = chela_kernels::AlignedBytes::zeroed(64).unwrap();
    let short = SharedBytes::new(Arc::new(short), 0..64).unwrap();
    assert!(matches!(Matrix::from_bytes(w.shape(), short), Err(Error::Bytes { .. })));
}

#[test]
fn embeddings_are_rows() {
    let pool = Pool::new(2).unwrap();
    let bytes = Random::new(2).tensor(RawType::Q8_0, 50, 64);
    let tensor = RawTensor::new(RawType::Q8_0, 50, 64, &bytes).unwrap();
    let w = Matrix::from_tensor(&pool, Format::W8, &tensor).unwrap();
    let mut out = vec![0.0; 3 * 64];
    Kernels::detect().embed(&pool, &w, &[49, 0, 49], 2.0, RowsMut::new(&mut out, 64));
    let mut want = vec![0.0; 64];
    tensor.dequantize_row(49, &mut want);
    want.iter_mut().for_each(|v| *v *= 2.0);
    assert_eq!(out[..64], want);
    assert_eq!(out[128..], want);
}

#[test]
fn what_does_not_fit_is_refused() {
    let pool = Pool::new(1).unwrap();
    assert!(Shape::new(Format::K4, 16, 128, Arrangement::Plain).is_err());
    assert!(Shape::new(Format::W8, 3, 64, Arrangement::Paired).is_err());
    assert!(Shape::new(Format::W8, 0, 64, Arrangement::Plain).is_err());
    assert!(Shape::new(Format::F32, usize::MAX / 2, 1 << 20, Arrangement::Plain).is_err());
    assert!(RawTensor::new(RawType::Q8_0, 1, 33, &[0; 34]).is_err());
    assert!(RawTensor::new(RawType::Q8_0, 2, 32, &[0; 34]).is_err());
    assert!(RawTensor::new(RawType::F32, usize::MAX, 8, &[]).is_err());
    let bytes = Random::new(2).tensor(RawType::Q8_0, 4, 256);
    let tensor = RawTensor::new(RawType::Q8_0, 4, 256, &bytes).unwrap();
    let refused = Matrix::from_tensor(&pool, Format::K4, &tensor);
    assert!(matches!(refused, Err(Error::Conversion { native: Format::W8, .. })));
    let shape = Shape::new(Format::W8, 6, 256, Arrangement::Plain).unwrap();
    let mut builder = MatrixBuilder::new(shape).unwrap();
    assert!(builder.put(&pool, 3, &tensor).is_err());
    builder.put(&pool, 0, &tensor).unwrap();
    assert!(builder.finish().is_err());
}

/// Oracle: the `gguf` package's `dequantize` (see `fixtures/dequantize.py`), to the bit.
#[test]
fn dequantization_equals_the_gguf_package() {
    const COUNT: usize = 12;
    let mut rest = &include_bytes!("fixtures/dequantize.bin")[..];
    for raw in &RAW_TYPES[3..] {
        let (bytes, after) = rest.split_at(COUNT * raw.block_bytes());
        let (values, after) = after.split_at(COUNT * raw.block_values() * 4);
        rest = after;
        let cols = raw.block_values();
        let tensor = RawTensor::new(*raw, COUNT, cols, bytes).unwrap();
        let pool = Pool::new(1).unwrap();
        let w = Matrix::from_tensor(&pool, raw.native_format(), &tensor).unwrap();
        for (row, want) in values.chunks_exact(cols * 4).enumerate() {
            let (mut got, mut panel) = (vec![0.0; cols], vec![0.0; cols]);
            tensor.dequantize_row(row, &mut got);
            w.read_row(row, &mut panel);
            for (k, want) in want.chunks_exact(4).enumerate() {
                let want = f32::from_le_bytes([want[0], want[1], want[2], want[3]]);
                let same = |got: f32| got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same(got[k]) && same(panel[k]), "{raw:?} {row} {k}: {} {want}", got[k]);
            }
        }
    }
    assert!(rest.is_empty());
}
