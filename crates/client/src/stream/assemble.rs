//! From the chunks of a stream to events.
//!
//! Text goes through the dialect parser, whatever the server is believed to do: a server started
//! without a parser sends reasoning and calls as text, and a call must not be lost.

use std::hash::{BuildHasher, Hasher, RandomState};

use chela_chat::{OutputParser, ParserOptions, Piece, ReasoningMode, ToolSet};
use chela_openai::chat::{ChatChunk, ChunkChoice, FinishReason, ToolCallDelta};
use chela_openai::usage::{Timings, Usage};

use super::facts::Reasoning;
use super::turn::{ModelEvent, Notice};

/// Builds events out of chunks.
#[derive(Debug)]
pub struct Assembly {
    tools: ToolSet,
    /// What text is believed to start in.
    mode: ReasoningMode,
    /// Text, with what it may carry; none before there is some.
    content: Option<OutputParser>,
    /// Reasoning came in a field of its own.
    split_by_server: bool,
    /// Text that was taken for the reasoning that the prompt opened.
    opened: String,
    /// Reasoning that came apart from the text, in which a call may be buried.
    thought: OutputParser,
    calls: Vec<Call>,
    /// Calls found in reasoning: they count only if nothing else comes.
    buried: Vec<Piece>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    finish: Option<FinishReason>,
    spoke: bool,
    events: Vec<ModelEvent>,
}

/// One call, by the server or found in text.
#[derive(Debug)]
struct Call {
    /// Index on the wire; none for a call found in text.
    slot: Option<u32>,
    id: String,
    name: String,
    /// Arguments that came before the name.
    waiting: String,
    begun: bool,
    ended: bool,
}

/// How an answer ended.
#[derive(Debug)]
pub struct Ending {
    /// The last events, `Done` not among them.
    pub events: Vec<ModelEvent>,
    /// Why the answer ended, if the server said so.
    pub finish: Option<FinishReason>,
    /// Tokens used.
    pub usage: Option<Usage>,
    /// Where the reasoning came from, if the prompt opened it and that could be seen.
    pub reasoning: Option<Reasoning>,
}

fn parser(tools: &ToolSet, reasoning: ReasoningMode) -> OutputParser {
    OutputParser::new(ParserOptions { tools: tools.clone(), reasoning, ..ParserOptions::default() })
}

impl Assembly {
    /// An empty answer to a request that offers `tools`. `mode` is what text starts in if the
    /// server does not split off reasoning itself.
    pub fn new(tools: ToolSet, mode: ReasoningMode) -> Self {
        Self {
            thought: parser(&tools, ReasoningMode::Off),
            tools,
            mode,
            content: None,
            split_by_server: false,
            opened: String::new(),
            calls: Vec::new(),
            buried: Vec::new(),
            usage: None,
            timings: None,
            finish: None,
            spoke: false,
            events: Vec::new(),
        }
    }

    /// Add a chunk; the events that it gives. Only the first choice counts: one is asked for.
    pub fn push(&mut self, chunk: ChatChunk) -> Vec<ModelEvent> {
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        if chunk.timings.is_some() {
            self.timings = chunk.timings;
        }
        if let Some(progress) = chunk.prompt_progress {
            let notice = Notice::Reading { done: progress.processed, total: progress.total };
            self.events.push(ModelEvent::Notice(notice));
        }
        for choice in chunk.choices {
            if choice.index == 0 {
                self.choice(choice);
            }
        }
        std::mem::take(&mut self.events)
    }

    /// Whether the server has said why the answer ended.
    pub fn finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The answer ended, or broke off: give out what was held back.
    pub fn end(mut self) -> Ending {
        let pieces = self.thought.finish();
        self.think(pieces);
        if let Some(mut content) = self.content.take() {
            let pieces = content.finish();
            self.pieces(pieces);
        }
        let reasoning = self.whose_reasoning();
        let buried = std::mem::take(&mut self.buried);
        if self.calls.is_empty() && !self.spoke {
            self.pieces(buried);
        }
        for at in 0..self.calls.len() {
            self.end_call(at);
        }
        let usage = self.usage.or_else(|| self.timings.map(usage_of));
        if let Some(usage) = &usage {
            self.events.push(ModelEvent::Usage(usage.clone()));
        }
        let finish = self.finish.map(|said| truthful(said, !self.calls.is_empty()));
        Ending { events: self.events, finish, usage, reasoning }
    }

