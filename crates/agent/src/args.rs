//! From what the model wrote to arguments that a tool can use.

use serde_json::Value;

use crate::tool::{Args, ToolSpec};

/// Arguments as they are used, with what had to be done to them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Understood {
    pub args: Args,
    pub notes: Vec<String>,
}

/// Reads the arguments of a call by the tool's schema.
///
/// # Errors
/// What is wrong, with the place, what was expected, what was got and an example.
pub(crate) fn understand(spec: &ToolSpec, written: &str) -> Result<Understood, String> {
    let _ = spec;
    match serde_json::from_str::<Value>(written) {
        Ok(Value::Object(args)) => Ok(Understood { args, notes: Vec::new() }),
        _ => Err(format!("The arguments are not a JSON object: {written}")),
    }
}

/// The arguments as later requests send them: the object that the model wrote, compact. What
/// was no object is sent as an empty one, because servers refuse a conversation with broken
/// JSON in it; the second value is then what was written.
pub(crate) fn wire(written: &str) -> (String, Option<String>) {
    match serde_json::from_str::<Value>(written) {
        Ok(Value::Object(args)) => (Value::Object(args).to_string(), None),
        _ => ("{}".to_owned(), Some(written.to_owned())),
    }
}
