//! What is known of OpenClaw's config and has no effect here: a data file.

const NAMES: &str = include_str!("openclaw.txt");

/// The names that stand below the name of an object or a choice.
pub(crate) fn names(of: &str) -> Vec<&'static str> {
    let lines = NAMES.lines().skip_while(|line| *line != of).skip(1);
    lines.take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_named_there_is_one_of_ours() {
        let ours = [
            include_str!("load.rs"),
            include_str!("agents.rs"),
            include_str!("models.rs"),
            include_str!("network.rs"),
            include_str!("secret.rs"),
        ]
        .concat();
        for name in NAMES.lines().filter(|line| !line.starts_with([' ', '#']) && !line.is_empty()) {
            let declared =
                ["struct", "enum"].iter().any(|kind| ours.contains(&format!("pub {kind} {name} ")));
            assert!(declared || ours.contains(&format!("pub struct {name}(")), "{name}");
            assert!(!names(name).is_empty(), "{name}");
        }
    }
}
