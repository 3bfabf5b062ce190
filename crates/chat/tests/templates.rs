//! Chat templates against transformers' own rendering; see make_template_fixtures.py.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use chela_chat::template::{ChatTemplate, Input, TemplateError, TemplateFacts, normalise};
use chela_chat::{Dialect, ReasoningStyle};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Fixture {
    oracle: String,
    now: String,
    specials: Map<String, Value>,
    documents: Vec<Value>,
    tools: Vec<Value>,
    templates: BTreeMap<String, String>,
    messages: BTreeMap<String, Vec<Value>>,
    texts: Vec<String>,
    cases: Vec<Case>,
    continued: Vec<Continued>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    messages: String,
    #[serde(default)]
    add_generation_prompt: bool,
    #[serde(default)]
    tools: bool,
    #[serde(default)]
    kwargs: Map<String, Value>,
    /// Index into `texts`.
    is: Option<usize>,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct Continued {
    template: String,
    last: String,
    text: Option<String>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/templates.json")).unwrap()
}

fn compiled(fixture: &Fixture) -> BTreeMap<String, ChatTemplate> {
    let compile = |source: &str| ChatTemplate::new(source, fixture.specials.clone());
    fixture
        .templates
        .iter()
        .map(|(name, source)| {
            (name.clone(), compile(source).unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect()
}

#[test]
fn byte_equal_to_transformers() {
    let fixture = fixture();
    let templates = compiled(&fixture);
    let mut wrong = Vec::new();
    for case in &fixture.cases {
        let input = Input {
            messages: &fixture.messages[&case.messages],
            tools: case.tools.then_some(&fixture.tools),
            documents: (case.template == "documents").then_some(&fixture.documents),
            add_generation_prompt: case.add_generation_prompt,
            kwargs: Some(&case.kwargs),
            now: Some(fixture.now.parse().unwrap()),
            ..Input::default()
        };
        let got = templates[&case.template].render(&input);
        let label =
            format!("{} / {} / tools {} / {:?}", case.template, case.messages, case.tools, case.kwargs);
        match (case.is, &case.refused, got) {
            (Some(index), _, Ok(text)) if text == fixture.texts[index] => {}
            (Some(index), _, got) => {
                wrong.push(format!("{label}\n  want {:?}\n  got  {got:?}", fixture.texts[index]));
            }
            (None, Some(message), Err(TemplateError::Refused(got))) if got == *message => {}
            (None, Some(message), got) => {
                wrong.push(format!("{label}\n  want a refusal {message:?}\n  got {got:?}"))
            }
            // What Python cannot render at all may be rendered here.
            (None, None, _) => {}
        }
    }
    let shown: Vec<_> = wrong.iter().take(12).cloned().collect();
    assert!(wrong.is_empty(), "{} differ from {}\n{}", wrong.len(), fixture.oracle, shown.join("\n"));
}

#[test]
fn continuing_the_final_message() {
    let fixture = fixture();
    let templates = compiled(&fixture);
    for case in &fixture.continued {
        let messages =
            [json!({"role": "user", "content": "Hi"}), json!({"role": "assistant", "content": case.last})];
        let now = Some(fixture.now.parse().unwrap());
        let input = Input { messages: &messages, continue_final_message: true, now, ..Input::default() };
        let got = templates[&case.template].render(&input);
        match &case.text {
            Some(text) => assert_eq!(got.as_ref().ok(), Some(text), "{} {:?}", case.template, case.last),
            None => assert!(got.is_err(), "{} {got:?}", case.template),
        }
    }
}

#[test]
fn facts_of_the_templates() {
    let fixture = fixture();
    let templates = compiled(&fixture);
    let facts = |name: &str| TemplateFacts::of(&templates[name]);
    for (name, dialect) in [
        ("chatml", None),
        ("hermes_tools", Some(Dialect::Hermes)),
        ("llama3", Some(Dialect::Llama3Json)),
        ("mistral_strict", Some(Dialect::Mistral)),
        ("mistral_v11", Some(Dialect::Mistral)),
        ("gemma3", None),
        ("gemma4", Some(Dialect::Gemma4)),
        ("harmony", Some(Dialect::Harmony)),
        ("qwen_xml", Some(Dialect::QwenXml)),
        ("qwen35_strict", Some(Dialect::QwenXml)),
        ("deepseek", Some(Dialect::DeepseekV3)),
        ("glm", Some(Dialect::Glm45)),
        ("kimi", Some(Dialect::KimiK2)),
        ("minimax", Some(Dialect::MinimaxM2)),
        ("granite3", Some(Dialect::Granite)),
        ("lfm2", Some(Dialect::Lfm2)),
        ("smollm3", Some(Dialect::Hermes)),
        ("olmo3", Some(Dialect::Olmo3)),
    ] {
        assert_eq!(facts(name).dialect, dialect, "{name}");
    }
    for (name, tools) in
        [("chatml", false), ("hermes_tools", true), ("llama3", true), ("gemma3", false), ("kimi", true)]
    {
        assert_eq!(facts(name).tools, tools, "{name}");
    }
    for (name, style, opened) in [
        ("chatml", None, false),
        ("think_split", Some(ReasoningStyle::Think), false),
        ("think_opened", Some(ReasoningStyle::Think), true),
        ("qwen35_strict", Some(ReasoningStyle::Think), true),
        ("deepseek", Some(ReasoningStyle::Think), true),
        ("minimax", Some(ReasoningStyle::Think), true),
        ("harmony", Some(ReasoningStyle::Harmony), false),
    ] {
        assert_eq!((facts(name).reasoning, facts(name).opened), (style, opened), "{name}");
    }
    assert_eq!(facts("qwen35_strict").thinking_kwarg, Some("enable_thinking"));
    assert_eq!(facts("granite3").thinking_kwarg, Some("thinking"));
    assert_eq!(facts("chatml").thinking_kwarg, None);
    let strict = facts("gemma3").roles;
    assert!(strict.system && !strict.repeated && !strict.assistant_first && !strict.system_anywhere);
    assert!(facts("qwen35_strict").roles.needs_user && !facts("qwen35_strict").roles.system_anywhere);
    let lax = facts("chatml").roles;
    assert!(lax.system_anywhere && lax.repeated && lax.assistant_first && !lax.needs_user);
    assert!(facts("gemma3").parts && facts("qwen35_strict").parts && !facts("chatml").parts);
}

/// Templates of a conversation; the others test the language.
const CONVERSATIONS: &[&str] = &[
    "chatml",
    "hermes_tools",
    "think_split",
    "think_opened",
    "llama3",
    "mistral_strict",
    "mistral_v11",
    "gemma3",
    "gemma4",
    "harmony",
    "qwen_xml",
    "qwen35_strict",
    "deepseek",
    "glm",
    "kimi",
    "minimax",
    "granite3",
    "phi4_mini",
    "phi4",
    "lfm2",
    "smollm3",
    "olmo3",
];

fn any_message() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["one", "", "two words"]);
    (0..9usize, text).prop_map(|(kind, text)| match kind {
        0 => json!({"role": "system", "content": text}),
        1 => json!({"role": "developer", "content": text}),
        2 | 3 => json!({"role": "user", "content": text}),
        4 => json!({"role": "user", "content": [{"type": "text", "text": text}]}),
        5 => json!({"role": "assistant", "content": text}),
        6 => json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "abcdef123", "type": "function", "function": {"name": "now", "arguments": "{\"a\": 1}"}}]}),
        7 => json!({"role": "assistant", "content": text, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "not json"}},
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}),
        _ => json!({"role": "tool", "tool_call_id": "call_1", "content": text}),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any order of roles is rendered by every template, once it is normalised for it.
    #[test]
    fn any_conversation_is_rendered(messages in prop::collection::vec(any_message(), 1..8), tools in any::<bool>()) {
        thread_local! {
            static KNOWN: (Fixture, BTreeMap<String, (ChatTemplate, TemplateFacts)>) = {
                let fixture = fixture();
                let known = compiled(&fixture).into_iter().filter(|(name, _)| CONVERSATIONS.contains(&name.as_str()));
                let known = known.map(|(name, template)| {
                    let facts = TemplateFacts::of(&template);
                    (name, (template, facts))
                });
                let known = known.collect();
                (fixture, known)
            };
        }
        KNOWN.with(|(fixture, known)| {
            for (name, (template, facts)) in known {
                let normal = normalise(&messages, facts);
                let input = Input {
                    messages: &normal,
                    tools: tools.then_some(&fixture.tools),
                    add_generation_prompt: true,
                    now: Some(fixture.now.parse().unwrap()),
                    ..Input::default()
                };
                let got = template.render(&input);
                prop_assert!(got.is_ok(), "{name}: {} from {}\n{facts:?}", got.unwrap_err(), Value::from(normal));
            }
            Ok(())
        })?;
    }
}

