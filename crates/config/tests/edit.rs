//! Edits: one value changes, every other byte stays.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use chela_config::edit::{self, EditError};
use chela_config::{Env, KeyPath, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

fn path(text: &str) -> KeyPath {
    text.parse().unwrap()
}

fn set(text: &str, key: &str, value: Value) -> String {
    edit::set(text, &path(key), &value).unwrap()
}

fn unset(text: &str, key: &str) -> String {
    edit::unset(text, &path(key)).unwrap()
}

#[test]
fn set_changes_the_value_and_nothing_else() {
    let table: &[(&str, &str, Value, &str)] = &[
        // replaced
        ("{ a: 1, b: 2 }", "a", json!(3), "{ a: 3, b: 2 }"),
        ("{ a: /* x */ 1 /* y */, b: 2 } // z", "a", json!("t"), "{ a: /* x */ \"t\" /* y */, b: 2 } // z"),
        ("{ a: { /* x */ b: 1 } }", "a", json!(null), "{ a: null }"),
        (
            "{\n  a: 1,\n}",
            "a",
            json!({"b": [1, 2], "c": {}}),
            "{\n  a: {\n    b: [1, 2],\n    c: {},\n  },\n}",
        ),
        ("{ 'a': ['x', 'y'] }", "a[1]", json!("z"), "{ 'a': ['x', \"z\"] }"),
        // inserted on one line
        ("{ a: 1 }", "b", json!(2), "{ a: 1, b: 2 }"),
        ("{ a: 1, }", "b", json!(2), "{ a: 1, b: 2, }"),
        ("{\"a\":1}", "b", json!(2), "{\"a\":1, \"b\": 2}"),
        ("{ a: [1] }", "a[1]", json!(2), "{ a: [1, 2] }"),
        ("{ a: [] }", "a[0]", json!(2), "{ a: [2] }"),
        // inserted as a line
        ("{\n  a: 1,\n}\n", "b", json!(2), "{\n  a: 1,\n  b: 2,\n}\n"),
        ("{\n  \"a\": 1\n}\n", "b", json!("x"), "{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n"),
        ("{\n\ta: 1, // one\n\t// end\n}", "b", json!(2), "{\n\ta: 1, // one\n\tb: 2,\n\t// end\n}"),
        ("{\n  a: 1 // one\n}", "b", json!(2), "{\n  a: 1, // one\n  b: 2\n}"),
        ("{\n  a: 1 /* x\n y */ ,\n}", "b", json!(2), "{\n  a: 1 /* x\n y */ ,\n  b: 2,\n}"),
        ("{\n  a: 1\n  , // late\n}", "b", json!(2), "{\n  a: 1\n  , // late\n  b: 2,\n}"),
        (
            "{\r\n  a: 1,\r\n}\r\n",
            "b",
            json!({"c": 1}),
            "{\r\n  a: 1,\r\n  b: {\r\n    c: 1,\r\n  },\r\n}\r\n",
        ),
        ("{\n  a: {}, // x\n}", "a.b", json!(1), "{\n  a: {\n    b: 1,\n  }, // x\n}"),
        ("{\n  a: { // x\n  },\n}", "a.b", json!(1), "{\n  a: { // x\n    b: 1,\n  },\n}"),
        // objects and lists on the way
        ("{}", "a.b", json!(1), "{\n  a: {\n    b: 1,\n  },\n}"),
        ("{\n  a: 1,\n}", "m[\"vllm/*\"]", json!({}), "{\n  a: 1,\n  m: {\n    \"vllm/*\": {},\n  },\n}"),
        (
            "{\n    \"a\": 1\n}",
            "b.c[0].d",
            json!(1),
            "{\n    \"a\": 1,\n    \"b\": {\n        \"c\": [\n            {\n                \"d\": 1\n            }\n        ]\n    }\n}",
        ),
        // a text without a value
        ("", "a.b", json!(1), "{\n  a: {\n    b: 1,\n  },\n}\n"),
        ("// mine", "a", json!(1), "// mine\n{\n  a: 1,\n}\n"),
        ("\u{feff}{ a: 1 }", "a", json!(2), "\u{feff}{ a: 2 }"),
        // strings that need escapes
        ("{ a: 1 }", "a", json!("\"\\\n\u{2028}\u{0}é"), "{ a: \"\\\"\\\\\\n\u{2028}\\u0000é\" }"),
    ];
    for (text, key, value, expected) in table {
        assert_eq!(set(text, key, value.clone()), *expected, "{text:?} {key}");
    }
}

#[test]
fn unset_takes_the_value_its_comma_and_its_line() {
    let table = [
        ("{ a: 1, b: 2 }", "a", "{ b: 2 }"),
        ("{ a: 1, b: 2 }", "b", "{ a: 1 }"),
        ("{ a: 1, b: 2, }", "b", "{ a: 1, }"),
        ("{ a: 1 }", "a", "{ }"),
        ("{a:1}", "a", "{}"),
        ("{\n  a: 1,\n  b: 2,\n}\n", "a", "{\n  b: 2,\n}\n"),
        ("{\n  a: 1,\n  b: 2,\n}\n", "b", "{\n  a: 1,\n}\n"),
        ("{\n  \"a\": 1,\n  \"b\": 2\n}\n", "b", "{\n  \"a\": 1\n}\n"),
        ("{\r\n  a: 1,\r\n  b: 2,\r\n}\r\n", "a", "{\r\n  b: 2,\r\n}\r\n"),
        (
            "{\n  // of a\n  a: {\n    b: 1,\n  }, // after\n  c: 1,\n}",
            "a",
            "{\n  // of a\n  // after\n  c: 1,\n}",
        ),
        ("{ a: 1 /* x */, b: 2 }", "a", "{ /* x */ b: 2 }"),
        ("{\n  a: 1, // one\n  b: 2 // two\n}", "b", "{\n  a: 1 // one\n  // two\n}"),
        ("{ a: [1, 2, 3] }", "a[1]", "{ a: [1, 3] }"),
        ("{ a: [\n  1,\n  2\n] }", "a[1]", "{ a: [\n  1\n] }"),
        ("{\n  a: 1\n  , b: 2\n}", "a", "{\n  b: 2\n}"),
    ];
    for (text, key, expected) in table {
        assert_eq!(unset(text, key), expected, "{text:?} {key}");
    }
}

#[test]
fn what_cannot_be_edited_says_why() {
    let set = |text: &str, key: &str| edit::set(text, &path(key), &json!(1)).unwrap_err().to_string();
    let table = [
        ("{ a: 'x' }", "a.b", "a is a string, so there is no b in it; set a as a whole"),
        ("{ a: [] }", "a.b", "a is a list, so there is no b in it; set a as a whole"),
        ("{ a: {} }", "a[0]", "a is an object, so there is no [0] in it; set a as a whole"),
        ("{ a: [1] }", "a[2]", "a has 1 items; the next is a[1], not a[2]"),
        ("{}", "a[2]", "a has 0 items; the next is a[0], not a[2]"),
    ];
    for (text, key, expected) in table {
        assert_eq!(set(text, key), expected);
    }
    assert_eq!(edit::unset("{ a: 1 }", &path("b")).unwrap_err().to_string(), "b is not set");
    assert!(matches!(edit::set("{", &path("a"), &json!(1)), Err(EditError::Unreadable(_))));
    assert!(matches!(edit::set("{ a: 1, a: 2 }", &path("a"), &json!(1)), Err(EditError::Unreadable(_))));
    assert!(matches!(edit::set("{}", &KeyPath::default(), &json!(1)), Err(EditError::NoKey)));
    assert!(matches!(edit::unset("{}", &KeyPath::default()), Err(EditError::NoKey)));
}

#[test]
fn an_argument_is_json5_or_a_string() {
    let table = [
        ("true", json!(true)),
        ("600", json!(600)),
        ("0x10", json!(16)),
        ("-.5", json!(-0.5)),
        ("null", json!(null)),
        ("'x'", json!("x")),
        ("{ a: [1,] }", json!({"a": [1]})),
        ("vllm/Qwen", json!("vllm/Qwen")),
        ("http://127.0.0.1:8000/v1", json!("http://127.0.0.1:8000/v1")),
        ("${VLLM_API_KEY}", json!("${VLLM_API_KEY}")),
        ("NaN", json!("NaN")),
        ("", json!("")),
        (" ", json!(" ")),
        ("{", json!("{")),
    ];
    for (argument, value) in table {
        assert_eq!(edit::value_of_argument(argument), value, "{argument:?}");
    }
}

const FILE: &str = "// mine\n{\n  models: {\n    providers: {\n      vllm: {\n        timeoutSeconds: 3, // short\n      },\n    },\n  },\n}\n";

#[test]
fn a_file_is_replaced_as_a_whole_and_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chela.json5");
    let env = Env::default();
    fs::write(&file, FILE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let edited = edit::set_file(&file, &path("models.providers.vllm.timeoutSeconds"), "600", &env).unwrap();
    assert_eq!(edited.loaded.config.models.providers["vllm"].timeout.unwrap().as_secs(), 600);
    assert_eq!(fs::read_to_string(&file).unwrap(), FILE.replace("3,", "600,"));
    let backup = edited.backup.unwrap();
    assert_eq!(backup.file_name().unwrap(), "chela.json5.bak");
    assert_eq!(fs::read_to_string(&backup).unwrap(), FILE);
    for file in [&file, &backup] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

    // Nothing to change, nothing written.
    let edited = edit::set_file(&file, &path("models.providers.vllm.timeoutSeconds"), "600", &env).unwrap();
    assert!(edited.backup.is_none());
    assert_eq!(fs::read_to_string(&backup).unwrap(), FILE);

    let edited = edit::unset_file(&file, &path("models.providers.vllm"), &env).unwrap();
    assert!(edited.loaded.config.models.providers.is_empty());
}

#[test]
fn a_missing_file_is_made_for_the_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/home/chela.json5");
    let edited = edit::set_file(&file, &path("agents.defaults.model"), "vllm/m", &Env::default()).unwrap();
    assert!(edited.backup.is_none());
    let text = "{\n  agents: {\n    defaults: {\n      model: \"vllm/m\",\n    },\n  },\n}\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let unset = edit::unset_file(&folder.path().join("none.json5"), &path("a"), &Env::default());
    assert!(matches!(unset, Err(EditError::NotSet(_))));
    assert!(!folder.path().join("none.json5").exists());
}

