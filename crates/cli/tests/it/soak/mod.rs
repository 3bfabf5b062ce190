//! `chela serve` under clients that come, cancel and go: no error, nothing leaks, all is free again.
//!
//! In the test suite for a few seconds; `cargo xtask soak` runs it for minutes on a release build.

#![allow(clippy::print_stdout)] // its figures are for people, with --nocapture

mod client;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::served::Server;
use client::Client;
use work::{Random, Seen, Worker};

/// Bytes that the server may take: `--memory` of every server here.
const BUDGET: u64 = 400 << 20;

/// How long and how hard.
struct Plan {
    clients: usize,
    time: Duration,
}

impl Plan {
    /// `CHELA_SOAK_CLIENTS` and `CHELA_SOAK_SECONDS`, else what a test suite can afford.
    fn from_env() -> Self {
        let number = |name: &str, otherwise: u64| {
            std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
        };
        Self {
            clients: usize::try_from(number("CHELA_SOAK_CLIENTS", 8)).unwrap(),
            time: Duration::from_secs(number("CHELA_SOAK_SECONDS", 5)),
        }
    }

    fn long(&self) -> bool {
        self.time >= Duration::from_secs(60)
    }

    fn running(&self) -> usize {
        (self.clients / 4).max(2)
    }

    fn waiting(&self) -> usize {
        (self.clients / 2).max(2)
    }
}

/// What `/metrics` says at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    at: Duration,
    resident: u64,
    running: f64,
    waiting: f64,
    kv_usage: f64,
    preemptions: f64,
    generated: f64,
}

impl Sample {
    fn take(client: &mut Client, began: Instant) -> Self {
        let (status, text) = client.get("/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        let value = |name: &str| -> f64 {
            let row = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
            row.and_then(|row| row.rsplit(' ').next()?.parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        Self {
            at: began.elapsed(),
            resident: value("process_resident_memory_bytes") as u64,
            running: value("vllm:num_requests_running"),
            waiting: value("vllm:num_requests_waiting{"),
            kv_usage: value("vllm:kv_cache_usage_perc"),
            preemptions: value("vllm:num_preemptions_total"),
            generated: value("vllm:generation_tokens_total"),
        }
    }

    fn is_free(&self) -> bool {
        self.running == 0.0 && self.waiting == 0.0 && self.kv_usage == 0.0
    }
}

/// Everything that was seen.
struct Run {
    seen: BTreeMap<Seen, u64>,
    faults: Vec<String>,
    samples: Vec<Sample>,
}

#[test]
fn clients_come_and_go_and_leave_nothing_behind() {
    let plan = Plan::from_env();
    let server = server(&plan);
    let began = Instant::now();
    let run = load(&server, &plan, began);
    let mut client = Client::new(server.address());
    let last = drained(&mut client, began);
    for (seen, count) in &run.seen {
        println!("{count:>8}  {seen:?}");
    }
    println!("after {:.1} s: {last:?}", plan.time.as_secs_f64());
    assert!(
        run.faults.is_empty(),
        "{} faults, the first: {:#?}",
        run.faults.len(),
        &run.faults[..run.faults.len().min(5)]
    );
    assert!(run.seen.contains_key(&Seen::Refused429), "the queue never overflowed: {:?}", run.seen);
    check_memory(&run.samples, last);
    check_idle(&server, &plan);
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    let hello = json!({"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0});
    let answer = server.post("/v1/chat/completions", &hello);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello, world! How are you today?");
    stops(server);
}

fn server(plan: &Plan) -> Server {
    let (running, waiting) = (plan.running().to_string(), plan.waiting().to_string());
    Server::tiny(&["--max-num-seqs", &running, "--max-num-queued-reqs", &waiting, "--disable-log-requests"])
}

/// All clients at work until the time is over, and a look at the figures between.
fn load(server: &Server, plan: &Plan, began: Instant) -> Run {
    let over = AtomicBool::new(false);
    let batch = plan.running() + plan.waiting() + 400;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.clients)
            .map(|number| {
                let worker = Worker::new(server.address(), Random(number as u64), batch);
                scope.spawn(|| worker.work(&over))
            })
            .collect();
        let mut client = Client::new(server.address());
        let mut samples = Vec::new();
        let every = Duration::from_millis(if plan.long() { 1000 } else { 200 });
        while began.elapsed() < plan.time {
            std::thread::sleep(every);
            samples.push(Sample::take(&mut client, began));
        }
        over.store(true, Relaxed);
        let mut run = Run { seen: BTreeMap::new(), faults: Vec::new(), samples };
        for worker in workers {
            let (seen, faults) = worker.join().unwrap();
            for (seen, count) in seen {
                *run.seen.entry(seen).or_default() += count;
            }
            run.faults.extend(faults);
        }
        run
    })
}

/// Waits until nothing runs or waits and every block is free; a machine may be slow.
fn drained(client: &mut Client, began: Instant) -> Sample {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let sample = Sample::take(client, began);
        if sample.is_free() {
            return sample;
        }
        assert!(Instant::now() < until, "not all is free: {sample:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What is held stays within the budget, and no longer grows in the second half of a long run: before,
/// arenas, pools and caches fill.
fn check_memory(samples: &[Sample], last: Sample) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let peak = samples.iter().map(|sample| sample.resident).max().unwrap_or(last.resident);
    assert!(peak < BUDGET, "{:.1} MiB are more than --memory", mib(peak));
    assert!(samples.iter().all(|sample| (0.0..=1.0).contains(&sample.kv_usage)));
    let minute = |minutes: u64| samples.iter().find(|sample| sample.at >= Duration::from_secs(60 * minutes));
    for sample in (1..).map_while(minute) {
        println!("resident after {:>4} s: {:.1} MiB", sample.at.as_secs(), mib(sample.resident));
    }
    println!(
        "resident at the end: {:.1} MiB, at most {:.1} of {:.1} MiB",
        mib(last.resident),
        mib(peak),
        mib(BUDGET)
    );
    let half = samples.iter().find(|sample| sample.at >= (last.at / 2).max(Duration::from_secs(60)));
    if let Some(half) = half {
        let room = half.resident / 20 + (2 << 20);
        assert!(last.resident < half.resident + room, "memory grows");
    }
}

/// A server that has nothing to do takes less than a hundredth of a core.
fn check_idle(server: &Server, plan: &Plan) {
    let time = Duration::from_secs(if plan.long() { 10 } else { 2 });
    std::thread::sleep(Duration::from_secs(1));
    let before = server.cpu_ticks();
    std::thread::sleep(time);
    let ticks = server.cpu_ticks() - before;
    println!("idle for {} s: {ticks} ticks of 10 ms", time.as_secs());
    assert!(ticks <= time.as_secs(), "{ticks} ticks of 10 ms in {} s without work", time.as_secs());
}

fn stops(mut server: Server) {
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}
