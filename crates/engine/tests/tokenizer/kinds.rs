//! Small tokenizers of each kind, trained on the spot by the `tokenizers` crate.

use serde_json::{Value, json};
use tokenizers::{
    NormalizerWrapper, PreTokenizerWrapper, TokenizerImpl,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

use crate::TORTURE;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

fn bytes(regex: bool, space: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": regex})
}

fn sequence(list: &str, kind: Vec<Value>) -> Value {
    json!({"type": "Sequence", list: kind})
}

/// `<s>` before a text, `</s>` after it if wanted.
fn template(end: bool) -> Value {
    let special = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let sequence = |id: &str, kind: usize| json!({"Sequence": {"id": id, "type_id": kind}});
    let mut single = vec![special("<s>"), sequence("A", 0)];
    single.extend(end.then(|| special("</s>")));
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": [special("<s>"), sequence("A", 0), sequence("B", 1)],
        "special_tokens": {
            "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
            "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]},
        },
    })
}

fn replace(from: &str, to: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

/// The added tokens of all kinds, with their flags: first those that models have, then ones that
/// match in unusual ways.
const ADDED: &[(&str, &[&str])] = &[
    ("<s>", &["special"]),
    ("</s>", &["special"]),
    ("<unk>", &["special"]),
    ("<|im_start|>", &["special"]),
    ("<|im_end|>", &["special"]),
    ("<think>", &[]),
    ("</think>", &[]),
    ("<mask>", &["lstrip", "special"]),
    ("mask", &["single_word"]),
    ("word", &["rstrip"]),
    ("words", &[]),
    ("Cafe", &["normalized"]),
    ("  ", &["normalized", "single_word"]),
];
/// How many of them have no unusual flags.
pub const PLAIN_ADDED: usize = 7;

/// A name, and the bytes of a tokenizer.json.
pub type Kind = (&'static str, Vec<u8>);

/// The byte-level kinds.
pub fn byte_level() -> Vec<Kind> {
    let none = Value::Null;
    let nfc = json!({"type": "NFC"});
    let with_bytes = |steps: &[&str]| {
        let steps = steps.iter().map(|regex| split(regex));
        sequence("pretokenizers", steps.chain([bytes(false, false)]).collect())
    };
    let digits = |individual: bool| {
        let digits = json!({"type": "Digits", "individual_digits": individual});
        sequence("pretokenizers", vec![digits, bytes(true, false)])
    };
    let both = sequence("processors", vec![bytes(true, false), template(false)]);
    let byte = |name, normalizer: &Value, pre: Value, post: &Value, ignore_merges| {
        let model = json!({"ignore_merges": ignore_merges});
        (name, train(normalizer, &pre, post, &bytes(true, true), &model))
    };
    vec![
        byte("gpt2", &none, bytes(true, false), &none, false),
        byte("gpt2 with a prefix space", &none, bytes(true, true), &bytes(true, true), false),
        byte("qwen2", &nfc, with_bytes(&[QWEN2]), &bytes(false, false), false),
        byte("qwen35", &nfc, with_bytes(&[QWEN35]), &none, false),
        byte("llama3", &none, with_bytes(&[LLAMA3]), &both, true),
        byte("tekken", &none, with_bytes(&[TEKKEN]), &template(false), true),
        byte("o200k", &none, with_bytes(&[O200K]), &none, false),
        byte("deepseek v3", &none, with_bytes(&[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK]), &none, false),
        byte("digits", &json!({"type": "NFKC"}), digits(true), &template(true), false),
        byte(
            "digit runs",
            &sequence("normalizers", vec![json!({"type": "NFKD"}), json!({"type": "NFD"})]),
            digits(false),
            &none,
            false,
        ),
    ]
}

/// The kinds with `▁` for a space and tokens for bytes.
pub fn sentence_piece() -> Vec<Kind> {
    let none = Value::Null;
    let spaces = replace(" ", "▁");
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let legacy = sequence("normalizers", vec![prepend, spaces.clone()]);
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let parts = vec![replace("▁", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    let stripped = sequence("decoders", parts.iter().cloned().chain([strip]).collect());
    let plain = sequence("decoders", parts);
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
    let before = |behavior: &str, invert: bool| json!({"type": "Split", "pattern": {"String": " "}, "behavior": behavior, "invert": invert});
    let fallback = json!({"byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>"});
    let unknown = json!({"fuse_unk": true, "unk_token": "<unk>"});
    let each_unknown = json!({"unk_token": "<unk>"});
    let kind = |name, normalizer: &Value, pre: Value, decoder: &Value, model: &Value| {
        (name, train(normalizer, &pre, &template(false), decoder, model))
    };
    vec![
        kind("llama2", &legacy, none.clone(), &stripped, &fallback),
        kind("mistral", &none, metaspace("first", false), &stripped, &fallback),
        kind("metaspace", &none, metaspace("always", true), &metaspace("always", true), &unknown),
        kind(
            "metaspace without prefix",
            &none,
            metaspace("never", true),
            &metaspace("never", true),
            &each_unknown,
        ),
        kind("gemma", &spaces, before("MergedWithPrevious", false), &plain, &fallback),
        kind("merged with next", &none, before("MergedWithNext", false), &plain, &fallback),
        kind("contiguous", &none, before("Contiguous", true), &plain, &fallback),
        kind("removed", &none, before("Removed", false), &plain, &unknown),
    ]
}

/// Trains a tokenizer with these parts and gives its tokenizer.json.
fn train(normalizer: &Value, pre: &Value, post: &Value, decoder: &Value, options: &Value) -> Vec<u8> {
    let byte_level = pre.to_string().contains("ByteLevel");
    let mut trainer = BpeTrainer::builder().show_progress(false).vocab_size(700).min_frequency(1);
    if byte_level {
        trainer = trainer.initial_alphabet(ByteLevel::alphabet().into_iter().collect());
    } else {
        // Leaves most characters of the texts to be unknown.
        trainer = trainer.limit_alphabet(60);
    }
    let mut trainer = trainer.build();
    let parse = |json: &Value| serde_json::from_value(json.clone()).unwrap();
    let normalizer: Option<NormalizerWrapper> = parse(normalizer);
    let pre: Option<PreTokenizerWrapper> = serde_json::from_value(pre.clone()).unwrap();
    let mut training: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    > = TokenizerImpl::new(BPE::default());
    training.with_normalizer(normalizer.clone()).unwrap();
    training.with_pre_tokenizer(pre.clone());
    let english = TORTURE[7].to_owned();
    let corpus = TORTURE.iter().map(|text| (*text).to_owned()).chain(std::iter::repeat_n(english, 10));
    training.train(&mut trainer, corpus).unwrap();

    // The trained tables, behind the special tokens and the bytes, in the file's form.
    let mut tokens: Vec<String> = ["<s>", "</s>", "<unk>"].map(String::from).to_vec();
    if !byte_level {
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    }
    let mut trained: Vec<_> = training.get_vocab(false).into_iter().collect();
    trained.sort_by_key(|(_, id)| *id);
    for (token, _) in trained {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().cloned().zip((0..).map(|id: u32| json!(id))).collect();
    let mut model = serde_json::to_value(training.get_model()).unwrap();
    let mut next = tokens.len();
    let added = ADDED.iter().map(|(content, flags)| {
        let id = vocab.get(*content).cloned().unwrap_or_else(|| {
            next += 1;
            json!(next - 1)
        });
        let mut token = json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": false});
        for flag in *flags {
            token[*flag] = json!(true);
        }
        token
    });
    let added: Vec<Value> = added.collect();
    model["vocab"] = vocab.into();
    for (key, value) in options.as_object().unwrap() {
        model[key] = value.clone();
    }
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder,
        "model": model,
    });
    serde_json::to_vec(&file).unwrap()
}
