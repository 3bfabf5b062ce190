//! What the user is told where tools cannot go out as fields, and the flag that the server lacks.

use super::facts::ToolRoute;
use crate::catalog::Model;

/// Flags of a vLLM that serves a family nobody knows: the most common syntax.
const USUAL_FLAGS: &str = "--enable-auto-tool-choice --tool-call-parser hermes";

/// One line: what is done instead, and the remedy.
pub fn advice(model: &Model, route: ToolRoute, lacks_parser: bool) -> String {
    let how = match route {
        ToolRoute::Rendered => "tools are written into the system text and calls read from the answer's text",
        ToolRoute::Text | ToolRoute::Native => "tool calls are read from the answer's text",
    };
    let name = &model.reference;
    if !lacks_parser {
        return format!("{name}: the server does not take tools for this model; {how}");
    }
    let flags = match model.family {
        Some(family) => family.tool_parser.as_ref().and(family.vllm_flags()),
        None => Some(USUAL_FLAGS.to_owned()),
    };
    match flags {
        Some(flags) => format!(
            "{name}: the server was started without a tool-call parser; {how}. Started with {flags}, it would \
             guarantee them"
        ),
        None => format!(
            "{name}: vLLM has no tool-call parser for {}; {how}",
            model.family.map_or("it", |family| &family.title)
        ),
    }
}
