//! Reads the JSON text, the tables of it without values in between.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value as Json, value::RawValue};

use super::{File, Model, invalid, is_byte_level};
use crate::tokenizer::{
    TokenizerError,
    bpe::{Merges, Options},
    merges::{self, MergeReader},
    vocab::Vocab,
};

/// Reads the whole file. Errors of our own kind go to `failure`, since serde's carry text alone.
pub(super) struct FileSeed<'s> {
    /// No id may be as large.
    pub(super) limit: usize,
    pub(super) failure: &'s mut Option<TokenizerError>,
}

impl<'de> DeserializeSeed<'de> for FileSeed<'_> {
    type Value = File;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<File, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FileSeed<'_> {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tokenizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
        let mut added = None;
        let mut fields = [const { None }; 4];
        let [normalizer, pre_tokenizer, post_processor, decoder] = &mut fields;
        let mut model = None;
        let mut raw_model: Option<&RawValue> = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "added_tokens" => added = map.next_value()?,
                "normalizer" => *normalizer = map.next_value()?,
                "pre_tokenizer" => *pre_tokenizer = map.next_value()?,
                "post_processor" => *post_processor = map.next_value()?,
                "decoder" => *decoder = map.next_value()?,
                // How the vocabulary spells bytes depends on the pre-tokenizer, which writers
                // put before it.
                "model" => match pre_tokenizer {
                    Some(pre_tokenizer) => {
                        let seed = ModelSeed {
                            byte_level: is_byte_level(pre_tokenizer),
                            limit: self.limit,
                            failure: self.failure,
                        };
                        model = Some(map.next_value_seed(seed)?);
                    }
                    None => raw_model = Some(map.next_value()?),
                },
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if let Some(raw) = raw_model {
            let pre_tokenizer = pre_tokenizer.as_ref().unwrap_or(&Json::Null);
            let seed = ModelSeed {
                byte_level: is_byte_level(pre_tokenizer),
                limit: self.limit,
                failure: self.failure,
            };
            let mut deserializer = serde_json::Deserializer::from_str(raw.get());
            model = Some(seed.deserialize(&mut deserializer).map_err(A::Error::custom)?);
        }
        let [normalizer, pre_tokenizer, post_processor, decoder] = fields.map(Option::unwrap_or_default);
        Ok(File {
            added: added.unwrap_or_default(),
            normalizer,
            pre_tokenizer,
            post_processor,
            decoder,
            model: model.ok_or_else(|| A::Error::missing_field("model"))?,
        })
    }
}

/// Reads the model.
struct ModelSeed<'s> {
    byte_level: bool,
    limit: usize,
    failure: &'s mut Option<TokenizerError>,
}

impl<'de> DeserializeSeed<'de> for ModelSeed<'_> {
    type Value = Model;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Model, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ModelSeed<'_> {
    type Value = Model;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a BPE model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Model, A::Error> {
        let mut vocab = None;
        let mut merges = None;
        let mut raw_merges: Option<&RawValue> = None;
        let mut unknown = None;
        let mut options = Options::default();
        let flag = |value: Option<bool>| value.unwrap_or(false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "vocab" if vocab.is_none() => {
                    let mut empty = Vocab::new(self.byte_level, self.limit);
                    // Real files take 50 to 80 bytes for each token with its merge.
                    empty.reserve(self.limit / 45);
                    let seed = VocabSeed { vocab: empty, failure: self.failure };
                    vocab = Some(map.next_value_seed(seed)?);
                }
                "merges" if merges.is_none() => match &vocab {
                    Some(vocab) => {
                        let failure = &mut *self.failure;
                        merges = Some(map.next_value_seed(MergesSeed { vocab, failure })?);
                    }
                    None => raw_merges = Some(map.next_value()?),
                },
                "unk_token" => unknown = map.next_value()?,
                "fuse_unk" => options.fuse_unk = flag(map.next_value()?),
                "byte_fallback" => options.byte_fallback = flag(map.next_value()?),
                "ignore_merges" => options.ignore_merges = flag(map.next_value()?),
                _ => {
                    let value: Json = map.next_value()?;
                    if let Err(error) = check_field(&key, &value) {
                        *self.failure = Some(error);
                        return Err(A::Error::custom("not supported"));
                    }
                }
            }
        }
        let vocab = vocab.ok_or_else(|| A::Error::missing_field("vocab"))?;
        if let Some(raw) = raw_merges {
            let mut deserializer = serde_json::Deserializer::from_str(raw.get());
            let failure = self.failure;
            let seed = MergesSeed { vocab: &vocab, failure };
            merges = Some(seed.deserialize(&mut deserializer).map_err(A::Error::custom)?);
        }
        Ok(Model {
            merges: merges.ok_or_else(|| A::Error::missing_field("merges"))?,
            vocab,
            unknown,
            options,
        })
    }
}

