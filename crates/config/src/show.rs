//! A value of the config as it may be shown: every secret is `***` and where it comes from.

use crate::key_path::{KeyPath, Segment};
use crate::load::Loaded;
use crate::redact::Context;
use crate::secret::source_of_text;
use crate::text::Origin;
use crate::tree::{Entry, Node, Value};

/// There is no such value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShowError {
    /// The config does not hold the key.
    #[error("{key} is not set{}", hint(.nearest))]
    NotSet {
        /// Its path.
        key: String,
        /// The path of a key that is set and may be meant.
        nearest: Option<String>,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |near| format!("; did you mean {near}?"))
}

impl Loaded {
    /// The value at the path, with what is included and templates as they stand. `row_variable`
    /// gives the own variable of a provider, by its id.
    pub fn show(
        &self,
        path: &KeyPath,
        row_variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<serde_json::Value, ShowError> {
        let found = match &self.tree {
            Some(tree) => tree.find(path).map_err(|depth| nearest(tree, path, depth)),
            None if path.0.is_empty() => return Ok(serde_json::Value::Object(Default::default())),
            None => Err(None),
        };
        let node = found.map_err(|nearest| ShowError::NotSet { key: path.to_string(), nearest })?;
        let context = path.0.iter().fold(Context::default(), |context, segment| match segment {
            Segment::Key(key) => context.below(key),
            Segment::Index(_) => context,
        });
        let mut shower = Shower { loaded: self, path: path.clone(), row_variable };
        Ok(shower.value(node, context))
    }
}

fn nearest(tree: &Node, path: &KeyPath, depth: usize) -> Option<String> {
    let parent = path.prefix(depth);
    let (Ok(Node { value: Value::Object(entries), .. }), Some(Segment::Key(key))) =
        (tree.find(&parent), path.0.get(depth))
    else {
        return None;
    };
    let near = crate::decode::nearest(key, entries.iter().map(|entry| entry.key.as_str()))?;
    Some(parent.key(near).to_string())
}

struct Shower<'a> {
    loaded: &'a Loaded,
    path: KeyPath,
    row_variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Shower<'_> {
    fn value(&mut self, node: &Node, context: Context) -> serde_json::Value {
        if context.hides(&node.value) {
            return format!("*** (from {})", self.source(node)).into();
        }
        match &node.value {
            Value::Array(nodes) => {
                let nodes = nodes.iter().enumerate();
                nodes.map(|(n, node)| self.below(Segment::Index(n), node, context)).collect()
            }
            Value::Object(entries) => match reference(entries).filter(|_| context.is_named()) {
                Some(source) => format!("*** (from {source})").into(),
                None => {
                    let entries = entries.iter().map(|entry| {
                        let key = Segment::Key(entry.key.clone());
                        (entry.key.clone(), self.below(key, &entry.value, context.below(&entry.key)))
                    });
                    serde_json::Value::Object(entries.collect())
                }
            },
            Value::String(text) => text.as_str().into(),
            Value::Number(raw) => node.to_json().unwrap_or_else(|_| raw.as_str().into()),
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
        }
    }

    fn below(&mut self, segment: Segment, node: &Node, context: Context) -> serde_json::Value {
        self.path.0.push(segment);
        let value = self.value(node, context);
        self.path.0.pop();
        value
    }

    fn source(&self, node: &Node) -> String {
        let place = self.loaded.sources.place(node.span);
        let key = self.path.to_string();
        let origin = Origin { key, file: place.file, line: place.line };
        let Value::String(raw) = &node.value else {
            return origin.file.display().to_string();
        };
        source_of_text(raw, self.own_variable().as_deref(), &origin).to_string()
    }

    /// The own variable of the provider whose `apiKey` this is.
    fn own_variable(&self) -> Option<String> {
        use Segment::Key;
        match self.path.0.as_slice() {
            [Key(models), Key(providers), Key(id), Key(key)]
                if models == "models" && providers == "providers" && key == "apiKey" =>
            {
                (self.row_variable)(id)
            }
            _ => None,
        }
    }
}

/// What `{source, id}` refers to.
fn reference(entries: &[Entry]) -> Option<String> {
    let text = |key: &str| match &entries.iter().find(|entry| entry.key == key)?.value.value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    match (text("source")?, text("id")?) {
        ("env", id) => Some(format!("${id}")),
        (source, id) => Some(format!("the {source} {id}")),
    }
}
