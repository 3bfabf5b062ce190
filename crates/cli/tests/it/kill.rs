//! `kill -9` at any point: what was acknowledged is there. Looked at from outside, with SQLite and with what
//! the server was asked.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chela_openai::chat::ChatRequest;
use chela_server::{Scripted, Served, Turn};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::wire::{assert_well_formed, breaks};
use crate::world::{World, finish};

/// Kills, and how long they may take; the time ends them on a slow machine.
const KILLS: usize = 300;
const LIMIT: Duration = Duration::from_secs(40);
/// After so many kills a new session begins, so that requests stay short.
const PER_SESSION: usize = 20;
/// Processes that are killed at the same time, each in a home of its own.
const BESIDE: usize = 3;

/// A generator of its own, so that a failure can be repeated (Marsaglia, Xorshift RNGs, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// Writes a file, reads it, writes another, answers.
fn play(request: &ChatRequest) -> Turn {
    let since = request.messages.iter().rev().take_while(|message| message.role != "user").count();
    let n = request.messages.len();
    match since {
        0 => Turn::text("First a file. ")
            .call("write", serde_json::json!({"path": format!("f{n}.txt"), "content": "x"})),
        2 => Turn::new().call("ls", serde_json::json!({})).call("grep", serde_json::json!({"pattern": "x"})),
        5 => Turn::new().call("write", serde_json::json!({"path": format!("g{n}.txt"), "content": "y"})),
        _ => Turn::text("All of it is written."),
    }
}

/// The stored items of each session, in order, as SQLite has them.
fn stored(world: &World) -> HashMap<String, Vec<String>> {
    let path = world.home().join("sessions.db");
    if !path.exists() {
        return HashMap::new();
    }
    // The file may have been made a moment ago and hold nothing yet.
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    if version == 0 {
        return HashMap::new();
    }
    let check: String = db.pragma_query_value(None, "quick_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let sql = "SELECT s.name, i.body FROM item i JOIN session s ON s.n = i.session ORDER BY i.session, i.seq";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows.unwrap() {
        let (name, body) = row.unwrap();
        found.entry(name).or_default().push(body);
    }
    found
}

fn of_kind<'a>(items: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items.iter().filter(move |item| item["kind"] == kind)
}

/// What a request tells the server was on the disk before: the user's words and the results.
fn assert_acknowledged(body: &Value, items: &[Value]) {
    for message in body["messages"].as_array().unwrap() {
        let content = message["content"].as_str().unwrap_or_default();
        let held = match message["role"].as_str().unwrap() {
            "user" => of_kind(items, "user").any(|item| content.ends_with(item["text"].as_str().unwrap())),
            "tool" => of_kind(items, "tool_result")
                .any(|item| content.starts_with(item["content"].as_str().unwrap())),
            _ => true,
        };
        assert!(held, "sent and not kept: {message}");
    }
}

/// A file that a call wrote: its call was marked as started before.
fn assert_started(world: &World, items: &[Value]) {
    let started: Vec<&Value> = of_kind(items, "call_started").map(|item| &item["call"]).collect();
    let calls: Vec<&Value> =
        of_kind(items, "assistant").flat_map(|item| item["calls"].as_array().into_iter().flatten()).collect();
    for entry in std::fs::read_dir(world.work()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours = calls.iter().any(|call| {
            call["arguments"].as_str().unwrap().contains(&format!("\"{name}\""))
                && started.contains(&&call["id"])
        });
        assert!(
            ours || name.contains(".tmp") || name.starts_with('.'),
            "{name} was written by no started call"
        );
    }
}

