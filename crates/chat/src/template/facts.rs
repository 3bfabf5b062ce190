//! What a template does, learned by rendering small conversations with it.

use jiff::civil::{DateTime, date};
use serde_json::{Map, Value, json};

use super::{ChatTemplate, Input};
use crate::dialect::{self, Dialect};
use crate::family::{self, Hints};
use crate::parse::{Detect, OutputParser, ParserOptions};
use crate::reasoning::{ReasoningMode, ReasoningStyle, STYLES};
use crate::tools::{ToolSet, ToolSpec};

/// What a chat template does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateFacts {
    /// The dialect in which it writes the assistant's calls; for a template that does not write
    /// them, that of the family that its markers tell.
    pub dialect: Option<Dialect>,
    /// How the model marks its reasoning, as far as the template shows it.
    pub reasoning: Option<ReasoningStyle>,
    /// Whether the generation prompt opens the reasoning, with thinking left as it is by default.
    pub opened: bool,
    /// Whether it reads `enable_thinking` or `thinking`, and under which name.
    pub thinking_kwarg: Option<&'static str>,
    /// Whether tools that are offered stand in its text.
    pub tools: bool,
    /// Whether calls that the assistant made stand in its text.
    pub calls: bool,
    /// Whether it reads content that is a list of parts.
    pub parts: bool,
    /// Whether it reads content that is null.
    pub null_content: bool,
    /// Which orders of roles it takes.
    pub roles: Roles,
}

/// Which orders of roles a template takes without an error and without leaving a message out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// A system message at the front.
    pub system: bool,
    /// A system message later.
    pub system_anywhere: bool,
    /// The role `developer`.
    pub developer: bool,
    /// Two messages of the same role in a row.
    pub repeated: bool,
    /// A result that answers no call.
    pub orphan_results: bool,
    /// A conversation that begins with the assistant.
    pub assistant_first: bool,
    /// Whether at least one user message is demanded.
    pub needs_user: bool,
    /// A user message right after a result or a call.
    pub user_after_result: bool,
    /// An assistant's message without text or calls.
    pub empty_assistant: bool,
    /// Several calls in one message.
    pub several_calls: bool,
    /// Ids of calls of any length; otherwise nine letters or digits.
    pub long_ids: bool,
}

/// Words that no template has of its own.
const PROBE: &str = "zqxprobe";
const OTHER: &str = "zqxother";
/// What templates that print the date are told.
const NOW: DateTime = date(2026, 1, 1).at(0, 0, 0, 0);

impl TemplateFacts {
    /// Learns the facts of `template`.
    pub fn of(template: &ChatTemplate) -> Self {
        let probe = Probe { template };
        let (reasoning, opened) = probe.reasoning();
        Self {
            dialect: probe.dialect().or_else(|| probe.family_dialect()),
            reasoning,
            opened,
            thinking_kwarg: ["enable_thinking", "thinking"]
                .into_iter()
                .find(|name| probe.with_kwarg(name, true) != probe.with_kwarg(name, false)),
            tools: probe.tools(),
            calls: probe.calls(),
            parts: probe.parts(),
            null_content: probe.null_content(),
            roles: probe.roles(),
        }
    }

    /// What a parser takes for reasoning in an answer to this template's prompt, if its thinking
    /// is on or off.
    pub fn reasoning_mode(&self, thinking: bool) -> ReasoningMode {
        match self.reasoning {
            Some(style) => ReasoningMode::Style { style, opened: self.opened && thinking },
            None => ReasoningMode::Any,
        }
    }
}

struct Probe<'t> {
    template: &'t ChatTemplate,
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn call(content: Value) -> Value {
    let call = function("abcdef123", PROBE, json!({"value": OTHER}));
    json!({"role": "assistant", "content": content, "tool_calls": [call]})
}

