//! Which offered tool a name means.

use crate::dialect::bare_name;
use crate::tools::{ToolSet, ToolSpec};

/// The tool that `name` means: exactly, without a prefix, in another spelling of the same words,
/// or with one or two letters wrong. Only where no second tool could be meant.
pub(super) fn find<'t>(name: &str, tools: &'t ToolSet) -> Option<&'t ToolSpec> {
    let name = bare_name(name, tools);
    if let Some(tool) = tools.get(name) {
        return Some(tool);
    }
    let wanted = plain(name);
    let last = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    let last = last.rsplit("__").next().map(plain).unwrap_or_default();
    only(tools, |tool| plain(&tool.name) == wanted)
        .or_else(|| only(tools, |tool| !last.is_empty() && plain(&tool.name) == last))
        .or_else(|| {
            // A wrong first letter is more often another word than a slip.
            let near = |tool: &ToolSpec| {
                let other = plain(&tool.name);
                let limit = if wanted.chars().count() >= 6 { 2 } else { 1 };
                other.chars().next() == wanted.chars().next()
                    && wanted.chars().count() > 2
                    && strsim::osa_distance(&other, &wanted) <= limit
            };
            only(tools, near)
        })
}

/// The tool whose name is closest, for a suggestion.
pub(super) fn nearest<'t>(name: &str, tools: &'t ToolSet) -> Option<&'t ToolSpec> {
    let wanted = plain(name);
    tools.iter().min_by_key(|tool| strsim::osa_distance(&plain(&tool.name), &wanted))
}

/// The name in lower case, without anything but letters and digits.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn only(tools: &ToolSet, fits: impl Fn(&ToolSpec) -> bool) -> Option<&ToolSpec> {
    let mut found = tools.iter().filter(|tool| fits(tool));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
