//! Any text: reading it never panics; what `set` writes is read again as that value; `unset` takes it out.
#![no_main]

use chela_config::{Env, KeyPath, edit, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, path, argument) = input;
    let env = Env::default();
    let _ = parse(text, "chela.json5", &env);
    let Ok(path) = path.parse::<KeyPath>() else { return };
    assert_eq!(path.to_string().parse::<KeyPath>(), Ok(path.clone()));
    let value = edit::value_of_argument(argument);
    let Ok(set) = edit::set(text, &path, &value) else { return };
    // Set again, nothing changes: what was written is what is there.
    assert_eq!(edit::set(&set, &path, &value).ok().as_deref(), Some(set.as_str()));
    let Ok(unset) = edit::unset(&set, &path) else { panic!("what was set can be removed") };
    assert!(edit::unset(&unset, &path).is_err() || matches!(path.0.last(), Some(chela_config::Segment::Index(_))));
});
