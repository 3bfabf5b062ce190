//! What a client of the soak asks for, and what it takes for an error.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use chela_openai::chat::{ChatCompletion, FinishReason, Fold, StreamEvent};
use serde_json::{Value, json};

use super::client::{Client, Head};

const WORDS: &[&str] = &[
    "hello",
    "weather",
    "Paris",
    "count",
    "think",
    "fox",
    "lazy",
    "dog",
    "emoji",
    "ten",
    "Rome",
    "quick",
    "ünïcode",
    "日本",
    "🦀",
    "the",
    "and",
    "{\"a\":1}",
    "<tool_call>",
    "\n",
    "42",
    "street",
];
const FREE: &[FinishReason] = &[FinishReason::Stop, FinishReason::Length];

/// SplitMix64 (Steele et al., 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// A text of up to so many words; half of them begin alike.
    fn text(&mut self, words: usize) -> String {
        let mut text =
            if self.below(2) == 0 { "You are a careful assistant. ".repeat(4) } else { String::new() };
        for _ in 0..=self.below(words) {
            text.push_str(WORDS[self.below(WORDS.len())]);
            text.push(' ');
        }
        text
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Chat,
    Stream,
    Completion,
    Tools,
    Structured,
    TooLong400,
    Refused429,
    Batch,
    HungUpInStream,
    HungUpWaiting,
    HungUpSending,
    Read,
}

/// One client.
pub(super) struct Worker {
    client: Client,
    random: Random,
    /// More prompts than can run and wait.
    batch: usize,
}

type Outcome = Result<Seen, String>;

impl Worker {
    pub(super) fn new(address: &str, random: Random, batch: usize) -> Self {
        Self { client: Client::new(address), random, batch }
    }

    /// Sends one request after the other.
    pub(super) fn work(mut self, over: &AtomicBool) -> (BTreeMap<Seen, u64>, Vec<String>) {
        let (mut seen, mut faults) = (BTreeMap::new(), Vec::new());
        while !over.load(Relaxed) {
            match self.turn() {
                Ok(kind) => *seen.entry(kind).or_default() += 1,
                Err(fault) => faults.push(fault),
            }
        }
        (seen, faults)
    }

    fn turn(&mut self) -> Outcome {
        match self.random.below(20) {
            0..4 => self.chat(),
            4..8 => self.stream(),
            8..10 => self.completion(),
            10..13 => self.tools(),
            13..15 => self.structured(),
            15 => self.too_long(),
            16 => self.hang_up_in_stream(),
            17 => self.hang_up_waiting(),
            18 => self.hang_up_sending(),
            _ if self.random.below(8) == 0 => self.overflow(),
            _ => self.read(),
        }
    }

    fn body(&mut self) -> Value {
        let temperature = [0.0, 0.7, 1.5][self.random.below(3)];
        let mut body = json!({
            "messages": [{"role": "user", "content": self.random.text(60)}],
            "max_tokens": 1 + self.random.below(150),
            "temperature": temperature,
            "seed": self.random.below(1000),
        });
        if self.random.below(2) == 0 {
            body["ignore_eos"] = true.into();
        }
        if self.random.below(4) == 0 {
            body["stop"] = json!(["the", "🦀"]);
        }
        body
    }

    /// Opens a request that should be answered; none if the queue was full.
    fn ask(&mut self, path: &str, body: &Value) -> Result<Option<Head>, String> {
        let text = body.to_string();
        let head = self.client.open("POST", path, &text).map_err(|error| format!("{error}: {text}"))?;
        match head.status {
            200 => Ok(Some(head)),
            429 => self.refused(&head).map(|()| None),
            status => {
                let said = self.client.rest(&head).unwrap_or_default();
                Err(format!("{status} {said} to {text}"))
            }
        }
    }

    fn refused(&mut self, head: &Head) -> Result<(), String> {
        let said = self.rest(head)?;
        let wait = head.retry_after.filter(|wait| (1..=600).contains(wait));
        if wait.is_none() || !said.contains("RateLimitError") {
            return Err(format!("429 with Retry-After {:?}: {said}", head.retry_after));
        }
        std::thread::sleep(Duration::from_millis(20 + self.random.below(400) as u64));
        Ok(())
    }

