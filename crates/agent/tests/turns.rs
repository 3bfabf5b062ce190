//! The loop against a scripted model.

#![allow(clippy::unwrap_used)]

mod common;

use chela_protocol::*;
use common::*;
use serde_json::json;

#[tokio::test]
async fn an_answer_is_streamed_and_kept() {
    let mut agent = Setup::new(vec![text("Hello.")]).start();
    assert_eq!(agent.turn("hi").await, Outcome::Done);
    assert_eq!(agent.said(), "Hello.");
    let kinds: Vec<Item> = agent.items();
    assert!(matches!(kinds[0], Item::Prefix { .. }));
    assert!(matches!(&kinds[1], Item::User { text, .. } if text == "hi"));
    assert!(matches!(&kinds[2], Item::Assistant { text, .. } if text == "Hello."));
    let seen = agent.finish().await;
    let numbers: Vec<u64> = seen.iter().map(|envelope| envelope.seq).collect();
    assert_eq!(numbers, (1..=seen.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_is_run_and_its_result_goes_back() {
    let script = vec![calls(vec![call("look", json!({"x": "a"}))]), text("It is a.")];
    let setup = Setup::new(script);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("what is it?").await, Outcome::Done);
    assert_eq!(agent.results(), [("saw a".to_owned(), String::new(), ResultStatus::Ok)]);
    assert_eq!(model.requests().len(), 2);
}
