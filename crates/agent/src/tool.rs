//! The tool seam: what a tool says of itself, what it is given, what it gives back.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chela_protocol::{ResultStatus, Right, SessionId, Taint, ToolRow, TurnId};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The arguments of a call: coerced to the tool's schema, unknown keys dropped.
pub type Args = Map<String, Value>;

/// What a tool says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// The name, as models know it.
    pub name: String,
    /// One or two sentences for the model.
    pub description: String,
    /// JSON Schema of the arguments: an object.
    pub parameters: Value,
    /// True where no call ever changes anything; such calls run beside one another.
    pub read_only: bool,
}

/// One built-in or foreign tool.
///
/// A call goes through three steps: [`Tool::rights`] says what it needs, the policy decides,
/// [`Tool::call`] does it. Between the first and the last the world may change, so `call`
/// resolves again and refuses what [`ToolCtx::granted`] does not cover.
pub trait Tool: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ToolSpec;

    /// What a call with these arguments needs to be allowed to do. Changes nothing.
    ///
    /// # Errors
    /// What is wrong with the arguments, as the model shall read it.
    fn rights(&self, ctx: &ToolCtx, args: &Args) -> Result<Vec<Right>, String>;

    /// What the call would change in a file, as a unified diff, for a human who is asked.
    fn preview(&self, ctx: &ToolCtx, args: &Args) -> Option<String> {
        let _ = (ctx, args);
        None
    }

    /// Does it. The future is dropped shortly after [`ToolCtx::cancel`] fires.
    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult>;
}

/// What a call is given.
#[derive(Clone)]
pub struct ToolCtx {
    /// The folder that relative paths are relative to: absolute, symlinks resolved.
    pub workspace: PathBuf,
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The id of the call.
    pub call: String,
    /// Bytes that the result may have; a longer one is cut by the tool, which knows where, or
    /// else by the loop.
    pub limit: usize,
    /// What the policy allowed.
    pub rights: Arc<[Right]>,
    /// Places that a search leaves out although they may lie below what was allowed: the
    /// agent's own keys, config and store. Absolute, symlinks resolved.
    pub protected: Arc<[PathBuf]>,
    /// Fires when the turn is stopped.
    pub cancel: CancellationToken,
    /// Takes what a running tool writes, for the front end.
    pub output: Output,
}

impl ToolCtx {
    /// True where the policy allowed exactly this.
    #[must_use]
    pub fn granted(&self, right: &Right) -> bool {
        self.rights.contains(right)
    }

    /// True where a search leaves a file out: it may hold secrets, or is the agent's own.
    #[must_use]
    pub fn hides(&self, path: &Path) -> bool {
        crate::secrets::secret(path).is_some() || self.protected.iter().any(|place| path.starts_with(place))
    }
}

/// Where a running tool writes what the front end shows before the call ends.
#[derive(Clone, Debug)]
pub struct Output {
    call: String,
    sender: mpsc::Sender<(String, String)>,
}

impl Output {
    /// An output that sends `(call, text)`.
    #[must_use]
    pub fn new(call: &str, sender: mpsc::Sender<(String, String)>) -> Self {
        Self { call: call.to_owned(), sender }
    }

    /// Sends new characters. Waits while the front end is behind.
    pub async fn send(&self, text: String) {
        // A receiver that is gone means that the turn has ended; nobody is left to show it to.
        let _ = self.sender.send((self.call.clone(), text)).await;
    }
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// What the model reads. The loop replaces a blank one by words.
    pub content: String,
    /// How it ended.
    pub status: ResultStatus,
    /// What changed in a file, as a unified diff.
    pub diff: Option<String>,
    /// What the content brings into the context.
    pub taint: Taint,
}

impl ToolResult {
    /// A result that did what it should.
    #[must_use]
    pub fn ok(content: impl Into<String>) -> Self {
        Self { content: content.into(), status: ResultStatus::Ok, diff: None, taint: Taint::default() }
    }

    /// A result that says what was wrong.
    #[must_use]
    pub fn error(content: impl Into<String>) -> Self {
        Self { status: ResultStatus::Error, ..Self::ok(content) }
    }

    /// The same, with a diff.
    #[must_use]
    pub fn with_diff(self, diff: String) -> Self {
        Self { diff: Some(diff), ..self }
    }

    /// The same, marked as the user's own text.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.taint.private = true;
        self
    }

    /// The same, marked as text from outside.
    #[must_use]
    pub fn untrusted(mut self) -> Self {
        self.taint.untrusted = true;
        self
    }
}

