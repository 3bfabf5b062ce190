//! What must hold of the requests of a session, whatever it does.

use serde_json::Value;

fn texts(values: &Value) -> Vec<String> {
    values.as_array().unwrap().iter().map(Value::to_string).collect()
}

/// True for the request by which the agent has the conversation summarised.
pub fn is_summary(body: &Value) -> bool {
    let last = body["messages"].as_array().unwrap().last().unwrap();
    last["role"] == "user"
        && last["content"].as_str().is_some_and(|text| text.starts_with("Summarise the conversation"))
}

/// Asserts that one conversation is as strict chat templates and servers want it: one system message, no
/// two user messages in a row, a result for every call in its place, and each call's arguments an object.
#[track_caller]
pub fn assert_well_formed(body: &Value) {
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles[..2], ["system", "user"], "{roles:?}");
    assert!(!roles[1..].contains(&"system"), "{roles:?}");
    assert!(!roles.windows(2).any(|pair| pair == ["user", "user"]), "{roles:?}");
    let mut open: Vec<&Value> = Vec::new();
    for message in messages {
        match message["role"].as_str().unwrap() {
            "tool" => {
                let at = open.iter().position(|id| **id == message["tool_call_id"]);
                open.remove(at.unwrap_or_else(|| panic!("a result without a call: {message}")));
                assert!(!message["content"].as_str().unwrap().trim().is_empty(), "a blank result");
            }
            _ => assert!(open.is_empty(), "no result for {open:?} before {message}"),
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap();
            assert!(serde_json::from_str::<Value>(arguments).unwrap().is_object(), "{arguments}");
            open.push(&call["id"]);
        }
    }
    assert!(open.is_empty(), "no result for {open:?}");
}

/// How often the messages of a request do not begin with those of the request before. Requests for a
/// summary are left out; `tools` must be the same bytes throughout.
#[track_caller]
pub fn breaks(bodies: &[Value]) -> usize {
    let bodies: Vec<&Value> = bodies.iter().filter(|body| !is_summary(body)).collect();
    let mut breaks = 0;
    for pair in bodies.windows(2) {
        assert_eq!(pair[0]["tools"].to_string(), pair[1]["tools"].to_string());
        let (before, after) = (texts(&pair[0]["messages"]), texts(&pair[1]["messages"]));
        assert_eq!(before[0], after[0], "the system text changed");
        if !after.starts_with(&before) {
            breaks += 1;
        }
    }
    breaks
}
