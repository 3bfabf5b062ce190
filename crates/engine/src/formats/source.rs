use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Config, FormatError, Tensor, Value, gguf::Gguf, hf::Folder};
use crate::tokenizer::Tokenizer;

/// An opened model, whatever its format.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
    templates: Vec<ChatTemplate>,
}

#[derive(Debug)]
enum Kind {
    Gguf(Gguf),
    Folder(Box<Folder>),
}

/// The format of a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One `.gguf` file, or the files of a split one.
    Gguf,
    /// A Hugging Face folder with safetensors.
    HuggingFace,
}

/// A chat template of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// `default`, or what the model calls it (`tool_use`, `rag`).
    pub name: String,
    /// The Jinja source.
    pub text: String,
}

impl ChatTemplate {
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// The ids that a model's files give to the usual roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begin of a sequence.
    pub bos: Option<u32>,
    /// End of a sequence.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Unknown text.
    pub unk: Option<u32>,
}

impl SpecialTokens {
    /// The tokens as a chat template reads them: `bos_token`, `eos_token`, `pad_token` and `unk_token`, as far
    /// as the model has them.
    #[must_use]
    pub fn named(&self, tokenizer: &Tokenizer) -> serde_json::Map<String, serde_json::Value> {
        let roles = [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("pad_token", self.pad),
            ("unk_token", self.unk),
        ];
        let piece =
            |(name, id): (&str, Option<u32>)| Some((name.to_owned(), tokenizer.token_to_piece(id?)?.into()));
        roles.into_iter().filter_map(piece).collect()
    }
}

/// What a model's files recommend for generation. What they do not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling mass.
    pub top_p: Option<f64>,
    /// Number of candidates.
    pub top_k: Option<u64>,
    /// Least probability relative to the best candidate.
    pub min_p: Option<f64>,
    /// Multiplicative repetition penalty.
    pub repetition_penalty: Option<f64>,
    /// Length limit of a reply in tokens.
    pub max_new_tokens: Option<u64>,
    /// Tokens that end a reply, in ascending order.
    pub stop_token_ids: Vec<u32>,
}

/// Texts of tokens that end a turn. GGUF names one end-of-sequence token where the original
/// configuration often lists several; converters leave the rest to be known by their text.
const TURN_ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
];

