use std::sync::{Arc, LazyLock};

use chela_engine::tokenizer::{Detokenizer, Tokenizer};
use proptest::prelude::*;

use crate::kinds::{byte_level, sentence_piece};

static TOKENIZERS: LazyLock<Vec<Arc<Tokenizer>>> = LazyLock::new(|| {
    let kinds = byte_level().into_iter().take(3).chain(sentence_piece());
    kinds.map(|(_, json)| Arc::new(Tokenizer::from_json(&json).unwrap())).collect()
});

fn named(tokenizer: &Tokenizer, pieces: &[&str]) -> Vec<u32> {
    pieces.iter().map(|piece| tokenizer.token_to_id(piece).unwrap()).collect()
}

fn deltas(mut detokenizer: Detokenizer, ids: &[u32]) -> Vec<String> {
    let mut deltas: Vec<String> = ids.iter().map(|id| detokenizer.push(*id)).collect();
    deltas.push(detokenizer.finish());
    deltas
}

#[test]
fn a_character_is_given_when_it_is_whole() {
    let tokenizer = &TOKENIZERS[0];
    let ids = named(tokenizer, &["a", "ð", "Ł", "Ļ", "Ĥ", "b", "ã", "ģ"]);
    let found = deltas(Detokenizer::new(tokenizer.clone(), true), &ids);
    assert_eq!(found, ["a", "", "", "", "🙂", "b", "", "", "\u{fffd}"]);
}

/// An ill-formed sequence is one U+FFFD in byte-level vocabularies, as in the reference, and one
/// for each byte where bytes are tokens, as in SentencePiece.
#[test]
fn bytes_that_are_no_text_are_replaced() {
    let tokenizer = &TOKENIZERS[0];
    let ids = named(tokenizer, &["ã", "ģ", "a", "ÿ", "b"]);
    assert_eq!(deltas(Detokenizer::new(tokenizer.clone(), true), &ids).concat(), "\u{fffd}a\u{fffd}b");
    let llama = &TOKENIZERS[3];
    let ids = named(llama, &["a", "<0xE3>", "<0x81>", "b", "<0xC3>", "<0xA9>", "<0xFF>"]);
    let found = deltas(Detokenizer::new(llama.clone(), true), &ids);
    assert_eq!(found, ["a", "", "", "\u{fffd}\u{fffd}b", "", "é", "\u{fffd}", ""]);
}

#[test]
fn the_first_space_is_dropped_only_at_the_start() {
    let llama = &TOKENIZERS[3];
    let ids = llama.encode("the the", true, false).unwrap();
    assert_eq!(deltas(Detokenizer::new(llama.clone(), true), &ids).concat(), "the the");
    let after = Detokenizer::after(llama.clone(), true, &ids);
    assert_eq!(deltas(after, &ids).concat(), " the the");
}

#[test]
fn a_character_that_the_prompt_began_is_completed() {
    let tokenizer = &TOKENIZERS[0];
    let ids = named(tokenizer, &["ð", "Ł", "Ļ", "Ĥ"]);
    let after = Detokenizer::after(tokenizer.clone(), true, &ids[..2]);
    assert_eq!(deltas(after, &ids[2..]).concat(), "🙂");
}

#[test]
fn ids_without_token_stand_for_nothing() {
    for tokenizer in TOKENIZERS.iter() {
        let ids = [tokenizer.vocab_size() as u32, u32::MAX];
        assert_eq!(tokenizer.decode(&ids, false), "");
        assert_eq!((tokenizer.token_bytes(ids[1]), tokenizer.token_to_piece(ids[0])), (None, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn deltas_make_up_the_text(ids in prop::collection::vec(0u32..900, 0..40), skip in any::<bool>()) {
        for tokenizer in TOKENIZERS.iter() {
            let whole = tokenizer.decode(&ids, skip);
            let found = deltas(Detokenizer::new(tokenizer.clone(), skip), &ids);
            prop_assert_eq!(found.concat(), whole);
        }
    }

    #[test]
    fn bytes_of_tokens_make_up_the_text(text in "\\PC{0,20}") {
        let tokenizer = &TOKENIZERS[0];
        let ids = tokenizer.encode(&text, false, false).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id).unwrap()).collect();
        prop_assert_eq!(bytes, text.into_bytes());
    }
}
