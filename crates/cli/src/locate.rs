//! Where a model is on this machine.

use std::path::{Path, PathBuf};

use chela_config::{Env, Paths, env};

use crate::exit::{Code, Failure};

/// The files of a model: a path as it stands, a name below `$CHELA_HOME/models`, a name in the Hugging
/// Face cache (the snapshot that its `main` points to), or one of Ollama's, as in `qwen3:4b`.
///
/// # Errors
/// There is no such model; nothing is downloaded.
pub fn model(name: &str, paths: Option<&Paths>, env: &Env) -> Result<PathBuf, Failure> {
    let path = match (name.strip_prefix("~/"), env.get(env::HOME)) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(name),
    };
    if path.exists() {
        return Ok(path);
    }
    let own = paths.map(|paths| paths.models().join(name));
    let cached = hub(env).and_then(|hub| snapshot(&hub, name));
    let pulled = || ollama(env).iter().find_map(|folder| blob(&manifest(folder, name)?, folder));
    let found = own.filter(|path| path.exists()).or(cached).or_else(pulled);
    found.ok_or_else(|| {
        let failure = Failure::new(Code::NoModel, format!("there is no model {name} on this machine"));
        failure.hint(
            "give a .gguf file, a folder with config.json and safetensors, or the name of a model in the \
             Hugging Face cache or of Ollama's; nothing is downloaded. `chela setup` shows those that are here",
        )
    })
}

/// The folder of the Hugging Face cache.
pub fn hub(env: &Env) -> Option<PathBuf> {
    let own = env.get(env::HF_HUB_CACHE).map(PathBuf::from);
    let home = || env.get(env::HF_HOME).map(|home| Path::new(home).join("hub"));
    let usual = || env.get(env::HOME).map(|home| Path::new(home).join(".cache/huggingface/hub"));
    own.or_else(home).or_else(usual)
}

/// The snapshot of a name such as `Qwen/Qwen3-0.6B`.
pub fn snapshot(hub: &Path, name: &str) -> Option<PathBuf> {
    if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return None;
    }
    let folder = hub.join(format!("models--{}", name.replace('/', "--")));
    let commit = std::fs::read_to_string(folder.join("refs/main")).ok()?;
    let path = folder.join("snapshots").join(commit.trim());
    path.is_dir().then_some(path)
}

/// The folders of Ollama's models: the user's, and that of its service.
pub fn ollama(env: &Env) -> Vec<PathBuf> {
    if let Some(own) = env.get(env::OLLAMA_MODELS) {
        return vec![own.into()];
    }
    let users = env.get(env::HOME).map(|home| Path::new(home).join(".ollama/models"));
    users.into_iter().chain([PathBuf::from("/usr/share/ollama/.ollama/models")]).collect()
}

/// The manifest of a name such as `qwen3:4b` or `someone/model:tag`.
fn manifest(folder: &Path, name: &str) -> Option<PathBuf> {
    let (name, tag) = name.split_once(':')?;
    let name = if name.contains('/') { name.to_owned() } else { format!("library/{name}") };
    if name.split('/').chain([tag]).any(|part| part.is_empty() || part.starts_with('.')) {
        return None;
    }
    Some(folder.join("manifests/registry.ollama.ai").join(name).join(tag))
}

/// The model's file that one of Ollama's manifests names.
pub fn blob(manifest: &Path, folder: &Path) -> Option<PathBuf> {
    const MODEL: &str = "application/vnd.ollama.image.model";
    let text = std::fs::read(manifest).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let layer = manifest["layers"].as_array()?.iter().find(|layer| layer["mediaType"] == MODEL)?;
    let hash = layer["digest"].as_str()?.strip_prefix("sha256:")?;
    let plain = hash.chars().all(|c| c.is_ascii_alphanumeric());
    Some(folder.join("blobs").join(format!("sha256-{hash}"))).filter(|path| plain && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_the_cache_by_its_main_revision() {
        let folder = tempfile::tempdir().unwrap();
        let hub = folder.path().join("hub/models--org--name");
        std::fs::create_dir_all(hub.join("snapshots/abc")).unwrap();
        std::fs::create_dir_all(hub.join("refs")).unwrap();
        std::fs::write(hub.join("refs/main"), "abc\n").unwrap();
        let env: Env = [("HF_HOME", folder.path().to_str().unwrap())].into_iter().collect();
        assert_eq!(model("org/name", None, &env).unwrap(), hub.join("snapshots/abc"));
        for name in ["org/other", "../hub", "", "org//name"] {
            let failure = model(name, None, &env).unwrap_err();
            assert_eq!(failure.code, Code::NoModel, "{name}");
        }
        let path = folder.path().to_str().unwrap();
        assert_eq!(model(path, None, &env).unwrap(), folder.path());
    }
}
