//! Descriptions that are damaged, hostile, or of a kind that is not here.

use chela_engine::tokenizer::{Tokenizer, from_json};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A whole tokenizer of two letters and their merge.
fn small() -> Value {
    json!({
        "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "unk_token": null, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    })
}

fn error(change: impl Fn(&mut Value)) -> String {
    let mut json = small();
    change(&mut json);
    Tokenizer::from_json(json.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn other_components_are_refused_by_name() {
    let cases: [(&str, Value, &str); 12] = [
        (
            "normalizer",
            json!({"type": "Precompiled"}),
            "tokenizer normalizer Precompiled is not supported: supported are NFC",
        ),
        (
            "normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}),
            "tokenizer normalizer Lowercase is not supported",
        ),
        ("normalizer", json!({"type": "Sequence"}), "tokenizer Sequence: expected a list of normalizers"),
        (
            "pre_tokenizer",
            json!({"type": "Whitespace"}),
            "tokenizer pre-tokenizer Whitespace is not supported",
        ),
        (
            "pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}),
            "tokenizer pattern \"(\" is not supported",
        ),
        (
            "pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Sideways"}),
            "tokenizer Split behavior: expected a value of its kind",
        ),
        (
            "post_processor",
            json!({"type": "BertProcessing"}),
            "tokenizer post-processor BertProcessing is not supported",
        ),
        ("decoder", json!({"type": "WordPiece"}), "tokenizer decoder WordPiece is not supported"),
        ("decoder", json!(null), "tokenizer decoder null is not supported"),
        (
            "decoder",
            json!({"type": "ByteLevel"}),
            "ByteLevel must be both pre-tokenizer and decoder, or neither",
        ),
        (
            "model",
            json!({"type": "Unigram", "vocab": [["a", 0.0]]}),
            "tokenizer model Unigram is not supported",
        ),
        (
            "model",
            json!({"vocab": {}, "merges": [], "dropout": 0.1}),
            "tokenizer dropout 0.1 is not supported",
        ),
    ];
    for (key, value, expected) in cases {
        let error = error(|json| json[key] = value.clone());
        assert!(error.contains(expected), "{error}\ninstead of\n{expected}");
    }
}

#[test]
fn contradictions_are_refused() {
    let missing = error(|json| json["model"]["merges"] = json!([["a", "b"], ["b", "a"]]));
    assert!(missing.contains("merge 1, of \"ba\": expected both tokens and what they become"), "{missing}");
    let shape = error(|json| json["model"]["merges"] = json!(["a b c"]));
    assert!(shape.contains("\"a b c\" is not two tokens with a space between"), "{shape}");
    let unknown = error(|json| json["model"]["unk_token"] = json!("?"));
    assert!(unknown.contains("unk_token: expected a token of the vocabulary"), "{unknown}");
    let model = error(|json| drop(json.as_object_mut().unwrap().remove("model")));
    assert!(model.contains("missing field `model`"), "{model}");
}

/// Tokens are taken as bytes, so nothing but the vocabulary looks at them.
#[test]
fn tokens_that_are_no_utf8_are_refused() {
    let byte_level = |json: &mut Value| {
        json["pre_tokenizer"] = json!({"type": "ByteLevel"});
        json["decoder"] = json!({"type": "ByteLevel"});
    };
    let cases: [(&str, &[u8], &str); 6] = [
        (r#""ab":2"#, b"\"a\xff\":2", "expected UTF-8"),
        (r#""ab":2"#, b"\"a\xc4\":2", "expected UTF-8"),
        (r#""ab":2"#, b"\"a\xc1\xa1\":2", "expected UTF-8"),
        (r#""ab":2"#, br#""a\ud800":2"#, "UTF-8"),
        (r#"["a","b"]"#, b"[\"a\",\"\xc1\xa2\"]", "merge 0"),
        (r#"["a","b"]"#, b"\"a \xe2\x82\"", "merge 0"),
    ];
    let literal = |json: &mut Value| json["pre_tokenizer"] = json!({"type": "Digits"});
    for change in [literal, byte_level] {
        let mut json = small();
        change(&mut json);
        let json = json.to_string();
        Tokenizer::from_json(json.as_bytes()).unwrap();
        for (from, to, expected) in cases {
            let (before, after) = json.split_once(from).unwrap();
            let damaged = [before.as_bytes(), to, after.as_bytes()].concat();
            let error = Tokenizer::from_json(&damaged).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\ninstead of\n{expected}, for {to:?}");
        }
    }
}

/// One large id must not make a table for all ids below it.
#[test]
fn ids_beyond_the_size_of_the_file_are_refused() {
    let found = error(|json| json["model"]["vocab"]["b"] = json!(4_000_000_000u32));
    assert!(found.contains("id of a token: expected a number below"), "{found}");
    let found = error(|json| json["added_tokens"][0]["id"] = json!(4_000_000_000u32));
    assert!(found.contains("id of a token: expected a number below"), "{found}");
}

/// The model may stand before the pre-tokenizer, the merges before the vocabulary, and merges
/// may be texts.
#[test]
fn order_and_spelling_of_the_file_do_not_matter() {
    let text = r#"{"model":{"merges":["Ġ a"],"vocab":{"Ġ":0,"a":1,"Ġa":2},"type":"BPE"},
        "decoder":{"type":"ByteLevel"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}}"#;
    let tokenizer = from_json(text.as_bytes()).unwrap();
    assert_eq!(tokenizer.encode("a a", false, false).unwrap(), [1, 2]);
    assert_eq!(tokenizer.decode(&[2, 1], false), " aa");
}

#[test]
fn text_without_token_is_an_error() {
    let tokenizer = from_json(small().to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.encode("abba<s>", false, true).unwrap(), [2, 1, 0, 3]);
    let error = tokenizer.encode("abc", false, false).unwrap_err().to_string();
    assert_eq!(error, "the vocabulary has no token for \"c\", nor one for unknown text");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_descriptions_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        text in "[abc<s> ]{0,8}",
    ) {
        let mut json = small().to_string().into_bytes();
        for (place, byte) in changes {
            let place = place.index(json.len());
            json[place] = byte;
        }
        let tokenizer = from_json(&json);
        let ids = tokenizer.as_ref().map(|tokenizer| tokenizer.encode(&text, true, true));
        if let (Ok(tokenizer), Ok(Ok(ids))) = (&tokenizer, ids) {
            tokenizer.decode(&ids, true);
        }
    }
}
