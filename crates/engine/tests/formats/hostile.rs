//! Damaged and hostile files: an error that says what is wrong, whatever the bytes are.

use chela_engine::formats::{
    Config, FormatError,
    gguf::{self, Gguf},
    safetensors,
};
use proptest::prelude::*;

use crate::fixture;

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const F32: u32 = 0;

/// A GGUF file put together by hand.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn head(tensors: u64, entries: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(entries)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self = self.u64(text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    fn tensor(mut self, name: &str, dims: &[u64], dtype: u32, offset: u64) -> Self {
        self = self.text(name).u32(dims.len() as u32);
        for dim in dims {
            self = self.u64(*dim);
        }
        self.u32(dtype).u64(offset)
    }

    /// Pad to the alignment and add data.
    fn data(mut self, len: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + len, 0);
        self
    }

    fn error(&self) -> String {
        gguf::parse(&self.0).unwrap_err().to_string()
    }
}

#[test]
fn gguf_errors_name_field_place_expected_and_found() {
    let nested = (0..9).fold(Bytes::head(0, 1).text("k").u32(ARRAY), |bytes, _| bytes.u32(ARRAY).u64(1));
    let cases = [
        (Bytes::default(), "magic at byte 0 needs 4 bytes, but 0 are left"),
        (Bytes(b"PK\x03\x04".to_vec()), "magic at byte 0: expected \"GGUF\", found \"PK\\u{3}\\u{4}\""),
        (Bytes(b"GGUF".to_vec()).u32(1), "GGUF version 1 is not supported"),
        (Bytes(b"GGUF".to_vec()).u32(3 << 24), "big-endian GGUF is not supported"),
        (Bytes(b"GGUF".to_vec()).u32(3), "tensor count at byte 8 needs 8 bytes, but 0 are left"),
        (Bytes::head(0, u64::MAX), "length of metadata key 0 at byte 24 needs 8 bytes, but 0 are left"),
        (Bytes::head(u64::MAX, 0), "length of name of tensor 0 at byte 24 needs 8 bytes"),
        (Bytes::head(0, 1).u64(u64::MAX), "metadata key 0 at byte 32 needs 18446744073709551615 bytes"),
        (Bytes::head(0, 1).text(""), "metadata key 0 at byte 24: expected 1 to 65535 bytes, found 0"),
        (
            Bytes::head(0, 1).text("k").u32(13),
            "type of \"k\" at byte 33: expected a number from 0 to 12, found 13",
        ),
        (
            Bytes::head(0, 1).text("k").u32(STRING).u64(1 << 60),
            "\"k\" at byte 45 needs 1152921504606846976 bytes",
        ),
        (
            Bytes::head(0, 1).text("k").u32(7).u32(2),
            "\"k\" at byte 37: expected 0 or 1, as a truth value, found 2",
        ),
        (
            Bytes::head(0, 1).text("k").u32(ARRAY).u32(4).u64(1 << 62),
            "\"k\" at byte 49 needs 18446744073709551615 bytes, but 0 are left",
        ),
        (
            Bytes::head(0, 1).text("k").u32(ARRAY).u32(STRING).u64(1 << 62),
            "length of element 0 of \"k\" at byte 49 needs 8 bytes",
        ),
        (nested, "expected arrays nested at most 4 deep"),
        (
            Bytes::head(0, 2).text("k").u32(4).u32(1).text("k").u32(4).u32(1),
            "metadata key \"k\" at byte 41: expected it once, found twice",
        ),
        (
            Bytes::head(0, 1).text("general.alignment").u32(4).u32(0),
            "general.alignment: expected a power of two, found Uint(0)",
        ),
        (
            Bytes::head(1, 0).tensor("t", &[1; 5], F32, 0),
            "number of dimensions of tensor \"t\" at byte 33: expected at most 4, found 5",
        ),
        (
            Bytes::head(1, 0).tensor("t", &[1], 99, 0),
            "ggml type 99 of tensor \"t\" (byte 45) is not supported",
        ),
        (
            Bytes::head(1, 0).tensor("t", &[31], 8, 0).data(34),
            "shape of tensor \"t\": expected rows of whole Q8_0 blocks",
        ),
        (
            Bytes::head(1, 0).tensor("t", &[8], F32, 16).data(64),
            "offset of tensor \"t\" at byte 49: expected a multiple of 32",
        ),
        (
            Bytes::head(1, 0).tensor("t", &[8], F32, 32).data(63),
            "data of tensor \"t\" at byte 96 needs 32 bytes, but 31 are left",
        ),
        (
            Bytes::head(2, 0).tensor("t", &[1], F32, 0).tensor("t", &[1], F32, 32).data(64),
            "tensor \"t\" at byte 57: expected it once, found twice",
        ),
        (
            Bytes::head(2, 0).tensor("a", &[9], F32, 0).tensor("b", &[1], F32, 32).data(64),
            "data of tensor \"b\" at byte 128: expected bytes of its own, from 132 where \"a\" ends, found 128",
        ),
    ];
    for (bytes, expected) in cases {
        let error = bytes.error();
        assert!(error.contains(expected), "{error}\ninstead of\n{expected}");
    }
}

