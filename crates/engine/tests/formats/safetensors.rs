use chela_engine::formats::{
    DType, FormatError,
    safetensors::{self, Safetensors},
};

use crate::{fixture, tiny_model};

/// Oracle: the PyPI package safetensors 0.8.0 wrote the file.
#[test]
fn every_plain_type_is_read() {
    let file = Safetensors::open(&fixture("gguf/plain.safetensors")).unwrap();
    let expected = [
        ("bfloat16", DType::BF16, 2),
        ("bool", DType::Bool, 1),
        ("float16", DType::F16, 2),
        ("float32", DType::F32, 4),
        ("float64", DType::F64, 8),
        ("float8_e4m3fn", DType::F8E4M3, 1),
        ("int16", DType::I16, 2),
        ("int32", DType::I32, 4),
        ("int64", DType::I64, 8),
        ("int8", DType::I8, 1),
        ("uint8", DType::U8, 1),
    ];
    for (name, dtype, size) in expected {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.dtype, tensor.shape, tensor.data.len()), (dtype, &[2, 3][..], 6 * size));
    }
    assert_eq!(file.tensor("empty").unwrap().to_f32().unwrap(), [0f32; 0]);
    assert_eq!(file.tensor("scalar").unwrap().to_f32().unwrap(), [2.5]);
    assert_eq!(file.tensors().count(), 13);
    let error = file.tensor("int32").unwrap().to_f32().unwrap_err().to_string();
    assert!(error.starts_with("type I32 of tensor \"int32\" is not supported: readable are F32"), "{error}");
}

/// Oracle: transformers 5.19.0 saved the model.
#[test]
fn a_model_of_transformers_is_read() {
    let file = Safetensors::open(&tiny_model().join("model.safetensors")).unwrap();
    let embedding = file.tensor("model.embed_tokens.weight").unwrap();
    assert_eq!((embedding.dtype, embedding.shape), (DType::BF16, &[1209, 128][..]));
    assert!(embedding.to_f32().unwrap().iter().all(|value| value.is_finite()));
}

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn errors_name_what_is_wrong() {
    let cases = [
        (vec![], "length of the header at byte 0 needs 8 bytes, but 0 are left"),
        (u64::MAX.to_le_bytes().to_vec(), "length of the header at byte 0: expected at most 100000000"),
        (100u64.to_le_bytes().to_vec(), "header at byte 8 needs 100 bytes, but 0 are left"),
        (file("[]", 0), "header at byte 8: expected JSON with dtype, shape and data_offsets"),
        (
            file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3),
            "data of tensor \"a\" at byte",
        ),
        (
            file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4),
            "data_offsets of tensor \"a\": expected 8 bytes, for F32 [2], found 0..4",
        ),
        (
            file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4),
            "data_offsets of tensor \"a\": expected 4 bytes, for F32 [1], found 4..0",
        ),
        (
            file(r#"{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}"#, 4),
            "type \"F7\" of tensor \"a\" is not supported",
        ),
        (
            file(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4),
            "shape of tensor \"a\"",
        ),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                2,
            ),
            "\"a\" stands twice",
        ),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                3,
            ),
            "data of tensor \"b\" at byte",
        ),
        (
            file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 2),
            "expected 1 bytes, which its tensors take, found 2",
        ),
    ];
    for (file, expected) in cases {
        let error = safetensors::parse_header(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\ninstead of\n{expected}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = std::fs::read(fixture("gguf/plain.safetensors")).unwrap();
    for len in 0..file.len() {
        let error = safetensors::parse_header(&file[..len]).unwrap_err();
        assert!(
            matches!(error, FormatError::Truncated { .. } | FormatError::Invalid { .. }),
            "{len}: {error}"
        );
    }
}
