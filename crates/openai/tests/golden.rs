//! Every recorded request and response of vLLM 0.32 through the wire types.
#![allow(clippy::unwrap_used)] // helpers outside of test functions

mod common;

use std::collections::BTreeMap;

use chela_openai::chat::{ChatCompletion, ChatRequest, Fold, StreamEvent};
use chela_openai::completions::{Completion, CompletionChunk, CompletionRequest};
use chela_openai::error::ErrorBody;
use chela_openai::models::ModelList;
use chela_openai::sse::{self, Decoder, Event};
use chela_openai::tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
use common::{Exchange, exchanges};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn parses<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<T>(bytes).map(drop).map_err(|e| e.to_string())
}

fn written_back<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<String, String> {
    let value: T = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(serde_json::to_string(&value).unwrap())
}

fn is_chat(exchange: &Exchange) -> bool {
    matches!(exchange.path.as_str(), "/v1/chat/completions" | "/invocations")
}

#[test]
fn every_request_that_vllm_accepts_is_read() {
    let mut read = 0;
    for exchange in exchanges() {
        let body = &exchange.request;
        let result = match exchange.path.as_str() {
            "/v1/chat/completions" => parses::<ChatRequest>(body),
            "/v1/completions" => parses::<CompletionRequest>(body),
            "/tokenize" => parses::<TokenizeRequest>(body),
            "/detokenize" => parses::<DetokenizeRequest>(body),
            _ => continue,
        };
        read += 1;
        // what vLLM refuses for its shape, the types may refuse too
        if let (Err(error), 200) = (result, exchange.status) {
            panic!("{}: {error}", exchange.name);
        }
    }
    assert!(read > 150, "{read} requests");
}

#[test]
fn a_request_keeps_its_meaning_when_written() {
    for exchange in exchanges() {
        let Ok(request) = serde_json::from_slice::<ChatRequest>(&exchange.request) else {
            continue;
        };
        let text = serde_json::to_string(&request).unwrap();
        let again: ChatRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(request, again, "{}", exchange.name);
        assert_eq!(text, serde_json::to_string(&again).unwrap());
    }
}

/// Bodies of other APIs, which have no types here.
const OTHER_APIS: [&str; 10] = [
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/rerank",
    "/pooling",
    "/score",
    "/classify",
    "/load",
    "/version",
    "/invocations",
];

#[test]
fn every_whole_answer_is_written_back_byte_for_byte() {
    let mut compared = 0;
    for exchange in exchanges() {
        if exchange.stream || exchange.body.is_empty() || exchange.body[0] != b'{' {
            continue;
        }
        let body = &exchange.body;
        let written = match (exchange.status, exchange.path.as_str()) {
            (200, "/v1/chat/completions" | "/v1/chat/completions/batch" | "/invocations") => {
                written_back::<ChatCompletion>(body)
            }
            (200, "/v1/completions") => written_back::<Completion>(body),
            (200, "/v1/models") => written_back::<ModelList>(body),
            (200, "/tokenize") => written_back::<TokenizeResponse>(body),
            (200, "/detokenize") => written_back::<DetokenizeResponse>(body),
            (200, path) => {
                let known = OTHER_APIS.iter().any(|other| path.starts_with(other));
                assert!(known, "{}: {path} is not compared", exchange.name);
                continue;
            }
            _ => written_back::<ErrorBody>(body),
        };
        compared += 1;
        let written = written.unwrap_or_else(|error| panic!("{}: {error}", exchange.name));
        assert_eq!(written, String::from_utf8_lossy(body), "{}", exchange.name);
    }
    assert!(compared > 150, "{compared} bodies");
}

/// The data of the events, decoded from pieces of `step` bytes.
fn events(body: &[u8], step: usize) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut data = Vec::new();
    let mut take = |decoder: &mut Decoder| {
        while let Some(event) = decoder.next_event() {
            match event {
                Event::Data { data: text, .. } => data.push(text),
                Event::Comment(text) => panic!("comment {text}"),
            }
        }
    };
    for piece in body.chunks(step) {
        decoder.push(piece).unwrap();
        take(&mut decoder);
    }
    decoder.finish().unwrap();
    take(&mut decoder);
    data
}

