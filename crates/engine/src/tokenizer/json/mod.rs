//! `tokenizer.json`, the format of Hugging Face's `tokenizers`.
//!
//! The vocabulary and the merges, nearly all of the file, go straight from the JSON text into
//! the tables; the rest is small and read as values.

mod read;

use std::fmt;

use serde::{Deserialize, de::DeserializeSeed};
use serde_json::Value as Json;

use super::{
    Decoder, Normalizer, Parts, Step, Tokenizer, TokenizerError,
    added::AddedToken,
    bpe::{Bpe, Merges, Options, Rule},
    normalize,
    scan::GPT2,
    split::{Behavior, Pattern, Prepend},
    vocab::{Spelling, Vocab},
};
use read::FileSeed;

impl Tokenizer {
    /// Build a tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Json`] if it is no JSON of this shape,
    /// [`TokenizerError::Unsupported`] naming a component that we do not have,
    /// [`TokenizerError::Invalid`] for merges or ids that do not fit the vocabulary.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let mut failure = None;
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let seed = FileSeed {
            // A dense vocabulary takes six bytes of JSON for each id at least.
            limit: json.len() / 2,
            failure: &mut failure,
        };
        let file = seed.deserialize(&mut deserializer);
        let file = file.and_then(|file| deserializer.end().map(|()| file));
        let file = match (file, failure) {
            (_, Some(failure)) => return Err(failure),
            (file, None) => file?,
        };
        file.build()
    }
}

/// What is in the file.
struct File {
    added: Vec<AddedToken>,
    normalizer: Json,
    pre_tokenizer: Json,
    post_processor: Json,
    decoder: Json,
    model: Model,
}

struct Model {
    vocab: Vocab,
    merges: Merges,
    unknown: Option<String>,
    options: Options,
}

impl File {
    fn build(self) -> Result<Tokenizer, TokenizerError> {
        let Model { mut vocab, merges, unknown, options } = self.model;
        let mut scratch = Vec::new();
        let find = |text: String| {
            let id = vocab.find_text(&text, &mut scratch);
            let wrong = || invalid("unk_token", "a token of the vocabulary", &text);
            id.ok_or_else(wrong)
        };
        let unknown = unknown.map(find).transpose()?;
        let decoder = decoder(&self.decoder)?;
        if decoder.byte_level != vocab.is_byte_level() {
            return Err(TokenizerError::Unsupported {
                component: "decoder",
                name: name(&self.decoder).to_owned(),
                hint: "ByteLevel must be both pre-tokenizer and decoder, or neither".to_owned(),
            });
        }
        let mut normalizers = Vec::new();
        add_normalizers(&self.normalizer, &mut normalizers)?;
        let mut added = self.added;
        for token in &mut added {
            if token.normalized {
                token.normal_form = normalize(&normalizers, &token.content)?.into_owned();
            }
            vocab.add(token.id, token.piece(), Spelling::Model)?;
        }
        let mut steps = Vec::new();
        add_steps(&self.pre_tokenizer, &mut steps)?;
        let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
        add_template(&self.post_processor, &mut prefix, &mut suffix)?;
        Tokenizer::new(Parts {
            added,
            normalizers,
            steps,
            bpe: Bpe::new(vocab, Rule::Merges(merges), unknown, options),
            decoder,
            prefix,
            suffix,
        })
    }
}

fn invalid(what: &str, expected: &str, found: impl fmt::Debug) -> TokenizerError {
    TokenizerError::Invalid {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: format!("{found:?}").chars().take(80).collect(),
    }
}

fn unsupported(component: &'static str, json: &Json, hint: &str) -> TokenizerError {
    TokenizerError::Unsupported { component, name: name(json).to_owned(), hint: hint.to_owned() }
}

/// The `type` of a component.
fn name(json: &Json) -> &str {
    let name = json.get("type").and_then(Json::as_str);
    name.unwrap_or(if json.is_null() { "null" } else { "without type" })
}

/// A field of a component.
fn field<T: serde::de::DeserializeOwned>(json: &Json, key: &str) -> Result<T, TokenizerError> {
    let value = json.get(key).unwrap_or(&Json::Null);
    T::deserialize(value).map_err(|error| {
        let what = format!("{} {key}", name(json));
        invalid(&what, "a value of its kind", error.to_string())
    })
}

/// The components of a `Sequence`, or the only one, or none.
fn each<'a>(json: &'a Json, list: &str) -> Result<&'a [Json], TokenizerError> {
    if json.is_null() {
        return Ok(&[]);
    }
    if name(json) != "Sequence" {
        return Ok(std::slice::from_ref(json));
    }
    let items = json.get(list).and_then(Json::as_array);
    items.map(Vec::as_slice).ok_or_else(|| invalid("Sequence", &format!("a list of {list}"), json))
}

fn pattern(json: &Json) -> Result<Pattern, TokenizerError> {
    let pattern: Json = field(json, "pattern")?;
    let text = |key| pattern.get(key).and_then(Json::as_str);
    match (text("String"), text("Regex")) {
        (Some(literal), None) => Ok(Pattern::Literal(literal.to_owned())),
        (None, Some(regex)) => Pattern::regex(regex),
        _ => Err(invalid("pattern", "a String or a Regex", pattern)),
    }
}

fn add_normalizers(json: &Json, out: &mut Vec<Normalizer>) -> Result<(), TokenizerError> {
    for json in each(json, "normalizers")? {
        out.push(match name(json) {
            "NFC" => Normalizer::Nfc,
            "NFD" => Normalizer::Nfd,
            "NFKC" => Normalizer::Nfkc,
            "NFKD" => Normalizer::Nfkd,
            "Prepend" => Normalizer::Prepend(field(json, "prepend")?),
            "Replace" => Normalizer::Replace(pattern(json)?, field(json, "content")?),
            "Sequence" => {
                add_normalizers(json, out)?;
                continue;
            }
            _ => {
                let hint = "supported are NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequence";
                return Err(unsupported("normalizer", json, hint));
            }
        });
    }
    Ok(())
}

