//! Changing one value of a config's text, and nothing else of it.
//!
//! [`set`] and [`unset`] are pure: text in, text out, every byte outside the value kept. [`set_file`],
//! [`set_values`] and [`unset_file`] do the same to a file: the result is validated before it replaces the
//! file, and what stood there is kept beside it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::diagnostic::ConfigErrors;
use crate::env::Env;
use crate::key_path::{KeyPath, Segment};
use crate::layout::{After, Style, after_item, indent_of, is_first_on_line, skip_blanks, skip_blanks_back};
use crate::load::{self, Loaded};
use crate::source::{Source, Sources};
use crate::tree::{self, Node, Value};
use crate::{include, write};

/// Why a value was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text is not JSON5.
    #[error("the config cannot be edited before this is put right:\n{0}")]
    Unreadable(ConfigErrors),
    /// The text would not be a valid config.
    #[error("nothing was changed, since the config would not be valid:\n{0}")]
    Refused(ConfigErrors),
    /// There is nothing at the path.
    #[error("{0} is not set")]
    NotSet(KeyPath),
    /// A part of the path cannot have anything below it.
    #[error("{path} is {found}, so there is no {child} in it; set {path} as a whole")]
    NotAContainer {
        /// The part.
        path: KeyPath,
        /// What stands there.
        found: &'static str,
        /// The key or list place that was asked for.
        child: KeyPath,
    },
    /// A list place beyond the end.
    #[error("{path} has {length} items; the next is {path}[{length}], not {path}[{index}]")]
    BeyondEnd {
        /// The list.
        path: KeyPath,
        /// Its items.
        length: usize,
        /// What was asked for.
        index: usize,
    },
    /// The whole config was named where a value is needed.
    #[error("name a key, as in models.providers.vllm.baseUrl")]
    NoKey,
    /// The value stands in an included file.
    #[error("{path} stands in {}, which is included; change it there: --config {}", file.display(), file.display())]
    Included {
        /// The path.
        path: KeyPath,
        /// The file that holds it.
        file: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a change of a file did.
#[derive(Debug)]
pub struct Edited {
    /// The config as it is now.
    pub loaded: Loaded,
    /// The copy of what stood there before; none if there was no file or nothing changed.
    pub backup: Option<PathBuf>,
}

/// The text with the value at `path` set; objects and lists on the way are made.
pub fn set(text: &str, path: &KeyPath, value: &Json) -> Result<String, EditError> {
    let document = Document::parse(text)?;
    let body = match document.root.find(path) {
        _ if path.0.is_empty() => return Err(EditError::NoKey),
        Ok(node) => {
            let indent = indent_of(document.text(), node.span.start);
            let rendered = document.style.render(value, indent);
            document.replaced(&[(node.span.start, node.span.end, rendered)])
        }
        Err(depth) => document.insert(path, depth, value)?,
    };
    Ok(format!("{}{body}", document.mark))
}

/// The text without the value at `path` and its key; comments around it stay.
pub fn unset(text: &str, path: &KeyPath) -> Result<String, EditError> {
    if path.0.is_empty() {
        return Err(EditError::NoKey);
    }
    let document = Document::parse(text)?;
    let body = document.remove(path).ok_or_else(|| EditError::NotSet(path.clone()))?;
    Ok(format!("{}{body}", document.mark))
}

/// The value that a command line argument stands for: JSON5 if it is that, else a string.
pub fn value_of_argument(argument: &str) -> Json {
    let parsed = tree::parse(&mut Sources::default(), Source::new(Path::new(""), argument));
    match parsed {
        Ok(parsed) if !argument.trim().is_empty() => {
            parsed.root.to_json().unwrap_or_else(|_| argument.into())
        }
        _ => argument.into(),
    }
}

/// [`set`] on a file, which is created if it is missing. An argument that is valid only as a string,
/// such as a key made of digits, is taken for one.
pub fn set_file(file: &Path, path: &KeyPath, argument: &str, env: &Env) -> Result<Edited, EditError> {
    let value = value_of_argument(argument);
    let edited = change(file, &[path], env, &|text| set(text, path, &value));
    match edited {
        Err(EditError::Refused(errors)) if !value.is_string() => {
            change(file, &[path], env, &|text| set(text, path, &argument.into()))
                .map_err(|_| EditError::Refused(errors))
        }
        edited => edited,
    }
}

/// [`unset`] on a file.
pub fn unset_file(file: &Path, path: &KeyPath, env: &Env) -> Result<Edited, EditError> {
    change(file, &[path], env, &|text| unset(text, path))
}

/// Several values of a file in one write: all of them, or none.
pub fn set_values(file: &Path, values: &[(KeyPath, Json)], env: &Env) -> Result<Edited, EditError> {
    let paths: Vec<&KeyPath> = values.iter().map(|(path, _)| path).collect();
    change(file, &paths, env, &|text| set_all(text, values))
}

/// The config as [`set_values`] would leave it. Nothing is written.
pub fn preview(file: &Path, values: &[(KeyPath, Json)], env: &Env) -> Result<Loaded, EditError> {
    let old = read(file)?.unwrap_or_default();
    load::build(file, &set_all(&old, values)?, env, true).map_err(EditError::Refused)
}

fn set_all(text: &str, values: &[(KeyPath, Json)]) -> Result<String, EditError> {
    values.iter().try_fold(text.to_owned(), |text, (path, value)| set(&text, path, value))
}

type Change<'a> = &'a dyn Fn(&str) -> Result<String, EditError>;

fn change(file: &Path, paths: &[&KeyPath], env: &Env, edit: Change<'_>) -> Result<Edited, EditError> {
    let failed = |action| move |source| EditError::Io { action, file: file.to_owned(), source };
    let target = write::Target::lock(file).map_err(failed("lock"))?;
    let old = read(file)?;
    let text = old.as_deref().unwrap_or("");
    for path in paths {
        not_included(file, text, path, env)?;
    }
    let new = edit(text)?;
    let loaded = load::build(file, &new, env, true).map_err(EditError::Refused)?;
    let backup = match &old {
        Some(old) if *old == new => return Ok(Edited { loaded, backup: None }),
        Some(old) => Some(target.back_up(old).map_err(failed("back up"))?),
        None => None,
    };
    target.replace(&new).map_err(failed("write"))?;
    Ok(Edited { loaded, backup })
}

/// The text of the file, if it is there.
fn read(file: &Path) -> Result<Option<String>, EditError> {
    match load::read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EditError::Io { action: "read", file: file.to_owned(), source }),
    }
}

