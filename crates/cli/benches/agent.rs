//! What the agent costs beside the model: `cargo xtask bench agent`.
//!
//! The release binary runs against the scripted server, which answers at once, so every figure is
//! Chela's own. OpenClaw's figures are those of version 2026.9.6, taken on 2026-11-23 on two cores
//! with `openclaw agent --local -m hi` and `openclaw models list` against a server that answers at once.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chela_agent::transcript::Transcript;
use chela_protocol::{
    Call, Compaction, Finish, Item, ItemId, Provenance, Record, ResultStatus, Taint, TurnId,
};
use chela_server::{Scripted, Turn};
use chela_store::{NewSession, Store};
use serde_json::{Value, json};

const RUNS: usize = 15;

struct Home {
    folder: tempfile::TempDir,
    base_url: String,
}

impl Home {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chela"));
        command.args(args).current_dir(self.folder.path()).env_clear();
        command.env("CHELA_HOME", self.folder.path().join("home")).env("VLLM_BASE_URL", &self.base_url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    fn timed(&self, args: &[&str]) -> Duration {
        let begun = Instant::now();
        assert!(self.command(args).output().unwrap().status.success(), "{args:?}");
        begun.elapsed()
    }
}

fn main() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("Hello.")).serve();
    let home = Home { folder: tempfile::tempdir().unwrap(), base_url: server.base_url() };
    home.timed(&["models", "list"]);

    println!("{:<44} {:>10}   OpenClaw 2026.9.6", "", "Chela");
    let before = child_ticks();
    let help = median((0..RUNS).map(|_| home.timed(&["--help"])));
    let cpu = (child_ticks() - before) as f64 * 10.0 / RUNS as f64;
    row("--help, wall", ms(help), "101 ms (--version)");
    row("--help, CPU", format!("{cpu:.1} ms"), "90 ms (--version)");
    row(
        "models list, remembered",
        ms(median((0..RUNS).map(|_| home.timed(&["models", "list"])))),
        "2,950 ms",
    );
    let refreshed = median((0..RUNS).map(|_| home.timed(&["models", "list", "--refresh"])));
    row("models list --refresh", ms(refreshed), "-");

    let (mut to_request, mut after_last) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        home.timed(&["agent", "-m", "hi"]);
        let ended = Instant::now();
        let chat = server.chats().pop().unwrap();
        to_request.push(chat.at.duration_since(begun));
        after_last.push(ended.duration_since(chat.ended.unwrap()));
    }
    row("agent: process start to request received", ms(median(to_request.into_iter())), "17,200 ms");
    row("agent: last byte to exit", ms(median(after_last.into_iter())), "830 ms");
    let body = server.chats().pop().unwrap().body.len();
    row("agent: bytes of the first request", body.to_string(), "53,023");
    println!("{:<44} {:>10}   11,714", "agent: prompt tokens (estimated)", prompt_tokens(&home));

    let slow =
        Scripted::new().model("m").turn(Turn::text("a").pause(Duration::from_secs(2)).and_text("b")).serve();
    let waiting = Home { folder: tempfile::tempdir().unwrap(), base_url: slow.base_url() };
    row("agent: resident while it waits", resident(&waiting), "1,080 MB (peak)");

    println!("\n{:<44} {:>10}   to reach", "", "Chela");
    warm_turns();
    chat_memory();
    open_session(&home);
}

/// Steps of a turn whose server answers at once: what lies between its answers is Chela's, the commits of
/// the store included.
fn warm_turns() {
    const STEPS: usize = 40;
    let server = Scripted::new().model("m").respond(|request| match request.messages.len() / 2 {
        STEPS.. => Turn::text("Done."),
        n => Turn::new().call("glob", json!({"pattern": format!("*.{n}")})),
    });
    let server = server.serve();
    let home = Home { folder: tempfile::tempdir().unwrap(), base_url: server.base_url() };
    let mut child = home.command(&["agent", "--json", "--max-steps", "60", "-m", "Go."]).spawn().unwrap();
    let (mut started, mut finished) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let now = Instant::now();
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match event["type"].as_str().unwrap() {
            "tool_call_started" => started.push(now),
            "tool_call_finished" => finished.push(now),
            _ => {}
        }
    }
    assert!(child.wait().unwrap().success());
    let chats = server.chats();
    assert_eq!(started.len(), STEPS - 1);
    let to_tool = chats.iter().zip(&finished).map(|(chat, at)| at.saturating_duration_since(chat.at));
    let to_request =
        chats.windows(2).map(|pair| pair[1].at.saturating_duration_since(pair[0].ended.unwrap()));
    let (to_tool, to_request) = (median(to_tool), median(to_request));
    row("warm turn: request received to tool done", ms(to_tool), "");
    row("warm turn: last byte to next request", ms(to_request), "5 ms");
}

