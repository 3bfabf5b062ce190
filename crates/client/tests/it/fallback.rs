//! Fallback models: only as configured, announced, and never to a window too small.

use chela_client::openai::chat::Message;
use chela_client::{ModelError, Notice, Turn};
use chela_server::{Scripted, Turn as Answer};

use crate::common::*;

async fn two(primary: &str, second: &str, window: u32) -> Turn {
    let config = format!(
        "{{agents: {{defaults: {{model: {{primary: 'a/m', fallbacks: ['b/m', 'missing/m']}}}}}},
          models: {{providers: {{
            a: {{baseUrl: '{primary}', models: [{{id: 'm', contextWindow: 8192, maxTokens: 512}}]}},
            b: {{baseUrl: '{second}', models: [{{id: 'm', contextWindow: {window}, maxTokens: 512}}]}}}}}}}}"
    );
    let catalog = catalog(&config, &[]);
    let model = catalog.default_model().await.unwrap();
    let (fallbacks, warnings) = catalog.fallbacks().await;
    assert_eq!(fallbacks.len(), 1);
    assert!(warnings[0].contains("missing/m"), "{warnings:?}");
    Turn { fallbacks, ..Turn::new(model, vec![Message::user("hello ".repeat(400))]) }
}

#[tokio::test]
async fn a_failed_server_is_stood_in_for_and_it_is_said() {
    let failing = Scripted::new().model("m").respond(|_| Answer::error(501, "no")).serve();
    let second = Scripted::new().model("m").turn(Answer::text("Here.")).serve();
    let (answer, error) = ask(&client(), two(&failing.base_url(), &second.base_url(), 8192).await).await;
    assert_eq!((answer.text.as_str(), error), ("Here.", None));
    assert!(
        answer
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::Fallback { to, .. } if to.provider == "b"))
    );
    assert_eq!(answer.provenance.unwrap().provider, "b");
}

#[tokio::test]
async fn a_window_too_small_is_never_fallen_back_to() {
    let failing = Scripted::new().model("m").respond(|_| Answer::error(501, "no")).serve();
    let second = Scripted::new().model("m").turn(Answer::text("Here.")).serve();
    let (answer, error) = ask(&client(), two(&failing.base_url(), &second.base_url(), 700).await).await;
    assert!(matches!(error, Some(ModelError::Unavailable { .. })), "{error:?}");
    assert!(
        answer.notices.iter().any(|notice| matches!(notice, Notice::FallbackTooSmall { window: 700, .. }))
    );
    assert!(second.chats().is_empty());
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_begun_again_elsewhere() {
    let failing = Scripted::new().model("m").turn(Answer::text("Hel").disconnect()).serve();
    let second = Scripted::new().model("m").turn(Answer::text("Here.")).serve();
    let (answer, error) = ask(&client(), two(&failing.base_url(), &second.base_url(), 8192).await).await;
    assert_eq!(answer.text, "Hel");
    assert!(matches!(error, Some(ModelError::Truncated { .. })), "{error:?}");
    assert!(second.chats().is_empty());
}

#[tokio::test]
async fn a_bad_request_is_not_taken_elsewhere() {
    let failing = Scripted::new().model("m").respond(|_| Answer::error(400, "temperature is odd")).serve();
    let second = Scripted::new().model("m").turn(Answer::text("Here.")).serve();
    let (_, error) = ask(&client(), two(&failing.base_url(), &second.base_url(), 8192).await).await;
    assert!(matches!(error, Some(ModelError::BadRequest { status: 400, .. })), "{error:?}");
    assert!(second.chats().is_empty());
}