fn function(id: &str, name: &str, arguments: Value) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn result(id: &str, text: &str) -> Value {
    json!({"role": "tool", "content": text, "tool_call_id": id})
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": PROBE, "description": "A probe", "parameters": {
        "type": "object", "properties": {"value": {"type": "string", "description": "A value"}},
        "required": ["value"]}}})
}

impl Probe<'_> {
    fn render(&self, messages: &[Value], tools: bool, prompt: bool) -> Option<String> {
        let tools = tools.then(|| vec![tool()]);
        let input = Input {
            messages,
            tools: tools.as_deref(),
            add_generation_prompt: prompt,
            now: Some(NOW),
            ..Input::default()
        };
        self.template.render(&input).ok()
    }

    /// Whether the conversation is rendered with each of its texts, once.
    fn takes(&self, messages: &[Value], texts: &[&str]) -> bool {
        let rendered = self.render(messages, false, false);
        rendered.is_some_and(|text| texts.iter().all(|part| text.matches(part).count() == 1))
    }

    fn with_kwarg(&self, name: &str, on: bool) -> Option<String> {
        let kwargs: Map<_, _> = [(name.to_owned(), Value::Bool(on))].into_iter().collect();
        let messages = [message("user", PROBE)];
        let kwargs = Some(&kwargs);
        let input = Input {
            messages: &messages,
            add_generation_prompt: true,
            kwargs,
            now: Some(NOW),
            ..Input::default()
        };
        self.template.render(&input).ok()
    }

    /// The generation prompt after one user message.
    fn prompt(&self) -> Option<String> {
        let messages = [message("user", PROBE)];
        let without = self.render(&messages, false, false)?;
        let with = self.render(&messages, false, true)?;
        let shared = with.bytes().zip(without.bytes()).take_while(|(a, b)| a == b).count();
        with.get(with.floor_char_boundary(shared)..).map(str::to_owned)
    }

    fn reasoning(&self) -> (Option<ReasoningStyle>, bool) {
        let prompt = self.prompt().unwrap_or_default();
        let source = self.template.source();
        for style in STYLES {
            let Some(markers) = style.markers() else { continue };
            if prompt.trim_end().ends_with(markers.open.trim_end()) {
                return (Some(*style), true);
            }
            if source.contains(markers.close) {
                return (Some(*style), false);
            }
        }
        let harmony = source.contains("<|channel|>") && source.contains("<|message|>");
        (harmony.then_some(ReasoningStyle::Harmony), false)
    }

    /// The dialect whose parser reads the call that the template writes.
    fn dialect(&self) -> Option<Dialect> {
        let before = [message("user", "hi")];
        let prompt = self.render(&before, true, true)?;
        let [user] = before;
        let full = [call("".into()), call(Value::Null)]
            .into_iter()
            .find_map(|call| self.render(&[user.clone(), call], true, false))?;
        let shared = prompt.bytes().zip(full.bytes()).take_while(|(a, b)| a == b).count();
        let written = full.get(full.floor_char_boundary(shared)..)?;
        let tools = ToolSet::new([ToolSpec {
            name: PROBE.to_owned(),
            description: None,
            parameters: tool()["function"]["parameters"].clone(),
        }]);
        let reads = |dialect: &Dialect| {
            let options = ParserOptions {
                tools: tools.clone(),
                detect: Detect::Only(vec![*dialect]),
                // Harmony's channels would be read as reasoning by any of them.
                reasoning: ReasoningMode::Off,
                guarded: false,
            };
            let answer = OutputParser::parse(options, written);
            let [call] = answer.calls.as_slice() else { return false };
            let args: Option<Value> = serde_json::from_str(&call.arguments).ok();
            call.name == PROBE && args == Some(json!({"value": OTHER}))
        };
        dialect::ALL.iter().copied().find(reads)
    }

    /// The dialect of the family that the template's markers tell.
    fn family_dialect(&self) -> Option<Dialect> {
        let hints = Hints { template: Some(self.template.source()), ..Hints::default() };
        family::find(hints).filter(|family| !family.drops_tools).map(|family| family.dialect)
    }

    fn tools(&self) -> bool {
        let messages = [message("user", "hi")];
        self.render(&messages, true, true).is_some_and(|text| text.contains(PROBE))
    }

    fn calls(&self) -> bool {
        let with = |content: Value| self.render(&[message("user", "hi"), call(content)], false, false);
        [with("".into()), with(Value::Null)].into_iter().flatten().any(|text| text.contains(OTHER))
    }

    fn parts(&self) -> bool {
        let content = json!([{"type": "text", "text": PROBE}]);
        let messages = [json!({"role": "user", "content": content})];
        let printed = |text: &str| text.contains("'type'") || text.contains("\"type\"");
        self.render(&messages, false, true).is_some_and(|text| text.contains(PROBE) && !printed(&text))
    }

    /// Null content beside a call, which is what clients send; as the last message and earlier.
    fn null_content(&self) -> bool {
        let last = |content: Value| self.render(&[message("user", "hi"), call(content)], true, false);
        let early = |content: Value| {
            let (id, user) = ("abcdef123", message("user", "hi"));
            self.render(&[call(content), result(id, "x"), message("assistant", "y"), user], true, false)
        };
        let null = Value::Null;
        let same = early(null.clone()) == early("".into());
        let null = last(null);
        null.is_some() && null == last("".into()) && same
    }

    fn roles(&self) -> Roles {
        let [user, assistant, system] =
            ["user", "assistant", "system"].map(|role| move |text: &str| message(role, text));
        let id = "abcdef123";
        let texts = ["one", "two", "three", "four"].map(|word| format!("{PROBE}{word}"));
        let [a, b, c, d] = texts.each_ref().map(String::as_str);
        let calls = |ids: [&str; 2]| {
            let args = || json!({"value": "x"});
            let calls = [function(ids[0], b, args()), function(ids[1], c, args())];
            json!({"role": "assistant", "content": "", "tool_calls": calls})
        };
        let single = |id: &str| {
            let call = function(id, b, json!({"value": "x"}));
            json!({"role": "assistant", "content": "", "tool_calls": [call]})
        };
        let (one_call, long_call) = (single(id), single("call_0123456789"));
        let system_ok = self.takes(&[system(a), user(b)], &[a, b]);
        let anywhere = self
            .takes(&[system(a), user(b), assistant(c), system(d), user(OTHER)], &[a, b, c, d, OTHER])
            && self.takes(&[user(a), system(b), user(c)], &[a, b, c]);
        Roles {
            system: system_ok,
            system_anywhere: system_ok && anywhere,
            developer: self.takes(&[message("developer", a), user(b)], &[a, b])
                && self.template.source().contains("developer"),
            repeated: self.takes(&[user(a), user(b), assistant(c), assistant(d)], &[a, b, c, d]),
            orphan_results: self.takes(&[result(id, a), user(b)], &[a, b])
                && self.takes(&[user(a), result(id, b), assistant(c)], &[a, b, c]),
            assistant_first: self.takes(&[assistant(a), user(b)], &[a, b]),
            needs_user: [system(a), assistant(a)].into_iter().any(|message| {
                let only = [message];
                [false, true].into_iter().any(|tools| self.render(&only, tools, true).is_none())
            }),
            user_after_result: self
                .render(&[user(a), one_call.clone(), result(id, c), user(d)], false, true)
                .is_some()
                && self.render(&[user(a), one_call.clone(), user(d)], false, true).is_some(),
            empty_assistant: self.render(&[user(a), assistant(""), user(b)], false, true).is_some(),
            several_calls: self.takes(&[user(a), calls([id, "abcdef124"])], &[a, b, c])
                || !self.takes(&[user(a), one_call], &[a, b]),
            long_ids: self.render(&[user(a), long_call], false, true).is_some(),
        }
    }
}
