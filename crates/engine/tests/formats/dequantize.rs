use chela_engine::formats::{DType, gguf::Gguf};

use crate::fixture;

/// Oracle: `gguf.quants.dequantize` of the PyPI package gguf 0.19.0, on random blocks and on ones
/// with infinite, NaN, subnormal, zero and largest scales, and with all quants 0 or all ones.
/// NaN results are compared as NaN, for which bits of it come out is up to the processor.
#[test]
fn every_type_is_bit_exact() {
    let gguf = Gguf::open(&fixture("gguf/quants.gguf")).unwrap();
    let mut types = Vec::new();
    for stored in gguf.tensors().filter(|tensor| !tensor.name.contains('.')) {
        let expected = gguf.tensor(&format!("{}.expected", stored.name)).unwrap();
        assert_eq!(stored.shape, expected.shape, "{}", stored.name);
        assert_eq!(stored.name, stored.dtype.name());
        let (found, expected) = (stored.to_f32().unwrap(), expected.to_f32().unwrap());
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{} element {place}: {found} instead of {expected}", stored.name);
        }
        types.push(stored.dtype);
    }
    types.sort_by_key(|dtype| dtype.name());
    use DType::*;
    assert_eq!(types, [BF16, F16, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0]);
}
