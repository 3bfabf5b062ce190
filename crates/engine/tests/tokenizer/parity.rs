//! Oracle: the crate tokenizers 0.23.2.

use std::{fs, path::Path, sync::LazyLock};

use chela_engine::tokenizer::Tokenizer;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use proptest::prelude::*;
use tokenizers::Tokenizer as Reference;

use crate::{
    TORTURE,
    kinds::{Kind, byte_level, sentence_piece},
};

struct Pair {
    name: &'static str,
    ours: Tokenizer,
    /// With and without special tokens in texts.
    reference: [Reference; 2],
    byte_level: bool,
}

fn pair((name, json): Kind, byte_level: bool) -> Pair {
    let reference = [true, false].map(|parse| {
        let mut reference = Reference::from_bytes(&json).unwrap();
        reference.set_encode_special_tokens(!parse);
        reference
    });
    let ours = Tokenizer::from_json(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
    Pair { name, ours, reference, byte_level }
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let path = "../../tests/fixtures/vllm-0.32/tiny-model/tokenizer.json";
    let tiny = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let bytes = byte_level().into_iter().chain([("tiny model", tiny)]);
    let bytes = bytes.map(|kind| pair(kind, true));
    bytes.chain(sentence_piece().into_iter().map(|kind| pair(kind, false))).collect()
});

fn check(text: &str) {
    for Pair { name, ours, reference, .. } in PAIRS.iter() {
        for (add, parse) in [(false, true), (true, true), (false, false)] {
            let reference = &reference[usize::from(!parse)];
            let expected = reference.encode_fast(text, add).unwrap();
            let found = ours.encode(text, add, parse);
            let found = found.unwrap_or_else(|error| panic!("{name}: {text:?}: {error}"));
            assert_eq!(found, expected.get_ids(), "{name}: {text:?}, add {add}, parse {parse}");
            for skip in [true, false] {
                let expected = reference.decode(&found, skip).unwrap();
                assert_eq!(ours.decode(&found, skip), expected, "{name}: {text:?} to {found:?}, skip {skip}");
            }
        }
    }
}

#[test]
fn torture_texts() {
    TORTURE.iter().for_each(|text| check(text));
    check(&TORTURE.concat());
}

#[test]
fn names_of_tokens() {
    for Pair { name, ours, reference, .. } in PAIRS.iter() {
        let size = reference[0].get_vocab_size(true);
        assert_eq!(ours.vocab_size(), size, "{name}");
        for id in 0..size as u32 + 2 {
            let expected = reference[0].id_to_token(id);
            assert_eq!(ours.token_to_piece(id), expected, "{name} {id}");
            // The reference does not find added tokens by the normalized form that it gives for them.
            let back = expected.and_then(|token| Some((reference[0].token_to_id(&token)?, token)));
            if let Some((id, token)) = back {
                assert_eq!(ours.token_to_id(&token), Some(id), "{name} {token}");
            }
        }
    }
}

/// Whether the reference, whose tables are those of Unicode 12.1, normalizes a text as ours does.
fn same_normal_forms(text: &str) -> bool {
    use tokenizers::{
        NormalizedString, Normalizer,
        normalizers::unicode::{NFC, NFD, NFKC, NFKD},
    };
    let theirs = |normalizer: &dyn Normalizer| {
        let mut text = NormalizedString::from(text);
        normalizer.normalize(&mut text).unwrap();
        text.get().to_owned()
    };
    let (nfc, nfkc) = (ComposingNormalizerBorrowed::new_nfc(), ComposingNormalizerBorrowed::new_nfkc());
    let (nfd, nfkd) = (DecomposingNormalizerBorrowed::new_nfd(), DecomposingNormalizerBorrowed::new_nfkd());
    theirs(&NFC) == nfc.normalize(text)
        && theirs(&NFKC) == nfkc.normalize(text)
        && theirs(&NFD) == nfd.normalize(text)
        && theirs(&NFKD) == nfkd.normalize(text)
}

#[test]
fn torture_texts_have_the_same_normal_forms() {
    TORTURE.iter().for_each(|text| assert!(same_normal_forms(text), "{text}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_texts(text in "([a-zA-Z'<>|_ ]{0,6}|[0-9.,]{1,4}|[ \t\r\n]{1,4}|\\PC|[éàüŁßǅʰªあ字한\u{300}\u{301}\u{323}]|[🙂👍🏽\u{200d}️]|<mask>|words?|mask|<\\|im_end\\|>|<s>|Café|Cafe|Cafe\u{301}){0,12}") {
        prop_assume!(same_normal_forms(&text));
        check(&text);
    }

    /// In byte-level vocabularies any sequence of tokens decodes alike.
    #[test]
    fn random_tokens(ids in prop::collection::vec(0u32..900, 0..30)) {
        for Pair { name, ours, reference, .. } in PAIRS.iter().filter(|pair| pair.byte_level) {
            for skip in [true, false] {
                let expected = reference[0].decode(&ids, skip).unwrap();
                prop_assert_eq!(ours.decode(&ids, skip), expected, "{} {:?}", name, &ids);
            }
        }
    }
}

/// A word without a place to cut it takes the time of a sort; by repeated search for the best
/// pair this test would take hours.
#[test]
fn long_words_are_quick() {
    let word: String = "abcdefghij".chars().cycle().take(200_000).collect();
    for Pair { name, ours, .. } in PAIRS.iter() {
        let ids = ours.encode(&word, false, false).unwrap();
        assert!(ours.decode(&ids, false).ends_with(&word), "{name}");
    }
}
