//! Every recorded stream of vLLM 0.32 through the client gives what its non-streaming twin says.
//! Oracle: the recorded bytes in tests/fixtures/vllm-0.32.

use std::fs;
use std::path::{Path, PathBuf};

use chela_client::Turn;
use chela_client::openai::chat::{ChatCompletion, ChatRequest};
use chela_client::stream::Answer;
use chela_server::misbehave::{Act, Misbehave};
use serde_json::Value;

use crate::common::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32")
}

fn split(bytes: &[u8]) -> (String, Vec<u8>) {
    let (end, length) = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| (at, 4))
        .or_else(|| bytes.windows(2).position(|window| window == b"\n\n").map(|at| (at, 2)))
        .unwrap();
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + length..].to_vec())
}

/// The recorded body, sent again without chunk framing and in small writes.
fn replay(response: &[u8]) -> Misbehave {
    let (head, body) = split(response);
    let framed =
        head.to_ascii_lowercase().contains("transfer-encoding: chunked") && !body.starts_with(b"data:");
    let head = if framed {
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    } else {
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    };
    Misbehave::serve(vec![vec![Act::Request, Act::send(head), Act::split(body, 997)]])
}

async fn through_the_client(folder: &str, name: &str) -> Answer {
    let at = root().join(folder);
    let response = fs::read(at.join(format!("{name}.response.http"))).unwrap();
    let (_, request) = split(&fs::read(at.join(format!("{name}.request.http"))).unwrap());
    let request: ChatRequest = serde_json::from_slice(&request).unwrap();
    let server = replay(&response);
    let turn = Turn {
        tools: request.tools.unwrap_or_default(),
        ..Turn::new(model(&server.base_url()).await, request.messages)
    };
    let (answer, error) = ask(&client(), turn).await;
    assert_eq!(error, None, "{folder}/{name}");
    answer
}

fn twin(folder: &str, name: &str) -> ChatCompletion {
    let response = fs::read(root().join(folder).join(format!("{name}.response.http"))).unwrap();
    serde_json::from_slice(&split(&response).1).unwrap()
}

/// The request without what asks for a stream.
fn question(folder: &Path, name: &str) -> Value {
    let bytes = fs::read(folder.join(format!("{name}.request.http"))).unwrap();
    let mut request: Value = serde_json::from_slice(&split(&bytes).1).unwrap_or_default();
    if let Some(request) = request.as_object_mut() {
        request.remove("stream");
        request.remove("stream_options");
    }
    request
}

/// All recorded chat exchanges answered 200: folder, name, whether streamed.
fn chats() -> Vec<(String, String, bool)> {
    let mut chats = Vec::new();
    for folder in fs::read_dir(root()).unwrap() {
        let folder = folder.unwrap();
        if !folder.file_type().unwrap().is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let Some(name) = file.strip_suffix(".response.http") else { continue };
            let request = fs::read(folder.path().join(format!("{name}.request.http"))).unwrap();
            let head = split(&fs::read(folder.path().join(&file)).unwrap()).0.to_ascii_lowercase();
            if request.starts_with(b"POST /v1/chat/completions HTTP") && head.starts_with("http/1.1 200") {
                let folder = folder.file_name().into_string().unwrap();
                chats.push((folder, name.to_owned(), head.contains("text/event-stream")));
            }
        }
    }
    chats.sort();
    chats
}

/// vLLM's own streams that differ from their twins, with the reason.
const DIFFER: [&str; 3] = [
    // Several choices; the client asks for one and reads the first.
    "chat_n2_stream",
    // The server streams a call that it later takes back.
    "auto_broken_stream",
    "auto_trunc_stream",
];

#[tokio::test]
async fn streams_equal_their_non_streaming_twins() {
    let chats = chats();
    let mut compared = 0;
    for (folder, stream, _) in
        chats.iter().filter(|(_, name, streamed)| *streamed && !DIFFER.contains(&name.as_str()))
    {
        let at = root().join(folder);
        let asked = question(&at, stream);
        let Some((_, whole, _)) = chats
            .iter()
            .find(|(other, name, streamed)| other == folder && !streamed && question(&at, name) == asked)
        else {
            continue;
        };
        let answer = through_the_client(folder, stream).await;
        let twin = twin(folder, whole);
        let choice = &twin.choices[0];
        let at = format!("{folder}/{stream} and {whole}");
        // Without parsers both sides carry calls and reasoning as text; the client reads them.
        let raw = choice.message.content.as_deref().unwrap_or("");
        if !raw.contains("<tool_call>") && !raw.contains("<think>") {
            // The white space before a call is in one of the two and not in the other.
            let called = !answer.calls.is_empty();
            let shown = |text: &str| if called { text.trim().to_owned() } else { text.to_owned() };
            assert_eq!(shown(&answer.text), shown(raw), "{at}");
            assert_eq!(answer.reasoning, choice.message.reasoning_text().unwrap_or(""), "{at}");
            let calls: Vec<_> =
                answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
            let wanted = choice.message.tool_calls.iter();
            let wanted: Vec<_> =
                wanted.map(|call| (call.function.name.as_str(), call.function.arguments.as_str())).collect();
            assert_eq!(calls, wanted, "{at}");
        }
        if let (Some(usage), Some(twin)) = (&answer.usage, &twin.usage) {
            assert_eq!(
                (usage.prompt_tokens, usage.completion_tokens),
                (twin.prompt_tokens, twin.completion_tokens),
                "{at}"
            );
        }
        compared += 1;
    }
    assert!(compared >= 10, "only {compared} pairs");
}

#[tokio::test]
async fn a_server_without_flags_gives_the_same_calls_and_reasoning_as_one_with_parsers() {
    let answer = through_the_client("s0_noflags", "tools_none_stream").await;
    let with_parser = twin("s1_tools", "auto");
    let want = &with_parser.choices[0].message.tool_calls[0].function;
    assert_eq!(answer.text.trim(), "");
    assert_eq!(answer.calls.len(), 1);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(
        (answer.calls[0].name.as_str(), json(&answer.calls[0].arguments)),
        (want.name.as_str(), json(&want.arguments))
    );

    let answer = through_the_client("s0_noflags", "think_no_parser_stream").await;
    assert!(!answer.reasoning.is_empty() && !answer.text.contains("<think>"), "{answer:?}");

    let answer = through_the_client("s0_noflags", "think_then_tool_none_stream").await;
    assert!(!answer.reasoning.is_empty() && answer.calls.len() == 1, "{answer:?}");
}

#[tokio::test]
async fn every_recorded_chat_stream_is_read_to_its_end() {
    let streams: Vec<_> = chats().into_iter().filter(|(_, _, streamed)| *streamed).collect();
    assert!(streams.len() >= 20, "only {} streams", streams.len());
    for (folder, name, _) in streams {
        let answer = through_the_client(&folder, &name).await;
        assert!(answer.finish.is_some(), "{folder}/{name}");
    }
}