/// One process that talks for long.
fn chat_memory() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("Yes.")).serve();
    let home = Home { folder: tempfile::tempdir().unwrap(), base_url: server.base_url() };
    let mut child = home.command(&["chat"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    std::thread::sleep(Duration::from_millis(500));
    row("chat: resident, idle", mib(rss(&child)), "30 MB");
    let mut at_500 = 0;
    let begun = Instant::now();
    for turn in 1..=5_000 {
        writeln!(input, "Question {turn}: is it so?").unwrap();
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the chat ended at turn {turn}");
        }
        if turn == 500 {
            at_500 = rss(&child);
            row("chat: resident after 500 turns", mib(at_500), "");
        }
    }
    let growth = rss(&child).saturating_sub(at_500);
    row("chat: growth from turn 500 to turn 5,000", mib(growth), "5 MB");
    row("chat: a whole turn, with the server's part", ms(begun.elapsed() / 5_000), "");
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// A session that was compacted now and then, as one of this length is.
fn open_session(home: &Home) {
    let at = home.folder.path().join("home");
    let (db, locks) = (at.join("sessions.db"), at.join("run/sessions"));
    {
        let new =
            NewSession { name: Some("long".into()), agent: "main".into(), time: 1, ..NewSession::default() };
        let mut session = Store::open(&db, &locks).unwrap().create(&new).unwrap();
        let records = long_session(10_000);
        records.chunks(500).for_each(|records| session.append(records).unwrap());
    }
    let open = || {
        let begun = Instant::now();
        let mut session = Store::open(&db, &locks).unwrap().resume("long").unwrap();
        let transcript = Transcript::from_records(session.records().unwrap());
        assert_eq!(transcript.count(), 10_000);
        begun.elapsed()
    };
    row("open a session of 10,000 items", ms(median((0..7).map(|_| open()))), "50 ms");
}

fn long_session(count: usize) -> Vec<Record> {
    let turn = TurnId::new();
    let mut records: Vec<Record> = Vec::with_capacity(count);
    for n in 0..count {
        let call = format!("call{n:05}");
        let before = format!("call{:05}", n.saturating_sub(1));
        let assistant = |text: &str, calls| Item::Assistant {
            text: text.to_owned(),
            reasoning: String::new(),
            resend_reasoning: false,
            calls,
            finish: Finish::Stop,
            provenance: Provenance::default(),
            usage: None,
        };
        let item = match n % 4 {
            _ if n % 1_000 == 999 => Item::Compaction(Compaction {
                shortened: Vec::new(),
                summary: Some("What was done so far. ".repeat(40)),
                pinned: Vec::new(),
                keep_from: records.get(n - 15).map(|record| record.id),
                before: 30_000,
                after: 8_000,
                provenance: None,
            }),
            0 => Item::User {
                text: format!("Question {n}, with some words to it."),
                context: String::new(),
                images: Vec::new(),
                attachments: Vec::new(),
                taint: Taint::default(),
                provenance: None,
            },
            1 => {
                let arguments = json!({"path": format!("src/file{n}.rs")}).to_string();
                assistant("", vec![Call { id: call, name: "read".into(), arguments, raw: None }])
            }
            2 => Item::ToolResult {
                call: before,
                name: "read".into(),
                content: "let line = of(a, file);\n".repeat(40),
                note: String::new(),
                status: ResultStatus::Ok,
                diff: None,
                taint: Taint::default(),
                millis: 1,
            },
            _ => assistant("An answer of a few words, as they come.", Vec::new()),
        };
        records.push(Record { id: ItemId::new(), turn, time: n as u64, item });
    }
    records
}

fn row(what: &str, ours: impl std::fmt::Display, theirs: &str) {
    println!("{what:<44} {ours:>10}   {theirs}");
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

/// CPU time of all children that have ended, in ticks of 10 ms (proc(5), fields 16 and 17).
fn child_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[13].parse::<u64>().unwrap() + fields[14].parse::<u64>().unwrap()
}

fn prompt_tokens(home: &Home) -> String {
    // Without a server that would count them in its own way.
    let mut command = home.command(&["agent", "--explain-prompt", "--json"]);
    let output = command.env_remove("VLLM_BASE_URL").output().unwrap();
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    explained["tokens"].to_string()
}

/// Resident memory in the middle of an answer.
fn resident(home: &Home) -> String {
    let mut child = home.command(&["agent", "-m", "hi"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    let resident = rss(&child);
    child.wait().unwrap();
    mib(resident)
}

/// Resident memory of a process in KiB.
fn rss(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn mib(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 / 1024.0)
}
