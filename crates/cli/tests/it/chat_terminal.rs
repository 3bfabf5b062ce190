//! `chela chat` on a terminal.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use chela_server::{Gate, Scripted, Turn};
use serde_json::{Value, json};

use crate::world::World;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

/// What the message says, without what the agent put before it.
fn said(message: &Value) -> String {
    let text = message["content"].as_str().unwrap_or_default();
    text.split_once("</context>\n\n").map_or(text, |(_, text)| text).to_owned()
}

fn messages(request: &Value, role: &str) -> Vec<String> {
    let all = request["messages"].as_array().unwrap().iter();
    all.filter(|m| m["role"] == role).map(said).collect()
}

fn writes(path: &str) -> Turn {
    Turn::new().call("write", json!({"path": path, "content": "x\n"}))
}

#[test]
fn chela_alone_opens_the_chat() {
    let server = Scripted::new().model("m").turn(Turn::text("**Hello** there.")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&[]);
    chat.sees("Chela ").sees("vllm/m on this machine, window 32,768 tokens").says("hi");
    chat.sees("Hello there.\n").sees("context ").sees("> ");
    assert!(chat.raw().contains("\x1b[0;1mHello"), "{:?}", chat.raw());
    chat.send(CTRL_D);
    chat.sees("chela chat --session ").sees(" continues this session");
    assert_eq!(chat.ends(), 0);
    assert_eq!(chat.modes_now().local_modes, chat.modes.local_modes);
    let mut again = world.terminal(&["chat", "--session", "last"]);
    again.sees("goes on after 3 items").sees("> hi").sees("Hello there.\n").sees("> ");
}

