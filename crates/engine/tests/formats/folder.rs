use std::{fs, path::Path};

use chela_engine::formats::{DType, Format, Source, gguf::Writer};

use crate::{fixture, tiny_model};

#[test]
fn the_tiny_model_opens() {
    let source = Source::open(&tiny_model()).unwrap();
    assert_eq!(source.format(), Format::HuggingFace);
    assert_eq!(source.architecture().unwrap(), "Qwen3ForCausalLM");
    let config = source.config();
    assert_eq!(config.uint("hidden_size").unwrap(), Some(128));
    assert_eq!(config.float("rope_parameters.rope_theta").unwrap(), Some(10000.0));
    assert_eq!(config.bool("tie_word_embeddings").unwrap(), Some(true));
    assert_eq!(config.uint("sliding_window").unwrap(), None);
    let error = config.uint("hidden_act").unwrap_err().to_string();
    assert_eq!(error, "hidden_act: expected a whole number, found \"silu\"");
    let tokenizer = source.tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), 1209);
    let special = source.special_tokens(&tokenizer).unwrap();
    assert_eq!((special.bos, special.eos, special.pad), (None, Some(1202), Some(1200)));
    let defaults = source.generation_defaults(&tokenizer).unwrap();
    assert_eq!(defaults.stop_token_ids, [1200, 1202]);
    assert_eq!(defaults.temperature, None);
    assert!(source.chat_template().unwrap().starts_with("{%- if tools %}"));
    let error = source.need_tensor("model.nothing").unwrap_err().to_string();
    assert!(error.contains("tensor \"model.nothing\" is missing"), "{error}");
}

/// The tiny model in a folder that a test may change.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(tiny_model()).unwrap() {
        let path = entry.unwrap().path();
        // Written anew, for the fixtures may be read-only.
        fs::write(folder.path().join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
    folder
}

fn templates(folder: &Path) -> Vec<(String, String)> {
    let source = Source::open(folder).unwrap();
    let templates = source.chat_templates().iter();
    templates.map(|one| (one.name.clone(), one.text.clone())).collect()
}