/// An error if the value at the path comes from an included file.
fn not_included(file: &Path, text: &str, path: &KeyPath, env: &Env) -> Result<(), EditError> {
    let mut sources = Sources::default();
    let tree = parse(&mut sources, Source::new(file, text))?;
    let own = tree.find(path).is_ok();
    // Where an include fails, what is below it is not known; then the result does not validate.
    let (merged, _) = include::resolve(tree, &mut sources, env, true);
    let in_list = |depth: usize| matches!(path.0.get(depth), Some(Segment::Index(_)));
    let node = match merged.find(path) {
        Ok(node) => Some(node),
        Err(depth) if in_list(depth) => merged.find(&path.prefix(depth)).ok(),
        Err(_) => None,
    };
    match node {
        Some(node) if node.span.file != 0 && !own => {
            let file = sources.0[node.span.file].path.clone();
            Err(EditError::Included { path: path.clone(), file })
        }
        _ => Ok(()),
    }
}

/// The tree of a text in which every path leads to one value.
fn parse(sources: &mut Sources, source: Source) -> Result<Node, EditError> {
    match tree::parse(sources, source) {
        Ok(parsed) if parsed.duplicates.is_empty() => Ok(parsed.root),
        Ok(parsed) => Err(EditError::Unreadable(ConfigErrors(parsed.duplicates))),
        Err(error) => Err(EditError::Unreadable(ConfigErrors(vec![*error]))),
    }
}

