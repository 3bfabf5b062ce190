//! `$include`: files merged into an object.
//!
//! Included files are merged in their order, later ones over earlier ones, and the object's own
//! keys over all: objects key by key, lists one after the other, everything else as a whole.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::env::Env;
use crate::key_path::{KeyPath, Segment};
use crate::load;
use crate::source::{Source, Sources, Span};
use crate::text::{self, Origin};
use crate::tree::{self, Entry, Node, Value};

/// The key.
pub(crate) const KEY: &str = "$include";

/// Levels of files that include files, at most.
const MAX_DEPTH: usize = 10;

/// Files that one config is made of, at most; a file counts each time it is included.
const MAX_FILES: usize = 256;

/// Replaces every `$include` of the tree by what it names. Without `on_disk`, it is an error.
/// Gives the errors beside what could be included.
pub(crate) fn resolve(
    tree: Node,
    sources: &mut Sources,
    env: &Env,
    on_disk: bool,
) -> (Node, Vec<Diagnostic>) {
    let main = sources.0[0].path.clone();
    let mut includer = Includer {
        sources,
        env,
        on_disk,
        chain: vec![main.canonicalize().unwrap_or(main)],
        path: KeyPath::default(),
        errors: Vec::new(),
    };
    let tree = includer.node(tree);
    (tree, includer.errors)
}

struct Includer<'a> {
    sources: &'a mut Sources,
    env: &'a Env,
    on_disk: bool,
    /// The files that are being read, each included by the one before it, with symlinks resolved.
    chain: Vec<PathBuf>,
    path: KeyPath,
    errors: Vec<Diagnostic>,
}

impl Includer<'_> {
    fn node(&mut self, node: Node) -> Node {
        let Node { span, value } = node;
        let value = match value {
            Value::Array(nodes) => {
                let nodes = nodes.into_iter().enumerate();
                Value::Array(nodes.map(|(n, node)| self.within(Segment::Index(n), node)).collect())
            }
            Value::Object(entries) => {
                let (includes, own): (Vec<Entry>, Vec<Entry>) =
                    entries.into_iter().partition(|entry| entry.key == KEY);
                let own = own.into_iter().map(|entry| {
                    let value = self.within(Segment::Key(entry.key.clone()), entry.value);
                    Entry { value, ..entry }
                });
                let own: Vec<Entry> = own.collect();
                return match includes.into_iter().next() {
                    Some(include) => self.include(include.value, Node { span, value: Value::Object(own) }),
                    None => Node { span, value: Value::Object(own) },
                };
            }
            other => other,
        };
        Node { span, value }
    }

    fn within(&mut self, segment: Segment, node: Node) -> Node {
        self.path.0.push(segment);
        let node = self.node(node);
        self.path.0.pop();
        node
    }

    /// What `include` names, with the object `own` merged over it.
    fn include(&mut self, include: Node, own: Node) -> Node {
        let names = match &include.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(&include),
        };
        let mut merged: Option<Node> = None;
        for name in names {
            let Value::String(raw) = &name.value else {
                let expected = "the path of a file, or a list of paths";
                let diagnostic = Diagnostic::error("wrong type").expected(expected).found(name.kind());
                self.refuse(name.span, diagnostic);
                continue;
            };
            if let Some(node) = self.file(raw, name.span) {
                merged = Some(merged.map_or(node.clone(), |base| merge(base, node)));
            }
        }
        let Some(base) = merged else { return own };
        match (&base.value, &own.value) {
            (Value::Object(_), _) => merge(base, own),
            (_, Value::Object(entries)) if entries.is_empty() => base,
            _ => {
                let diagnostic =
                    Diagnostic::error("the object has other keys, so what is included must be an object too")
                        .expected("an object")
                        .found(base.kind());
                self.refuse(include.span, diagnostic);
                own
            }
        }
    }

    fn refuse(&mut self, span: Span, mut diagnostic: Diagnostic) {
        // An error of the included file has a place there.
        if diagnostic.place.is_none() {
            diagnostic = diagnostic.key(self.path.key(KEY)).at(self.sources.place(span));
        }
        self.errors.push(diagnostic);
    }

    /// One included file, with its own includes resolved.
    fn file(&mut self, raw: &str, span: Span) -> Option<Node> {
        self.try_file(raw, span).map_err(|diagnostic| self.refuse(span, *diagnostic)).ok()
    }

    fn try_file(&mut self, raw: &str, span: Span) -> Result<Node, Box<Diagnostic>> {
        let place = self.sources.place(span);
        let named = place.file.parent().unwrap_or(Path::new("")).to_owned();
        let origin = Origin { key: self.path.key(KEY).to_string(), file: place.file, line: place.line };
        let name = text::resolve(raw, &origin, self.env)
            .map_err(|missing| Diagnostic::error(missing.to_string()).hint(missing.hint()))?;
        let path = self.locate(&name)?;
        let text = load::read(&path).map_err(|error| cannot_read(&path, &error))?;
        let parsed = tree::parse(self.sources, Source::new(&named.join(name), &text))?;
        self.errors.extend(parsed.duplicates);
        self.chain.push(path);
        let node = self.node(parsed.root);
        self.chain.pop();
        Ok(node)
    }

    /// The file that is meant, with symlinks resolved: below the folder of the file that includes
    /// it, and not one of those that are being read.
    fn locate(&self, name: &str) -> Result<PathBuf, Box<Diagnostic>> {
        if !self.on_disk {
            return Err(Diagnostic::error("this text is not a file, so it cannot include one").into());
        }
        let folder = self.chain.last().and_then(|including| including.parent()).unwrap_or(Path::new(""));
        let path = folder.join(name);
        let path = path.canonicalize().map_err(|error| cannot_read(&path, &error))?;
        let shown = path.display();
        if !path.starts_with(folder) {
            let folder = folder.display();
            let message = format!("{shown} is not below the folder of the file that includes it, {folder}");
            return Err(Diagnostic::error(message).hint("move it below that folder").into());
        }
        if let Some(from) = self.chain.iter().position(|file| *file == path) {
            let circle = self.chain[from..].iter().chain([&path]).map(|file| file.display().to_string());
            let circle = circle.collect::<Vec<_>>().join(" includes ");
            return Err(Diagnostic::error(format!("files include each other in a circle: {circle}")).into());
        }
        let message = match (self.chain.len(), self.sources.0.len()) {
            (level, _) if level > MAX_DEPTH => {
                format!("{shown} is included at level {level}; at most {MAX_DEPTH} levels are read")
            }
            (_, MAX_FILES..) => format!("{shown} is one file too many; at most {MAX_FILES} are read"),
            _ => return Ok(path),
        };
        Err(Diagnostic::error(message).into())
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(format!("cannot read {}: {error}", path.display()))
}

/// `over` on top of `base`.
fn merge(base: Node, over: Node) -> Node {
    let value = match (base.value, over.value) {
        (Value::Object(mut entries), Value::Object(over)) => {
            for entry in over {
                match entries.iter().position(|known| known.key == entry.key) {
                    Some(n) => {
                        let known = entries.remove(n);
                        let value = merge(known.value, entry.value);
                        entries.insert(n, Entry { value, ..entry });
                    }
                    None => entries.push(entry),
                }
            }
            Value::Object(entries)
        }
        (Value::Array(mut nodes), Value::Array(over)) => {
            nodes.extend(over);
            Value::Array(nodes)
        }
        (_, over) => over,
    };
    Node { span: over.span, value }
}