    /// The prompt opened reasoning: who told it from the answer? If the text never closed it, the
    /// server had a parser and the text was the answer; then it is given out as that.
    fn whose_reasoning(&mut self) -> Option<Reasoning> {
        if !matches!(self.mode, ReasoningMode::Style { opened: true, .. }) {
            return None;
        }
        if self.split_by_server {
            return Some(Reasoning::Field);
        }
        if self.spoke || !self.calls.is_empty() {
            return Some(Reasoning::Text);
        }
        if self.opened.is_empty() || self.finish != Some(FinishReason::Stop) {
            return None;
        }
        self.spoke = true;
        self.events.push(ModelEvent::Text(std::mem::take(&mut self.opened)));
        Some(Reasoning::Field)
    }

    fn choice(&mut self, choice: ChunkChoice) {
        let delta = choice.delta;
        if !delta.reasoning_text().is_empty() {
            self.split_by_server = true;
            let pieces = self.thought.push(delta.reasoning_text());
            self.think(pieces);
        }
        for text in [delta.text(), delta.refusal.as_deref().unwrap_or("")] {
            if !text.is_empty() {
                let mode = if self.split_by_server { ReasoningMode::Any } else { self.mode };
                let pieces = self.content.get_or_insert_with(|| parser(&self.tools, mode)).push(text);
                self.pieces(pieces);
            }
        }
        for call in delta.tool_calls {
            self.native(call);
        }
        if choice.finish_reason.is_some() {
            self.finish = choice.finish_reason;
        }
    }

    fn think(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) | Piece::Reasoning(text) => self.events.push(ModelEvent::Reasoning(text)),
                Piece::Malformed { raw, .. } => self.events.push(ModelEvent::Reasoning(raw)),
                call => self.buried.push(call),
            }
        }
    }

    fn pieces(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.spoke |= !text.trim().is_empty();
                    self.events.push(ModelEvent::Text(text));
                }
                Piece::Reasoning(text) => {
                    if matches!(self.mode, ReasoningMode::Style { opened: true, .. }) && !self.spoke {
                        self.opened.push_str(&text);
                    }
                    self.events.push(ModelEvent::Reasoning(text));
                }
                Piece::ToolCallStart { name, .. } => {
                    let at = self.open(None);
                    self.calls[at].name = name;
                    self.begin(at);
                }
                Piece::ToolCallArgs { delta, .. } => {
                    if let Some(at) = self.last_found() {
                        self.arguments(at, delta);
                    }
                }
                Piece::ToolCallEnd { .. } => {
                    if let Some(at) = self.last_found() {
                        self.end_call(at);
                    }
                }
                Piece::Malformed { raw, why, .. } => {
                    self.spoke = true;
                    self.events.push(ModelEvent::MalformedCall { raw, why });
                }
            }
        }
    }

    fn last_found(&self) -> Option<usize> {
        self.calls.iter().rposition(|call| call.slot.is_none())
    }

    /// A piece of a call by the server. It belongs to the call of its index; without one, a new
    /// id or name begins a call and anything else goes on with the last. A new id under a taken
    /// index begins a call too: some servers number every call 0.
    fn native(&mut self, part: ToolCallDelta) {
        let id = part.id.filter(|id| !id.is_empty());
        let (name, arguments) =
            part.function.map_or((None, None), |function| (function.name, function.arguments));
        let name = name.filter(|name| !name.is_empty());
        let known = match (part.index, &id) {
            (Some(index), _) => self.calls.iter().rposition(|call| call.slot == Some(index)),
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id == *id),
            (None, None) if name.is_none() => self.calls.len().checked_sub(1),
            (None, None) => None,
        };
        let known = known.filter(|&at| {
            let taken =
                id.as_ref().is_some_and(|id| !self.calls[at].id.is_empty() && self.calls[at].id != *id);
            !(taken && name.is_some())
        });
        let at = known.unwrap_or_else(|| self.open(Some(part.index.unwrap_or(u32::MAX))));
        let call = &mut self.calls[at];
        if let (Some(id), false) = (id, call.begun) {
            call.id = id;
        }
        match name {
            // Some servers repeat the name with every piece.
            Some(name) if !call.begun && call.name != name => call.name.push_str(&name),
            _ => {}
        }
        if !call.name.is_empty() {
            self.begin(at);
        }
        if let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) {
            self.arguments(at, arguments);
        }
    }

    /// A new call; the ones before it are complete.
    fn open(&mut self, slot: Option<u32>) -> usize {
        for at in 0..self.calls.len() {
            self.end_call(at);
        }
        self.calls.push(Call {
            slot,
            id: String::new(),
            name: String::new(),
            waiting: String::new(),
            begun: false,
            ended: false,
        });
        self.calls.len() - 1
    }

    fn begin(&mut self, at: usize) {
        let call = &mut self.calls[at];
        if std::mem::replace(&mut call.begun, true) {
            return;
        }
        if call.id.is_empty() {
            call.id = fresh_id();
        }
        let (id, name) = (call.id.clone(), call.name.clone());
        let waiting = std::mem::take(&mut call.waiting);
        self.events.push(ModelEvent::ToolCallStart { index: at, id, name });
        if !waiting.is_empty() {
            self.arguments(at, waiting);
        }
    }

    fn arguments(&mut self, at: usize, text: String) {
        let call = &mut self.calls[at];
        if call.begun {
            self.events.push(ModelEvent::ToolCallArgs { index: at, text });
        } else {
            call.waiting.push_str(&text);
        }
    }

    fn end_call(&mut self, at: usize) {
        self.begin(at);
        if !std::mem::replace(&mut self.calls[at].ended, true) {
            self.events.push(ModelEvent::ToolCallEnd { index: at });
        }
    }
}

