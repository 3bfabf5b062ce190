//! Tokenizers in the metadata of GGUF files.
//!
//! The files carry the vocabulary and name the pre-tokenizer (`tokenizer.ggml.pre`); patterns and
//! flags behind the names are those of the original tokenizer.json files.

use super::{
    Decoder, Normalizer, Parts, Step, Tokenizer, TokenizerError,
    added::AddedToken,
    bpe::{Bpe, Options, Rule, score_rank},
    merges,
    scan::{GPT2, LLAMA3, O200K, QWEN2, QWEN35, TEKKEN},
    split::{Behavior, Pattern},
    vocab::{Spelling, Vocab},
};
use crate::formats::{Config, FormatError, Value};

/// The types of tokens in `tokenizer.ggml.token_type`.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// What a name in `tokenizer.ggml.pre` stands for.
struct Pre {
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    ignore_merges: bool,
    add_bos: bool,
    nfc: bool,
}

const PLAIN: Pre = Pre { names: &[], patterns: &[], ignore_merges: false, add_bos: false, nfc: false };

const DEEPSEEK_CJK: &str = "[一-龥぀-ゟ゠-ヿ]+";
const DEEPSEEK_WORDS: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

static PRES: &[Pre] = &[
    Pre { names: &["gpt-2", "phi-2", "mpt", "olmo", "exaone4"], patterns: &[GPT2], ..PLAIN },
    Pre { names: &["starcoder", "refact", "command-r", "smollm"], patterns: &[r"\p{N}", GPT2], ..PLAIN },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    Pre { names: &["dbrx", "smaug-bpe"], patterns: &[LLAMA3], ..PLAIN },
    Pre { names: &["chatglm-bpe", "glm4"], patterns: &[LLAMA3], ignore_merges: true, ..PLAIN },
    Pre { names: &["qwen2"], patterns: &[QWEN2], nfc: true, ..PLAIN },
    Pre { names: &["deepseek-r1-qwen", "stablelm2"], patterns: &[QWEN2], ..PLAIN },
    Pre { names: &["qwen35"], patterns: &[QWEN35], nfc: true, ..PLAIN },
    Pre { names: &["tekken"], patterns: &[TEKKEN], ignore_merges: true, add_bos: true, ..PLAIN },
    Pre { names: &["gpt-4o", "llama4"], patterns: &[O200K], ..PLAIN },
    Pre {
        names: &["deepseek-coder"],
        patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
        ..PLAIN
    },
    Pre { names: &["deepseek-v3"], patterns: &[r"\p{N}{1,3}", DEEPSEEK_CJK, DEEPSEEK_WORDS], ..PLAIN },
    Pre { names: &["falcon"], patterns: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"], ..PLAIN },
];

impl Tokenizer {
    /// Build a tokenizer from the metadata of a GGUF file: the models `gpt2` (byte-level BPE),
    /// `llama` (SentencePiece with scores) and `gemma4` (SentencePiece-like BPE with merges).
    ///
    /// A GGUF file does not say that Qwen's texts are normalized to NFC; here they are, as the
    /// original tokenizer does it.
    ///
    /// # Errors
    /// [`FormatError::Missing`] or [`FormatError::Invalid`] for a field that is not as it should
    /// be, [`TokenizerError::Unsupported`] for another model or an unknown `pre`.
    pub fn from_gguf(config: &Config<'_>) -> Result<Self, FormatError> {
        let missing =
            |key: &str| FormatError::missing(key, "the file has no tokenizer; convert the model again");
        let model = config.str("tokenizer.ggml.model")?;
        let model = model.ok_or_else(|| missing("tokenizer.ggml.model"))?;
        let byte_level = match model {
            "gpt2" => true,
            "llama" | "gemma4" => false,
            other => {
                let hint = "supported are gpt2, llama and gemma4";
                return Err(unsupported("model", other, hint));
            }
        };
        let tokens = config.list("tokenizer.ggml.tokens")?;
        let tokens = tokens.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let types = Types::read(config, tokens.len())?;
        let mut vocab = Vocab::new(byte_level, tokens.len());
        vocab.reserve(tokens.len());
        let mut added = Vec::new();
        for (id, token) in (0u32..).zip(tokens.iter()) {
            let Value::Str(text) = token else {
                let what = format!("tokenizer.ggml.tokens, element {id}");
                return Err(FormatError::invalid(what, None, "text", format!("{token:?}")));
            };
            let kind = types.of(id);
            // What a text must not become by itself stays out of the index.
            let literal = matches!(kind, CONTROL | UNKNOWN) || byte_level && kind != NORMAL;
            let spelling = if literal { Spelling::Literal } else { Spelling::Model };
            vocab.add(id, text, spelling)?;
            if matches!(kind, CONTROL | UNKNOWN | USER_DEFINED) {
                added.push(AddedToken {
                    id,
                    content: text.to_owned(),
                    single_word: false,
                    lstrip: false,
                    rstrip: false,
                    normalized: false,
                    special: kind != USER_DEFINED,
                    normal_form: String::new(),
                });
            }
        }
        let mut parts = match model {
            "llama" => sentence_piece(config, vocab, added)?,
            "gemma4" => gemma(config, vocab, added)?,
            _ => byte_level_bpe(config, vocab, added)?,
        };
        set_ends(config, &mut parts)?;
        Ok(Self::new(parts)?)
    }
}

fn unsupported(component: &'static str, name: &str, hint: &str) -> FormatError {
    FormatError::Tokenizer(TokenizerError::Unsupported {
        component,
        name: name.to_owned(),
        hint: hint.to_owned(),
    })
}

/// The types of tokens; all are normal where the file does not say.
struct Types(Option<Vec<u64>>);

impl Types {
    fn read(config: &Config<'_>, tokens: usize) -> Result<Self, FormatError> {
        let types = config.uints("tokenizer.ggml.token_type")?;
        check_len("tokenizer.ggml.token_type", types.as_deref(), tokens)?;
        Ok(Self(types))
    }

    fn of(&self, id: u32) -> u64 {
        let types = self.0.as_ref();
        types.map_or(NORMAL, |types| types[id as usize])
    }
}

fn check_len<T>(what: &str, list: Option<&[T]>, tokens: usize) -> Result<(), FormatError> {
    match list.filter(|list| list.len() != tokens) {
        None => Ok(()),
        Some(list) => {
            let expected = format!("one for each of {tokens} tokens");
            Err(FormatError::invalid(what, None, expected, list.len()))
        }
    }
}

fn merges(config: &Config<'_>, vocab: &Vocab) -> Result<Rule, FormatError> {
    let key = "tokenizer.ggml.merges";
    let list = config.list(key)?;
    let list = list.ok_or_else(|| FormatError::missing(key, "a BPE tokenizer needs them"))?;
    let merges = merges::read(vocab, |reader| {
        for (place, merge) in list.iter().enumerate() {
            // The first token may itself be a space.
            let pair = merge.as_str().and_then(|text| {
                let after = text.char_indices().nth(1)?.0;
                let space = after + text[after..].find(' ')?;
                Some((&text[..space], &text[space + 1..]))
            });
            let (left, right) = pair.ok_or_else(|| {
                let what = format!("{key}, element {place}");
                let expected = "two tokens with a space between";
                FormatError::invalid(what, None, expected, format!("{merge:?}"))
            })?;
            reader.left(left.as_bytes());
            reader.right(right.as_bytes());
            if !reader.end() {
                break;
            }
        }
        Ok::<(), FormatError>(())
    })?;
    Ok(Rule::Merges(merges?))
}

fn byte_level_bpe(config: &Config<'_>, vocab: Vocab, added: Vec<AddedToken>) -> Result<Parts, FormatError> {
    let name = config.str("tokenizer.ggml.pre")?.unwrap_or("(none)");
    let pre = PRES.iter().find(|pre| pre.names.contains(&name));
    let pre = pre.ok_or_else(|| {
        let hint = "its pattern is not known here, and another one would give wrong tokens; use a \
                    newer conversion, or the model's Hugging Face folder";
        unsupported("pre-tokenizer", name, hint)
    })?;
    let mut steps = Vec::new();
    for pattern in pre.patterns {
        steps.push(Step::Split {
            pattern: Pattern::regex(pattern)?,
            behavior: Behavior::Isolated,
            invert: false,
        });
    }
    let options = Options { ignore_merges: pre.ignore_merges, ..Options::default() };
    let rule = merges(config, &vocab)?;
    let prefix = if pre.add_bos { token(config, "bos")? } else { Vec::new() };
    Ok(Parts {
        added,
        normalizers: if pre.nfc { vec![Normalizer::Nfc] } else { Vec::new() },
        steps,
        bpe: Bpe::new(vocab, rule, None, options),
        decoder: Decoder { byte_level: true, ..Decoder::default() },
        prefix,
        suffix: Vec::new(),
    })
}

/// The normalizer of SentencePiece: spaces become `▁`, and one is put before the text.
fn spaces(prefix: bool) -> Vec<Normalizer> {
    let prepend = prefix.then(|| Normalizer::Prepend("▁".to_owned()));
    let space = Pattern::Literal(" ".to_owned());
    let replace = Normalizer::Replace(space, "▁".to_owned());
    prepend.into_iter().chain([replace]).collect()
}

fn sentence_piece(config: &Config<'_>, vocab: Vocab, added: Vec<AddedToken>) -> Result<Parts, FormatError> {
    let key = "tokenizer.ggml.scores";
    let list = config.list(key)?;
    let list = list.ok_or_else(|| FormatError::missing(key, "a SentencePiece model needs them"))?;
    let scores = list.iter().map(|value| value.as_float());
    let ranks = scores.map(|score| Some(score_rank(score.filter(|score| !score.is_nan())? as f32)));
    let ranks: Option<Vec<u32>> = ranks.collect();
    let ranks = ranks.ok_or_else(|| FormatError::invalid(key, None, "numbers", "something else"))?;
    check_len(key, Some(&ranks), vocab.len())?;
    let prefix_space = config.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let unknown = token(config, "unknown")?.first().copied();
    let options = Options { byte_fallback: true, fuse_unk: true, ..Options::default() };
    Ok(Parts {
        added,
        normalizers: spaces(prefix_space),
        steps: Vec::new(),
        bpe: Bpe::new(vocab, Rule::Scores(ranks), unknown, options),
        decoder: Decoder {
            replace: vec![("▁".to_owned(), " ".to_owned())],
            byte_fallback: true,
            strip: prefix_space.then_some((' ', 1)),
            ..Decoder::default()
        },
        prefix: token(config, "bos")?,
        suffix: Vec::new(),
    })
}

fn gemma(config: &Config<'_>, vocab: Vocab, added: Vec<AddedToken>) -> Result<Parts, FormatError> {
    let options = Options { byte_fallback: true, fuse_unk: true, ..Options::default() };
    let rule = merges(config, &vocab)?;
    let unknown = token(config, "unknown")?.first().copied();
    Ok(Parts {
        added,
        normalizers: spaces(false),
        steps: Vec::new(),
        bpe: Bpe::new(vocab, rule, unknown, options),
        decoder: Decoder {
            replace: vec![("▁".to_owned(), " ".to_owned())],
            byte_fallback: true,
            ..Decoder::default()
        },
        prefix: token(config, "bos")?,
        suffix: Vec::new(),
    })
}

/// The id in `tokenizer.ggml.ROLE_token_id`, if there is one.
fn token(config: &Config<'_>, role: &str) -> Result<Vec<u32>, FormatError> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    let id = config.uint(&key)?;
    let id = id.map(|id| u32::try_from(id).map_err(|_| FormatError::invalid(key, None, "an id", id)));
    Ok(id.transpose()?.into_iter().collect())
}

/// Where the file says whether texts begin and end with special tokens, that holds.
fn set_ends(config: &Config<'_>, parts: &mut Parts) -> Result<(), FormatError> {
    match config.bool("tokenizer.ggml.add_bos_token")? {
        Some(true) => parts.prefix = token(config, "bos")?,
        Some(false) => parts.prefix.clear(),
        None => {}
    }
    if config.bool("tokenizer.ggml.add_eos_token")? == Some(true) {
        parts.suffix = token(config, "eos")?;
    }
    Ok(())
}
