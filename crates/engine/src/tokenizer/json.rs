//! `tokenizer.json`, the format of Hugging Face's `tokenizers`.
//!
//! The vocabulary and the merges, nearly all of the file, go straight from the JSON text into
//! the tables; the rest is small and read as values.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value as Json, value::RawValue};

use super::{
    Decoder, Normalizer, Parts, Step, Tokenizer, TokenizerError,
    added::AddedToken,
    bpe::{Bpe, Merges, Options, Rule},
    scan::GPT2,
    split::{Behavior, Pattern, Prepend},
    vocab::{Spelling, Vocab},
};

impl Tokenizer {
    /// Build a tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Json`] if it is no JSON of this shape,
    /// [`TokenizerError::Unsupported`] naming a component that we do not have,
    /// [`TokenizerError::Invalid`] for merges or ids that do not fit the vocabulary.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let mut failure = None;
        // Checked once as a whole, which is quicker than once for each of its strings.
        let text = std::str::from_utf8(json)
            .map_err(|error| invalid("tokenizer.json", "UTF-8", error.to_string()))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
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
        for token in &self.added {
            vocab.add(token.id, &token.content, Spelling::Model)?;
        }
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
        let mut steps = Vec::new();
        add_steps(&self.pre_tokenizer, &mut steps)?;
        let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
        add_template(&self.post_processor, &mut prefix, &mut suffix)?;
        Tokenizer::new(Parts {
            added: self.added,
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

/// The components of a `Sequence`, or the only one.
fn each<'a>(json: &'a Json, list: &str) -> &'a [Json] {
    match json.get(list) {
        Some(Json::Array(items)) if name(json) == "Sequence" => items,
        _ if json.is_null() => &[],
        _ => std::slice::from_ref(json),
    }
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
    for json in each(json, "normalizers") {
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
    let list = each(json, "pretokenizers");
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
            "Punctuation" => {
                let behavior: Option<Behavior> = field(json, "behavior")?;
                out.push(Step::Split {
                    pattern: Pattern::punctuation(),
                    behavior: behavior.unwrap_or(Behavior::Isolated),
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
                let hint = "supported are Split, Digits, Punctuation, Metaspace, a last ByteLevel, \
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
    for json in each(json, "processors") {
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
    let list = each(json, "decoders");
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
    let list = each(json, "pretokenizers").iter();
    let mut names = list.map(|json| {
        name(json) == "ByteLevel" || {
            name(json) == "Sequence" && json["pretokenizers"].to_string().contains("\"ByteLevel\"")
        }
    });
    names.any(|byte_level| byte_level)
}

/// Reads the whole file. Errors of our own kind go to `failure`, since serde's carry text alone.
struct FileSeed<'s> {
    limit: usize,
    failure: &'s mut Option<TokenizerError>,
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
        while let Some(token) = map.next_key_seed(Text(|text: &str| vocab.push(text)))? {
            let id: u32 = map.next_value()?;
            if let Err(error) = token.and_then(|token| vocab.name(token, id)) {
                *self.failure = Some(error);
                return Err(A::Error::custom("bad vocabulary"));
            }
        }
        Ok(self.vocab)
    }
}

/// Hands a text on without allocating a copy of it.
struct Text<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
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
        let mut reader = MergeReader::new(self.vocab);
        while seq.next_element_seed(Pair(&mut reader))?.is_some() {
            if let Err(error) = reader.end() {
                *self.failure = Some(error);
                return Err(A::Error::custom("bad merge"));
            }
        }
        match reader.finish() {
            Ok(merges) => Ok(merges),
            Err(error) => {
                *self.failure = Some(error);
                Err(A::Error::custom("bad merge"))
            }
        }
    }
}

struct Pair<'s, 'v>(&'s mut MergeReader<'v>);

impl<'de> DeserializeSeed<'de> for Pair<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of tokens")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let pair = text.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let wrong = || E::custom(format_args!("{text:?} is not two tokens with a space between"));
        let (left, right) = pair.ok_or_else(wrong)?;
        self.0.left(left);
        self.0.right(right);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let left = seq.next_element_seed(Text(|text: &str| self.0.left(text)))?;
        let right = seq.next_element_seed(Text(|text: &str| self.0.right(text)))?;
        let more = seq.next_element::<IgnoredAny>()?;
        match (left, right, more) {
            (Some(()), Some(()), None) => Ok(()),
            _ => Err(A::Error::custom("a merge is a list of two tokens")),
        }
    }
}

/// Turns pairs of texts into merges of ids: for each pair [`Self::left`], [`Self::right`],
/// [`Self::end`]; then [`Self::finish`].
///
/// Pairs are looked up some at a time, in a loop of nothing else, so that the processor waits for
/// several of these random reads at once.
pub(super) struct MergeReader<'v> {
    vocab: &'v Vocab,
    merges: Merges,
    rank: u32,
    /// The bytes of the pairs that wait.
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    ids: Vec<[Option<u32>; 3]>,
    next: Waiting,
}

/// A pair that waits: where its bytes start, where the second text does, where they end.
#[derive(Clone, Copy, Default)]
struct Waiting {
    start: usize,
    middle: usize,
    end: usize,
    spelled: bool,
}

impl<'v> MergeReader<'v> {
    const AT_ONCE: usize = 64;

    pub(super) fn new(vocab: &'v Vocab) -> Self {
        Self {
            vocab,
            merges: Merges::with_capacity(vocab.len()),
            rank: 0,
            bytes: Vec::new(),
            waiting: Vec::with_capacity(Self::AT_ONCE),
            ids: Vec::with_capacity(Self::AT_ONCE),
            next: Waiting::default(),
        }
    }

    /// Begin the next merge of the list.
    pub(super) fn left(&mut self, text: &str) {
        self.next.start = self.bytes.len();
        self.next.spelled = self.vocab.spell(text, &mut self.bytes);
        self.next.middle = self.bytes.len();
    }

    pub(super) fn right(&mut self, text: &str) {
        self.next.spelled &= self.vocab.spell(text, &mut self.bytes);
        self.next.end = self.bytes.len();
    }

    /// Add the merge.
    pub(super) fn end(&mut self) -> Result<(), TokenizerError> {
        self.waiting.push(self.next);
        if self.waiting.len() == Self::AT_ONCE { self.look_up() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<Merges, TokenizerError> {
        self.look_up()?;
        Ok(self.merges)
    }

    fn look_up(&mut self) -> Result<(), TokenizerError> {
        let Self { vocab, bytes, waiting, ids, .. } = self;
        ids.clear();
        ids.extend(waiting.iter().map(|pair| {
            let find = |range: Range<usize>| vocab.find(&bytes[range]);
            [find(pair.start..pair.middle), find(pair.middle..pair.end), find(pair.start..pair.end)]
        }));
        for (pair, ids) in waiting.iter().zip(ids) {
            let [Some(left), Some(right), Some(merged)] = *ids else {
                return Err(missing(self.rank, &bytes[pair.start..pair.end]));
            };
            if !pair.spelled {
                return Err(missing(self.rank, &bytes[pair.start..pair.end]));
            }
            self.merges.insert(left, right, self.rank, merged);
            self.rank += 1;
        }
        waiting.clear();
        bytes.clear();
        Ok(())
    }
}

fn missing(rank: u32, bytes: &[u8]) -> TokenizerError {
    let what = format!("merge {rank}, of {:?}", String::from_utf8_lossy(bytes));
    let expected = "both tokens and what they become in the vocabulary";
    invalid(&what, expected, "one of them missing")
}