#[test]
fn every_stream_is_written_back_byte_for_byte() {
    for exchange in exchanges().iter().filter(|e| e.stream) {
        let chat = is_chat(exchange);
        if !chat && exchange.path != "/v1/completions" {
            continue;
        }
        let data = events(&exchange.body, usize::MAX);
        assert_eq!(data, events(&exchange.body, 7), "{}", exchange.name);
        let (done, chunks) = data.split_last().unwrap();
        assert_eq!(done, sse::DONE, "{}", exchange.name);
        let mut written = String::new();
        for text in chunks {
            if chat {
                let Ok(StreamEvent::Chunk(chunk)) = StreamEvent::parse(text) else {
                    panic!("{}: not a chunk: {text}", exchange.name);
                };
                written.push_str(&sse::encode_json(&chunk).unwrap());
            } else {
                let chunk: CompletionChunk = serde_json::from_str(text).unwrap();
                written.push_str(&sse::encode_json(&chunk).unwrap());
            }
        }
        sse::encode_data(&mut written, None, sse::DONE);
        assert_eq!(written, String::from_utf8_lossy(&exchange.body), "{}", exchange.name);
    }
}

fn fold(exchange: &Exchange) -> ChatCompletion {
    let mut fold = Fold::new();
    for text in events(&exchange.body, 16) {
        match StreamEvent::parse(&text).unwrap() {
            StreamEvent::Chunk(chunk) => fold.push(*chunk),
            StreamEvent::Done => {}
            StreamEvent::Error(error) => panic!("{}: {error:?}", exchange.name),
        }
    }
    fold.finish()
}

/// What must agree: per choice content, reasoning, calls by name and
/// arguments, finish reason. A stream cannot tell empty text from none.
type Essence = (String, String, Vec<(String, String)>, String);

fn essence(answer: &ChatCompletion) -> Vec<Essence> {
    let choice = |c: &chela_openai::chat::Choice| {
        (
            c.message.content.clone().unwrap_or_default(),
            c.message.reasoning_text().unwrap_or("").to_owned(),
            c.message
                .tool_calls
                .iter()
                .map(|t| (t.function.name.clone(), t.function.arguments.clone()))
                .collect(),
            c.finish_reason.as_ref().unwrap().as_str().to_owned(),
        )
    };
    answer.choices.iter().map(choice).collect()
}

/// The request but for what asks to stream.
fn question(exchange: &Exchange) -> Value {
    let mut body: Value = serde_json::from_slice(&exchange.request).unwrap();
    let map = body.as_object_mut().unwrap();
    map.remove("stream");
    map.remove("stream_options");
    body
}

/// Streams in which vLLM itself says something else than in the whole answer.
const VLLM_DISAGREES: [(&str, &str); 4] = [
    (
        "s2_reasoning_auth/think_tool",
        "the stream sends the blank lines before the call, the whole answer drops them",
    ),
    ("s1_tools/named", "cut by its length: the stream sends the call begun, the whole answer its raw text"),
    ("s1_tools/auto_broken", "the stream sends the broken call, the whole answer its raw text"),
    ("s1_tools/auto_trunc", "the stream sends the call's name, the whole answer its raw text"),
];

#[test]
fn every_stream_folds_to_its_twin() {
    let all = exchanges();
    let by_name: BTreeMap<&str, &Exchange> = all.iter().map(|e| (e.name.as_str(), e)).collect();
    let mut compared = Vec::new();
    for exchange in all.iter().filter(|e| e.stream && is_chat(e)) {
        let folded = fold(exchange);
        assert!(!folded.choices.is_empty(), "{}", exchange.name);
        let base = exchange.name.strip_suffix("_stream").unwrap_or(&exchange.name);
        let Some(twin) = by_name.get(base).filter(|twin| !twin.stream) else {
            continue;
        };
        if question(exchange) != question(twin) {
            continue;
        }
        let twin: ChatCompletion = serde_json::from_slice(&twin.body).unwrap();
        let agrees = essence(&folded) == essence(&twin);
        let expected = !VLLM_DISAGREES.iter().any(|(name, _)| *name == base);
        assert_eq!(agrees, expected, "{base}:\n{:#?}\n{:#?}", essence(&folded), essence(&twin));
        compared.push(base);
    }
    assert!(compared.len() >= 10, "{compared:?}");
}

#[test]
fn a_whole_answer_folds_to_itself_as_one_chunk() {
    for exchange in exchanges() {
        if exchange.stream || exchange.status != 200 || !is_chat(&exchange) {
            continue;
        }
        let text = std::str::from_utf8(&exchange.body).unwrap();
        let Ok(StreamEvent::Chunk(chunk)) = StreamEvent::parse(text) else {
            panic!("{}: not read as a chunk", exchange.name);
        };
        let mut fold = Fold::new();
        fold.push(*chunk);
        let whole: ChatCompletion = serde_json::from_str(text).unwrap();
        assert_eq!(essence(&fold.finish()), essence(&whole), "{}", exchange.name);
    }
}