#[test]
fn a_symlink_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("dotfiles/chela.json5");
    fs::create_dir(real.parent().unwrap()).unwrap();
    fs::write(&real, FILE).unwrap();
    let link = folder.path().join("chela.json5");
    symlink(&real, &link).unwrap();
    edit::set_file(&link, &path("network.localOnly"), "true", &Env::default()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("localOnly: true"));
}

#[test]
fn a_result_that_does_not_validate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chela.json5");
    fs::write(&file, FILE).unwrap();
    let refused = |key: &str, value: &str| {
        let error = edit::set_file(&file, &path(key), value, &Env::default()).unwrap_err().to_string();
        assert_eq!(fs::read_to_string(&file).unwrap(), FILE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        error
    };
    let error = refused("models.providers.vllm.timeoutSeconds", "soon");
    assert!(
        error.starts_with("nothing was changed, since the config would not be valid:\nerror: "),
        "{error}"
    );
    assert!(refused("models.mode", "x").contains("\"merge\" or \"replace\""));
    assert!(
        refused("models.providers.vllm.models[0].name", "x").contains("models[0].id: this key is missing")
    );
}

#[test]
fn several_values_are_looked_at_and_written_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chela.json5");
    fs::write(&file, "{ // mine\n}\n").unwrap();
    let values = |mode: &str| {
        [
            (path("models.providers.x.baseUrl"), "http://127.0.0.1:1/v1".into()),
            (path("models.mode"), mode.into()),
        ]
    };
    let seen = edit::preview(&file, &values("replace"), &Env::default()).unwrap();
    assert!(seen.config.models.providers.contains_key("x"));
    assert!(edit::preview(&file, &values("x"), &Env::default()).is_err());
    assert!(edit::set_values(&file, &values("x"), &Env::default()).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "{ // mine\n}\n");
    edit::set_values(&file, &values("replace"), &Env::default()).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("// mine") && text.contains("replace") && text.contains(":1/v1"), "{text}");
}

