//! What is said about a config that is wrong, byte for byte: each `fixtures/errors/NAME.json5` with
//! its `NAME.txt`, written by hand and read as a user would.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use chela_config::{Env, parse};

fn said_about(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/errors");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json5"))).unwrap();
    match parse(&text, "chela.json5", &Env::default()) {
        Err(errors) => format!("{errors}\n"),
        Ok(loaded) => {
            let mut said: Vec<String> = loaded.warnings.iter().map(|warning| warning.to_string()).collect();
            said.extend(
                loaded.ignored.iter().map(|key| format!("{}:{} {}", key.file.display(), key.line, key.key)),
            );
            said.extend(loaded.ignored_line());
            said.join("\n\n") + "\n"
        }
    }
}

macro_rules! cases {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let expected = include_str!(concat!("fixtures/errors/", stringify!($name), ".txt"));
            assert_eq!(said_about(stringify!($name)), expected);
        }
    )*};
}

cases! {
    types values secrets duplicate comma unterminated word unclosed two list warnings long_line unicode
}