impl Source {
    /// Open a model: a GGUF file (any part of a split one) or a Hugging Face folder.
    ///
    /// # Errors
    /// [`FormatError`] with the path of the file that is missing, damaged or of an unknown kind.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let kind = if path.is_dir() {
            Kind::Folder(Box::new(Folder::open(path)?))
        } else if path.extension().is_some_and(|end| end == "gguf") || !path.exists() || is_gguf(path) {
            Kind::Gguf(Gguf::open(path)?)
        } else {
            let hint = "a model is a .gguf file, or a folder with config.json and safetensors";
            let error = FormatError::unsupported("this kind of file", hint);
            return Err(error.in_file(path));
        };
        Self::of(path, kind)
    }

    /// A GGUF file that is part of the program; `name` is what errors call it.
    ///
    /// # Errors
    /// [`FormatError`] if it is damaged.
    pub fn of_program(name: &str, bytes: &'static [u8]) -> Result<Self, FormatError> {
        let name = Path::new(name);
        Self::of(name, Kind::Gguf(Gguf::of_program(name, bytes)?))
    }

    fn of(path: &Path, kind: Kind) -> Result<Self, FormatError> {
        let templates = match &kind {
            Kind::Gguf(gguf) => gguf_templates(gguf).map_err(|error| error.in_file(path))?,
            Kind::Folder(folder) => folder.templates().to_vec(),
        };
        Ok(Self { path: path.to_path_buf(), kind, templates })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of the files.
    pub fn format(&self) -> Format {
        match self.kind {
            Kind::Gguf(_) => Format::Gguf,
            Kind::Folder(_) => Format::HuggingFace,
        }
    }

    /// The architecture as the files name it: `qwen3` in GGUF, `Qwen3ForCausalLM` in a folder.
    ///
    /// # Errors
    /// [`FormatError`] if it is not there or is no text.
    pub fn architecture(&self) -> Result<&str, FormatError> {
        let (key, hint) = match self.kind {
            Kind::Gguf(_) => ("general.architecture", "the file's metadata do not say it"),
            Kind::Folder(_) => ("architectures", "config.json does not say it"),
        };
        let names = self.config().strs(key)?;
        let name = names.and_then(|names| names.first().copied());
        name.ok_or_else(|| FormatError::missing(key, hint).in_file(&self.path))
    }

    /// The hyperparameters: GGUF metadata, or `config.json`.
    pub fn config(&self) -> Config<'_> {
        match &self.kind {
            Kind::Gguf(gguf) => Config::Gguf(gguf.metadata()),
            Kind::Folder(folder) => folder.config(),
        }
    }

    /// The tensor of this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        match &self.kind {
            Kind::Gguf(gguf) => gguf.tensor(name),
            Kind::Folder(folder) => folder.tensor(name),
        }
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`FormatError::Missing`] with the name, if there is none.
    pub fn need_tensor(&self, name: &str) -> Result<Tensor<'_>, FormatError> {
        self.tensor(name).ok_or_else(|| {
            let hint = "the architecture needs it; the file is incomplete or of another kind";
            FormatError::missing(format!("tensor {name:?}"), hint).in_file(&self.path)
        })
    }

    /// All tensors.
    pub fn tensors(&self) -> Box<dyn Iterator<Item = Tensor<'_>> + '_> {
        match &self.kind {
            Kind::Gguf(gguf) => Box::new(gguf.tensors()),
            Kind::Folder(folder) => Box::new(folder.tensors()),
        }
    }

    /// The weight files, with their sizes in bytes.
    pub fn files(&self) -> Vec<(&Path, u64)> {
        match &self.kind {
            Kind::Gguf(gguf) => gguf.files().collect(),
            Kind::Folder(folder) => folder.files().collect(),
        }
    }

    /// The chat templates.
    pub fn chat_templates(&self) -> &[ChatTemplate] {
        &self.templates
    }

    /// The source of the chat template called `default`, or of the only one.
    pub fn chat_template(&self) -> Option<&str> {
        let default = self.templates.iter().find(|one| one.name == "default");
        let only = (self.templates.len() == 1).then(|| &self.templates[0]);
        default.or(only).map(|template| template.text.as_str())
    }

    /// Build the tokenizer.
    ///
    /// # Errors
    /// [`FormatError::Tokenizer`] if it is damaged or of a kind that we do not have,
    /// [`FormatError::Missing`] if there is none.
    pub fn tokenizer(&self) -> Result<Tokenizer, FormatError> {
        match &self.kind {
            Kind::Gguf(gguf) => Tokenizer::from_gguf(&Config::Gguf(gguf.metadata()))
                .map_err(|error| error.in_file(&self.path)),
            Kind::Folder(folder) => {
                let path = self.path.join("tokenizer.json");
                let json = folder.tokenizer_json()?;
                Tokenizer::from_json(&json).map_err(|error| FormatError::from(error).in_file(&path))
            }
        }
    }

    /// The ids of the special roles.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if a field that should name one has another type.
    pub fn special_tokens(&self, tokenizer: &Tokenizer) -> Result<SpecialTokens, FormatError> {
        let find = |role: &str| match &self.kind {
            Kind::Gguf(_) => {
                let role = if role == "pad" { "padding" } else { role };
                let role = if role == "unk" { "unknown" } else { role };
                self.id(&format!("tokenizer.ggml.{role}_token_id"))
            }
            Kind::Folder(folder) => {
                let config = folder.tokenizer_config();
                let key = format!("{role}_token");
                let text = match config.get(&key) {
                    Some(Value::Object) => config.str(&format!("{key}.content"))?,
                    _ => config.str(&key)?,
                };
                match text.and_then(|text| tokenizer.token_to_id(text)) {
                    Some(id) => Ok(Some(id)),
                    None => self.id(&format!("{role}_token_id")),
                }
            }
        };
        Ok(SpecialTokens { bos: find("bos")?, eos: find("eos")?, pad: find("pad")?, unk: find("unk")? })
    }

    /// What the files recommend for generation.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if a field has another type than it should.
    pub fn generation_defaults(&self, tokenizer: &Tokenizer) -> Result<GenerationDefaults, FormatError> {
        let eos = self.special_tokens(tokenizer)?.eos;
        let mut stops: Vec<u32> = eos.into_iter().collect();
        let mut defaults = match &self.kind {
            Kind::Gguf(_) => {
                for key in ["eot", "eom"] {
                    stops.extend(self.id(&format!("tokenizer.ggml.{key}_token_id"))?);
                }
                let ends = TURN_ENDS.iter();
                let ends = ends.filter_map(|text| tokenizer.added_token_to_id(text));
                stops.extend(ends);
                let config = self.config();
                GenerationDefaults {
                    temperature: config.float("general.sampling.temp")?,
                    top_p: config.float("general.sampling.top_p")?,
                    top_k: config.uint("general.sampling.top_k")?,
                    min_p: config.float("general.sampling.min_p")?,
                    repetition_penalty: config.float("general.sampling.penalty_repeat")?,
                    ..GenerationDefaults::default()
                }
            }
            Kind::Folder(folder) => {
                let config = folder.generation();
                let listed = match config.uints("eos_token_id")? {
                    Some(listed) => Some(listed),
                    None => folder.config().uints("eos_token_id")?,
                };
                let listed = listed.unwrap_or_default().into_iter();
                stops.extend(listed.filter_map(|id| u32::try_from(id).ok()));
                GenerationDefaults {
                    temperature: config.float("temperature")?,
                    top_p: config.float("top_p")?,
                    top_k: config.uint("top_k")?,
                    min_p: config.float("min_p")?,
                    repetition_penalty: config.float("repetition_penalty")?,
                    max_new_tokens: config.uint("max_new_tokens")?,
                    ..GenerationDefaults::default()
                }
            }
        };
        stops.sort_unstable();
        stops.dedup();
        defaults.stop_token_ids = stops;
        Ok(defaults)
    }

    /// A token id in the metadata; the first one where there is a list.
    fn id(&self, key: &str) -> Result<Option<u32>, FormatError> {
        // Some converters write -1 for "none".
        if matches!(self.config().get(key), Some(Value::Int(_))) {
            return Ok(None);
        }
        let ids = self.config().uints(key)?.unwrap_or_default();
        Ok(ids.first().and_then(|id| u32::try_from(*id).ok()))
    }
}

/// Whether a file of any name is GGUF: Ollama's have a hash for a name.
fn is_gguf(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"GGUF"
}

/// `tokenizer.chat_template`, and those that `tokenizer.chat_templates` names.
fn gguf_templates(gguf: &Gguf) -> Result<Vec<ChatTemplate>, FormatError> {
    let config = Config::Gguf(gguf.metadata());
    let mut templates = Vec::new();
    if let Some(text) = config.str("tokenizer.chat_template")? {
        templates.push(ChatTemplate::new("default", text));
    }
    for name in config.strs("tokenizer.chat_templates")?.unwrap_or_default() {
        if let Some(text) = config.str(&format!("tokenizer.chat_template.{name}"))? {
            templates.push(ChatTemplate::new(name, text));
        }
    }
    Ok(templates)
}
