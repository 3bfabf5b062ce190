//! `chela serve` as a process, and a client that sends bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::world::World;

/// The recordings of vLLM and the model that it served.
pub fn recordings() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32")
}

/// A running server.
pub struct Server {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    _world: World,
}

impl Server {
    /// The tiny model under the name `tiny`, with these flags.
    pub fn tiny(flags: &[&str]) -> Self {
        let model = recordings().join("tiny-model");
        let flags = [&["--max-model-len", "1024"], flags].concat();
        Self::of(model.to_str().unwrap(), &flags)
    }

    /// Another model under that name.
    pub fn of(model: &str, flags: &[&str]) -> Self {
        let world = World::new();
        let mut args = vec!["serve", model, "--served-model-name", "tiny", "--port", "0"];
        args.extend(["--memory", "400MiB", "--threads", "2"]);
        args.extend(flags);
        let mut child = world.spawn(&args);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let mut line = String::new();
        let mut address = String::new();
        // the address is in the first line of the start, its end in the second
        while address.is_empty() || !line.contains("ready in") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "no start-up line: {}", log.lock().unwrap());
            log.lock().unwrap().push_str(&line);
            if let Some(at) = line.find("http://") {
                address = line[at + 7..].split(['/', ' ', ';']).next().unwrap().to_owned();
            }
        }
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, address, log, _world: world }
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The time of all its threads on a CPU, in ticks of 10 ms (proc(5), `utime` and `stime`).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// What it said on stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request as it was recorded, and reads the answer to its end.
    pub fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        let head = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let mut sent: Vec<u8> = Vec::new();
        for (at, line) in std::str::from_utf8(&request[..head]).unwrap().split("\r\n").enumerate() {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            if at == 0 || !matches!(name.as_str(), "host" | "connection") {
                sent.extend(line.as_bytes());
                sent.extend(b"\r\n");
            }
        }
        sent.extend(format!("host: {}\r\nconnection: close", self.address).as_bytes());
        sent.extend(&request[head..]);
        stream.write_all(&sent).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes)
    }

    /// Sends JSON.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(request.as_bytes())
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, at most a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads an answer, chunked or not. Some recordings say chunked and are not.
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let raw = &bytes[end + 4..];
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if chunked { dechunk(raw).unwrap_or_else(|| raw.to_vec()) } else { raw.to_vec() };
        Self { status, headers, body: String::from_utf8(body).unwrap() }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn dechunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = raw.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        out.extend(raw.get(end + 2..end + 2 + size)?);
        raw = raw.get(end + 2 + size + 2..)?;
    }
}
