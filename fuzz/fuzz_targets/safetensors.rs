//! Any bytes as a safetensors file: an error, or tensors that lie inside the file. Run with
//! `-malloc_limit_mb=8`.
#![no_main]

use chela_engine::formats::{dequant, safetensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = safetensors::parse_header(bytes) else { return };
    for tensor in header.tensors.values() {
        let data = &bytes[tensor.bytes.clone()];
        let len: usize = tensor.shape.iter().product();
        assert_eq!(tensor.dtype.tensor_bytes(len as u64, 1), Some(data.len() as u64));
        let mut values = vec![0.0; len];
        let _ = dequant::dequantize(tensor.dtype, data, &mut values);
    }
});