#[test]
fn chat_templates_are_found_wherever_they_are() {
    let folder = copy();
    let at = |name: &str| folder.path().join(name);
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let list =
        r#"{"chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]}"#;
    fs::write(at("tokenizer_config.json"), list).unwrap();
    assert_eq!(templates(folder.path()), [pair("default", "A"), pair("tool_use", "B")]);
    fs::write(at("chat_template.json"), r#"{"chat_template": "C"}"#).unwrap();
    assert_eq!(templates(folder.path()), [pair("default", "C")]);
    fs::write(at("chat_template.jinja"), "D").unwrap();
    fs::create_dir(at("additional_chat_templates")).unwrap();
    fs::write(at("additional_chat_templates/rag.jinja"), "E").unwrap();
    assert_eq!(templates(folder.path()), [pair("default", "D"), pair("rag", "E")]);
    fs::remove_file(at("chat_template.jinja")).unwrap();
    fs::write(at("chat_template.json"), r#"{"chat_template": [{"name": 1}]}"#).unwrap();
    let error = Source::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("chat_template.json: chat_template: expected a text, or a list"), "{error}");
}

#[test]
fn sharded_weights_are_read_by_their_index() {
    let folder = copy();
    let at = |name: &str| folder.path().join(name);
    let write = |file: &str, tensors: &[(&str, f32)]| {
        let entries = (0..).zip(tensors).map(|(place, (name, _)): (usize, _)| {
            let (start, end) = (place * 4, place * 4 + 4);
            format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{start},{end}]}}"#)
        });
        let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(tensors.iter().flat_map(|(_, value)| value.to_le_bytes()));
        fs::write(at(file), bytes).unwrap();
    };
    let index = |map: &str| {
        fs::write(
            at("model.safetensors.index.json"),
            format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#),
        )
        .unwrap();
        Source::open(folder.path())
    };
    fs::remove_file(at("model.safetensors")).unwrap();
    write("model-00001-of-00002.safetensors", &[("a", 1.0)]);
    write("model-00002-of-00002.safetensors", &[("b", 2.0)]);
    let both = r#""a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors""#;
    let source = index(both).unwrap();
    assert_eq!(source.need_tensor("a").unwrap().to_f32().unwrap(), [1.0]);
    assert_eq!(source.need_tensor("b").unwrap().to_f32().unwrap(), [2.0]);
    assert_eq!(source.files().len(), 2);
    let error = index(r#""c":"model-00001-of-00002.safetensors""#).unwrap_err().to_string();
    assert!(error.contains("index.json: tensor \"c\" is missing"), "{error}");
    let error = index(r#""a":"../model-00001-of-00002.safetensors""#).unwrap_err().to_string();
    assert!(error.contains("expected the name of a .safetensors file in the same folder"), "{error}");
    write("model-00002-of-00002.safetensors", &[("a", 2.0), ("b", 2.0)]);
    let error = index(both).unwrap_err().to_string();
    assert!(error.contains("tensor \"a\": expected it in one file, found it in two"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = copy();
    let remove = |name: &str| fs::remove_file(folder.path().join(name)).unwrap();
    remove("tokenizer.json");
    let error = Source::open(folder.path()).unwrap().tokenizer().unwrap_err().to_string();
    assert!(error.contains("tokenizer.json is missing: fetch it"), "{error}");
    remove("model.safetensors");
    let error = Source::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors is missing"), "{error}");
    remove("config.json");
    let error = Source::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("config.json is missing: give the path of a Hugging Face model folder"),
        "{error}"
    );
    let error = Source::open(&fixture("gguf/plain.safetensors")).unwrap_err().to_string();
    assert!(error.contains("a model is a .gguf file, or a folder"), "{error}");
    let error = Source::open(&folder.path().join("nothing")).unwrap_err().to_string();
    assert!(error.contains("nothing: cannot open"), "{error}");
}

#[test]
fn a_gguf_file_gives_the_same_view() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut writer = Writer::new("llama");
    writer.uint("llama.block_count", 2);
    writer.str("tokenizer.chat_template", "A");
    writer.strs("tokenizer.chat_templates", ["tool_use"]);
    writer.str("tokenizer.chat_template.tool_use", "B");
    writer.str("tokenizer.ggml.model", "llama");
    writer.strs("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "<|im_end|>", "a"]);
    writer.floats("tokenizer.ggml.scores", [0.0; 5]);
    writer.ints("tokenizer.ggml.token_type", [2, 3, 3, 3, 1]);
    writer.uint("tokenizer.ggml.bos_token_id", 1);
    writer.uint("tokenizer.ggml.eos_token_id", 2);
    writer.float("general.sampling.temp", 0.5);
    writer.tensor("output_norm.weight", DType::F32, &[1], 1f32.to_le_bytes().to_vec()).unwrap();
    writer.write(&mut fs::File::create(&path).unwrap()).unwrap();
    let bytes: &'static [u8] = fs::read(&path).unwrap().leak();
    let inside = Source::of_program("inside", bytes).unwrap();
    assert_eq!(inside.need_tensor("output_norm.weight").unwrap().to_f32().unwrap(), [1.0]);
    assert!(Source::of_program("inside", &bytes[..9]).unwrap_err().to_string().contains("inside"));
    // Ollama's files have a hash for a name.
    let blob = folder.path().join("sha256-ab12");
    fs::copy(&path, &blob).unwrap();
    assert_eq!(Source::open(&blob).unwrap().format(), Format::Gguf);
    let source = Source::open(&path).unwrap();
    assert_eq!((source.format(), source.architecture().unwrap()), (Format::Gguf, "llama"));
    assert_eq!(source.config().uint("llama.block_count").unwrap(), Some(2));
    assert_eq!(source.chat_template(), Some("A"));
    assert_eq!(source.chat_templates()[1].name, "tool_use");
    assert_eq!(source.need_tensor("output_norm.weight").unwrap().to_f32().unwrap(), [1.0]);
    let tokenizer = source.tokenizer().unwrap();
    let special = source.special_tokens(&tokenizer).unwrap();
    assert_eq!((special.bos, special.eos, special.unk), (Some(1), Some(2), None));
    let defaults = source.generation_defaults(&tokenizer).unwrap();
    assert_eq!((defaults.temperature, defaults.stop_token_ids), (Some(0.5), vec![2, 3]));
}
