//! Any bytes as a GGUF file: an error or a header whose tensors lie inside the file; the model's description
//! and the tokenizer in its metadata are read or refused. Run with `-malloc_limit_mb=8`, lest a number in a
//! file be believed for a size.
#![no_main]

use chela_engine::formats::{Config, gguf};
use chela_engine::spec::ModelSpec;
use chela_engine::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = gguf::parse(bytes) else { return };
    let metadata = header.metadata(bytes);
    for key in metadata.keys() {
        let _ = Config::Gguf(metadata).strs(key);
    }
    let config = Config::Gguf(metadata);
    for tensor in header.tensors.values() {
        let _ = &bytes[tensor.bytes.clone()];
    }
    if let Ok(spec) = ModelSpec::from_gguf(config, &|_| Some(vec![64, 64]), None) {
        let _ = (spec.to_string(), spec.check_supported(), spec.parameters());
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(&config) {
        let ids = tokenizer.encode("Ein Text, 12 345\n", true, true).unwrap_or_default();
        let _ = tokenizer.decode(&ids, false);
    }
});