#[test]
fn a_string_of_digits_is_taken_for_one_where_only_that_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chela.json5");
    edit::set_file(&file, &path("models.providers.vllm.apiKey"), "12345", &Env::default()).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("apiKey: \"12345\""));
}

#[test]
fn a_value_of_an_included_file_is_refused_by_the_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chela.json5");
    let text = "{\n  models: { $include: 'm.json5' },\n}\n";
    fs::write(&file, text).unwrap();
    let included = "{ mode: 'merge', providers: { vllm: { baseUrl: 'http://h', models: [{ id: 'x' }] } } }";
    fs::write(folder.path().join("m.json5"), included).unwrap();
    for key in [
        "models.mode",
        "models.providers.vllm.baseUrl",
        "models.providers.vllm.models[0].id",
        "models.providers.vllm.models[1]",
    ] {
        let error = edit::set_file(&file, &path(key), "merge", &Env::default()).unwrap_err();
        let EditError::Included { file: named, .. } = &error else { panic!("{key}: {error}") };
        assert_eq!(named, &folder.path().join("m.json5"));
        assert!(edit::unset_file(&file, &path(key), &Env::default()).is_err());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    // A key that the included file does not hold goes into this one, and wins.
    let edited =
        edit::set_file(&file, &path("models.providers.vllm.timeoutSeconds"), "5", &Env::default()).unwrap();
    let vllm = &edited.loaded.config.models.providers["vllm"];
    assert_eq!((vllm.timeout.unwrap().as_secs(), vllm.models.len()), (5, 1));
    // From then on it is this file's.
    edit::set_file(&file, &path("models.providers.vllm.timeoutSeconds"), "6", &Env::default()).unwrap();
}

