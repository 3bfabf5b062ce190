//! Compaction at the windows of small models.

#![allow(clippy::unwrap_used)]

mod common;

use chela_agent::model::{ModelEvent, Request};
use chela_agent::tool::ToolResult;
use chela_agent::transcript::Message;
use chela_protocol::*;
use common::*;
use serde_json::json;

/// A server that counts a token for every four bytes and refuses what does not fit.
fn server(
    window: u64,
    mut act: impl FnMut(&Request, u64) -> Script + Send + 'static,
) -> std::sync::Arc<ScriptedModel> {
    let model = ScriptedModel::replying(move |request| {
        let prompt = request.weight() as u64 / 4;
        if prompt > window {
            return Some(Script::Fail(vec![], error(FailureKind::ContextOverflow, "too long")));
        }
        let script = act(request, prompt);
        Some(match script {
            Script::Events(mut events) => {
                let at = events.len() - 1;
                events.insert(at, ModelEvent::Usage(Usage { prompt, completion: 20, ..Usage::default() }));
                Script::Events(events)
            }
            other => other,
        })
    });
    model.info.lock().unwrap().window = window;
    model.info.lock().unwrap().max_output = window / 4;
    model
}

fn is_summary(request: &Request) -> bool {
    matches!(request.messages.last(), Some(Message::User { text, .. }) if text.starts_with("Summarise"))
}

fn plain(text: &str) -> Script {
    Script::Events(vec![ModelEvent::Text(text.into()), ModelEvent::Done(Finish::Stop)])
}

/// `big`: a result of a fifth of the window, which is what tools are held to.
fn big() -> std::sync::Arc<dyn chela_agent::tool::Tool> {
    TestTool::build("big", true, vec![], |ctx, _| async move {
        ToolResult::ok("one line of a long file\n".repeat(ctx.limit / 24))
    })
}

/// The prompt tokens of the requests, and the compactions between them: the matrix of windows.
#[tokio::test]
async fn long_sessions_stay_within_any_window() {
    for window in [8_192, 16_384, 32_768] {
        let mut at = 0;
        let model = server(window, move |request, _| {
            if is_summary(request) {
                return plain("The user asks for file after file.");
            }
            at += 1;
            match at % 2 {
                1 => calls(vec![call("big", json!({"x": at.to_string()}))]),
                _ => plain("Read."),
            }
        });
        let setup = Setup::with(model.clone()).tool(big());
        let mut agent = setup.start();
        for turn in 0..12 {
            let outcome = agent.turn(&format!("Read file {turn}. Never delete file {turn}.")).await;
            assert_eq!(outcome, Outcome::Done, "turn {turn} at {window}");
        }
        let mut compactions = 0;
        for seen in &agent.seen {
            if let Event::Compacted { before, after, .. } = &seen.event {
                compactions += 1;
                assert!(after < before && *after <= window / 2, "{after} of {window}");
            }
        }
        assert!(compactions > 0, "{window}");
        let last = model.requests().into_iter().rfind(|request| !is_summary(request)).unwrap();
        let sent = format!("{:?}", last.messages);
        assert!(sent.contains("Never delete file 0."), "{sent}");
        // Originals stay in the journal.
        let long = agent.results().into_iter().filter(|result| result.0.len() > 2_000).count();
        assert_eq!(long, 12);
    }
}

/// Between compactions the prefix holds, word for word.
#[tokio::test]
async fn requests_only_grow_between_compactions() {
    let mut at = 0;
    let model = server(8_192, move |request, _| {
        if is_summary(request) {
            return plain("Much was read.");
        }
        at += 1;
        match at % 3 {
            0 => plain("Read."),
            _ => calls(vec![call("big", json!({"x": at.to_string()}))]),
        }
    });
    let mut agent = Setup::with(model.clone()).tool(big()).start();
    for turn in 0..8 {
        assert_eq!(agent.turn(&format!("go {turn}")).await, Outcome::Done);
    }
    let compactions = agent.seen.iter().filter(|seen| matches!(seen.event, Event::Compacted { .. })).count();
    let requests: Vec<Request> =
        model.requests().into_iter().filter(|request| !is_summary(request)).collect();
    let breaks = requests
        .windows(2)
        .filter(|pair| {
            let common = pair[0].messages.len();
            assert_eq!(pair[0].tools, pair[1].tools);
            assert_eq!(pair[0].messages[0], pair[1].messages[0]);
            pair[1].messages.len() < common || pair[0].messages != pair[1].messages[..common]
        })
        .count();
    assert!(breaks <= compactions, "{breaks} breaks, {compactions} compactions");
}