/// Kills processes of one home until all kills are made, and looks after each one.
fn kill_many(seed: u64, kills: &AtomicUsize, until: Instant) -> (usize, usize) {
    let server = Scripted::new().model("m").respond(play).serve();
    let world = World::with_vllm(&server.base_url());
    let mut random = Random(seed);
    let whole = Instant::now();
    world.run(&["agent", "--session", "warm", "--approve", "edits", "-m", "Go."]).succeeds();
    let mut whole = whole.elapsed();
    let (mut middle, mut made) = (0, 0);
    let mut before = stored(&world);
    while kills.fetch_add(1, Ordering::Relaxed) < KILLS && Instant::now() < until {
        let session = format!("s{}", made / PER_SESSION);
        if made % PER_SESSION == 0 {
            // Names of files repeat from session to session.
            for entry in std::fs::read_dir(world.work()).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let asked = server.chats().len();
        let begun = Instant::now();
        let message = format!("Message {made}.");
        let mut child = world.spawn(&["agent", "--session", &session, "--approve", "edits", "-m", &message]);
        std::thread::sleep(Duration::from_micros(random.below(whole.as_micros() as u64 * 6 / 5)));
        let ended = child.try_wait().unwrap().is_some();
        let took = begun.elapsed();
        let _ = child.kill();
        child.wait().unwrap();
        made += 1;
        let chats = server.chats();
        // The machine is now quicker and now slower; most kills are to come in the middle of a turn.
        whole = match (ended, chats.len() > asked) {
            (true, _) => whole.min(took),
            (false, false) => whole + whole / 10,
            (false, true) => whole,
        };
        let after = stored(&world);
        for (name, items) in &before {
            assert!(after[name].starts_with(items), "seed {seed}, kill {made}: {name} lost items");
        }
        let items: Vec<Value> = after
            .get(&session)
            .into_iter()
            .flatten()
            .map(|body| serde_json::from_str(body).unwrap())
            .collect();
        for chat in &chats[asked..] {
            assert_acknowledged(&chat.json(), &items);
        }
        assert_started(&world, &items);
        middle += usize::from(!ended && chats.len() > asked);
        before = after;
    }
    look_at_all(&world, &server, made);
    (made, middle)
}

/// Every session opens, its orphaned calls are closed, and it goes on.
fn look_at_all(world: &World, server: &Served, made: usize) {
    for n in 0..made.div_ceil(PER_SESSION) {
        let session = format!("s{n}");
        let asked = server.chats().len();
        world.run(&["agent", "--session", &session, "--approve", "edits", "-m", "And now?"]).succeeds();
        let bodies: Vec<Value> = server.chats()[asked..].iter().map(|chat| chat.json()).collect();
        bodies.iter().for_each(assert_well_formed);
        let items = world.json(&["sessions", "show", &session, "--json"]);
        let items = items.as_array().unwrap();
        let calls: Vec<&Value> = of_kind(items, "assistant")
            .flat_map(|item| item["calls"].as_array().into_iter().flatten())
            .map(|call| &call["id"])
            .collect();
        let results: Vec<&Value> = of_kind(items, "tool_result").map(|item| &item["call"]).collect();
        assert_eq!(calls, results, "{session}");
        let started: Vec<&Value> = of_kind(items, "call_started").map(|item| &item["call"]).collect();
        for item in of_kind(items, "tool_result").filter(|item| item["status"] == "interrupted") {
            let words = item["content"].as_str().unwrap();
            let did_start = started.contains(&&item["call"]);
            assert_eq!(words.contains("while this call ran"), did_start, "{words}");
        }
    }
    // Within each session every request began with the one before, over all the processes.
    let mut of_session: HashMap<String, Vec<Value>> = HashMap::new();
    let mut current = String::new();
    for chat in server.chats() {
        let body = chat.json();
        let first = body["messages"][1]["content"].to_string();
        if body["messages"].as_array().unwrap().len() == 2 || !of_session.contains_key(&first) {
            current = first.clone();
        }
        of_session
            .entry(if of_session.contains_key(&first) { first } else { current.clone() })
            .or_default()
            .push(body);
    }
    assert!(of_session.values().all(|bodies| breaks(bodies) == 0));
    let db = Connection::open(world.home().join("sessions.db")).unwrap();
    let check: String = db.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn killed_at_any_point_nothing_acknowledged_is_lost() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    let kills = AtomicUsize::new(0);
    let until = Instant::now() + LIMIT;
    let counts: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..BESIDE as u64)
            .map(|n| {
                let kills = &kills;
                scope.spawn(move || {
                    kill_many(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1, kills, until)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (made, middle) = counts.iter().fold((0, 0), |(a, b), (made, middle)| (a + made, b + middle));
    println!("{made} kills, {middle} of them between the first request and the end (seed {seed})");
    assert!(middle > made / 20, "{middle} of {made} kills were in the middle of a turn");
}

/// Kills the binary so long after its first word; true where what it kept is at most a second behind what it
/// had shown. What it kept is right in any case, and the session goes on from it.
fn is_in_time(server: &Served, life: Duration) -> bool {
    let world = World::with_vllm(&server.base_url());
    let mut child = world.spawn(&["agent", "--session", "s", "-m", "Tell me."]);
    let mut out = child.stdout.take().unwrap();
    let mut shown: Vec<(Instant, usize)> = Vec::new();
    let mut text = String::new();
    let mut buffer = [0; 256];
    while shown.first().is_none_or(|(begun, _)| begun.elapsed() < life) {
        let count = out.read(&mut buffer).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        shown.push((Instant::now(), text.len()));
    }
    let db = Connection::open(world.home().join("sessions.db")).unwrap();
    let draft = || db.query_row("SELECT body FROM draft", [], |row| row.get::<_, String>(0)).ok();
    let until = Instant::now() + LIMIT;
    while draft().is_none() {
        assert!(Instant::now() < until, "nothing is kept of {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    let killed = Instant::now();
    child.wait().unwrap();
    let draft: Value = serde_json::from_str(&draft().unwrap()).unwrap();
    drop(db);
    let kept = draft["text"].as_str().unwrap();
    assert!(text.starts_with(kept) || kept.starts_with(&text), "{kept}");
    assert_eq!(draft["provenance"]["endpoint"], server.base_url());
    finish(world.spawn(&["agent", "--session", "s", "-m", "And?"])).succeeds();
    let items = world.json(&["sessions", "show", "s", "--json"]);
    let cut = items.as_array().unwrap().iter().find(|item| item["finish"] == "cut").unwrap();
    assert_eq!(cut["text"], kept);
    assert_eq!(cut["provenance"]["local"], true);
    let due = shown.iter().rev().find(|(at, _)| killed - *at > Duration::from_secs(1));
    kept.len() >= due.map_or(0, |(_, length)| *length)
}

/// Text that was shown more than a second before a `kill -9` is there at the next start.
#[test]
fn shown_text_is_at_most_a_second_behind() {
    let words: Vec<String> = (0..60).map(|n| format!("word{n:02} ")).collect();
    let pause = Duration::from_millis(50);
    let slow = words.iter().fold(Turn::new(), |turn, word| turn.and_text(word).pause(pause));
    let slow = slow.pause(Duration::from_secs(600));
    let server = Scripted::new().model("m").respond(move |request| match request.messages.len() {
        2 => slow.clone(),
        _ => Turn::text("I was interrupted."),
    });
    let server = server.serve();
    std::thread::scope(|scope| {
        for n in 0..6_u64 {
            let server = &server;
            // Several tries, of which one has to be in time: other work on the machine is none of ours.
            let life = Duration::from_millis(1_200 + n * 190);
            scope.spawn(move || assert!((0..10).any(|_| is_in_time(server, life)), "{life:?}"));
        }
    });
}