fn add_steps(json: &Json, out: &mut Vec<Step>) -> Result<(), TokenizerError> {
    let list = each(json, "pretokenizers")?;
    for (place, json) in list.iter().enumerate() {
        match name(json) {
            "Split" => out.push(Step::Split {
                pattern: pattern(json)?,
                behavior: field(json, "behavior")?,
                invert: field::<Option<bool>>(json, "invert")?.unwrap_or(false),
            }),
            "Digits" => {
                let individual: Option<bool> = field(json, "individual_digits")?;
                out.push(Step::Split {
                    pattern: Pattern::digits(),
                    behavior: if individual == Some(true) {
                        Behavior::Isolated
                    } else {
                        Behavior::Contiguous
                    },
                    invert: false,
                });
            }
            // After it the text is in the byte alphabet, on which nothing else can work here.
            "ByteLevel" if place + 1 == list.len() => {
                if field::<Option<bool>>(json, "add_prefix_space")?.unwrap_or(true) {
                    out.push(Step::PrefixSpace);
                }
                if field::<Option<bool>>(json, "use_regex")?.unwrap_or(true) {
                    out.push(Step::Split {
                        pattern: Pattern::regex(GPT2)?,
                        behavior: Behavior::Isolated,
                        invert: false,
                    });
                }
            }
            "Metaspace" => {
                let (replacement, prepend) = metaspace(json)?;
                out.push(Step::Metaspace {
                    replacement,
                    prepend,
                    split: field::<Option<bool>>(json, "split")?.unwrap_or(true),
                });
            }
            "Sequence" if list.len() == 1 => add_steps(json, out)?,
            _ => {
                let hint = "supported are Split, Digits, Metaspace, a last ByteLevel, \
                            and a Sequence of these";
                return Err(unsupported("pre-tokenizer", json, hint));
            }
        }
    }
    Ok(())
}

fn metaspace(json: &Json) -> Result<(char, Prepend), TokenizerError> {
    let scheme: Option<Prepend> = field(json, "prepend_scheme")?;
    let old: Option<bool> = field(json, "add_prefix_space")?;
    let scheme = match (scheme, old) {
        (Some(scheme), _) => scheme,
        (None, Some(false)) => Prepend::Never,
        (None, _) => Prepend::Always,
    };
    Ok((field(json, "replacement")?, scheme))
}

fn add_template(json: &Json, prefix: &mut Vec<u32>, suffix: &mut Vec<u32>) -> Result<(), TokenizerError> {
    for json in each(json, "processors")? {
        match name(json) {
            // It changes offsets, of which there are none here.
            "ByteLevel" => continue,
            "TemplateProcessing" => {}
            _ => {
                let hint = "supported are TemplateProcessing, ByteLevel, and a Sequence of these";
                return Err(unsupported("post-processor", json, hint));
            }
        }
        let tokens: Json = field(json, "special_tokens")?;
        let (mut before, mut after, mut text) = (Vec::new(), Vec::new(), false);
        for part in field::<Vec<Json>>(json, "single")? {
            let id = |key| part.get(key)?.get("id")?.as_str();
            if let Some(token) = id("SpecialToken") {
                let ids = tokens.get(token).and_then(|token| token.get("ids"));
                let ids = ids.and_then(|ids| Vec::<u32>::deserialize(ids).ok());
                let wrong = || invalid("TemplateProcessing special_tokens", "ids", token);
                let ids = ids.ok_or_else(wrong)?;
                if text { &mut after } else { &mut before }.extend(ids);
            } else if id("Sequence") == Some("A") && !text {
                text = true;
            } else {
                let expected = "special tokens around one sequence A";
                return Err(invalid("TemplateProcessing single", expected, part));
            }
        }
        prefix.splice(0..0, before);
        suffix.extend(after);
    }
    Ok(())
}

fn decoder(json: &Json) -> Result<Decoder, TokenizerError> {
    let mut decoder = Decoder::default();
    let list = each(json, "decoders")?;
    let mut fused = false;
    for json in list {
        match name(json) {
            "ByteLevel" if list.len() == 1 => decoder.byte_level = true,
            "ByteFallback" => decoder.byte_fallback = true,
            "Fuse" => fused = true,
            "Metaspace" => {
                let (space, scheme) = metaspace(json)?;
                decoder.metaspace = Some((space, scheme != Prepend::Never));
            }
            "Replace" if !fused => match pattern(json)? {
                Pattern::Literal(from) => decoder.replace.push((from, field(json, "content")?)),
                _ => return Err(unsupported("decoder", json, "only of a String, not a Regex")),
            },
            "Strip" if fused && field::<usize>(json, "stop")? == 0 => {
                decoder.strip = Some((field(json, "content")?, field(json, "start")?));
            }
            _ => {
                let hint = "supported are ByteLevel, ByteFallback, Metaspace, Replace, Fuse, Strip \
                            at the start after Fuse, and a Sequence of these";
                return Err(unsupported("decoder", json, hint));
            }
        }
    }
    if list.is_empty() {
        return Err(unsupported("decoder", json, "the file must name one"));
    }
    Ok(decoder)
}

/// Whether a pre-tokenizer turns text into the byte alphabet.
fn is_byte_level(json: &Json) -> bool {
    let parts = json.get("pretokenizers").and_then(Json::as_array);
    name(json) == "ByteLevel" || parts.is_some_and(|parts| parts.iter().any(is_byte_level))
}
