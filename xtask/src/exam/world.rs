//! The agent's binary, each request in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The built binary, the model, and a folder for all requests; the folder goes when this is dropped.
pub struct Binary {
    path: PathBuf,
    model: PathBuf,
    folder: PathBuf,
}

/// What the agent did.
#[derive(Default)]
pub struct Trace {
    pub calls: Vec<Call>,
    /// The text after the last call.
    pub answer: String,
    /// The files afterwards, by path.
    pub folder: PathBuf,
    /// How the last turn ended.
    pub outcome: String,
}

/// One call and its result.
pub struct Call {
    pub name: String,
    pub args: Value,
    pub result: String,
    pub ok: bool,
}

impl Binary {
    /// Builds it.
    pub fn build(root: &Path, model: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--locked", "--quiet", "-p", "chela-cli"])
            .current_dir(root)
            .status()
            .context("cannot start cargo build")?;
        if !built.success() {
            bail!("the build failed: {built}");
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = std::env::temp_dir().join(format!("chela-exam-{}", std::process::id()));
        Ok(Self { path: target.join("debug/chela"), model: model.to_owned(), folder })
    }

    /// Puts one request: its files, then its messages one after the other.
    pub fn ask(&self, request: &Value) -> Result<Trace> {
        let id = request["id"].as_str().context("a request has no id")?;
        let place = self.folder.join(id);
        let work = place.join("work");
        std::fs::create_dir_all(&work)?;
        std::fs::create_dir_all(place.join("home"))?;
        let files = request["files"].as_object().into_iter().flatten();
        for (name, content) in files {
            let path = work.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(&work))?;
            std::fs::write(path, content.as_str().unwrap_or_default())?;
        }
        for name in request["folders"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            std::fs::create_dir_all(work.join(name))?;
        }
        let mut trace = Trace { folder: work.clone(), ..Trace::default() };
        let messages = match request["say"].as_array() {
            Some(messages) => messages.iter().filter_map(Value::as_str).collect(),
            None => vec![request["request"].as_str().context("a request says nothing")?],
        };
        for message in messages {
            let output = Command::new(&self.path)
                .args("agent --json --approve all --session exam --max-steps 12 --model".split(' '))
                .args([&format!("local/{}", self.model.display()), "-m", message])
                .current_dir(&work)
                .env("CHELA_HOME", place.join("home"))
                .stdin(Stdio::null())
                .output()?;
            trace.take(&String::from_utf8_lossy(&output.stdout));
            if trace.outcome.is_empty() {
                bail!("{id}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(trace)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // What cannot be removed lies in the temporary folder, where it does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Trace {
    /// Reads the events of a turn.
    fn take(&mut self, events: &str) {
        let mut open: Vec<(String, String, Value)> = Vec::new();
        self.outcome.clear();
        for event in events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().unwrap_or_default() {
                "turn_started" => self.answer.clear(),
                // What the program took back, as the user was told.
                "notice" if text("text").ends_with("; asking again") => self.answer.clear(),
                "text_delta" => self.answer.push_str(&text("text")),
                "tool_call_started" => {
                    self.answer.clear();
                    open.push((text("id"), text("name"), event["args"].clone()));
                }
                "tool_call_finished" => {
                    let id = text("id");
                    let Some(at) = open.iter().position(|(known, ..)| *known == id) else { continue };
                    let (_, name, args) = open.remove(at);
                    let ok = event["status"] == "ok";
                    self.calls.push(Call { name, args, result: text("result"), ok });
                }
                "turn_finished" => {
                    self.outcome = event["outcome"]["outcome"].as_str().unwrap_or("?").to_owned()
                }
                _ => {}
            }
        }
    }
}
