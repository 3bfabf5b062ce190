//! Models that lie on this machine: in the Hugging Face cache, in LM Studio's and Ollama's folders, among
//! Chela's own, and in the current folder.

use std::path::{Path, PathBuf};

use chela_config::env;
use chela_engine::formats::Source;

use crate::context::Context;
use crate::local::{self, size};
use crate::{locate, output};

/// Folders below one another that are looked into.
const DEPTH: usize = 5;
/// Entries of folders that are looked at in one place: a search ends.
const ENTRIES: usize = 20_000;

/// A model's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As `local/NAME` takes it.
    pub name: String,
    /// Where it was found, in words.
    pub place: &'static str,
    /// The file or folder.
    pub path: PathBuf,
}

/// All of them, place by place.
pub fn models(context: &Context) -> Vec<Found> {
    let env = context.env();
    let home = env.get(env::HOME).map(Path::new);
    let mut found = Vec::new();
    if let Ok(folder) = &context.surroundings.folder {
        let mut seen = Walk::default();
        seen.folder(folder, 1);
        found.extend(seen.named("this folder", |path| shown(path, home)));
    }
    let mut own = Walk::default();
    own.folder(&context.paths.models(), DEPTH);
    found.extend(own.named("Chela's models", |path| {
        path.strip_prefix(context.paths.models()).unwrap_or(path).display().to_string()
    }));
    if let Some(hub) = locate::hub(env) {
        found.extend(hugging_face(&hub, home));
    }
    for below in [".lmstudio/models", ".cache/lm-studio/models"] {
        let mut seen = Walk::default();
        if let Some(home) = home {
            seen.folder(&home.join(below), DEPTH);
        }
        found.extend(seen.named("LM Studio", |path| shown(path, home)));
    }
    for folder in locate::ollama(env) {
        found.extend(ollama(&folder));
    }
    let mut paths = std::collections::HashSet::new();
    found.retain(|one| paths.insert(one.path.canonicalize().unwrap_or_else(|_| one.path.clone())));
    found
}

/// The path as a person writes it.
pub fn shown(path: &Path, home: Option<&Path>) -> String {
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

/// A folder is searched; models in it are collected.
#[derive(Default)]
struct Walk {
    paths: Vec<PathBuf>,
    entries: usize,
}

impl Walk {
    fn folder(&mut self, folder: &Path, depth: usize) {
        if is_model(folder) {
            self.paths.push(folder.to_owned());
            return;
        }
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            self.entries += 1;
            if self.entries > ENTRIES {
                return;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if name.ends_with(".gguf") {
                if is_whole(&name) && path.is_file() {
                    self.paths.push(path);
                }
            } else if depth > 0 && path.is_dir() {
                self.folder(&path, depth - 1);
            }
        }
    }

    fn named(self, place: &'static str, name: impl Fn(&Path) -> String) -> impl Iterator<Item = Found> {
        self.paths.into_iter().map(move |path| Found { name: name(&path), place, path })
    }
}

/// Not a later part of a split model, and no part that only adds pictures to one.
fn is_whole(name: &str) -> bool {
    let later = name.contains("-of-") && !name.contains("-00001-of-");
    !later && !name.to_ascii_lowercase().contains("mmproj")
}

/// A folder with weights in safetensors.
fn is_model(folder: &Path) -> bool {
    let safetensors = |folder: &Path| {
        let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().extension().is_some_and(|end| end == "safetensors"))
    };
    folder.join("config.json").is_file() && safetensors(folder)
}

/// Names of the cache are `models--org--name/snapshots/COMMIT`; `refs/main` says which.
fn hugging_face(hub: &Path, home: Option<&Path>) -> Vec<Found> {
    const PLACE: &str = "Hugging Face cache";
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(hub) else { return found };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.strip_prefix("models--")) {
        let name = name.replace("--", "/");
        let Some(snapshot) = locate::snapshot(hub, &name) else { continue };
        if is_model(&snapshot) {
            found.push(Found { name, place: PLACE, path: snapshot });
            continue;
        }
        let mut seen = Walk::default();
        seen.folder(&snapshot, 1);
        found.extend(seen.named(PLACE, |path| shown(path, home)));
    }
    found
}

/// Ollama keeps `manifests/HOST/NAMESPACE/NAME/TAG`, which name files in `blobs`.
fn ollama(folder: &Path) -> Vec<Found> {
    let names = |folder: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let registry = folder.join("manifests/registry.ollama.ai");
    let mut found = Vec::new();
    for space in names(&registry) {
        for name in names(&registry.join(&space)) {
            for tag in names(&registry.join(&space).join(&name)) {
                let manifest = registry.join(&space).join(&name).join(&tag);
                let Some(path) = locate::blob(&manifest, folder) else { continue };
                let space = if space == "library" { String::new() } else { format!("{space}/") };
                found.push(Found { name: format!("{space}{name}:{tag}"), place: "Ollama", path });
            }
        }
    }
    found
}

impl Found {
    /// One line: name, size, place, and whether it runs here.
    pub fn describe(&self, context: &Context) -> String {
        let opened = Source::open(&self.path);
        let bytes = opened.as_ref().map(|source| source.files().iter().map(|(_, bytes)| bytes).sum());
        let bytes = bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
        let runs = opened
            .map_err(|error| error.to_string())
            .and_then(|source| local::window(&source, context).map_err(|failure| failure.message));
        let runs = match runs {
            Ok(window) => format!("runs here, window {} tokens", output::tokens(window as u64)),
            Err(why) => format!("does not run here: {}", why.lines().next().unwrap_or_default()),
        };
        format!("{}{bytes}, {}: {runs}", self.name, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn parts_and_projectors_are_no_models() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in
            ["a/one.gguf", "b/two-00001-of-00002.gguf", "b/two-00002-of-00002.gguf", "b/mmproj-two.gguf"]
        {
            put(root, name, "");
        }
        put(root, ".hidden/x.gguf", "");
        put(root, "c/config.json", "{}");
        put(root, "c/model.safetensors", "");
        put(root, "d/config.json", "{}");
        let mut walk = Walk::default();
        walk.folder(root, 1);
        let names: Vec<String> = walk.paths.iter().map(|p| shown(p, Some(root))).collect();
        assert_eq!(names, ["~/a/one.gguf", "~/b/two-00001-of-00002.gguf", "~/c"]);
    }

    #[test]
    fn ollama_s_names_lead_to_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let layers = r#"{"layers":[{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:00"},
            {"mediaType":"application/vnd.ollama.image.model","digest":"sha256:ab12"}]}"#;
        put(folder.path(), "manifests/registry.ollama.ai/library/qwen3/4b", layers);
        put(folder.path(), "manifests/registry.ollama.ai/me/own/latest", layers);
        put(folder.path(), "manifests/registry.ollama.ai/library/gone/1b", &layers.replace("ab12", "cd34"));
        put(folder.path(), "manifests/registry.ollama.ai/library/odd/1b", &layers.replace("ab12", "../x"));
        let blob = put(folder.path(), "blobs/sha256-ab12", "GGUF");
        let found = ollama(folder.path());
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["qwen3:4b", "me/own:latest"]);
        let env = [("OLLAMA_MODELS", folder.path().to_str().unwrap())].into_iter().collect();
        for name in names {
            assert_eq!(locate::model(name, None, &env).unwrap(), blob);
        }
        assert!(locate::model("gone:1b", None, &env).is_err());
    }
}