#[tokio::test]
async fn a_model_that_cannot_summarise_is_done_without() {
    for bad in ["", "call", "error"] {
        let model = server(8_192, move |request, _| match (is_summary(request), bad) {
            (true, "call") => calls(vec![call("big", json!({}))]),
            (true, "error") => Script::Fail(vec![], error(FailureKind::Unavailable, "gone")),
            (true, _) => plain(""),
            (false, _) => plain(&"A long answer with many words. ".repeat(80)),
        });
        let mut agent = Setup::with(model).start();
        for turn in 0..14 {
            let outcome = agent.turn(&format!("question {turn}")).await;
            assert_eq!(outcome, Outcome::Done, "{bad} {turn}");
        }
        let said = |words: &str| {
            agent
                .seen
                .iter()
                .any(|seen| matches!(&seen.event, Event::Notice { text, .. } if text.contains(words)))
        };
        assert!(said("compacted without the model's summary"), "{bad}");
        for seen in &agent.seen {
            if let Event::Compacted { after, .. } = &seen.event {
                assert!(*after <= 4_096, "{after}");
            }
        }
    }
}

#[tokio::test]
async fn a_message_larger_than_the_window_is_told_and_the_session_goes_on() {
    let model = server(8_192, |request, _| match is_summary(request) {
        true => plain("Something huge was sent."),
        false => plain("ok"),
    });
    let mut agent = Setup::with(model).start();
    let huge = Op::UserMessage {
        text: "what is this?".into(),
        images: vec![],
        attachments: vec![Attachment { name: "huge".into(), text: "word ".repeat(20_000), file: false }],
    };
    agent.send(huge).await;
    match agent.outcome().await {
        Outcome::Failed { kind: FailureKind::ContextOverflow, message } => {
            assert!(message.contains("send less"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.turn("never mind").await, Outcome::Done);
}

/// Many large results in one answer share the window: none of them is taken away unread.
#[tokio::test]
async fn results_of_one_answer_share_the_window() {
    for window in [8_192, 32_768] {
        let mut at = 0;
        let model = server(window, move |_, _| {
            at += 1;
            match at {
                1 => calls((0..6).map(|x| call("big", json!({"x": x.to_string()}))).collect()),
                _ => plain("Read."),
            }
        });
        let mut agent = Setup::with(model.clone()).tool(big()).start();
        assert_eq!(agent.turn("Read all six.").await, Outcome::Done);
        assert!(!agent.seen.iter().any(|seen| matches!(seen.event, Event::Compacted { .. })));
        assert!(agent.results().iter().all(|result| result.0.len() >= 900));
    }
}

#[tokio::test]
async fn compact_on_demand() {
    let model = server(32_768, |request, _| match is_summary(request) {
        true => plain("We talked."),
        false => plain(&"Words and words. ".repeat(700)),
    });
    let mut agent = Setup::with(model).start();
    for _ in 0..3 {
        agent.turn("talk").await;
    }
    agent.send(Op::Compact).await;
    let (before, after) = agent
        .until(|event| match event {
            Event::Compacted { before, after, .. } => Some((*before, *after)),
            _ => None,
        })
        .await;
    assert!(after < before);
    assert_eq!(agent.turn("go on").await, Outcome::Done);
}

#[tokio::test]
async fn the_meter_is_exact_where_the_server_counts() {
    let mut model = ScriptedModel::of(vec![text("one"), text("two")]);
    model.counts = true;
    let mut agent = Setup::with(std::sync::Arc::new(model)).start();
    agent.turn("hi").await;
    let shown = agent.seen.iter().find_map(|seen| match &seen.event {
        Event::ContextMeter { used, window, exact } => Some((*used, *window, *exact)),
        _ => None,
    });
    assert_eq!(shown, Some((110, 32_768, true)));
}
