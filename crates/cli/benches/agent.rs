//! What the agent costs beside the model: `cargo xtask bench agent`.
//!
//! The release binary runs against the scripted server, which answers at once, so every figure is
//! Chela's own. OpenClaw's figures are those of version 2026.9.6, taken on 2026-11-23 on two cores
//! with `openclaw agent --local -m hi` and `openclaw models list` against a server that answers at once.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chela_server::{Scripted, Turn};

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
    let output = home.command(&["agent", "--explain-prompt"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split_whitespace().last().unwrap().to_owned()
}

/// Resident memory in the middle of an answer.
fn resident(home: &Home) -> String {
    let mut child = home.command(&["agent", "-m", "hi"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    child.wait().unwrap();
    format!("{:.1} MB", kib / 1024.0)
}
