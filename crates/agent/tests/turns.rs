//! The loop against a scripted model.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chela_agent::model::ModelEvent;
use chela_agent::tool::{Tool, ToolResult};
use chela_agent::transcript::Message;
use chela_protocol::*;
use common::*;
use proptest::prelude::*;
use serde_json::json;

#[tokio::test]
async fn an_answer_is_streamed_and_kept() {
    let mut agent = Setup::new(vec![text("Hello.")]).start();
    assert_eq!(agent.turn("hi").await, Outcome::Done);
    assert_eq!(agent.said(), "Hello.");
    let items = agent.items();
    assert!(matches!(items[0], Item::Prefix { .. }));
    assert!(matches!(&items[1], Item::User { text, .. } if text == "hi"));
    assert!(matches!(&items[2], Item::Assistant { text, .. } if text == "Hello."));
    let seen = agent.finish().await;
    let numbers: Vec<u64> = seen.iter().map(|envelope| envelope.seq).collect();
    assert_eq!(numbers, (1..=seen.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_is_run_and_its_result_goes_back() {
    let setup = Setup::new(vec![calls(vec![call("look", json!({"x": "a"}))]), text("It is a.")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("what is it?").await, Outcome::Done);
    assert_eq!(agent.results(), [("saw a".to_owned(), String::new(), ResultStatus::Ok)]);
    let second = &model.requests()[1];
    assert!(matches!(second.messages.last(), Some(Message::Tool { content, .. }) if content == "saw a"));
}

#[tokio::test]
async fn two_messages_are_two_turns_one_after_the_other() {
    let setup = Setup::new(vec![text("one"), text("two")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    agent.say("a").await;
    agent.say("b").await;
    assert_eq!(agent.outcome().await, Outcome::Done);
    assert_eq!(agent.outcome().await, Outcome::Done);
    assert_eq!(agent.said(), "onetwo");
    assert_eq!(model.requests()[1].messages.len(), 4);
}

#[tokio::test]
async fn what_is_queued_is_done_before_the_end() {
    let mut agent = Setup::new(vec![text("one"), text("two")]).start();
    agent.say("a").await;
    agent.say("b").await;
    agent.ops = None;
    let seen = agent.finish().await;
    let turns = seen.iter().filter(|seen| matches!(seen.event, Event::TurnFinished { .. })).count();
    assert_eq!(turns, 2);
}

#[tokio::test]
async fn reading_calls_run_beside_one_another_and_keep_their_order() {
    let all = Arc::new(tokio::sync::Barrier::new(3));
    let ended = Arc::new(AtomicUsize::new(0));
    let slow = TestTool::build("slow", true, vec![], move |_, args| {
        let (all, ended) = (all.clone(), ended.clone());
        async move {
            let x: usize = args["x"].as_str().unwrap().parse().unwrap();
            // None goes on before all have begun.
            all.wait().await;
            // The first ends last; its result must be the first all the same.
            while ended.load(Ordering::SeqCst) < 2 - x {
                tokio::task::yield_now().await;
            }
            ended.fetch_add(1, Ordering::SeqCst);
            ToolResult::ok(format!("r{x}"))
        }
    });
    let three = (0..3).map(|x| call("slow", json!({"x": x.to_string()}))).collect();
    let mut agent = Setup::new(vec![calls(three), text("ok")]).tool(slow).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let results: Vec<String> = agent.results().into_iter().map(|result| result.0).collect();
    assert_eq!(results, ["r0", "r1", "r2"]);
}

#[tokio::test]
async fn changing_calls_run_one_after_the_other_between_the_reading_ones() {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tool = |name: &'static str, read_only| {
        let log = log.clone();
        TestTool::build(name, read_only, vec![], move |_, _| {
            let log = log.clone();
            async move {
                log.lock().unwrap().push(format!("+{name}"));
                tokio::time::sleep(Duration::from_millis(5)).await;
                log.lock().unwrap().push(format!("-{name}"));
                ToolResult::ok("")
            }
        })
    };
    let script = calls(["r", "w", "v", "r"].map(|name| call(name, json!({}))).into());
    let setup = Setup::new(vec![script, text("ok")]);
    let mut agent = setup.tool(tool("r", true)).tool(tool("w", false)).tool(tool("v", false)).start();
    agent.turn("go").await;
    assert_eq!(*log.lock().unwrap(), ["+r", "-r", "+w", "-w", "+v", "-v", "+r", "-r"]);
    // A result is never blank.
    assert!(agent.results().iter().all(|result| result.0 == "(done; no output)"));
}

#[tokio::test]
async fn an_unknown_tool_names_the_offered_ones() {
    let mut agent = Setup::new(vec![calls(vec![call("bash", json!({}))]), text("ok")]).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let (content, _, status) = agent.results().remove(0);
    assert!(content.starts_with("error: tool call: name: expected one of look, got \"bash\""), "{content}");
    assert_eq!(status, ResultStatus::Error);
}

#[tokio::test]
async fn broken_arguments_come_back_as_a_result_and_as_an_object_on_the_wire() {
    let broken =
        ModelEvent::Call { id: "x".into(), name: "look".into(), arguments: "path: a, then {".into() };
    let setup = Setup::new(vec![calls(vec![broken]), text("ok")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    assert_eq!(agent.results()[0].2, ResultStatus::Error);
    let request = &model.requests()[1];
    let call = request.messages.iter().find_map(|message| match message {
        Message::Assistant { calls, .. } => calls.first(),
        _ => None,
    });
    assert_eq!(call.unwrap().arguments, "{}");
}

#[tokio::test]
async fn ids_of_calls_are_unique_in_a_session() {
    let same = |x: &str| ModelEvent::Call {
        id: "call_0".into(),
        name: "look".into(),
        arguments: json!({ "x": x }).to_string(),
    };
    let script = vec![calls(vec![same("a"), same("b")]), calls(vec![same("c")]), text("ok")];
    let mut agent = Setup::new(script).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let mut ids: Vec<String> = agent
        .items()
        .into_iter()
        .filter_map(|item| match item {
            Item::ToolResult { call, .. } => Some(call),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 3);
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(ids[0], "call_0");
}

fn done(finish: Finish, events: Vec<ModelEvent>) -> Script {
    let mut events = events;
    events.push(ModelEvent::Done(finish));
    Script::Events(events)
}

#[tokio::test]
async fn an_empty_answer_is_asked_for_once_more() {
    let setup = Setup::new(vec![done(Finish::Stop, vec![]), text("Here.")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let second = &model.requests()[1];
    assert_eq!(second.thinking, Thinking::Off);
    assert!(matches!(second.messages.last(), Some(Message::User { text, .. }) if text.contains("empty")));
}

#[tokio::test]
async fn an_end_inside_reasoning_is_continued_once_and_then_told() {
    let thought = || done(Finish::Stop, vec![ModelEvent::Reasoning("hm".into())]);
    let mut agent = Setup::new(vec![thought(), thought(), text("next")]).start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Failed { kind: FailureKind::Empty, .. }), "{outcome:?}");
    // The session goes on.
    assert_eq!(agent.turn("again").await, Outcome::Done);
}

#[tokio::test]
async fn an_answer_cut_by_length_is_continued_once() {
    let cut = |text: &str| done(Finish::Length, vec![ModelEvent::Text(text.into())]);
    let mut agent = Setup::new(vec![cut("one "), text("two")]).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    assert_eq!(agent.said(), "one two");
    let mut agent = Setup::new(vec![cut("one "), cut("two")]).start();
    assert!(matches!(agent.turn("go").await, Outcome::Cut { .. }));
}

#[tokio::test]
async fn a_call_cut_by_length_does_not_run() {
    let cut = ModelEvent::Call { id: String::new(), name: "look".into(), arguments: r#"{"x": "a"#.into() };
    let script = vec![done(Finish::Length, vec![call("look", json!({"x": "b"})), cut]), text("ok")];
    let mut agent = Setup::new(script).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let results = agent.results();
    assert_eq!(results[0].0, "saw b");
    assert!(results[1].0.contains("the token limit cut this call"), "{results:?}");
}

#[tokio::test]
async fn endless_reasoning_is_ended_and_asked_again_without() {
    let endless: Vec<ModelEvent> = (0..4_000).map(|_| ModelEvent::Reasoning("hmm ".repeat(10))).collect();
    let setup = Setup::new(vec![Script::Hang(endless), text("Four.")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("2+2?").await, Outcome::Done);
    let requests = model.requests();
    assert_eq!((requests[0].thinking, requests[1].thinking), (Thinking::Low, Thinking::Off));
    assert_eq!(requests[0].messages, requests[1].messages);
    let shown: usize =
        agent.seen.iter().filter(|seen| matches!(seen.event, Event::ReasoningDelta { .. })).count();
    assert!(shown < 300, "{shown} deltas of 40 bytes are far more than 2,048 tokens");
}

#[tokio::test]
async fn an_answer_that_repeats_itself_is_asked_for_once_more() {
    let endless = |said: &str| {
        let said = vec![ModelEvent::Text(said.repeat(2_000))];
        Script::Fail(said, error(FailureKind::Loop, "the model wrote \"na \" over and over"))
    };
    let setup = Setup::new(vec![endless("na "), text("ok")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let messages = &model.requests()[1].messages;
    let [.., Message::Assistant { text: kept, .. }, Message::User { text: nudge, .. }] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert!(kept.len() < 6_000 && kept.ends_with("[…]\n\n[interrupted]"), "{kept}");
    assert!(nudge.contains("without end"), "{nudge}");
    let mut agent = Setup::new(vec![endless("a "), endless("b ")]).start();
    assert!(matches!(agent.turn("go").await, Outcome::Cut { .. }));
    let thoughts = vec![ModelEvent::Reasoning("hm ".repeat(1_000))];
    let setup = Setup::new(vec![Script::Fail(thoughts, error(FailureKind::Loop, "hm")), text("ok")]);
    let model = setup.model.clone();
    assert_eq!(setup.start().turn("go").await, Outcome::Done);
    assert_eq!(model.requests()[1].thinking, Thinking::Off);
    let silent = || Script::Fail(vec![], error(FailureKind::Loop, "over and over"));
    let mut agent = Setup::new(vec![silent(), silent()]).start();
    let failed = Outcome::Failed { kind: FailureKind::Loop, message: "over and over".into() };
    assert_eq!(agent.turn("go").await, failed);
}

/// A tool that changes something, and fails where it is told to.
fn poke() -> Arc<dyn Tool> {
    TestTool::build("poke", false, vec![], |_, args| async move {
        match args.get("x").and_then(|x| x.as_str()) {
            Some("fail") => ToolResult::error("error: it is read-only"),
            _ => ToolResult::ok("poked"),
        }
    })
}

#[tokio::test]
async fn a_deed_that_failed_is_not_told_as_done() {
    let fails = || calls(vec![call("poke", json!({"x": "fail"}))]);
    let setup = Setup::new(vec![fails(), text("Changed a to b."), text("That did not work.")]);
    let model = setup.model.clone();
    let mut agent = setup.tool(poke()).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let messages = &model.requests()[2].messages;
    assert!(matches!(messages.last(), Some(Message::User { text, .. }) if text.contains("That is not so")));
    let script = vec![fails(), text("Changed a to b."), text("I've changed it.")];
    let mut agent = Setup::new(script).tool(poke()).start();
    assert!(matches!(agent.turn("go").await, Outcome::Failed { kind: FailureKind::Untrue, .. }));
    // One change that went well is enough, and so is an answer that says what stood in the way.
    let well = calls(vec![call("poke", json!({"x": "fail"})), call("poke", json!({"x": "b"}))]);
    let mut agent = Setup::new(vec![well, text("Changed a to b.")]).tool(poke()).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let mut agent = Setup::new(vec![fails(), text("Set nothing: it is read-only.")]).tool(poke()).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
}

#[tokio::test]
async fn partial_text_is_kept_when_the_connection_breaks() {
    let broken = Script::Fail(
        vec![ModelEvent::Text("Half an".into())],
        error(FailureKind::Unavailable, "the server went away"),
    );
    let setup = Setup::new(vec![broken, text("ok")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("go").await, Outcome::Cut { message: "the server went away".into() });
    assert!(
        agent.items().iter().any(
            |item| matches!(item, Item::Assistant { text, finish: Finish::Cut, .. } if text == "Half an")
        )
    );
    agent.turn("go on").await;
    let messages = &model.requests()[1].messages;
    assert!(matches!(&messages[2], Message::Assistant { text, .. } if text == "Half an\n\n[interrupted]"));
}

#[tokio::test]
async fn a_failed_turn_leaves_an_alternating_conversation() {
    let failed = Script::Fail(vec![], error(FailureKind::Unavailable, "refused"));
    let setup = Setup::new(vec![failed, text("ok")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    let outcome = agent.turn("a").await;
    assert_eq!(outcome, Outcome::Failed { kind: FailureKind::Unavailable, message: "refused".into() });
    agent.turn("b").await;
    let messages = &model.requests()[1].messages;
    assert!(matches!(&messages[2], Message::Assistant { text, .. } if text == "[no answer: refused]"));
}

#[tokio::test]
async fn stop_ends_a_silent_stream_at_once() {
    let mut agent = Setup::new(vec![Script::Hang(vec![ModelEvent::Text("Well".into())]), text("ok")]).start();
    agent.say("go").await;
    agent.until(|event| matches!(event, Event::TextDelta { .. }).then_some(())).await;
    let since = Instant::now();
    agent.send(Op::Stop).await;
    assert_eq!(agent.outcome().await, Outcome::Stopped);
    assert!(since.elapsed() < Duration::from_secs(60));
    assert_eq!(agent.turn("again").await, Outcome::Done);
}

#[tokio::test]
async fn stop_starts_no_further_call_and_closes_all() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let stuck = TestTool::build("stuck", false, vec![], move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let both = calls(vec![call("stuck", json!({})), call("stuck", json!({}))]);
    let setup = Setup::new(vec![both, text("ok")]).tool(stuck);
    let model = setup.model.clone();
    let mut agent = setup.start();
    agent.say("go").await;
    agent.until(|event| matches!(event, Event::ToolCallStarted { .. }).then_some(())).await;
    while started.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    agent.send(Op::Stop).await;
    assert_eq!(agent.outcome().await, Outcome::Stopped);
    assert_eq!(started.load(Ordering::SeqCst), 1);
    let results = agent.results();
    assert!(results[0].0.contains("while this call ran"), "{results:?}");
    assert!(results[1].0.contains("before this call started"), "{results:?}");
    let shown = |kind: fn(&Event) -> bool| agent.seen.iter().filter(|seen| kind(&seen.event)).count();
    assert_eq!(
        shown(|event| matches!(event, Event::ToolCallStarted { .. })),
        shown(|event| matches!(event, Event::ToolCallFinished { .. }))
    );
    agent.turn("and now?").await;
    assert_prefixes(&model.requests());
}

#[tokio::test]
async fn shutdown_stops_the_turn_and_ends() {
    let mut agent = Setup::new(vec![Script::Hang(vec![ModelEvent::Text("x".into())])]).start();
    agent.say("go").await;
    agent.until(|event| matches!(event, Event::TextDelta { .. }).then_some(())).await;
    agent.send(Op::Shutdown).await;
    let seen = agent.finish().await;
    assert!(seen.iter().any(
        |seen| matches!(&seen.event, Event::TurnFinished { outcome, .. } if *outcome == Outcome::Stopped)
    ));
}

#[tokio::test]
async fn a_front_end_that_goes_away_ends_the_agent() {
    let mut agent = Setup::new(vec![Script::Hang(vec![ModelEvent::Text("x".into())])]).start();
    agent.say("go").await;
    agent.until(|event| matches!(event, Event::TextDelta { .. }).then_some(())).await;
    drop(agent.events);
    tokio::time::timeout(Duration::from_secs(60), agent.task).await.unwrap().unwrap();
}

fn written() -> (Arc<AtomicUsize>, Arc<dyn chela_agent::tool::Tool>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let right = Right::Write { path: "/workspace/a".into() };
    let tool = TestTool::build("put", false, vec![right.clone()], move |ctx, _| {
        assert!(ctx.granted(&right));
        seen.fetch_add(1, Ordering::SeqCst);
        async { ToolResult::ok("written") }
    });
    (count, tool)
}

fn put() -> Script {
    calls(vec![call("put", json!({}))])
}

#[tokio::test]
async fn a_write_waits_for_a_yes() {
    let (count, tool) = written();
    let mut agent = Setup::new(vec![put(), text("ok"), put(), text("ok")]).tool(tool).start();
    agent.say("go").await;
    let id = agent.approval().await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
    agent.send(Op::Approve { id, decision: Decision::Session }).await;
    assert_eq!(agent.outcome().await, Outcome::Done);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Allowed for the session: not asked again.
    assert_eq!(agent.turn("again").await, Outcome::Done);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_no_is_told_to_the_model_and_the_turn_goes_on() {
    let (count, tool) = written();
    let mut agent = Setup::new(vec![put(), text("as you wish")]).tool(tool).start();
    agent.say("go").await;
    let id = agent.approval().await;
    agent.send(Op::Approve { id, decision: Decision::Deny }).await;
    assert_eq!(agent.outcome().await, Outcome::Done);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    let (content, _, status) = agent.results().remove(0);
    assert!(content.starts_with("refused: the user said no"), "{content}");
    assert_eq!(status, ResultStatus::Denied);
}

#[tokio::test]
async fn silence_is_a_no() {
    let (count, tool) = written();
    let mut setup = Setup::new(vec![put(), text("ok")]).tool(tool);
    setup.settings.approval_timeout = Duration::from_millis(20);
    let mut agent = setup.start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn stop_while_waiting_for_approval_is_a_no() {
    let (count, tool) = written();
    let mut agent = Setup::new(vec![put(), text("ok")]).tool(tool).start();
    agent.say("go").await;
    let id = agent.approval().await;
    agent.send(Op::Stop).await;
    assert_eq!(agent.outcome().await, Outcome::Stopped);
    // A late yes changes nothing.
    agent.send(Op::Approve { id, decision: Decision::Once }).await;
    assert_eq!(agent.turn("well?").await, Outcome::Done);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_anyone_to_ask_a_write_is_refused_with_the_option_that_allows_it() {
    let (count, tool) = written();
    let mut setup = Setup::new(vec![put(), text("could not")]).tool(tool);
    setup.settings.approve = ApproveMode::None;
    setup.settings.can_ask = false;
    let mut agent = setup.start();
    match agent.turn("go").await {
        Outcome::Refused { message } => assert_eq!(message, "put: writes ask; --approve edits allows it"),
        other => panic!("{other:?}"),
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refusal_that_was_overcome_is_no_refusal() {
    let (_, tool) = written();
    let mut agent = Setup::new(vec![put(), put(), text("done")]).tool(tool).start();
    agent.send(Op::SetApprove { mode: ApproveMode::None }).await;
    agent.say("go").await;
    agent.until(|event| matches!(event, Event::ToolCallFinished { .. }).then_some(())).await;
    // The scripted model is quicker than any human: both calls may be refused already.
    agent.send(Op::SetApprove { mode: ApproveMode::Edits }).await;
    let outcome = agent.outcome().await;
    let overcome = agent.results().last().is_some_and(|result| result.2 == ResultStatus::Ok);
    assert_eq!(overcome, outcome == Outcome::Done, "{outcome:?}");
}

#[tokio::test]
async fn the_step_budget_asks_for_an_answer_before_it_ends() {
    let look = || calls(vec![call("look", json!({"x": "a"}))]);
    let mut setup = Setup::new(vec![look(), text("so far: a")]);
    setup.settings.budgets.steps = 2;
    let model = setup.model.clone();
    let mut agent = setup.start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Budget { budget: Budget::Steps, .. }), "{outcome:?}");
    assert_eq!(agent.said(), "so far: a");
    let requests = model.requests();
    assert!(requests[0].may_call && !requests[1].may_call);
    assert_eq!(requests[0].tools, requests[1].tools);
}

#[tokio::test]
async fn the_token_budget_ends_a_turn() {
    let spend = Script::Events(vec![
        call("look", json!({})),
        ModelEvent::Usage(Usage { prompt: 10, completion: 600, ..Usage::default() }),
        ModelEvent::Done(Finish::ToolCalls),
    ]);
    let mut setup = Setup::new(vec![spend.clone(), spend]);
    setup.settings.budgets.tokens = 1_000;
    let mut agent = setup.start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Budget { budget: Budget::Tokens, .. }), "{outcome:?}");
}

#[tokio::test]
async fn the_wall_budget_ends_a_turn_whatever_it_does() {
    let stuck = || TestTool::build("stuck", true, vec![], |_, _| std::future::pending());
    for script in [vec![Script::Hang(vec![])], vec![calls(vec![call("stuck", json!({}))])]] {
        let mut setup = Setup::new(script).tool(stuck());
        setup.settings.budgets.time = Some(Duration::from_millis(50));
        let mut agent = setup.start();
        let outcome = agent.turn("go").await;
        assert!(matches!(outcome, Outcome::Budget { budget: Budget::Time, .. }), "{outcome:?}");
    }
}

/// A model that only ever repeats one call gets hints, then has to answer, then is stopped.
#[tokio::test]
async fn a_loop_is_hinted_at_then_forbidden_then_ended() {
    let model = ScriptedModel::replying(|_| Some(calls(vec![call("look", json!({"x": "a"}))])));
    let mut agent = Setup::with(model.clone()).start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Failed { kind: FailureKind::Loop, .. }), "{outcome:?}");
    let notes: Vec<String> = agent.results().into_iter().map(|result| result.1).collect();
    assert!(notes[1].is_empty());
    assert!(notes[2].contains("3 times with the same result"), "{notes:?}");
    assert!(notes[4].contains("No more calls are possible"), "{notes:?}");
    assert_eq!(model.requests().len(), 6);
    assert_prefixes(&model.requests());
}

#[tokio::test]
async fn a_loop_over_two_tools_ends_too_and_an_answer_counts() {
    let mut at = 0;
    let model = ScriptedModel::replying(move |request| {
        at += 1;
        Some(match (request.may_call, at % 2) {
            (false, _) => text("I give up."),
            (true, 0) => calls(vec![call("look", json!({"x": "a"}))]),
            (true, _) => calls(vec![call("nothing", json!({}))]),
        })
    });
    let mut agent = Setup::with(model).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    assert_eq!(agent.said(), "I give up.");
}

/// Changing arguments escape the breaker, not the step budget.
#[tokio::test]
async fn an_adversary_that_never_repeats_is_held_by_the_steps() {
    let mut at = 0;
    let model = ScriptedModel::replying(move |_| {
        at += 1;
        Some(calls(vec![call("look", json!({"x": at.to_string()}))]))
    });
    let mut agent = Setup::with(model.clone()).start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Budget { budget: Budget::Steps, .. }), "{outcome:?}");
    assert_eq!(model.requests().len(), 50);
}

#[tokio::test]
async fn a_word_in_between_reaches_the_model_with_the_next_result() {
    let (count, tool) = written();
    let setup = Setup::new(vec![put(), text("ok")]).tool(tool);
    let model = setup.model.clone();
    let mut agent = setup.start();
    agent.say("go").await;
    let id = agent.approval().await;
    agent.send(Op::Steer { text: "and be quick".into() }).await;
    agent.send(Op::Approve { id, decision: Decision::Once }).await;
    assert_eq!(agent.outcome().await, Outcome::Done);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let requests = model.requests();
    let last = requests[1].messages.last();
    assert!(matches!(last, Some(Message::Tool { content, .. })
        if content == "written\n\n[The user says meanwhile: and be quick]"));
}

/// It was taken for what the answer had to go on with, and dropped since that answer was the last one.
#[tokio::test]
async fn a_word_said_to_a_forced_answer_is_not_lost() {
    let ops = Arc::new(std::sync::OnceLock::<tokio::sync::mpsc::Sender<Op>>::new());
    let sender = ops.clone();
    let model = ScriptedModel::replying(move |request| {
        if request.messages.len() == 2 {
            sender.get().unwrap().try_send(Op::Steer { text: "and blue?".into() }).unwrap();
        }
        Some(text("Red."))
    });
    let mut setup = Setup::with(model.clone());
    setup.settings.budgets.steps = 1;
    let mut agent = setup.start();
    ops.set(agent.ops.clone().unwrap()).unwrap();
    agent.turn("red?").await;
    agent.outcome().await;
    let requests = model.requests();
    assert!(
        matches!(requests[1].messages.last(), Some(Message::User { text, .. }) if text.ends_with("and blue?"))
    );
}

#[tokio::test]
async fn pictures_are_refused_by_a_model_that_takes_none() {
    let mut agent = Setup::new(vec![text("ok")]).start();
    let image = Image { media_type: "image/png".into(), data: "AA==".into(), name: "cat.png".into() };
    agent.send(Op::UserMessage { text: "what?".into(), images: vec![image], attachments: vec![] }).await;
    match agent.outcome().await {
        Outcome::Failed { kind: FailureKind::Config, message } => assert!(message.contains("cat.png")),
        other => panic!("{other:?}"),
    }
    assert!(agent.items().is_empty());
}

#[tokio::test]
async fn lists_status_models_and_new_sessions() {
    let mut agent = Setup::new(vec![text("ok"), text("fresh")]).start();
    agent.turn("hi").await;
    agent.send(Op::List { what: ListWhat::Tools, refresh: false }).await;
    agent.send(Op::List { what: ListWhat::Models, refresh: false }).await;
    agent.send(Op::SetThinking { level: Thinking::High }).await;
    agent.send(Op::SetModel { model: "test/none".into() }).await;
    agent.send(Op::Status).await;
    let status = agent
        .until(|event| match event {
            Event::Status(status) => Some(status.clone()),
            _ => None,
        })
        .await;
    assert_eq!((status.thinking, status.model.as_str(), status.items), (Thinking::High, "test/m", 3));
    let listed = agent.seen.iter().filter(|seen| matches!(seen.event, Event::Listed(_))).count();
    assert_eq!(listed, 2);
    let before = agent.seen.last().unwrap().session;
    agent.send(Op::New).await;
    agent.turn("hi").await;
    let second = agent.seen.last().unwrap().session;
    assert_ne!(second, before);
    agent.send(Op::Resume { session: "none".into() }).await;
    agent.until(|event| matches!(event, Event::Notice { level: Level::Error, .. }).then_some(())).await;
    assert_eq!(agent.seen.last().unwrap().session, second, "a session that is not there changes nothing");
}

#[tokio::test]
async fn another_session_goes_on_where_it_was() {
    let mut agent = Setup::new(vec![text("one"), text("two"), text("three")]).start();
    agent.send(Op::New).await;
    agent.turn("first").await;
    let first = agent.seen.last().unwrap().session;
    agent.send(Op::New).await;
    agent.turn("second").await;
    agent.send(Op::Resume { session: first.to_string() }).await;
    let items = agent.until(|event| match event {
        Event::SessionOpened { items, .. } if *items > 0 => Some(*items),
        _ => None,
    });
    assert_eq!(items.await, 3);
    agent.turn("third").await;
    assert_eq!(agent.seen.last().unwrap().session, first);
}

#[tokio::test]
async fn an_overflow_named_by_the_server_is_compacted_and_sent_again() {
    let overflow = Script::Fail(vec![], error(FailureKind::ContextOverflow, "too long"));
    let long = "word ".repeat(3_000);
    let first = calls(vec![call("look", json!({ "x": long }))]);
    let setup = Setup::new(vec![first, text("seen"), overflow, text("summary"), text("ok")]);
    let mut agent = setup.start();
    assert_eq!(agent.turn("a").await, Outcome::Done);
    assert_eq!(agent.turn("b").await, Outcome::Done);
    assert!(agent.seen.iter().any(|seen| matches!(seen.event, Event::Compacted { .. })));
    let mut agent =
        Setup::new((0..9).map(|_| Script::Fail(vec![], error(FailureKind::ContextOverflow, "x"))).collect())
            .start();
    let outcome = agent.turn("a").await;
    assert!(matches!(outcome, Outcome::Failed { kind: FailureKind::ContextOverflow, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_told_and_tried_again_but_not_for_ever() {
    let broken = || {
        let malformed = ModelEvent::Malformed { raw: "<tool_call>{".into(), why: "no closing brace".into() };
        done(Finish::Stop, vec![malformed])
    };
    let setup = Setup::new(vec![broken(), text("ok")]);
    let model = setup.model.clone();
    let mut agent = setup.start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let messages = &model.requests()[1].messages;
    assert!(matches!(&messages[2], Message::Assistant { text, .. } if text == "<tool_call>{"));
    assert!(matches!(&messages[3], Message::User { text, .. } if text.contains("no closing brace")));
    let mut agent = Setup::with(ScriptedModel::replying(move |_| Some(broken()))).start();
    let outcome = agent.turn("go").await;
    assert!(matches!(outcome, Outcome::Failed { kind: FailureKind::Loop, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_corrected_call_is_told_how_it_was_taken() {
    let near = ModelEvent::Call { id: "1".into(), name: "Look".into(), arguments: r#"{"x": 5}"#.into() };
    let mut agent = Setup::new(vec![calls(vec![near]), text("ok")]).start();
    assert_eq!(agent.turn("go").await, Outcome::Done);
    let (content, note, _) = agent.results().remove(0);
    assert_eq!(content, "saw 5");
    assert!(note.starts_with("[Your call was corrected: took \"Look\" as \"look\""), "{note}");
}

/// What a random model says in one reply.
fn any_script() -> impl Strategy<Value = Script> {
    let looks = prop::collection::vec("[a-c]", 1..3);
    let broken = |kind, message: &'static str| Script::Fail(vec![], error(kind, message));
    prop_oneof![
        3 => "[a-z]{1,5}".prop_map(|said| text(&said)),
        4 => looks.prop_map(|looks| calls(looks.iter().map(|x| call("look", json!({ "x": x }))).collect())),
        1 => Just(done(Finish::Stop, vec![])),
        1 => Just(done(Finish::Length, vec![ModelEvent::Text("cut".into())])),
        1 => Just(done(Finish::Stop, vec![ModelEvent::Reasoning("hm".into())])),
        1 => Just(done(Finish::Stop, vec![ModelEvent::Malformed { raw: "<".into(), why: "w".into() }])),
        1 => Just(calls(vec![call("nothing", json!({}))])),
        1 => Just(broken(FailureKind::Unavailable, "gone")),
        1 => Just(Script::Fail(
            vec![ModelEvent::Text("par".into())],
            error(FailureKind::Protocol, "broken off")
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the model does, over turns and over processes, a request begins with the one
    /// before it, and nothing is left open in the transcript.
    #[test]
    fn any_session_keeps_its_prefix(scripts in prop::collection::vec(any_script(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let model = ScriptedModel::new(scripts);
            let mut records = Vec::new();
            for turn in 0..5 {
                let mut setup = Setup::with(model.clone());
                setup.records = records;
                let mut agent = setup.start();
                agent.turn(&format!("message {turn}")).await;
                agent.turn(&format!("message {turn} again")).await;
                records = agent.journal.records();
                assert!(chela_agent::transcript::repair(&records, "x").is_empty());
            }
            assert_prefixes(&model.requests());
        });
    }
}

/// Each request begins with the one before, and tools never change.
fn assert_prefixes(requests: &[chela_agent::model::Request]) {
    for pair in requests.windows(2) {
        assert_eq!(pair[0].tools, pair[1].tools);
        let common = pair[0].messages.len();
        assert_eq!(pair[0].messages, pair[1].messages[..common]);
    }
}
