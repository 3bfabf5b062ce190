//! From what the model wrote to a call that a tool can take: lenient in, exact out.

use chela_client::chat::{ToolSet, ToolSpec as Offered, arguments};
use chela_protocol::Call;
use serde_json::Value;

use crate::tool::{Args, Registry};

/// A call as it is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Understood {
    /// The tool that is meant.
    pub name: String,
    pub args: Args,
    /// What had to be done to it, one short sentence each.
    pub notes: Vec<String>,
}

/// The tools of a session as the reader of arguments needs them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader(ToolSet);

impl Reader {
    pub fn new(tools: &Registry) -> Self {
        let offered = |spec: &crate::tool::ToolSpec| Offered {
            name: spec.name.clone(),
            description: Some(spec.description.clone()),
            parameters: spec.parameters.clone(),
        };
        Self(ToolSet::new(tools.iter().map(|tool| offered(tool.spec()))))
    }

    /// Reads a call.
    ///
    /// # Errors
    /// What is wrong, with the place, what was expected, what was got and an example.
    pub fn understand(&self, call: &Call) -> Result<Understood, String> {
        match arguments::repair(&call.name, written(call), &self.0) {
            Ok(repaired) => {
                Ok(Understood { name: repaired.name, args: repaired.args, notes: repaired.notes })
            }
            Err(error) => Err(format!("error: {error}")),
        }
    }

    /// The arguments as later requests send them, and what the model wrote where that is
    /// something else. Servers refuse a conversation with broken JSON in it, so that what is no
    /// object is sent as the object that it was taken for, or as an empty one.
    pub fn wire(&self, name: &str, text: &str) -> (String, Option<String>) {
        if let Ok(Value::Object(args)) = serde_json::from_str::<Value>(text) {
            return (Value::Object(args).to_string(), None);
        }
        let args = arguments::repair(name, text, &self.0).map(|repaired| repaired.args);
        (Value::Object(args.unwrap_or_default()).to_string(), Some(text.to_owned()))
    }
}

/// The arguments as the model wrote them.
pub(crate) fn written(call: &Call) -> &str {
    call.raw.as_deref().unwrap_or(&call.arguments)
}
