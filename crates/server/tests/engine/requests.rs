//! What a request gets.

use serde_json::json;

use crate::{post, server};

#[tokio::test]
async fn a_conversation_is_answered() {
    let app = server();
    let body = json!({"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0});
    let (status, answer) = post(&app, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Hello, world! How are you today?");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 18);
}

#[tokio::test]
async fn a_text_is_continued() {
    let app = server();
    let body = json!({"prompt": "The quick brown fox", "temperature": 0});
    let (status, answer) = post(&app, "/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["text"], " jumps over the lazy dog.");
    assert_eq!(answer["choices"][0]["stop_reason"], 1200);
}