#[test]
fn an_approval_shows_what_why_and_the_diff_and_takes_y_a_and_n() {
    let server = Scripted::new()
        .turn(writes("one.txt"))
        .turn(writes("two.txt"))
        .turn(Turn::text("No two."))
        .turn(writes("three.txt"))
        .turn(writes("four.txt"))
        .turn(Turn::text("Both done."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("go").sees("May I? write one.txt").sees("why: writes ask").sees("it would: write ");
    chat.sees("a allows in this session: all ordinary writes").sees("+x").sees("s is no: ").send("what\r");
    chat.sees("nothing was decided").sees("May I?").sees("s is no: ").send("y\r");
    chat.sees("created one.txt");
    chat.sees("May I? write two.txt").sees("s is no: ").send("n, the name is bad\r");
    chat.sees("refused: the user said no to this call\n").sees("No two.");
    chat.says("again").sees("May I? write three.txt").sees("s is no: ").send("a\r");
    chat.sees("created three.txt").sees("write four.txt").sees("Both done.").sees("> ");
    let exists = |name: &str| world.work().join(name).exists();
    assert!(exists("one.txt") && !exists("two.txt") && exists("three.txt") && exists("four.txt"));
    let told = messages(&server.chats()[2].json(), "tool").pop().unwrap();
    assert!(told.contains("the user said no") && told.contains("the name is bad"), "{told}");
    chat.send(CTRL_D);
    assert_eq!(chat.ends(), 0);
}

#[test]
fn what_is_typed_ahead_approves_nothing() {
    let gate = Gate::new();
    let server = Scripted::new()
        .turn(
            Turn::new()
                .and_text("Working on it. ")
                .hold(&gate)
                .call("write", json!({"path": "a", "content": "x"})),
        )
        .turn(Turn::text("Well."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("go").sees("Working on").send("y\r");
    chat.sees("sent: the model reads it");
    gate.open();
    chat.sees("May I? write a").sees("s is no: ");
    // Time enough for a wrong approval to come through.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!world.work().join("a").exists());
    chat.send("n\r");
    chat.sees("refused").sees("Well.").sees("> ");
    assert!(!world.work().join("a").exists());
    let told = messages(&server.chats()[1].json(), "tool").pop().unwrap();
    assert!(told.contains("The user says meanwhile: y"), "{told}");
}

/// The second answer stood on the line of the first.
#[test]
fn the_answer_to_what_was_said_meanwhile_is_a_paragraph_of_its_own() {
    let gate = Gate::new();
    let server = Scripted::new()
        .turn(Turn::new().and_text("Red it ").hold(&gate).and_text("is."))
        .turn(Turn::text("Blue too."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("red?").sees("Red").send("and blue?\r");
    chat.sees("sent: the model reads it");
    gate.open();
    chat.sees("is.\n\nBlue too.").sees("> ");
}

#[test]
fn ctrl_c_stops_the_turn_at_once_and_keeps_the_chat() {
    let long = Turn::new().and_text("Working on it. ").pause(Duration::from_secs(60)).and_text("Late.");
    let server = Scripted::new().turn(long).turn(Turn::text("Here.")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("go").sees("Working on").send(CTRL_C);
    chat.sees("stopped").says("still there?").sees("Here.").sees("> ");
    let closed = |all: &[chela_server::Recorded]| all.iter().any(chela_server::Recorded::closed_early);
    server.wait_for_blocking(Duration::from_secs(30), closed).unwrap();
    chat.send(CTRL_D);
    assert_eq!(chat.ends(), 0);
}

#[test]
fn ctrl_c_takes_a_line_away_and_twice_leaves() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.sees("> ").send("never said");
    chat.sees("never said").send(CTRL_C);
    chat.sees("Ctrl-C once more leaves").says("said").sees("ok").sees("> ").send(CTRL_C);
    chat.sees("Ctrl-C once more leaves").sees("> ").send(CTRL_C);
    assert_eq!(chat.ends(), 0);
    assert_eq!(messages(&server.chats()[0].json(), "user").len(), 1);
    assert!(!server.chats()[0].json().to_string().contains("never said"));
}

#[test]
fn a_line_that_ctrl_c_interrupts_during_a_turn_is_kept() {
    let long = Turn::new().and_text("Working on it. ").pause(Duration::from_secs(60));
    let server = Scripted::new().turn(long).turn(Turn::text("Yes.")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("go").sees("Working on").send("is it bl");
    chat.sees("to the model> ").sees("is it bl").send(CTRL_C);
    chat.sees("stopped").sees("> ").sees("is it bl").send("ue?\r");
    chat.sees("Yes.");
    let said = messages(&server.chats()[1].json(), "user").pop().unwrap();
    assert_eq!(said, "is it blue?");
}

#[test]
fn output_waits_while_a_line_is_typed() {
    let gate = Gate::new();
    let server = Scripted::new()
        .turn(Turn::new().and_text("One. And ").hold(&gate).and_text("Two. ").call("ls", json!({})))
        .turn(Turn::text("Blue."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("go").sees("One.").send("use");
    chat.sees("to the model> ").sees("use");
    gate.open();
    // Time enough for a line that breaks in to come through.
    std::thread::sleep(Duration::from_millis(600));
    assert!(!chat.text().contains("Two."), "{}", chat.text());
    chat.send(" blue\r");
    // The turn is over by now or waits for nothing: the word is said one way or the other.
    chat.sees("Two.").sees("Blue.").sees("> ");
    let all: String = server.chats().iter().map(|chat| chat.json().to_string()).collect();
    assert!(all.contains("use blue"), "{all}");
}

#[test]
fn several_lines_and_pasted_text_are_one_message() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.sees("> ").send("first\\\r");
    chat.send("second\r");
    chat.sees("ok").sees("> ").send("\x1b[200~pasted one\npasted two\x1b[201~");
    chat.sees("pasted two").send("\r");
    chat.sees("ok").sees("> ");
    let said = messages(&server.chats()[1].json(), "user");
    assert_eq!(said, ["first\nsecond", "pasted one\npasted two"]);
}

#[test]
fn the_history_is_kept_and_private() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("remember this line").sees("ok").sees("> ").send(" not this one\r");
    chat.sees("ok").sees("> ").send(CTRL_D);
    assert_eq!(chat.ends(), 0);
    let file = world.home().join("history");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut again = world.terminal(&["chat"]);
    again.sees("> ").send(UP);
    again.sees("remember this line").send("\r");
    again.sees("ok");
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(!kept.contains("not this one"), "{kept}");
}

#[test]
fn commands_are_completed() {
    let server = Scripted::new().model("m").serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.sees("> ").send("/stat\t\r");
    chat.sees("model     vllm/m").sees("session ").sees("> ").send("/think hi\tg\t\r");
    chat.sees("thinking high").sees("> ");
}

#[test]
fn without_colour_there_is_no_style() {
    let server = Scripted::new().turn(Turn::text("**Hello** `x`")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal_with(&["chat"], &[("TERM", "xterm"), ("NO_COLOR", "1")]);
    chat.says("hi").sees("**Hello** `x`").sees("context ").sees("> ");
    let raw = chat.raw();
    let styled = raw.split("\x1b[").skip(1).any(|rest| {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        rest[end..].starts_with('m')
    });
    assert!(!styled, "{raw:?}");
}

#[test]
fn a_dumb_terminal_gets_lines_and_nothing_else() {
    let server = Scripted::new().turn(writes("a.txt")).turn(Turn::text("**Done.**")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal_with(&["chat"], &[("TERM", "dumb")]);
    chat.sees("> ").send("go\n");
    chat.sees("May I? write a.txt").sees("s is no: ").send("y\n");
    chat.sees("**Done.**").sees("> ").send(CTRL_D);
    assert_eq!(chat.ends(), 0);
    assert!(world.work().join("a.txt").exists());
    assert!(!chat.raw().contains('\x1b'), "{:?}", chat.raw());
}

#[test]
fn waiting_is_said_with_its_seconds() {
    let server = Scripted::new().turn(Turn::text("Late.").after(Duration::from_secs(600))).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&["chat"]);
    chat.says("hi").sees("waiting for the server, ").sees(" s");
    let text = chat.text();
    let seconds = text.rsplit_once("waiting for the server, ").unwrap().1.split(" s").next().unwrap();
    assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0), "{text}");
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_before() {
    let server =
        Scripted::new().turn(Turn::new().and_text("Working on it. ").pause(Duration::from_secs(60))).serve();
    let world = World::with_vllm(&server.base_url());
    for during_a_turn in [false, true] {
        let mut chat = world.terminal(&["chat"]);
        if during_a_turn {
            chat.says("go").sees("Working on");
        } else {
            chat.sees("> ");
        }
        let id = rustix::process::Pid::from_raw(chat.id() as i32).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert_eq!(chat.ends(), 130);
        assert_eq!(chat.modes_now().local_modes, chat.modes.local_modes, "{during_a_turn}");
    }
}

#[test]
fn another_session_is_listed_and_continued() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run_with_stdin(&["chat", "--session", "notes"], "first words\n").succeeds();
    let mut chat = world.terminal(&["chat"]);
    chat.says("/sessions").sees("notes").sees("first words").says("/sessions notes");
    chat.sees("session notes goes on after 3 items").sees("> first words").sees("ok").says("more").sees("ok");
    assert_eq!(messages(&server.chats()[1].json(), "user").len(), 2);
    chat.says("/sessions none").sees("error: ").sees("none").sees("> ").send(CTRL_D);
    chat.sees("chela chat --session notes continues this session");
    assert_eq!(chat.ends(), 0);
}

#[test]
fn files_that_are_named_go_along() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.file("notes.txt", "the meeting is on Friday");
    let mut chat = world.terminal(&["chat"]);
    chat.says("see @none.txt").sees("@none.txt: there is no such file").sees("> ").sees("see @none.txt");
    chat.send("\x15see @no\t\r");
    chat.sees("ok").sees("> ");
    let said = messages(&server.chats()[0].json(), "user").pop().unwrap();
    assert!(said.contains("the meeting is on Friday"), "{said}");
}

#[test]
fn one_of_several_models_is_chosen() {
    let card = |id: &str| chela_openai::models::ModelCard {
        max_model_len: Some(8_192),
        ..chela_openai::models::ModelCard::new(id)
    };
    let server = Scripted::new().models(vec![card("one"), card("two")]).respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut chat = world.terminal(&[]);
    chat.sees("1. vllm/one, window 8,192 tokens")
        .sees("2. vllm/two")
        .sees("[1-2, or Enter for none]: ")
        .send("2\r");
    chat.sees("`chela models set vllm/two`").sees("with vllm/two").says("hi").sees("ok");
    assert_eq!(server.chats()[0].json()["model"], "two");
    let mut none = world.terminal(&[]);
    none.sees("Enter for none]: ").send("\r");
    assert_eq!(none.sees("no model was chosen").ends(), 3);
}