/// Where a template takes a conversation as it is, nothing is changed but the arguments' shape.
#[test]
fn good_conversations_are_left_alone() {
    let fixture = fixture();
    let templates = compiled(&fixture);
    for name in ["chatml", "hermes_tools", "qwen_xml", "gemma3", "llama3"] {
        let facts = TemplateFacts::of(&templates[name]);
        for conversation in ["user", "turns"] {
            let messages = &fixture.messages[conversation];
            assert_eq!(normalise(messages, &facts), *messages, "{name} {conversation}");
        }
    }
}

#[test]
fn picking_a_template() {
    let list = json!([{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]);
    let source =
        |value: &Value, tools| ChatTemplate::choose(value, tools, Map::new()).map(|t| t.source().to_owned());
    assert_eq!(source(&list, false).unwrap(), "d");
    assert_eq!(source(&list, true).unwrap(), "t");
    assert_eq!(source(&json!("s"), true).unwrap(), "s");
    assert!(source(&json!([{"name": "rag", "template": "r"}]), false).is_err());
    assert!(source(&json!(5), false).is_err());
    assert!(matches!(source(&json!("{% if %}"), false), Err(TemplateError::Syntax(_))));
}

/// Oracle: vLLM 0.32.0's `return_prompt_text` and `/tokenize` on the tiny model of the recordings,
/// a Qwen-like template of its own.
#[test]
fn the_tiny_models_prompt() {
    let config: Value = serde_json::from_str(include_str!("fixtures/tiny_tokenizer_config.json")).unwrap();
    let template = ChatTemplate::choose(&config["chat_template"], false, Map::new()).unwrap();
    let facts = TemplateFacts::of(&template);
    let prompt = |messages: Value, kwargs: Value| {
        let messages = normalise(messages.as_array().unwrap(), &facts);
        let kwargs = kwargs.as_object();
        template
            .render(&Input { messages: &messages, add_generation_prompt: true, kwargs, ..Input::default() })
            .unwrap()
    };
    let hello = json!({"role": "user", "content": "Say hello."});
    assert_eq!(
        prompt(json!([hello]), json!({})),
        "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        prompt(json!([hello]), json!({"enable_thinking": false})),
        "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    );
    assert_eq!(
        prompt(json!([{"role": "developer", "content": "Be nice."}, hello]), json!({})),
        "<|im_start|>system\nBe nice.<|im_end|>\n<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n"
    );
    // Arguments that are no JSON; the recording's token count fits only an empty object.
    let call =
        json!({"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{bad"}});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let text = prompt(json!([hello, call, {"role": "tool", "tool_call_id": "c", "content": "y"}]), json!({}));
    assert!(text.contains("{\"name\": \"get_weather\", \"arguments\": {}}"), "{text}");
    assert_eq!(facts.dialect, Some(Dialect::Hermes));
    assert!(facts.tools && facts.null_content && facts.roles.system_anywhere && !facts.opened);
    assert_eq!(facts.thinking_kwarg, Some("enable_thinking"));
}
