//! Any bytes as a tokenizer.json: it is refused, or it encodes and decodes any text without a panic. Run with
//! `-malloc_limit_mb=64`.
#![no_main]

use chela_engine::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (json, text) = input;
    let Ok(tokenizer) = Tokenizer::from_json(json) else { return };
    for text in [text, "Ein Text, 12 345\n\u{1f980}"] {
        if let Ok(ids) = tokenizer.encode(text, true, true) {
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            let _ = tokenizer.decode(&ids, false);
        }
    }
});