/// Refuse other models, and variations of BPE that we do not have.
fn check_field(key: &str, value: &Json) -> Result<(), TokenizerError> {
    let unsupported = |component, name: &Json| {
        let name = name.as_str().map_or(name.to_string(), str::to_owned);
        let hint = "only plain BPE is".to_owned();
        Err(TokenizerError::Unsupported { component, name, hint })
    };
    let empty = value.is_null() || value == "";
    match key {
        "type" if value != "BPE" => unsupported("model", value),
        "continuing_subword_prefix" if !empty => unsupported("continuing_subword_prefix", value),
        "end_of_word_suffix" if !empty => unsupported("end_of_word_suffix", value),
        "dropout" if !empty && value != 0.0 => unsupported("dropout", value),
        "vocab" | "merges" => Err(invalid("model", "it once", key)),
        _ => Ok(()),
    }
}

/// Reads the vocabulary, an object of ids.
struct VocabSeed<'s> {
    vocab: Vocab,
    failure: &'s mut Option<TokenizerError>,
}

impl<'de> DeserializeSeed<'de> for VocabSeed<'_> {
    type Value = Vocab;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vocab, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for VocabSeed<'_> {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of token ids")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Vocab, A::Error> {
        let vocab = &mut self.vocab;
        while let Some(token) = map.next_key_seed(Text(|text: &[u8]| vocab.push(text)))? {
            let id: u32 = map.next_value()?;
            if let Err(error) = token.and_then(|token| vocab.name(token, id)) {
                *self.failure = Some(error);
                return Err(A::Error::custom("bad vocabulary"));
            }
        }
        Ok(self.vocab)
    }
}

/// Hands a text on without a copy of it, and without a look whether it is UTF-8: the vocabulary looks.
struct Text<F>(F);

impl<'de, T, F: FnOnce(&[u8]) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<T, F: FnOnce(&[u8]) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<T, E> {
        Ok(self.0(text))
    }
}

/// Reads the merges: pairs as `"a b"` or as `["a", "b"]`.
struct MergesSeed<'s> {
    vocab: &'s Vocab,
    failure: &'s mut Option<TokenizerError>,
}

impl<'de> DeserializeSeed<'de> for MergesSeed<'_> {
    type Value = Merges;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Merges, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MergesSeed<'_> {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pairs of tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges, A::Error> {
        let merges = merges::read(self.vocab, |reader| {
            while seq.next_element_seed(Pair(reader))?.is_some() && reader.end() {}
            Ok(())
        })?;
        merges.map_err(|error| {
            *self.failure = Some(error);
            A::Error::custom("bad merge")
        })
    }
}

struct Pair<'s, 'v>(&'s mut MergeReader<'v>);

impl<'de> DeserializeSeed<'de> for Pair<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // A list, where there is one, is handed on as such.
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of tokens")
    }

    fn visit_bytes<E: serde::de::Error>(self, text: &[u8]) -> Result<(), E> {
        let mut parts = text.split(|byte| *byte == b' ');
        let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next()) else {
            let text = String::from_utf8_lossy(text);
            return Err(E::custom(format_args!("{text:?} is not two tokens with a space between")));
        };
        self.0.left(left);
        self.0.right(right);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let left = seq.next_element_seed(Text(|text: &[u8]| self.0.left(text)))?;
        let right = seq.next_element_seed(Text(|text: &[u8]| self.0.right(text)))?;
        let more = seq.next_element::<IgnoredAny>()?;
        match (left, right, more) {
            (Some(()), Some(()), None) => Ok(()),
            _ => Err(A::Error::custom("a merge is a list of two tokens")),
        }
    }
}
