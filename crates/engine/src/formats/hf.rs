//! A Hugging Face model folder: `config.json`, safetensors, tokenizer and chat template files.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{ChatTemplate, Config, FormatError, Mmap, Tensor, safetensors::Safetensors};

/// An opened model folder.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    config: Json,
    generation: Json,
    tokenizer_config: Json,
    templates: Vec<ChatTemplate>,
    weights: Vec<(PathBuf, Safetensors)>,
}

/// `model.safetensors.index.json`.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Folder {
    /// Open a folder: `config.json` and the weights must be there, the other files may be.
    ///
    /// # Errors
    /// [`FormatError`] with the path of the file concerned.
    pub fn open(dir: &Path) -> Result<Self, FormatError> {
        let config = json(&dir.join("config.json"))?.ok_or_else(|| {
            FormatError::missing(
                "config.json",
                "give the path of a Hugging Face model folder, or of a .gguf file in it",
            )
            .in_file(dir)
        })?;
        let tokenizer_config = json(&dir.join("tokenizer_config.json"))?.unwrap_or(Json::Null);
        Ok(Self {
            config,
            generation: json(&dir.join("generation_config.json"))?.unwrap_or(Json::Null),
            templates: templates(dir, &tokenizer_config)?,
            tokenizer_config,
            weights: weights(dir)?,
            dir: dir.to_path_buf(),
        })
    }

    /// `config.json`.
    pub fn config(&self) -> Config<'_> {
        Config::Json(&self.config)
    }

    /// `generation_config.json`, empty if there is none.
    pub fn generation(&self) -> Config<'_> {
        Config::Json(&self.generation)
    }

    /// `tokenizer_config.json`, empty if there is none.
    pub fn tokenizer_config(&self) -> Config<'_> {
        Config::Json(&self.tokenizer_config)
    }

    /// The chat templates, from `chat_template.jinja`, `chat_template.json` or
    /// `tokenizer_config.json`; the first of these that has any.
    pub fn templates(&self) -> &[ChatTemplate] {
        &self.templates
    }

    /// The bytes of `tokenizer.json`.
    ///
    /// # Errors
    /// [`FormatError::Missing`] if there is none; [`FormatError::Io`] if it cannot be read.
    pub fn tokenizer_json(&self) -> Result<Mmap, FormatError> {
        let path = self.dir.join("tokenizer.json");
        if !path.exists() {
            let hint = "fetch it, or let transformers write it with `save_pretrained`; a bare \
                        tokenizer.model is not read";
            return Err(FormatError::missing("tokenizer.json", hint).in_file(&self.dir));
        }
        Mmap::open(&path)
    }

    /// The tensor of this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let mut files = self.weights.iter();
        files.find_map(|(_, file)| file.tensor(name))
    }

    /// All tensors, in alphabetical order within each file.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.weights.iter().flat_map(|(_, file)| file.tensors())
    }

    /// The weight files, with their sizes in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        let files = self.weights.iter();
        files.map(|(path, file)| (path.as_path(), file.size()))
    }
}

/// A JSON file; `None` if it is not there.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FormatError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = Mmap::open(path)?;
    let value = serde_json::from_slice(&bytes);
    value
        .map(Some)
        .map_err(|error| FormatError::invalid("the file", None, "JSON of its kind", error).in_file(path))
}

fn weights(dir: &Path) -> Result<Vec<(PathBuf, Safetensors)>, FormatError> {
    let single = dir.join("model.safetensors");
    let index_path = dir.join("model.safetensors.index.json");
    let Some(index) = json::<Index>(&index_path)? else {
        if !single.exists() {
            let hint = "weights are read from model.safetensors, or from the files that \
                        model.safetensors.index.json names; convert other formats";
            return Err(FormatError::missing("model.safetensors", hint).in_file(dir));
        }
        let file = Safetensors::open(&single)?;
        return Ok(vec![(single, file)]);
    };
    let in_index = |error: FormatError| error.in_file(&index_path);
    let mut files: BTreeMap<&str, Safetensors> = BTreeMap::new();
    for (tensor, file) in &index.weight_map {
        // A name with a separator could lead out of the folder.
        if file.contains(['/', '\\']) || !file.ends_with(".safetensors") {
            let what = format!("file of tensor {tensor:?}");
            let expected = "the name of a .safetensors file in the same folder";
            return Err(in_index(FormatError::invalid(what, None, expected, file)));
        }
        if !files.contains_key(file.as_str()) {
            files.insert(file, Safetensors::open(&dir.join(file))?);
        }
        if files[file.as_str()].tensor(tensor).is_none() {
            let hint = format!("the index says that it stands in {file}; fetch both again");
            let error = FormatError::missing(format!("tensor {tensor:?}"), hint);
            return Err(in_index(error));
        }
    }
    let mut names = HashSet::new();
    for (name, file) in &files {
        if let Some(twice) = file.tensors().find(|tensor| !names.insert(tensor.name)) {
            let what = format!("tensor {:?}", twice.name);
            let error = FormatError::invalid(what, None, "it in one file", "it in two");
            return Err(error.in_file(&dir.join(name)));
        }
    }
    let files = files.into_iter();
    Ok(files.map(|(name, file)| (dir.join(name), file)).collect())
}

fn templates(dir: &Path, tokenizer_config: &Json) -> Result<Vec<ChatTemplate>, FormatError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| {
            let action = "read";
            FormatError::Io { action, source }.in_file(path)
        })
    };
    let file = dir.join("chat_template.jinja");
    if file.exists() {
        let mut templates = vec![ChatTemplate::new("default", read(&file)?)];
        let more = dir.join("additional_chat_templates");
        let mut paths: Vec<_> = match std::fs::read_dir(&more) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "jinja"));
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            templates.push(ChatTemplate::new(name, read(&path)?));
        }
        return Ok(templates);
    }
    let legacy = dir.join("chat_template.json");
    if let Some(file) = json::<Json>(&legacy)? {
        return template_field(&file).map_err(|error| error.in_file(&legacy));
    }
    template_field(tokenizer_config).map_err(|error| error.in_file(&dir.join("tokenizer_config.json")))
}

/// `chat_template` of a JSON file: a text, a list of `{name, template}`, or an object of texts.
fn template_field(file: &Json) -> Result<Vec<ChatTemplate>, FormatError> {
    let wrong = |found: &Json| {
        let found: String = found.to_string().chars().take(60).collect();
        let expected = "a text, or a list of templates with name and template";
        FormatError::invalid("chat_template", None, expected, found)
    };
    match file.get("chat_template") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(text)) => Ok(vec![ChatTemplate::new("default", text)]),
        Some(Json::Array(list)) => list
            .iter()
            .map(|item| {
                let text = |key| item.get(key).and_then(Json::as_str);
                let (name, template) = text("name").zip(text("template")).ok_or_else(|| wrong(item))?;
                Ok(ChatTemplate::new(name, template))
            })
            .collect(),
        Some(Json::Object(map)) => map
            .iter()
            .map(|(name, template)| {
                let template = template.as_str().ok_or_else(|| wrong(template))?;
                Ok(ChatTemplate::new(name, template))
            })
            .collect(),
        Some(other) => Err(wrong(other)),
    }
}