/// The tools of a session, in the order in which the model sees them.
#[derive(Clone, Default)]
pub struct Registry {
    tools: Vec<Arc<dyn Tool>>,
    by_name: HashMap<String, usize>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Registry {
    /// The registry of these tools. Of two with one name the later one is used.
    #[must_use]
    pub fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        let mut registry = Self::default();
        for tool in tools {
            let name = tool.spec().name.clone();
            match registry.by_name.get(&name) {
                Some(&at) => registry.tools[at] = tool,
                None => {
                    registry.by_name.insert(name, registry.tools.len());
                    registry.tools.push(tool);
                }
            }
        }
        registry
    }

    /// The tool of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.by_name.get(name).map(|&at| &self.tools[at])
    }

    /// All tools, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Tool>> {
        self.tools.iter()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| tool.spec().name.as_str())
    }

    /// The `tools` array of a request (OpenAI chat completions), as compact JSON. The same
    /// bytes for the same tools, always.
    #[must_use]
    pub fn schemas(&self) -> String {
        let tools: Vec<Value> = self.tools.iter().map(|tool| schema(tool.spec())).collect();
        Value::Array(tools).to_string()
    }

    /// What a front end lists.
    #[must_use]
    pub fn rows(&self) -> Vec<ToolRow> {
        let row = |tool: &Arc<dyn Tool>| {
            let spec = tool.spec();
            ToolRow {
                name: spec.name.clone(),
                description: spec.description.clone(),
                read_only: spec.read_only,
            }
        };
        self.tools.iter().map(row).collect()
    }
}

fn schema(spec: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": spec.parameters,
        }
    })
}

/// The real path of `path`, which may not exist yet: the longest part that exists has its
/// symlinks resolved, the rest is appended with `.` and `..` taken out.
///
/// # Errors
/// A path with a NUL, a loop of symlinks, or a folder that cannot be searched.
pub fn resolve(base: &Path, path: &str) -> std::io::Result<PathBuf> {
    use std::path::Component;
    let mut real = PathBuf::new();
    let mut rest: Vec<std::ffi::OsString> = Vec::new();
    let full = base.join(path);
    // Component by component, so that `link/..` means the folder above the link's target.
    for component in full.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => real.push(component),
            Component::CurDir => {}
            Component::ParentDir => {
                if rest.pop().is_none() {
                    real.pop();
                }
            }
            Component::Normal(name) if rest.is_empty() => match real.join(name).canonicalize() {
                Ok(found) => real = found,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A dangling symlink is resolved by hand: writing to it would create its
                    // target, and that is what the policy has to see.
                    match std::fs::read_link(real.join(name)) {
                        Ok(target) => real = resolve_dangling(&real, &target)?,
                        Err(_) => rest.push(name.to_owned()),
                    }
                }
                Err(error) => return Err(error),
            },
            Component::Normal(name) => rest.push(name.to_owned()),
        }
    }
    real.extend(rest);
    Ok(real)
}

fn resolve_dangling(folder: &Path, target: &Path) -> std::io::Result<PathBuf> {
    let Some(text) = target.to_str() else {
        return Err(std::io::Error::other("a symlink whose target is not UTF-8"));
    };
    resolve(folder, text)
}

/// The beginning and the end of a text that is longer than `limit` bytes, at line breaks where
/// there are any, with what was left out between them.
#[must_use]
pub fn head_and_tail(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let head = floor(text, limit * 2 / 3);
    let tail = ceil(text, text.len() - limit / 3);
    let head = text[..head].rfind('\n').filter(|at| *at > limit / 3).map_or(head, |at| at + 1);
    let tail = text[tail..].find('\n').filter(|at| *at < limit / 6).map_or(tail, |at| tail + at + 1);
    let left = &text[head..tail];
    let lines = left.matches('\n').count();
    format!("{}\n[… {} bytes, {lines} lines left out …]\n{}", &text[..head], left.len(), &text[tail..])
}

/// The nearest character boundary at or before `at`.
#[must_use]
pub fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The nearest character boundary at or after `at`.
#[must_use]
pub fn ceil(text: &str, mut at: usize) -> usize {
    while at < text.len() && !text.is_char_boundary(at) {
        at += 1;
    }
    at.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn head_and_tail_break_at_lines_and_say_what_is_left_out() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let short = head_and_tail(&text, 90);
        assert!(short.starts_with("line 0\n"), "{short}");
        assert!(short.ends_with("line 99\n"), "{short}");
        assert!(short.contains("lines left out"), "{short}");
        assert_eq!(head_and_tail("short", 90), "short");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn head_and_tail_hold_the_limit_for_any_text(text in "[a\u{e9}\u{1f980}\n]{0,300}", limit in 1_usize..200) {
            let short = head_and_tail(&text, limit);
            prop_assert!(short.len() <= text.len().min(limit) + 80);
        }
    }
}
