//! The JSON forms, held word for word: a front end of another version reads them.

#![allow(clippy::unwrap_used)]

use chela_protocol::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

const ID: &str = "01923f5e-7c1a-7000-8000-000000000001";

fn id<T: std::str::FromStr>() -> T
where
    T::Err: std::fmt::Debug,
{
    ID.parse().unwrap()
}

#[track_caller]
fn holds<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
    assert_eq!(serde_json::to_string(&value).unwrap(), text);
    assert_eq!(serde_json::from_str::<T>(text).unwrap(), value);
}

fn provenance() -> Provenance {
    Provenance {
        provider: "vllm".into(),
        model: "m".into(),
        endpoint: "http://127.0.0.1:8000/v1".into(),
        local: true,
    }
}

const PROVENANCE: &str =
    r#"{"provider":"vllm","model":"m","endpoint":"http://127.0.0.1:8000/v1","local":true}"#;

#[test]
fn ops() {
    let message = |images, attachments| Op::UserMessage { text: "hi".into(), images, attachments };
    holds(message(vec![], vec![]), r#"{"op":"user_message","text":"hi"}"#);
    holds(
        message(
            vec![Image { media_type: "image/png".into(), data: "AA==".into(), name: "a.png".into() }],
            vec![Attachment { name: "stdin".into(), text: "x".into(), file: false }],
        ),
        r#"{"op":"user_message","text":"hi","images":[{"media_type":"image/png","data":"AA==","name":"a.png"}],"attachments":[{"name":"stdin","text":"x"}]}"#,
    );
    holds(Op::Steer { text: "no".into() }, r#"{"op":"steer","text":"no"}"#);
    holds(Op::Stop, r#"{"op":"stop"}"#);
    let approve = |decision| Op::Approve { id: id(), decision };
    holds(approve(Decision::Once), &format!(r#"{{"op":"approve","id":"{ID}","decision":"once"}}"#));
    holds(approve(Decision::Session), &format!(r#"{{"op":"approve","id":"{ID}","decision":"session"}}"#));
    holds(approve(Decision::Deny), &format!(r#"{{"op":"approve","id":"{ID}","decision":"deny"}}"#));
    holds(
        Op::Answer { id: id(), text: "yes".into() },
        &format!(r#"{{"op":"answer","id":"{ID}","text":"yes"}}"#),
    );
    holds(Op::Compact, r#"{"op":"compact"}"#);
    holds(Op::SetModel { model: "a/b".into() }, r#"{"op":"set_model","model":"a/b"}"#);
    holds(Op::SetThinking { level: Thinking::Off }, r#"{"op":"set_thinking","level":"off"}"#);
    holds(Op::SetApprove { mode: ApproveMode::Edits }, r#"{"op":"set_approve","mode":"edits"}"#);
    holds(Op::New, r#"{"op":"new"}"#);
    holds(Op::Resume { session: "notes".into() }, r#"{"op":"resume","session":"notes"}"#);
    holds(Op::Undo { turn: None }, r#"{"op":"undo"}"#);
    holds(Op::List { what: ListWhat::Models, refresh: false }, r#"{"op":"list","what":"models"}"#);
    holds(Op::Status, r#"{"op":"status"}"#);
    holds(Op::Shutdown, r#"{"op":"shutdown"}"#);
}

#[test]
fn envelope_is_flat() {
    let envelope = |turn, event| Envelope { session: id(), turn, seq: 3, time: 1_764_000_000_000, event };
    holds(
        envelope(Some(id()), Event::TextDelta { text: "Hel".into() }),
        &format!(
            r#"{{"session":"{ID}","turn":"{ID}","seq":3,"time":1764000000000,"type":"text_delta","text":"Hel"}}"#
        ),
    );
    holds(
        envelope(None, Event::Closed),
        &format!(r#"{{"session":"{ID}","seq":3,"time":1764000000000,"type":"closed"}}"#),
    );
}

#[test]
fn events() {
    holds(
        Event::SessionOpened { model: "a/b".into(), items: 0 },
        r#"{"type":"session_opened","model":"a/b","items":0}"#,
    );
    holds(
        Event::TurnStarted { provenance: provenance() },
        &format!(r#"{{"type":"turn_started","provenance":{PROVENANCE}}}"#),
    );
    holds(Event::ReasoningDelta { text: "h".into() }, r#"{"type":"reasoning_delta","text":"h"}"#);
    holds(
        Event::ToolCallStarted { id: "c1".into(), name: "read".into(), args: json!({"path": "a"}) },
        r#"{"type":"tool_call_started","id":"c1","name":"read","args":{"path":"a"}}"#,
    );
    holds(
        Event::ToolOutput { id: "c1".into(), text: "x".into() },
        r#"{"type":"tool_output","id":"c1","text":"x"}"#,
    );
    holds(
        Event::ToolCallFinished {
            id: "c1".into(),
            result: "no".into(),
            status: ResultStatus::Denied,
            is_error: true,
            diff: None,
            duration: 5,
        },
        r#"{"type":"tool_call_finished","id":"c1","result":"no","status":"denied","is_error":true,"duration":5}"#,
    );
    holds(
        Event::ApprovalRequested {
            id: id(),
            call: Call { id: "c1".into(), name: "write".into(), arguments: "{}".into(), raw: None },
            why: vec!["writes ask".into()],
            rights: vec![Right::Write { path: "/w/a".into() }],
            session: "all writes".into(),
            diff: None,
            timeout: 300,
        },
        &format!(
            r#"{{"type":"approval_requested","id":"{ID}","call":{{"id":"c1","name":"write","arguments":"{{}}"}},"why":["writes ask"],"rights":[{{"right":"write","path":"/w/a"}}],"session":"all writes","timeout":300}}"#
        ),
    );
    holds(
        Event::ApprovalResolved { id: id(), allowed: true, why: "once".into() },
        &format!(r#"{{"type":"approval_resolved","id":"{ID}","allowed":true,"why":"once"}}"#),
    );
    holds(
        Event::Question { id: id(), text: "Trust?".into(), options: vec!["yes".into()] },
        &format!(r#"{{"type":"question","id":"{ID}","text":"Trust?","options":["yes"]}}"#),
    );
    holds(
        Event::Notice { level: Level::Warn, text: "w".into() },
        r#"{"type":"notice","level":"warn","text":"w"}"#,
    );
    holds(Event::Waiting { seconds: 42 }, r#"{"type":"waiting","seconds":42}"#);
    holds(
        Event::Usage(Usage {
            prompt: 5,
            cached: Some(4),
            completion: 2,
            cost: Some(0.5),
            ..Usage::default()
        }),
        r#"{"type":"usage","prompt":5,"cached":4,"completion":2,"cost":0.5}"#,
    );
    holds(
        Event::ContextMeter { used: 5, window: 9, exact: true },
        r#"{"type":"context_meter","used":5,"window":9,"exact":true}"#,
    );
    holds(
        Event::Compacted { before: 9, after: 3, how: "summary".into() },
        r#"{"type":"compacted","before":9,"after":3,"how":"summary"}"#,
    );
    holds(
        Event::Listed(Listing::Tools(vec![ToolRow {
            name: "ls".into(),
            description: "List".into(),
            read_only: true,
        }])),
        r#"{"type":"listed","what":"tools","rows":[{"name":"ls","description":"List","read_only":true}]}"#,
    );
    holds(Event::Undone { files: vec!["a".into()], kept: vec![] }, r#"{"type":"undone","files":["a"]}"#);
}

#[test]
fn outcomes() {
    let finished = |outcome| Event::TurnFinished {
        outcome,
        provenance: provenance(),
        steps: 1,
        usage: Usage::default(),
    };
    let text = |outcome: &str| {
        format!(
            r#"{{"type":"turn_finished","outcome":{outcome},"provenance":{PROVENANCE},"steps":1,"usage":{{"prompt":0,"completion":0}}}}"#
        )
    };
    holds(finished(Outcome::Done), &text(r#"{"outcome":"done"}"#));
    holds(
        finished(Outcome::Failed { kind: FailureKind::ContextOverflow, message: "x".into() }),
        &text(r#"{"outcome":"failed","kind":"context_overflow","message":"x"}"#),
    );
    holds(finished(Outcome::Cut { message: "x".into() }), &text(r#"{"outcome":"cut","message":"x"}"#));
    holds(finished(Outcome::Stopped), &text(r#"{"outcome":"stopped"}"#));
    holds(
        finished(Outcome::Budget { budget: Budget::Steps, message: "x".into() }),
        &text(r#"{"outcome":"budget","budget":"steps","message":"x"}"#),
    );
    holds(
        finished(Outcome::Refused { message: "x".into() }),
        &text(r#"{"outcome":"refused","message":"x"}"#),
    );
}

#[test]
fn records() {
    let record = |item| Record { id: id(), turn: id(), time: 7, item };
    let text = |rest: &str| format!(r#"{{"id":"{ID}","turn":"{ID}","time":7,{rest}}}"#);
    holds(
        record(Item::Prefix { system: "s".into(), tools: "[]".into() }),
        &text(r#""kind":"prefix","system":"s","tools":"[]""#),
    );
    holds(
        record(Item::User {
            text: "hi".into(),
            context: "c".into(),
            images: vec![],
            attachments: vec![Attachment { name: "a".into(), text: "x".into(), file: true }],
            taint: Taint::default(),
            provenance: Some(provenance()),
        }),
        &text(&format!(
            r#""kind":"user","text":"hi","context":"c","attachments":[{{"name":"a","text":"x","file":true}}],"provenance":{PROVENANCE}"#
        )),
    );
    holds(
        record(Item::Assistant {
            text: String::new(),
            reasoning: "hm".into(),
            resend_reasoning: true,
            calls: vec![Call {
                id: "c1".into(),
                name: "ls".into(),
                arguments: "{}".into(),
                raw: Some("{".into()),
            }],
            finish: Finish::ToolCalls,
            provenance: provenance(),
            usage: None,
        }),
        &text(&format!(
            r#""kind":"assistant","reasoning":"hm","resend_reasoning":true,"calls":[{{"id":"c1","name":"ls","arguments":"{{}}","raw":"{{"}}],"finish":"tool_calls","provenance":{PROVENANCE}"#
        )),
    );
    holds(record(Item::CallStarted { call: "c1".into() }), &text(r#""kind":"call_started","call":"c1""#));
    holds(
        record(Item::ToolResult {
            call: "c1".into(),
            name: "ls".into(),
            content: "a".into(),
            note: String::new(),
            status: ResultStatus::Interrupted,
            diff: None,
            taint: Taint { private: true, untrusted: false },
            millis: 4,
        }),
        &text(
            r#""kind":"tool_result","call":"c1","name":"ls","content":"a","status":"interrupted","taint":{"private":true},"millis":4"#,
        ),
    );
    holds(
        record(Item::Compaction(Compaction {
            shortened: vec![Shortened { item: id(), content: "s".into() }],
            summary: Some("sum".into()),
            pinned: vec!["w".into()],
            keep_from: Some(id()),
            before: 9,
            after: 3,
            provenance: None,
        })),
        &text(&format!(
            r#""kind":"compaction","shortened":[{{"item":"{ID}","content":"s"}}],"summary":"sum","pinned":["w"],"keep_from":"{ID}","before":9,"after":3"#
        )),
    );
    holds(record(Item::Nudge { text: "go on".into() }), &text(r#""kind":"nudge","text":"go on""#));
    holds(
        record(Item::Interrupted { reason: "stopped".into() }),
        &text(r#""kind":"interrupted","reason":"stopped""#),
    );
}

#[test]
fn rights() {
    holds(Right::Read { path: "/a".into() }, r#"{"right":"read","path":"/a"}"#);
    holds(
        Right::Exec { command: "ls".into(), cwd: "/w".into(), sandboxed: true, network: false },
        r#"{"right":"exec","command":"ls","cwd":"/w","sandboxed":true,"network":false}"#,
    );
    holds(Right::Net { host: "h".into() }, r#"{"right":"net","host":"h"}"#);
    holds(Right::Remember, r#"{"right":"remember"}"#);
    holds(Right::Use { tool: "x".into() }, r#"{"right":"use","tool":"x"}"#);
}

#[test]
fn names_and_their_errors() {
    for level in [Thinking::Off, Thinking::Low, Thinking::Medium, Thinking::High] {
        assert_eq!(level.as_str().parse::<Thinking>().unwrap(), level);
        assert_eq!(serde_json::to_value(level).unwrap(), json!(level.as_str()));
    }
    for mode in [ApproveMode::None, ApproveMode::Ask, ApproveMode::Edits, ApproveMode::All] {
        assert_eq!(mode.as_str().parse::<ApproveMode>().unwrap(), mode);
        assert_eq!(serde_json::to_value(mode).unwrap(), json!(mode.as_str()));
    }
    assert_eq!(
        "yolo".parse::<ApproveMode>().unwrap_err().to_string(),
        "approve: expected one of none, ask, edits, all, got \"yolo\""
    );
}

#[test]
fn ids_sort_by_time_and_name_what_was_got() {
    let ids: Vec<ItemId> = (0..100).map(|_| ItemId::new()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(ItemId::from_bytes(*ids[0].as_bytes()), ids[0]);
    let error = "nope".parse::<SessionId>().unwrap_err().to_string();
    assert!(error.starts_with("session id: expected a UUID"), "{error}");
    assert!(error.ends_with("got \"nope\""), "{error}");
}
