use std::{fs, path::PathBuf};

use chela_engine::{
    formats::{
        Config,
        gguf::{self, Gguf, Writer},
    },
    tokenizer::Tokenizer,
};
use serde_json::Value;

use crate::{
    TORTURE,
    kinds::{PLAIN_ADDED, byte_level},
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer").join(name)
}

/// Oracle: the PyPI package sentencepiece 0.2.3, whose model the file carries.
#[test]
fn sentencepiece_with_scores() {
    let gguf = Gguf::open(&fixture("spm.gguf")).unwrap();
    let tokenizer = Tokenizer::from_gguf(&Config::Gguf(gguf.metadata())).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(fixture("spm.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text, false, false).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, true), case["decoded"], "{text:?}");
        let with_bos: Vec<u32> = [1].into_iter().chain(ids).collect();
        assert_eq!(tokenizer.encode(text, true, false).unwrap(), with_bos);
    }
}

/// A text must not become a token that controls the model, nor one for a byte.
#[test]
fn control_tokens_need_leave() {
    let gguf = Gguf::open(&fixture("spm.gguf")).unwrap();
    let tokenizer = Tokenizer::from_gguf(&Config::Gguf(gguf.metadata())).unwrap();
    assert_eq!(tokenizer.encode("</s>", false, true).unwrap(), [2]);
    let ids = tokenizer.encode("</s><0x0A>", false, false).unwrap();
    assert!(ids.iter().all(|id| tokenizer.token_bytes(*id).unwrap().len() == 1), "{ids:?}");
}

/// The tables of a tokenizer.json, in a GGUF file, with this name for the pre-tokenizer.
fn convert(json: &[u8], pre: &str, skip: &str) -> Vec<u8> {
    let json: Value = serde_json::from_slice(json).unwrap();
    let mut tokens: Vec<(u64, String, i32)> = Vec::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens.push((id.as_u64().unwrap(), token.clone(), 1));
    }
    for token in json["added_tokens"].as_array().unwrap() {
        let kind = if token["special"] == true { 3 } else { 4 };
        let id = token["id"].as_u64().unwrap();
        tokens.retain(|known| known.0 != id);
        tokens.push((id, token["content"].as_str().unwrap().to_owned(), kind));
    }
    tokens.sort();
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> =
        merges.map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
    let mut writer = Writer::new("test");
    writer.str("tokenizer.ggml.model", "gpt2");
    writer.str("tokenizer.ggml.pre", pre);
    writer.strs("tokenizer.ggml.tokens", tokens.iter().map(|(_, token, _)| token));
    writer.ints("tokenizer.ggml.token_type", tokens.iter().map(|(_, _, kind)| *kind));
    if skip != "tokenizer.ggml.merges" {
        writer.strs("tokenizer.ggml.merges", merges);
    }
    writer.uint("tokenizer.ggml.bos_token_id", 0);
    let mut file = Vec::new();
    writer.write(&mut file).unwrap();
    file
}

fn load(file: &[u8]) -> Result<Tokenizer, String> {
    let header = gguf::parse(file).unwrap();
    Tokenizer::from_gguf(&Config::Gguf(header.metadata(file))).map_err(|error| error.to_string())
}

/// The same tables give the same tokens from both formats. (That those of tokenizer.json are
/// right is tested against the reference.)
#[test]
fn byte_level_tables_are_the_same_in_both_formats() {
    let pres = [("gpt2", "gpt-2"), ("qwen2", "qwen2"), ("qwen35", "qwen35"), ("llama3", "llama-bpe")];
    let more = [("tekken", "tekken"), ("o200k", "gpt-4o"), ("deepseek v3", "deepseek-v3")];
    for (name, json) in byte_level() {
        let Some((_, pre)) = pres.iter().chain(&more).find(|(kind, _)| *kind == name) else { continue };
        // Flags like lstrip have no place in GGUF.
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        json["added_tokens"].as_array_mut().unwrap().truncate(PLAIN_ADDED);
        let json = json.to_string().into_bytes();
        let from_json = Tokenizer::from_json(&json).unwrap();
        let from_gguf = load(&convert(&json, pre, "")).unwrap();
        for text in TORTURE {
            let expected = from_json.encode(text, true, true).unwrap();
            assert_eq!(from_gguf.encode(text, true, true).unwrap(), expected, "{name}: {text:?}");
            assert_eq!(from_gguf.decode(&expected, true), from_json.decode(&expected, true), "{name}");
        }
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let (_, json) = byte_level().swap_remove(0);
    let error = load(&convert(&json, "grok-9", "")).unwrap_err();
    assert!(error.starts_with("tokenizer pre-tokenizer grok-9 is not supported"), "{error}");
    let error = load(&convert(&json, "gpt-2", "tokenizer.ggml.merges")).unwrap_err();
    assert!(error.starts_with("tokenizer.ggml.merges is missing"), "{error}");
    let file = |build: &dyn Fn(&mut Writer<'_>)| {
        let mut writer = Writer::new("test");
        build(&mut writer);
        let mut file = Vec::new();
        writer.write(&mut file).unwrap();
        load(&file).unwrap_err()
    };
    let error = file(&|_| {});
    assert!(error.starts_with("tokenizer.ggml.model is missing"), "{error}");
    let error = file(&|writer| writer.str("tokenizer.ggml.model", "rwkv"));
    assert!(error.starts_with("tokenizer model rwkv is not supported"), "{error}");
    let error = file(&|writer| {
        writer.str("tokenizer.ggml.model", "llama");
        writer.strs("tokenizer.ggml.tokens", ["a", "b"]);
        writer.floats("tokenizer.ggml.scores", [0.0]);
    });
    assert_eq!(error, "tokenizer.ggml.scores: expected one for each of 2 tokens, found 1");
    let error = file(&|writer| {
        writer.str("tokenizer.ggml.model", "llama");
        writer.strs("tokenizer.ggml.tokens", ["a", "b"]);
        writer.floats("tokenizer.ggml.scores", [0.0, 0.0]);
        writer.uint("tokenizer.ggml.bos_token_id", 7);
    });
    assert!(error.contains("expected the id of a token, found 7"), "{error}");
}
