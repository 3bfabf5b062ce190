//! What is sent, built from what is stored.

#![allow(clippy::unwrap_used)]

use chela_agent::transcript::{Message, Transcript, repair, title};
use chela_protocol::*;
use proptest::prelude::*;

fn record(item: Item) -> Record {
    Record { id: ItemId::new(), turn: TurnId::new(), time: 1, item }
}

fn user(text: &str) -> Item {
    Item::User {
        text: text.into(),
        context: String::new(),
        images: vec![],
        attachments: vec![],
        taint: Taint::default(),
        provenance: None,
    }
}

fn assistant(text: &str, calls: &[&str]) -> Item {
    let call = |id: &&str| Call { id: (*id).into(), name: "look".into(), arguments: "{}".into(), raw: None };
    Item::Assistant {
        text: text.into(),
        reasoning: String::new(),
        resend_reasoning: false,
        calls: calls.iter().map(call).collect(),
        finish: Finish::Stop,
        provenance: Provenance::default(),
        usage: None,
    }
}

fn result(call: &str, content: &str) -> Item {
    Item::ToolResult {
        call: call.into(),
        name: "look".into(),
        content: content.into(),
        note: String::new(),
        status: ResultStatus::Ok,
        diff: None,
        taint: Taint::default(),
        millis: 0,
    }
}

fn prefix() -> Item {
    Item::Prefix { system: "s".into(), tools: "[]".into() }
}

fn messages(items: Vec<Item>) -> Vec<Message> {
    Transcript::from_records(items.into_iter().map(record).collect()).messages()
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| match message {
            Message::System(text) => format!("s:{text}"),
            Message::User { text, .. } => format!("u:{text}"),
            Message::Assistant { text, calls, .. } => format!("a:{text}{}", "*".repeat(calls.len())),
            Message::Tool { content, .. } => format!("t:{content}"),
        })
        .collect()
}

#[test]
fn context_and_attachments_stand_in_the_message_they_came_with() {
    let item = Item::User {
        text: "what is this?".into(),
        context: "date: today".into(),
        images: vec![],
        attachments: vec![Attachment { name: "a.txt".into(), text: "A".into(), file: true }],
        taint: Taint::default(),
        provenance: None,
    };
    let expected =
        "u:<context>\ndate: today\n</context>\n\n<file name=\"a.txt\">\nA\n</file>\n\nwhat is this?";
    assert_eq!(texts(&messages(vec![item])), [expected]);
}

#[test]
fn gaps_are_closed() {
    let items = vec![prefix(), user("a"), user("b"), assistant("", &["1", "2"]), result("1", "r"), user("c")];
    let expected = [
        "s:s",
        "u:a",
        "a:[no answer]",
        "u:b",
        "a:**",
        "t:r",
        "t:[interrupted: no result]",
        "a:[no answer]",
        "u:c",
    ];
    assert_eq!(texts(&messages(items)), expected);
}

#[test]
fn a_result_without_a_call_is_left_out() {
    assert_eq!(texts(&messages(vec![user("a"), result("9", "r"), assistant("b", &[])])), ["u:a", "a:b"]);
}

