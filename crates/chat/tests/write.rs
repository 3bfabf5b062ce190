//! What is written in a dialect is read back by its parser.
#![allow(clippy::unwrap_used)]

use chela_chat::dialect::{ALL, write_calls};
use chela_chat::render::{result_text, tools_text, without_tools};
use chela_chat::{Answer, Detect, Dialect, OutputParser, ParserOptions, ToolSet, ToolSpec};
use chela_openai::chat::{Message, ToolCall};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn tools() -> ToolSet {
    ToolSet::new([
        ToolSpec {
            name: "search".into(),
            description: Some("Search the web".into()),
            parameters: json!({"type": "object", "properties": {
                "query": {"type": "string"}, "limit": {"type": "integer"}, "exact": {"type": "boolean"},
                "tags": {"type": "array"}, "filter": {"type": "object"}}}),
        },
        ToolSpec { name: "now".into(), description: None, parameters: Value::Null },
    ])
}

fn text() -> impl Strategy<Value = String> {
    // Whatever a dialect cannot escape is left out: its own markers.
    proptest::string::string_regex("[a-zA-Z0-9 .,;:!?'\"(){}\\[\\]/\\\\#é🦀-]{0,24}").unwrap()
}

fn args() -> impl Strategy<Value = Map<String, Value>> {
    let options = (
        prop::option::of(text()),
        prop::option::of(any::<i32>()),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::collection::vec(text(), 0..3)),
        prop::option::of((text(), any::<i16>())),
    );
    options.prop_map(|(query, limit, exact, tags, filter)| {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.into(), value);
            }
        };
        put("query", query.map(Value::from));
        put("limit", limit.map(Value::from));
        put("exact", exact.map(Value::from));
        put("tags", tags.map(Value::from));
        put("filter", filter.map(|(a, b)| json!({"a": a, "b": {"c": [b]}})));
        map
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_calls_are_read_back(first in args(), second in args(), auto in any::<bool>()) {
        for dialect in ALL {
            let calls = [("search", &first), ("now", &Map::new()), ("search", &second)];
            let written = write_calls(*dialect, &calls);
            let detect = if auto { Detect::Auto } else { Detect::Only(vec![*dialect]) };
            let options = ParserOptions { tools: tools(), detect, ..Default::default() };
            let answer = OutputParser::parse(options, &written);
            prop_assert_eq!(&answer.text, "", "{:?}: {}", dialect, written);
            prop_assert!(answer.malformed.is_empty(), "{:?}: {} {:?}", dialect, written, answer);
            let got: Vec<_> = answer.calls.iter().map(|call| {
                (call.name.as_str(), serde_json::from_str::<Map<String, Value>>(&call.arguments).unwrap())
            }).collect();
            let want: Vec<_> = calls.iter().map(|(name, args)| (*name, (*args).clone())).collect();
            prop_assert_eq!(got, want, "{:?}: {}", dialect, written);
            if !auto {
                // As a grammar lets it be written, it is read while it comes.
                let detect = Detect::Only(vec![*dialect]);
                let options = ParserOptions { tools: tools(), detect, guarded: true, ..Default::default() };
                let mut parser = OutputParser::new(options);
                let chars = written.split_inclusive(|_| true);
                let mut pieces: Vec<_> = chars.flat_map(|part| parser.push(part)).collect();
                pieces.extend(parser.finish());
                let guarded: Answer = pieces.into_iter().collect();
                let values = |answer: &Answer| -> Vec<_> {
                    let value = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
                    answer.calls.iter().map(|call| (call.name.clone(), value(&call.arguments))).collect()
                };
                prop_assert_eq!(values(&guarded), values(&answer), "{:?}: {}", dialect, written);
            }
        }
    }
}

#[test]
fn the_forms() {
    let args = json!({"query": "a", "limit": 5}).as_object().cloned().unwrap();
    let one = |dialect| write_calls(dialect, &[("search", &args)]);
    let table = [
        (
            Dialect::Hermes,
            "<tool_call>\n{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"limit\": 5}}\n</tool_call>",
        ),
        (
            Dialect::QwenXml,
            "<tool_call>\n<function=search>\n<parameter=query>\na\n</parameter>\n<parameter=limit>\n5\n</parameter>\n</function>\n</tool_call>",
        ),
        (Dialect::Llama3Json, "{\"name\": \"search\", \"parameters\": {\"query\": \"a\", \"limit\": 5}}"),
        (Dialect::Mistral, "[TOOL_CALLS]search[ARGS]{\"query\": \"a\", \"limit\": 5}"),
        (
            Dialect::Harmony,
            "<|channel|>commentary to=functions.search <|constrain|>json<|message|>{\"query\": \"a\", \"limit\": 5}<|call|>",
        ),
        (Dialect::Gemma4, "<|tool_call>call:search{query:<|\"|>a<|\"|>,limit:5}<tool_call|>"),
        (Dialect::Pythonic, "[search(query=\"a\", limit=5)]"),
        (
            Dialect::Glm45,
            "<tool_call>search\n<arg_key>query</arg_key>\n<arg_value>a</arg_value>\n<arg_key>limit</arg_key>\n<arg_value>5</arg_value>\n</tool_call>",
        ),
    ];
    for (dialect, want) in table {
        assert_eq!(one(dialect), want);
    }
}

#[test]
fn a_conversation_without_tools() {
    let messages = [
        Message::system("Be brief."),
        Message::user("Hi"),
        Message::assistant_calls(
            Some("Looking.".into()),
            vec![ToolCall::new("1", "now", "{}"), ToolCall::new("2", "search", "{\"query\": \"x\"}")],
        ),
        Message::tool("1", "12:00"),
        Message::tool("2", "nothing"),
        Message::assistant("Noon."),
    ];
    let plain = without_tools(&messages, Dialect::Hermes, &tools());
    let roles: Vec<_> = plain.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    let text = |at: usize| plain[at].content.as_ref().unwrap().text().into_owned();
    assert!(text(0).starts_with("Be brief.\n\n# Tools\n"));
    assert!(text(0).contains("{\"type\": \"function\", \"function\": {\"name\": \"now\"}}"));
    assert!(
        text(2).starts_with("Looking.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>")
    );
    assert_eq!(
        text(3),
        format!("{}\n{}", result_text(Some("now"), "12:00"), result_text(Some("search"), "nothing"))
    );
    assert!(plain.iter().all(|message| message.tool_calls.is_empty() && message.tool_call_id.is_none()));
}

/// The offer itself must not read as a call if a model repeats it.
#[test]
fn the_offer_names_no_tool_in_its_form() {
    for dialect in ALL {
        let offer = tools_text(*dialect, &tools());
        assert!(offer.contains("tool_name"), "{dialect:?}");
        assert!(offer.contains("\"name\": \"search\""), "{dialect:?}");
    }
    assert_eq!(tools_text(Dialect::Hermes, &ToolSet::default()), "");
}
