//! The tools that a request offers, as the parsers and renderers need them.

use std::sync::Arc;

use serde_json::Value;

/// One offered function.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// The function's name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON Schema of the arguments object; `Value::Null` if the request gave none.
    pub parameters: Value,
}

impl ToolSpec {
    /// The schema of one argument, if the schema declares it; what it refers to instead of a reference.
    pub fn parameter(&self, key: &str) -> Option<&Value> {
        let part = self.parameters.get("properties")?.get(key)?;
        Some(crate::schema::resolve(&self.parameters, part))
    }

    /// The declared argument names, in the schema's order.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.parameters
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys().map(String::as_str))
    }
}

/// The tools offered in one request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ToolSet(Arc<[ToolSpec]>);

impl ToolSet {
    /// The set of `specs`, in their order.
    pub fn new(specs: impl IntoIterator<Item = ToolSpec>) -> Self {
        Self(specs.into_iter().collect())
    }

    /// The tool of exactly this name.
    pub fn get(&self, name: &str) -> Option<&ToolSpec> {
        self.0.iter().find(|tool| tool.name == name)
    }

    /// Whether a tool of exactly this name is offered.
    pub fn offers(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tools in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, ToolSpec> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ToolSet {
    type Item = &'a ToolSpec;
    type IntoIter = std::slice::Iter<'a, ToolSpec>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<ToolSpec> for ToolSet {
    fn from_iter<T: IntoIterator<Item = ToolSpec>>(iter: T) -> Self {
        Self::new(iter)
    }
}

impl From<&[chela_openai::chat::Tool]> for ToolSet {
    fn from(tools: &[chela_openai::chat::Tool]) -> Self {
        tools
            .iter()
            .map(|tool| ToolSpec {
                name: tool.function.name.clone(),
                description: tool.function.description.clone(),
                parameters: tool.function.parameters.clone(),
            })
            .collect()
    }
}