    fn rest(&mut self, head: &Head) -> Result<String, String> {
        self.client.rest(head).map_err(|error| error.to_string())
    }

    /// The answer to a chat request, streamed or not.
    fn answer(&mut self, mut body: Value, stream: bool) -> Result<Option<ChatCompletion>, String> {
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        let Some(head) = self.ask("/v1/chat/completions", &body)? else { return Ok(None) };
        let text = self.rest(&head)?;
        let answer = if stream {
            folded(&text)?
        } else {
            serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?
        };
        let used = answer.usage.as_ref().map_or(u64::MAX, |usage| usage.completion_tokens);
        if used > body["max_tokens"].as_u64().unwrap_or(0) {
            return Err(format!("{used} tokens for {body}"));
        }
        Ok(Some(answer))
    }

    fn chat(&mut self) -> Outcome {
        let body = self.body();
        self.free(body, false, Seen::Chat)
    }

    fn stream(&mut self) -> Outcome {
        let body = self.body();
        self.free(body, true, Seen::Stream)
    }

    fn free(&mut self, body: Value, stream: bool, seen: Seen) -> Outcome {
        let Some(answer) = self.answer(body, stream)? else { return Ok(Seen::Refused429) };
        match answer.choices.as_slice() {
            [choice] if choice.finish_reason.as_ref().is_some_and(|reason| FREE.contains(reason)) => Ok(seen),
            _ => Err(format!("{answer:?}")),
        }
    }

    fn completion(&mut self) -> Outcome {
        let prompts: Vec<_> = (0..=self.random.below(2)).map(|_| self.random.text(40)).collect();
        let body = json!({"prompt": prompts, "n": 2, "temperature": 1.0, "max_tokens": 1 + self.random.below(60),
            "logprobs": 2, "seed": self.random.below(1000)});
        let Some(head) = self.ask("/v1/completions", &body)? else { return Ok(Seen::Refused429) };
        let text = self.rest(&head)?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let choices = answer["choices"].as_array().map_or(0, Vec::len);
        if choices == 2 * prompts.len() { Ok(Seen::Completion) } else { Err(text) }
    }