/// A text and its tree, whose spans are places in the text.
struct Document {
    mark: &'static str,
    sources: Sources,
    root: Node,
    style: Style,
}

impl Document {
    fn parse(text: &str) -> Result<Document, EditError> {
        let mut sources = Sources::default();
        let root = parse(&mut sources, Source::new(Path::new("the text"), text))?;
        let mark = if text.starts_with('\u{feff}') { "\u{feff}" } else { "" };
        let style = Style::of(&sources.0[0].text, &root);
        Ok(Document { mark, sources, root, style })
    }

    fn text(&self) -> &str {
        &self.sources.0[0].text
    }

    /// The text with each stretch `start..end` replaced; stretches are in order and apart.
    fn replaced(&self, stretches: &[(usize, usize, String)]) -> String {
        let text = self.text();
        let mut new = String::with_capacity(text.len() + 64);
        let mut at = 0;
        for (start, end, replacement) in stretches {
            new.push_str(&text[at..*start]);
            new.push_str(replacement);
            at = *end;
        }
        new.push_str(&text[at..]);
        new
    }

    /// Adds what is missing of the path below its first `depth` segments.
    fn insert(&self, path: &KeyPath, depth: usize, value: &Json) -> Result<String, EditError> {
        let parent_path = path.prefix(depth);
        let parent = self.root.find(&parent_path).map_err(|_| EditError::NotSet(parent_path.clone()))?;
        let mut value = value.clone();
        for (n, segment) in path.0.iter().enumerate().skip(depth + 1).rev() {
            value = match segment {
                Segment::Key(key) => Json::Object([(key.clone(), value)].into_iter().collect()),
                Segment::Index(0) => Json::Array(vec![value]),
                Segment::Index(index) => {
                    return Err(EditError::BeyondEnd { path: path.prefix(n), length: 0, index: *index });
                }
            };
        }
        let segment = &path.0[depth];
        match (&parent.value, segment) {
            (Value::Object(entries), Segment::Key(key)) => {
                let bare = entries
                    .last()
                    .is_none_or(|last| !self.text()[last.key_span.start..].starts_with(['"', '\'']));
                let key = self.style.key(key, bare && self.style.bare_keys);
                Ok(self.append(parent, &format!("{key}: "), &value))
            }
            (Value::Array(nodes), Segment::Index(index)) if *index == nodes.len() => {
                Ok(self.append(parent, "", &value))
            }
            (Value::Array(nodes), Segment::Index(index)) => {
                Err(EditError::BeyondEnd { path: parent_path, length: nodes.len(), index: *index })
            }
            _ => {
                let child = KeyPath(vec![segment.clone()]);
                Err(EditError::NotAContainer { path: parent_path, found: parent.kind(), child })
            }
        }
    }

    /// Adds an item, `label` and `value`, at the end of an object or list.
    fn append(&self, container: &Node, label: &str, value: &Json) -> String {
        let text = self.text();
        let newline = self.style.newline;
        let close = container.span.end.saturating_sub(1);
        let Some(last) = items(container).pop() else {
            return self.append_first(container, label, value);
        };
        let After { comma, line_end } = after_item(text, last.end, close);
        let first_on_line = is_first_on_line(text, last.start);
        let indent = indent_of(text, last.start);
        let item = format!("{label}{}", self.style.render(value, indent));
        match (first_on_line, comma) {
            (true, Some(_)) => self.replaced(&[(line_end, line_end, format!("{newline}{indent}{item},"))]),
            (true, None) => {
                let comma = (last.end, last.end, ",".to_owned());
                self.replaced(&[comma, (line_end, line_end, format!("{newline}{indent}{item}"))])
            }
            (false, Some(comma)) => self.replaced(&[(comma + 1, comma + 1, format!(" {item},"))]),
            (false, None) => self.replaced(&[(last.end, last.end, format!(", {item}"))]),
        }
    }