#[test]
fn an_unreadable_file_is_named() {
    let error =
        edit::set_file(Path::new("/dev/null/x/chela.json5"), &path("a"), "1", &Env::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot lock /dev/null/x/chela.json5: Not a directory (os error 20)");
}

/// A value as JSON5, with liberties and comments taken at random from `dice`.
fn write(value: &Value, dice: &mut impl FnMut(u8) -> u8, out: &mut String) {
    let gap = |dice: &mut dyn FnMut(u8) -> u8, out: &mut String| {
        let gaps =
            ["", " ", "\n", "\r\n", "\n    ", "\t", " /* c, } */ ", " // d: { ]\n", "/**/", " /* e\n f */\n"];
        out.push_str(gaps[dice(gaps.len() as u8) as usize]);
    };
    match value {
        Value::Object(fields) => {
            out.push('{');
            for (n, (key, value)) in fields.iter().enumerate() {
                gap(dice, out);
                let is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase());
                match dice(3) {
                    // The parser wants a blank between a bare key and a comment.
                    0 if is_word => out.push_str(&format!("{key} ")),
                    1 if is_word => out.push_str(&format!("'{key}'")),
                    _ => out.push_str(&Value::from(key.as_str()).to_string()),
                }
                gap(dice, out);
                out.push(':');
                gap(dice, out);
                write(value, dice, out);
                gap(dice, out);
                if n + 1 < fields.len() || dice(2) == 0 {
                    out.push(',');
                }
            }
            gap(dice, out);
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (n, value) in values.iter().enumerate() {
                gap(dice, out);
                write(value, dice, out);
                gap(dice, out);
                if n + 1 < values.len() || dice(2) == 0 {
                    out.push(',');
                }
            }
            gap(dice, out);
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15f64..1e15).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-e]{1,2}", 1 => "[a-c]/[.*\"' ]", 1 => any::<String>()]
}

fn document() -> impl Strategy<Value = (Value, String)> {
    let fields = prop::collection::vec((key(), value()), 0..5);
    (fields, prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(fields, dice)| {
        let value: Value = fields.into_iter().collect();
        let mut rolls = dice.iter().cycle().copied().enumerate().map(|(n, roll)| roll.wrapping_add(n as u8));
        let mut text = String::new();
        write(&value, &mut |sides| rolls.next().unwrap() % sides, &mut text);
        (value, text)
    })
}

/// All comments of a text, in order; the oracle is the parser's own token stream.
fn comments(text: &str) -> Vec<String> {
    use jsonc_parser::tokens::Token;
    let mut scanner = jsonc_parser::Scanner::new(text, &Default::default());
    let mut comments = Vec::new();
    while let Some(token) = scanner.scan().unwrap() {
        if let Token::CommentLine(text) | Token::CommentBlock(text) = token {
            comments.push(text.to_owned());
        }
    }
    comments
}

fn read_back(text: &str) -> Value {
    jsonc_parser::parse_to_serde_value::<Value>(
        text,
        &jsonc_parser::ParseOptions { allow_missing_commas: false, ..Default::default() },
    )
    .unwrap()
}

/// The path of one leaf, chosen by `dice`, or of a place where nothing is.
fn pick(value: &Value, dice: &[u8]) -> Vec<chela_config::Segment> {
    use chela_config::Segment::{Index, Key};
    let Some((&roll, rest)) = dice.split_first() else { return Vec::new() };
    let roll = roll as usize;
    let (segment, child) = match value {
        Value::Object(fields) if fields.is_empty() => (Key("new".into()), None),
        Value::Object(fields) => {
            let (key, child) = fields.iter().nth(roll % fields.len()).unwrap();
            (Key(key.clone()), Some(child))
        }
        Value::Array(values) if values.is_empty() => (Index(0), None),
        Value::Array(values) => (Index(roll % values.len()), values.get(roll % values.len())),
        _ => return Vec::new(),
    };
    let mut path = vec![segment];
    if let Some(child) = child {
        path.extend(pick(child, rest));
    }
    path
}