    fn tools(&mut self) -> Outcome {
        let mut body = self.body();
        body["max_tokens"] = 200.into();
        body["ignore_eos"] = false.into();
        body["stop"] = Value::Null;
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"], "additionalProperties": false});
        body["tools"] =
            json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]);
        let choice = self.random.below(3);
        let named = json!({"type": "function", "function": {"name": "get_weather"}});
        body["tool_choice"] = [json!("auto"), json!("required"), named][choice].clone();
        let stream = self.random.below(2) == 0;
        let Some(answer) = self.answer(body, stream)? else { return Ok(Seen::Refused429) };
        let wrong = || Err(format!("tool_choice {choice}, stream {stream}: {answer:?}"));
        let [given] = answer.choices.as_slice() else { return wrong() };
        if given.finish_reason == Some(FinishReason::Length) {
            return Ok(Seen::Tools);
        }
        for call in &given.message.tool_calls {
            match serde_json::from_str::<Value>(&call.function.arguments) {
                Ok(arguments) if arguments["city"].is_string() => {}
                _ => return wrong(),
            }
        }
        if choice > 0 && given.message.tool_calls.is_empty() { wrong() } else { Ok(Seen::Tools) }
    }

    fn structured(&mut self) -> Outcome {
        let mut body = self.body();
        body["max_tokens"] = 120.into();
        body["ignore_eos"] = false.into();
        body["stop"] = Value::Null;
        let kind = self.random.below(3);
        match kind {
            0 => body["structured_outputs"] = json!({"choice": ["north", "south"]}),
            1 => body["structured_outputs"] = json!({"regex": "[0-9]{3}-[a-f]{2}"}),
            _ => {
                let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                    "additionalProperties": false});
                body["response_format"] =
                    json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
            }
        }
        let stream = self.random.below(2) == 0;
        let Some(answer) = self.answer(body, stream)? else { return Ok(Seen::Refused429) };
        let [given] = answer.choices.as_slice() else { return Err(format!("{answer:?}")) };
        let text = given.message.content.as_deref().unwrap_or_default();
        let fits = match kind {
            0 => ["north", "south"].contains(&text),
            1 => text.len() == 6 && text.as_bytes()[3] == b'-',
            _ => serde_json::from_str::<Value>(text).is_ok_and(|value| value["n"].is_number()),
        };
        match fits || given.finish_reason == Some(FinishReason::Length) {
            true => Ok(Seen::Structured),
            false => Err(format!("form {kind}, stream {stream}: {answer:?}")),
        }
    }

    fn too_long(&mut self) -> Outcome {
        let mut body = self.body();
        body["messages"][0]["content"] = "The quick brown fox. ".repeat(300 + self.random.below(300)).into();
        body["stream"] = (self.random.below(2) == 0).into();
        let head = self.client.open("POST", "/v1/chat/completions", &body.to_string());
        let head = head.map_err(|error| error.to_string())?;
        let said = self.rest(&head)?;
        match head.status == 400 && said.contains("This model's maximum context length is 1024 tokens") {
            true => Ok(Seen::TooLong400),
            false => Err(format!("{} {said} to a prompt over the window", head.status)),
        }
    }

    /// A batch that no queue here holds.
    fn overflow(&mut self) -> Outcome {
        let body = json!({"prompt": vec!["The quick"; self.batch], "max_tokens": 900, "ignore_eos": true});
        let Some(head) = self.ask("/v1/completions", &body)? else { return Ok(Seen::Refused429) };
        self.rest(&head).map(|_| Seen::Batch)
    }

    fn hang_up_in_stream(&mut self) -> Outcome {
        let mut body = self.body();
        body["stream"] = true.into();
        body["max_tokens"] = 900.into();
        body["ignore_eos"] = true.into();
        if self.ask("/v1/chat/completions", &body)?.is_none() {
            return Ok(Seen::Refused429);
        }
        for _ in 0..=self.random.below(40) {
            match self.client.chunk() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Seen::Stream),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.client.hang_up();
        Ok(Seen::HungUpInStream)
    }

    fn hang_up_waiting(&mut self) -> Outcome {
        let mut body = self.body();
        body["max_tokens"] = 900.into();
        let text = body.to_string();
        self.client
            .send("POST", "/v1/chat/completions", &text, text.len())
            .map_err(|error| error.to_string())?;
        std::thread::sleep(Duration::from_millis(self.random.below(40) as u64));
        self.client.hang_up();
        Ok(Seen::HungUpWaiting)
    }

    fn hang_up_sending(&mut self) -> Outcome {
        let text = self.body().to_string();
        let half = self.random.below(text.len());
        let half = (0..=half).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.client.send("POST", "/v1/chat/completions", &text, half).map_err(|error| error.to_string())?;
        self.client.hang_up();
        Ok(Seen::HungUpSending)
    }

    fn read(&mut self) -> Outcome {
        let path = ["/health", "/v1/models", "/metrics", "/version"][self.random.below(4)];
        match self.client.get(path) {
            Ok((200, _)) => Ok(Seen::Read),
            other => Err(format!("{path}: {other:?}")),
        }
    }
}

/// The fold of a whole stream.
fn folded(text: &str) -> Result<ChatCompletion, String> {
    let mut fold = Fold::new();
    let mut done = false;
    for event in text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')) {
        let data = event.strip_prefix("data: ").ok_or_else(|| format!("no event: {event}"))?;
        match StreamEvent::parse(data) {
            Ok(StreamEvent::Chunk(chunk)) => fold.push(*chunk),
            Ok(StreamEvent::Done) => done = true,
            other => return Err(format!("{other:?}")),
        }
    }
    if done { Ok(fold.finish()) } else { Err(format!("the stream breaks off: {text}")) }
}