#[test]
fn repair_closes_what_a_dead_process_left() {
    let items = [user("a"), assistant("", &["1", "2", "3"]), Item::CallStarted { call: "1".into() }];
    let mut records: Vec<Record> = items.into_iter().map(record).collect();
    records.push(record(result("1", "r")));
    records.push(record(Item::CallStarted { call: "2".into() }));
    let missing = repair(&records, "the process ended");
    let words: Vec<String> = missing
        .iter()
        .map(|(_, item)| match item {
            Item::ToolResult { call, content, .. } => format!("{call} {content}"),
            Item::Interrupted { reason } => reason.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        words,
        [
            "2 [interrupted: the process ended while this call ran; what it had done may stand]",
            "3 [interrupted: the process ended before this call started; it did nothing]",
            "the process ended",
        ]
    );
    let turn = records.last().unwrap().turn;
    records.extend(missing.into_iter().map(|(_, item)| record(item)));
    assert!(repair(&records, "x").is_empty());
    assert_eq!(missing_turn(&records[..5]), Some(turn));
    assert!(repair(&[record(user("a")), record(assistant("b", &[]))], "x").is_empty());
    assert!(repair::<Record>(&[], "x").is_empty());
}

fn missing_turn(records: &[Record]) -> Option<TurnId> {
    repair(records, "x").first().map(|(turn, _)| *turn)
}

#[test]
fn a_compaction_replaces_what_it_names() {
    let mut records: Vec<Record> = [prefix(), user("a"), assistant("", &["1"]), result("1", "long")]
        .into_iter()
        .chain([assistant("b", &[]), user("c")])
        .map(record)
        .collect();
    let long = records[3].id;
    records.push(record(Item::Compaction(Compaction {
        shortened: vec![Shortened { item: long, content: "short".into() }],
        summary: None,
        pinned: vec![],
        keep_from: None,
        before: 0,
        after: 0,
        provenance: None,
    })));
    let transcript = Transcript::from_records(records.clone());
    assert_eq!(texts(&transcript.messages()), ["s:s", "u:a", "a:*", "t:short", "a:b", "u:c"]);
    let keep_from = Some(records[5].id);
    records.push(record(Item::Compaction(Compaction {
        shortened: vec![],
        summary: Some("sum".into()),
        pinned: vec!["a\nb".into()],
        keep_from,
        before: 0,
        after: 0,
        provenance: None,
    })));
    let summary = "u:<summary>\nThe conversation so far, shortened:\nsum\n</summary>\n\nMy words so far, verbatim; \
                   what they ask for still holds:\n> a\n> b\n\nc";
    assert_eq!(texts(&Transcript::from_records(records).messages()), ["s:s", summary]);
}

#[test]
fn taint_outlives_a_compaction() {
    let Item::ToolResult { call, name, content, note, status, diff, millis, .. } = result("1", "r") else {
        unreachable!()
    };
    let taint = Taint { untrusted: true, private: false };
    let tainted = Item::ToolResult { call, name, content, note, status, diff, taint, millis };
    let compaction = Item::Compaction(Compaction {
        shortened: vec![],
        summary: Some("s".into()),
        pinned: vec![],
        keep_from: None,
        before: 0,
        after: 0,
        provenance: None,
    });
    let items = [user("a"), assistant("", &["1"]), tainted, compaction];
    let transcript = Transcript::from_records(items.into_iter().map(record).collect());
    assert!(transcript.items().is_empty());
    assert_eq!(transcript.taint(), taint);
}

#[test]
fn a_title_is_the_beginning_of_the_first_message() {
    let long = "many words ".repeat(20);
    assert_eq!(title(&[record(prefix()), record(user(" hello\n there "))]), "hello there");
    assert_eq!(title(&[record(user(&long))]).chars().count(), 61);
    assert_eq!(title(&[]), "");
}

fn any_item() -> impl Strategy<Value = Item> {
    let id = prop::sample::select(vec!["1", "2", "3"]);
    prop_oneof![
        "[a-z]{0,3}".prop_map(|text| user(&text)),
        "[a-z]{0,3}".prop_map(|text| Item::Nudge { text }),
        ("[a-z]{0,3}", prop::collection::vec(id.clone(), 0..3)).prop_map(|(text, mut calls)| {
            calls.dedup();
            assistant(&text, &calls)
        }),
        (id.clone(), "[a-z]{0,3}").prop_map(|(id, text)| result(id, &text)),
        id.prop_map(|call| Item::CallStarted { call: call.into() }),
        Just(Item::Interrupted { reason: "r".into() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is stored, what is sent alternates, and every call has exactly one result
    /// right behind it.
    #[test]
    fn any_transcript_makes_messages_that_servers_take(items in prop::collection::vec(any_item(), 0..12)) {
        let messages = messages(items);
        let mut open: Vec<String> = Vec::new();
        let mut before = 's';
        for message in &messages {
            let now = match message {
                Message::System(_) => 's',
                Message::User { .. } => 'u',
                Message::Assistant { .. } => 'a',
                Message::Tool { .. } => 't',
            };
            if let Message::Tool { call, .. } = message {
                let at = open.iter().position(|open| open == call);
                prop_assert!(at.is_some(), "{:?}", messages);
                open.remove(at.unwrap());
            } else {
                prop_assert!(open.is_empty(), "{:?}", messages);
            }
            if now == 'u' {
                prop_assert!(before == 's' || before == 'a', "{:?}", messages);
            }
            if let Message::Assistant { calls, text, .. } = message {
                prop_assert!(!calls.is_empty() || !text.is_empty());
                open = calls.iter().map(|call| call.id.clone()).collect();
            }
            before = now;
        }
        prop_assert!(open.is_empty());
    }

    /// Requests are made when every call has its result; from one to the next, messages are
    /// only ever added.
    #[test]
    fn messages_are_only_appended(items in prop::collection::vec(any_item(), 0..12)) {
        let mut transcript = Transcript::default();
        let mut before: Vec<Message> = Vec::new();
        for item in items {
            transcript.push(record(item));
            let records = transcript.items();
            let open = repair(records, "x").iter().any(|(_, item)| matches!(item, Item::ToolResult { .. }));
            if open {
                continue;
            }
            let now = transcript.messages();
            prop_assert!(now.len() >= before.len());
            prop_assert_eq!(&now[..before.len()], &before[..]);
            before = now;
        }
    }
}