/// The reason with what was really there: named calls end with `stop` on some servers, and vLLM's
/// reasoning models can end with `tool_calls` and no call.
fn truthful(said: FinishReason, called: bool) -> FinishReason {
    match said {
        FinishReason::Stop | FinishReason::FunctionCall if called => FinishReason::ToolCalls,
        FinishReason::ToolCalls | FinishReason::FunctionCall if !called => FinishReason::Stop,
        said => said,
    }
}

fn usage_of(timings: Timings) -> Usage {
    Usage::new(timings.prompt_n + timings.cache_n.unwrap_or(0), timings.predicted_n)
}

/// An id for a call that has none: nine letters and digits, which the strictest templates
/// (Mistral's) accept.
fn fresh_id() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = RandomState::new().build_hasher().finish();
    (0..9)
        .map(|_| {
            let letter = ALPHABET[(random % 36) as usize];
            random /= 36;
            char::from(letter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chela_chat::{ReasoningStyle, ToolSpec};
    use serde_json::{Value, json};

    fn tools() -> ToolSet {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        ToolSet::new([ToolSpec { name: "get_weather".to_owned(), description: None, parameters }])
    }

    fn run(deltas: &[Value]) -> (Vec<ModelEvent>, Option<FinishReason>) {
        let (events, ending) = run_in(ReasoningMode::Any, deltas);
        (events, ending.finish)
    }

    fn run_in(mode: ReasoningMode, deltas: &[Value]) -> (Vec<ModelEvent>, Ending) {
        let mut assembly = Assembly::new(tools(), mode);
        let mut events = Vec::new();
        for delta in deltas {
            let chunk = match delta.get("choices") {
                Some(_) => delta.clone(),
                None => json!({"choices": [{"index": 0, "delta": delta}]}),
            };
            events.extend(assembly.push(serde_json::from_value(chunk).unwrap()));
        }
        let mut ending = assembly.end();
        events.append(&mut ending.events);
        (events, ending)
    }

    fn text(events: &[ModelEvent]) -> String {
        let texts = events.iter().filter_map(|event| match event {
            ModelEvent::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn reasoning_that_the_prompt_opened_is_told_from_the_answer() {
        let opened = ReasoningMode::Style { style: ReasoningStyle::Think, opened: true };
        let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        // Without a parser on the server the text closes it.
        let deltas = [json!({"content": "hm"}), json!({"content": "m</think>\n\nYes."}), stop.clone()];
        let (events, ending) = run_in(opened, &deltas);
        assert_eq!((text(&events).trim(), ending.reasoning), ("Yes.", Some(Reasoning::Text)));
        // With one, reasoning has its field.
        let deltas = [json!({"reasoning": "hmm"}), json!({"content": "Yes."}), stop.clone()];
        let (events, ending) = run_in(opened, &deltas);
        assert_eq!((text(&events).as_str(), ending.reasoning), ("Yes.", Some(Reasoning::Field)));
        // With one, and no reasoning at all: the text was the answer after all.
        let (events, ending) = run_in(opened, &[json!({"content": "Yes."}), stop]);
        assert_eq!((text(&events).as_str(), ending.reasoning), ("Yes.", Some(Reasoning::Field)));
        // Cut inside its reasoning: nothing can be said.
        let length = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]});
        let (events, ending) = run_in(opened, &[json!({"content": "hmm"}), length]);
        assert_eq!((text(&events).as_str(), ending.reasoning), ("", None));
    }

    /// Calls as `name(arguments)`.
    fn calls(events: &[ModelEvent]) -> Vec<String> {
        let mut calls: Vec<String> = Vec::new();
        let mut open = 0;
        for event in events {
            match event {
                ModelEvent::ToolCallStart { index, id, name } => {
                    assert_eq!(*index, calls.len());
                    assert!(!id.is_empty());
                    calls.push(format!("{name}("));
                    open += 1;
                }
                ModelEvent::ToolCallArgs { index, text } => calls[*index].push_str(text),
                ModelEvent::ToolCallEnd { index } => {
                    calls[*index].push(')');
                    open -= 1;
                }
                _ => {}
            }
        }
        assert_eq!(open, 0, "every call is ended once");
        calls
    }

    #[test]
    fn native_calls_in_every_split() {
        let whole = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}}]});
        let split = [
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        ];
        let repeated = [
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}]}),
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "1}"}}]}),
        ];
        let no_index = [
            json!({"tool_calls": [{"id": "a", "function": {"name": "f"}}]}),
            json!({"tool_calls": [{"function": {"arguments": "{\"x\":1}"}}]}),
        ];
        let no_id =
            [json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{\"x\":1}"}}]})];
        for deltas in [&[whole][..], &split, &repeated, &no_index, &no_id] {
            assert_eq!(calls(&run(deltas).0), ["f({\"x\":1})"], "{deltas:?}");
        }
    }

    #[test]
    fn two_calls_under_one_index_are_two() {
        let deltas = [
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}),
            json!({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}),
        ];
        assert_eq!(calls(&run(&deltas).0), ["f({})", "g({})"]);
    }

    #[test]
    fn a_call_in_text_is_found_and_its_markers_are_not_shown() {
        let deltas = [
            json!({"content": "Let me see. <tool"}),
            json!({"content": "_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>"}),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        ];
        let (events, finish) = run(&deltas);
        assert_eq!(calls(&events).len(), 1);
        assert_eq!(finish, Some(FinishReason::ToolCalls));
        assert!(
            !events.iter().any(|event| matches!(event, ModelEvent::Text(text) if text.contains("tool_call")))
        );
    }

    #[test]
    fn a_call_buried_in_reasoning_counts_only_if_nothing_else_comes() {
        let buried = json!({"reasoning": "I call <tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}</tool_call>"});
        assert_eq!(calls(&run(std::slice::from_ref(&buried)).0).len(), 1);
        let answered = [buried, json!({"content": "It rains."})];
        assert_eq!(calls(&run(&answered).0).len(), 0);
    }

    #[test]
    fn think_tags_in_text_become_reasoning() {
        let (events, _) = run(&[json!({"content": "<think>hm</think>Yes."})]);
        assert!(events.contains(&ModelEvent::Reasoning("hm".to_owned())), "{events:?}");
        assert!(events.iter().any(|event| matches!(event, ModelEvent::Text(text) if text.trim() == "Yes.")));
    }

    #[test]
    fn finish_reasons_tell_what_was_there() {
        let end = |reason: &str| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
        let call =
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
        assert_eq!(run(&[call.clone(), end("stop")]).1, Some(FinishReason::ToolCalls));
        assert_eq!(run(&[end("tool_calls")]).1, Some(FinishReason::Stop));
        assert_eq!(run(&[call, end("length")]).1, Some(FinishReason::Length));
    }

    #[test]
    fn llamacpp_timings_stand_in_for_usage() {
        let deltas = [
            json!({"choices": [], "timings": {"cache_n": 5, "prompt_n": 10, "prompt_ms": 1.0, "predicted_n": 3, "predicted_ms": 1.0}}),
        ];
        assert!(run(&deltas).0.contains(&ModelEvent::Usage(Usage::new(15, 3))));
    }

    #[test]
    fn made_up_ids_suit_the_strictest_template() {
        let id = fresh_id();
        assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(id, fresh_id());
    }
}