    /// Adds the first item of an object or list, or the object itself to a text without a value.
    fn append_first(&self, container: &Node, label: &str, value: &Json) -> String {
        let text = self.text();
        let Style { unit, newline, comma, .. } = &self.style;
        let (start, close) = (container.span.start, container.span.end.saturating_sub(1));
        if !text[start..].starts_with(['{', '[']) {
            let before = if text.is_empty() || text.ends_with('\n') { "" } else { newline };
            let item = self.style.render(value, unit);
            let object = format!("{before}{{{newline}{unit}{label}{item}{comma}{newline}}}{newline}");
            return self.replaced(&[(text.len(), text.len(), object)]);
        }
        let inner = &text[start + 1..close];
        let is_list_of_one = label.is_empty() && inner.is_empty() && !value.is_object() && !value.is_array();
        if is_list_of_one {
            return self.replaced(&[(close, close, self.style.render(value, ""))]);
        }
        let indent = indent_of(text, start);
        let deeper = format!("{indent}{unit}");
        let item = self.style.render(value, &deeper);
        let from = start + 1 + inner.trim_end().len();
        let added = format!("{newline}{deeper}{label}{item}{comma}{newline}{indent}");
        self.replaced(&[(from, close, added)])
    }

    /// Removes the item at the path, its comma, and its line if nothing else stands on it.
    fn remove(&self, path: &KeyPath) -> Option<String> {
        let text = self.text();
        let (segment, parent) = path.0.split_last()?;
        let parent = self.root.find(&KeyPath(parent.to_vec())).ok()?;
        let index = match (&parent.value, segment) {
            (Value::Object(entries), Segment::Key(key)) => {
                entries.iter().position(|entry| entry.key == *key)?
            }
            (_, Segment::Index(index)) => *index,
            _ => return None,
        };
        let items = items(parent);
        let item = items.get(index)?;
        let close = parent.span.end.saturating_sub(1);
        let limit = items.get(index + 1).map_or(close, |next| next.start);
        let comma = after_item(text, item.end, limit).comma;
        let comma_before = match (comma, index.checked_sub(1)) {
            (None, Some(before)) => after_item(text, items[before].end, item.start).comma,
            _ => None,
        };
        // A comma right behind the value goes with it; one behind a comment goes alone.
        let own_end = comma
            .filter(|comma| text[item.end..*comma].trim().is_empty())
            .map_or(item.end, |comma| comma + 1);
        let (from, to) = with_blanks(text, item.start, own_end);
        let mut stretches = vec![(from, to, String::new())];
        if let Some(comma) = comma.filter(|comma| *comma >= own_end) {
            stretches.push((comma.max(to), (comma + 1).max(to), String::new()));
        }
        if let Some(comma) = comma_before.filter(|comma| *comma < from) {
            stretches.insert(0, (comma, comma + 1, String::new()));
        }
        Some(self.replaced(&stretches))
    }
}

/// The stretch `start..end` with the blanks that it leaves useless: its line, if nothing else
/// stands there.
fn with_blanks(text: &str, start: usize, end: usize) -> (usize, usize) {
    let line_start = skip_blanks_back(text, start);
    let line_end = skip_blanks(text, end);
    let begins = text[..line_start].is_empty() || text[..line_start].ends_with(['\n', '\r']);
    let rest = &text[line_end..];
    match (begins, ["\r\n", "\n", "\r"].iter().find(|newline| rest.starts_with(**newline))) {
        (true, Some(newline)) => (line_start, line_end + newline.len()),
        (true, None) => (start, line_end),
        (false, _) if text[..line_start].ends_with(['{', '[']) => (start, line_end),
        (false, _) => (line_start, end),
    }
}

/// What an object or a list has between its commas.
fn items(container: &Node) -> Vec<Range<usize>> {
    match &container.value {
        Value::Object(entries) => {
            entries.iter().map(|entry| entry.key_span.start..entry.value.span.end).collect()
        }
        Value::Array(nodes) => nodes.iter().map(|node| node.span.start..node.span.end).collect(),
        _ => Vec::new(),
    }
}