fn at<'v>(value: &'v mut Value, path: &KeyPath) -> Option<&'v mut Value> {
    path.0.iter().try_fold(value, |value, segment| match segment {
        chela_config::Segment::Key(key) => value.get_mut(key),
        chela_config::Segment::Index(index) => value.get_mut(index),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_global_rejects: 1 << 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_then_read_gives_the_value_and_all_else_as_it_was(
        (mut document, text) in document(), dice in prop::collection::vec(any::<u8>(), 1..6), new in value(),
    ) {
        let path = KeyPath(pick(&document, &dice));
        prop_assume!(!path.0.is_empty());
        let old = at(&mut document, &path).cloned();
        let edited = edit::set(&text, &path, &new).unwrap();
        let kept = comments(&text);
        let now = comments(&edited);
        match old {
            Some(Value::Object(_) | Value::Array(_)) => prop_assert!(now.len() <= kept.len()),
            _ => prop_assert_eq!(&now, &kept, "{}", edited),
        }
        let mut result = read_back(&edited);
        match at(&mut document, &path) {
            Some(slot) => *slot = new.clone(),
            None => {
                let (last, parent) = path.0.split_last().unwrap();
                let parent = at(&mut document, &KeyPath(parent.to_vec())).unwrap();
                match last {
                    chela_config::Segment::Key(key) => parent[key] = new.clone(),
                    chela_config::Segment::Index(_) => parent.as_array_mut().unwrap().push(new.clone()),
                }
            }
        }
        prop_assert_eq!(at(&mut result, &path).cloned(), Some(new), "{}", edited);
        prop_assert_eq!(result, document, "{}", edited);
    }

    #[test]
    fn a_new_key_is_added_beside_what_is_there((mut document, text) in document(), new in value()) {
        let edited = edit::set(&text, &path("quite.new"), &new).unwrap();
        prop_assert_eq!(comments(&edited), comments(&text));
        document["quite"] = json!({ "new": new });
        prop_assert_eq!(read_back(&edited), document, "{}", edited);
    }

    #[test]
    fn unset_takes_one_value_and_keeps_the_comments_around_it(
        (mut document, text) in document(), dice in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        let path = KeyPath(pick(&document, &dice));
        let there = at(&mut document, &path).cloned();
        prop_assume!(!path.0.is_empty() && there.is_some());
        let edited = edit::unset(&text, &path).unwrap();
        let has_own_comments = there.is_some_and(|value| value.is_object() || value.is_array());
        let (last, parent) = path.0.split_last().unwrap();
        match (at(&mut document, &KeyPath(parent.to_vec())).unwrap(), last) {
            (Value::Object(fields), chela_config::Segment::Key(key)) => { fields.remove(key); }
            (Value::Array(values), chela_config::Segment::Index(index)) => { values.remove(*index); }
            _ => unreachable!(),
        }
        prop_assert_eq!(read_back(&edited), document, "{}", edited);
        // Up to two comments between the key and its value go with them; all others stay.
        let lost = if matches!(last, chela_config::Segment::Key(_)) { 2 } else { 0 };
        let (kept, now) = (comments(&text), comments(&edited));
        prop_assert!(has_own_comments || now.len() + lost >= kept.len(), "{}", edited);
        let mut rest = kept.iter();
        prop_assert!(now.iter().all(|comment| rest.any(|kept| kept == comment)), "{}", edited);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ \n{}\\[\\],:'\"a/*\\\\$0-9x.eINu\u{feff}é-]{0,60}", any in any::<String>(), key in "[a-c]{1}([.][a-c]|\\[0\\]){0,2}") {
        for text in [&text, &any] {
            let _ = parse(text, "text", &Env::default());
            let _ = edit::unset(text, &path(&key));
            let _ = edit::value_of_argument(text);
            if let Ok(edited) = edit::set(text, &path(&key), &json!({"x": [1]})) {
                prop_assert!(edit::set(&edited, &path(&key), &json!(1)).is_ok(), "{:?} {:?}", text, edited);
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("chela.json5");
    fs::create_dir(&place).unwrap();
    let error = edit::set_file(&place, &path("models.mode"), "merge", &Env::default()).unwrap_err();
    assert!(matches!(error, EditError::Io { action: "read", .. }), "{error}");
}
