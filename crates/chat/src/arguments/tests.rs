use super::*;
use serde_json::json;

fn tools() -> ToolSet {
    let spec = |name: &str, parameters: Value| ToolSpec { name: name.into(), description: None, parameters };
    ToolSet::new([
        spec(
            "get_weather",
            json!({"type": "object", "required": ["city"], "additionalProperties": false, "properties": {
                "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "unit": {"enum": ["celsius", "fahrenheit"]}}}),
        ),
        spec(
            "read",
            json!({"type": "object", "required": ["path"], "properties": {
                "path": {"type": "string"}, "offset": {"type": "integer"}, "limit": {"type": "integer", "minimum": 1}}}),
        ),
        spec(
            "search",
            json!({"type": "object", "$defs": {"year": {"type": "integer"}}, "properties": {
                "query": {"type": "string"}, "exact": {"type": "boolean"}, "score": {"type": "number"},
                "tags": {"type": "array", "items": {"type": "string"}}, "file_path": {"type": "string"},
                "filter": {"type": "object", "required": ["year"], "properties": {
                    "year": {"$ref": "#/$defs/year"}}},
                "when": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "any": {}, "mode": {"type": "string", "default": "fast"}}}),
        ),
        spec(
            "run",
            json!({"type": "object", "required": ["env"], "properties": {
            "env": {"type": "object", "additionalProperties": {"type": "string"}}}}),
        ),
        spec("now", Value::Null),
    ])
}

fn ok(name: &str, text: &str) -> (String, Value, Vec<String>) {
    let repaired = repair(name, text, &tools()).unwrap_or_else(|e| panic!("{name} {text}: {e}"));
    (repaired.name, Value::Object(repaired.args), repaired.notes)
}

#[test]
fn good_calls_are_left_alone() {
    for (name, text) in [
        ("get_weather", r#"{"city":"Oslo","days":3,"unit":"celsius"}"#),
        ("search", r#"{"query":"5","when":null,"tags":[],"filter":{"year":1,"more":[1]},"any":{"x":1}}"#),
        ("now", "{}"),
        ("now", r#"{"anything":1}"#),
        ("run", r#"{"env":{"A":"1"}}"#),
    ] {
        let (got, args, notes) = ok(name, text);
        if name == "search" {
            // A nested key that the schema does not know.
            assert_eq!(notes, ["dropped unknown \"filter.more\""]);
            continue;
        }
        assert_eq!(got, name);
        assert_eq!(args.to_string(), text);
        assert!(notes.is_empty(), "{notes:?}");
    }
}

#[test]
fn repairs() {
    let table = [
        // The JSON itself.
        ("get_weather", r#"{'city': 'Oslo'}"#, json!({"city": "Oslo"})),
        ("get_weather", r#"{"city": "Oslo",}"#, json!({"city": "Oslo"})),
        ("get_weather", r#"{"city": "Oslo""#, json!({"city": "Oslo"})),
        ("search", r#"{"exact": True, "when": None}"#, json!({"exact": true, "when": null})),
        ("get_weather", "{\"city\": \"Os\nlo\"}", json!({"city": "Os\nlo"})),
        ("get_weather", r#""{\"city\": \"Oslo\"}""#, json!({"city": "Oslo"})),
        ("get_weather", r#"[{"city": "Oslo"}]"#, json!({"city": "Oslo"})),
        ("get_weather", r#"{"arguments": {"city": "Oslo"}}"#, json!({"city": "Oslo"})),
        (
            "get_weather",
            r#"{"name": "get_weather", "parameters": {"city": "Oslo"}}"#,
            json!({"city": "Oslo"}),
        ),
        ("get_weather", r#""Oslo""#, json!({"city": "Oslo"})),
        ("now", "", json!({})),
        ("now", "null", json!({})),
        // Values.
        ("get_weather", r#"{"city": "Oslo", "days": "5"}"#, json!({"city": "Oslo", "days": 5})),
        ("get_weather", r#"{"city": "Oslo", "days": 5.0}"#, json!({"city": "Oslo", "days": 5})),
        ("get_weather", r#"{"city": "Oslo", "days": "5.0"}"#, json!({"city": "Oslo", "days": 5})),
        ("get_weather", r#"{"city": "Oslo", "days": 99}"#, json!({"city": "Oslo", "days": 14})),
        ("get_weather", r#"{"city": "Oslo", "days": 0}"#, json!({"city": "Oslo"})),
        ("read", r#"{"path": "a", "limit": 0}"#, json!({"path": "a"})),
        ("get_weather", r#"{"city": "Oslo", "days": null}"#, json!({"city": "Oslo"})),
        ("get_weather", r#"{"city": 5}"#, json!({"city": "5"})),
        ("get_weather", r#"{"city": ["Oslo"]}"#, json!({"city": "[\"Oslo\"]"})),
        ("get_weather", r#"{"city": "Oslo", "unit": "Celsius"}"#, json!({"city": "Oslo", "unit": "celsius"})),
        ("search", r#"{"exact": "true", "score": "0.5"}"#, json!({"exact": true, "score": 0.5})),
        ("search", r#"{"exact": 1}"#, json!({"exact": true})),
        ("search", r#"{"tags": "a"}"#, json!({"tags": ["a"]})),
        ("search", r#"{"tags": "[\"a\", 1]"}"#, json!({"tags": ["a", "1"]})),
        ("search", r#"{"filter": "{\"year\": \"2024\"}"}"#, json!({"filter": {"year": 2024}})),
        ("search", r#"{"filter": {"year": "2024"}}"#, json!({"filter": {"year": 2024}})),
        ("search", r#"{"when": "7"}"#, json!({"when": 7})),
        ("run", r#"{"env": {"A": 1}}"#, json!({"env": {"A": "1"}})),
        // Keys.
        ("search", r#"{"filePath": "a"}"#, json!({"file_path": "a"})),
        ("search", r#"{"qeury": "a"}"#, json!({"query": "a"})),
        ("get_weather", r#"{"city": "Oslo", "description": "why"}"#, json!({"city": "Oslo"})),
        ("read", r#"{"Path": "a"}"#, json!({"path": "a"})),
    ];
    for (name, text, want) in table {
        let (got, args, notes) = ok(name, text);
        assert_eq!(got, name);
        assert_eq!(args, want, "{text}");
        assert!(!notes.is_empty() || want == json!({}), "{text} needs a note");
    }
}

#[test]
fn names_that_are_meant() {
    let tools = tools();
    for (written, want) in [
        ("get-weather", Some("get_weather")),
        ("GetWeather", Some("get_weather")),
        ("getWeather", Some("get_weather")),
        ("functions.get_weather", Some("get_weather")),
        ("default_api.read", Some("read")),
        ("fs/read", Some("read")),
        ("mcp__files__read", Some("read")),
        ("get_wether", Some("get_weather")),
        ("serach", Some("search")),
        ("raed", Some("read")),
        ("head", None),
        ("rm", None),
        ("weather", None),
        ("", None),
    ] {
        assert_eq!(names::find(written, &tools).map(|tool| tool.name.as_str()), want, "{written}");
    }
    let two = ToolSet::new(["read_a", "read_b"].map(|name| ToolSpec {
        name: name.into(),
        description: None,
        parameters: Value::Null,
    }));
    assert!(names::find("read_c", &two).is_none());
}

#[test]
fn errors_say_what_to_do() {
    let table = [
        (
            "get_weather",
            "{}",
            r#"get_weather: city: expected a string, got nothing. Correct: {"city": "<city>"}"#,
        ),
        (
            "get_weather",
            r#"{"city": "Oslo", "days": "many"}"#,
            r#"get_weather: days: expected an integer, got "many". Correct: {"city": "<city>", "days": 1}"#,
        ),
        (
            "get_weather",
            r#"{"city": "Oslo", "unit": "kelvin"}"#,
            r#"get_weather: unit: expected one of "celsius", "fahrenheit", got "kelvin". Correct: {"city": "<city>", "unit": "celsius"}"#,
        ),
        (
            "search",
            r#"{"filter": {}}"#,
            r#"search: filter.year: expected an integer, got nothing. Correct: {"filter": {"year": 1}}"#,
        ),
        (
            "serch_all",
            "{}",
            r#"tool call: name: expected one of get_weather, read, search, run, now, got "serch_all". Correct: search"#,
        ),
        (
            "get_weather",
            r#"{"city": "Osl"#,
            r#"get_weather: arguments: expected a JSON object, got {"city": "Osl (EOF while parsing a string at line 1 column 13). Correct: {"city": "<city>"}"#,
        ),
        (
            "search",
            "[1, 2]",
            r#"search: arguments: expected a JSON object, got the array [1,2]. Correct: {}"#,
        ),
    ];
    for (name, text, want) in table {
        let error = repair(name, text, &tools()).expect_err(text);
        assert_eq!(error.to_string(), want);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever a model writes gives arguments or an error, and repaired arguments are good ones.
    #[test]
    fn repaired_arguments_need_no_repair(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", "\"", "'", ":", ",", "\"city\"", "\"days\"", "tags", "5", "1e999", "-0", "true",
                "None", "\\u12", "\\", "\n", " ", "é🦀", "\"path\": ", "{\"query\": \"a\"}", "\"filter\": {\"year\": \"1\"}",
            ]),
            0..14,
        ),
    ) {
        let text = parts.concat();
        for tool in &tools() {
            if let Ok(first) = repair(&tool.name, &text, &tools()) {
                let again = repair(&tool.name, &Value::Object(first.args.clone()).to_string(), &tools());
                let again = again.expect("repaired arguments are accepted");
                proptest::prop_assert_eq!(&again.args, &first.args, "{}", text);
                proptest::prop_assert!(again.notes.is_empty(), "{}: {:?}", text, again.notes);
            }
        }
    }
}