/// Products of sizes that wrap around 2^64 made llama.cpp allocate little and write much
/// (CVE-2025-53630 and, past its fix, CVE-2026-27940).
#[test]
fn sizes_that_overflow_are_refused() {
    let half = 1u64 << 32;
    for dims in [&[half, half][..], &[1 << 62, 4], &[half, half, half, half], &[u64::MAX, 1], &[4, u64::MAX]]
    {
        let error = Bytes::head(1, 0).tensor("t", dims, F32, 0).data(64).error();
        assert!(error.contains("shape of tensor \"t\""), "{error}");
    }
    // No overflow, but more than the file has; then offsets that overflow.
    let error = Bytes::head(1, 0).tensor("t", &[1 << 40], F32, 0).data(64).error();
    assert!(
        error.contains("data of tensor \"t\" at byte 64 needs 4398046511104 bytes, but 64 are left"),
        "{error}"
    );
    let error = Bytes::head(1, 0).tensor("t", &[1], F32, u64::MAX - 31).data(64).error();
    assert!(error.contains("offset of tensor \"t\""), "{error}");
}

/// Ollama read beyond the file when a tensor's data ended behind it (CVE-2026-7482).
#[test]
fn every_truncation_of_a_gguf_file_is_refused() {
    let file = std::fs::read(fixture("gguf/values.gguf")).unwrap();
    let end = gguf::parse(&file).unwrap().tensors.values().map(|info| info.bytes.end).max().unwrap();
    for len in 0..end {
        let error = gguf::parse(&file[..len]).unwrap_err();
        let truncated = matches!(error, FormatError::Truncated { .. });
        assert!(truncated, "{len}: {error}");
    }
    gguf::parse(&file[..end]).unwrap();
}

#[test]
fn an_empty_file_and_a_folder_are_refused_with_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.gguf");
    std::fs::write(&path, b"").unwrap();
    let error = Gguf::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("empty.gguf: magic at byte 0 needs 4 bytes, but 0 are left: the file is truncated or damaged; fetch it again"), "{error}");
    assert!(Gguf::open(folder.path()).is_err());
}

fn read_everything(file: &[u8]) {
    let Ok(header) = gguf::parse(file) else { return };
    let metadata = header.metadata(file);
    for key in metadata.keys() {
        if let Ok(Some(list)) = Config::Gguf(metadata).list(key) {
            list.iter().for_each(|value| drop(format!("{value:?}")));
        }
    }
    for info in header.tensors.values() {
        assert!(file.get(info.bytes.clone()).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_gguf_never_panics(
        which in prop::sample::select(vec!["gguf/values.gguf", "gguf/types.gguf", "gguf/split-00001-of-00002.gguf"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = std::fs::read(fixture(which)).unwrap();
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        read_everything(&file);
    }

    #[test]
    fn damaged_safetensors_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = std::fs::read(fixture("gguf/plain.safetensors")).unwrap();
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if let Ok(header) = safetensors::parse_header(&file) {
            for info in header.tensors.values() {
                prop_assert!(file.get(info.bytes.clone()).is_some());
            }
        }
    }
}
