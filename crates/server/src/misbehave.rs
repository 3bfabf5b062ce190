//! A TCP server that plays bytes on purpose: what no router would send.
//!
//! ```
//! use chela_server::misbehave::{self, Act, Misbehave};
//!
//! // answers once with half a stream, then resets the connection
//! let server = Misbehave::serve(vec![vec![
//!     Act::Request,
//!     Act::send(misbehave::stream_head()),
//!     Act::send(misbehave::chunk("data: {\"choices\":[]}\n\n")),
//!     Act::Reset,
//! ]]);
//! assert!(server.base_url().starts_with("http://127.0.0.1:"));
//! assert!(server.received().is_empty());
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::Host;
use crate::scripted::Gate;

/// One thing that the server does on a connection.
#[derive(Debug, Clone)]
pub enum Act {
    /// Reads one request, head and body (`Content-Length` or chunked).
    Request,
    /// Sends bytes.
    Send(Bytes),
    /// Sends bytes in writes of so many, flushed one by one.
    Split(Bytes, usize),
    /// Sends these bytes over and over, so many times.
    Repeat(Bytes, usize),
    /// Waits.
    Wait(Duration),
    /// Goes on when this gate is opened.
    Hold(Gate),
    /// Waits until the client closes.
    Hang,
    /// Closes in good order, which is also what the end of a script does.
    Close,
    /// Closes with a TCP reset. What the client has not read by then is lost to
    /// it: a [`Act::Hold`] before gives it time.
    Reset,
}

impl Act {
    /// [`Act::Send`] of anything that is bytes.
    pub fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Send(Bytes::from(bytes.into()))
    }

    /// [`Act::Split`] of anything that is bytes.
    pub fn split(bytes: impl Into<Vec<u8>>, step: usize) -> Self {
        Self::Split(Bytes::from(bytes.into()), step.max(1))
    }
}

/// What came in on a connection.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// The client closed or reset the connection before the script ended.
    pub closed_early: bool,
}

type Log = Arc<Mutex<Vec<Received>>>;

/// The running server; dropped, it closes everything.
pub struct Misbehave {
    host: Host,
    log: Log,
}

impl Misbehave {
    /// Plays one script per connection, in the order of connections; the last
    /// one is played for every further connection too.
    ///
    /// # Panics
    /// When there is no script, or the system has no port or thread left: a
    /// test cannot go on.
    #[allow(clippy::expect_used)]
    pub fn serve(scripts: Vec<Vec<Act>>) -> Self {
        assert!(!scripts.is_empty(), "a script for the first connection");
        let log = Log::default();
        let shared = log.clone();
        let host = Host::start(move |listener| async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let script = scripts[connection.min(scripts.len() - 1)].clone();
                let log = shared.clone();
                tokio::spawn(async move { play(stream, &script, connection, &log).await });
                connection += 1;
            }
        });
        Self { host: host.expect("a loopback port and a thread"), log }
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.host.address())
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        self.host.address()
    }

    /// The requests read so far, in the order in which they were complete.
    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Plays a script. An error is the client's hanging up, which is recorded.
async fn play(mut stream: TcpStream, script: &[Act], connection: usize, log: &Log) {
    let mut last = None;
    // each write is to reach the client by itself
    let _ = stream.set_nodelay(true);
    let mut rest = Vec::new();
    let result: io::Result<()> = async {
        for act in script {
            match act {
                Act::Request => {
                    let received = read_request(&mut stream, connection, &mut rest).await?;
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    last = Some(log.len());
                    log.push(received);
                }
                Act::Send(bytes) => stream.write_all(bytes).await?,
                Act::Split(bytes, step) => {
                    for piece in bytes.chunks(*step) {
                        stream.write_all(piece).await?;
                        stream.flush().await?;
                        tokio::task::yield_now().await;
                    }
                }
                Act::Repeat(bytes, times) => {
                    for _ in 0..*times {
                        stream.write_all(bytes).await?;
                    }
                }
                Act::Wait(time) => wait(&mut stream, &mut rest, *time).await?,
                Act::Hold(gate) => gate.passed().await,
                Act::Hang => wait(&mut stream, &mut rest, Duration::MAX).await?,
                Act::Close => break,
                Act::Reset => {
                    // a close with unsent data discarded is a reset
                    stream.set_zero_linger()?;
                    return Ok(());
                }
            }
        }
        stream.shutdown().await
    }
    .await;
    if let (Err(_), Some(index)) = (result, last) {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log[index].closed_early = true;
    }
}

/// Waits, and fails as soon as the client closes.
async fn wait(stream: &mut TcpStream, rest: &mut Vec<u8>, time: Duration) -> io::Result<()> {
    let closed = async {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                n => rest.extend_from_slice(&buffer[..n]),
            }
        }
    };
    match tokio::time::timeout(time, closed).await {
        Ok(result) => result,
        Err(_) => Ok(()),
    }
}

async fn read_request(stream: &mut TcpStream, connection: usize, rest: &mut Vec<u8>) -> io::Result<Received> {
    loop {
        if let Some((received, used)) = parse(rest, connection) {
            rest.drain(..used);
            return Ok(received);
        }
        if stream.read_buf(rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A complete request and its length, if there is one.
fn parse(bytes: &[u8], connection: usize) -> Option<(Received, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let start = end + 4;
    let (body, used) = if header("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
        let (body, used) = dechunk(&bytes[start..])?;
        (body, start + used)
    } else {
        let length = header("content-length").and_then(|n| n.parse().ok());
        let used = start + length.unwrap_or(0);
        (bytes.get(start..used)?.to_vec(), used)
    };
    let received = Received { connection, head, body, closed_early: false };
    Some((received, used))
}

fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        if size == 0 {
            return (at <= bytes.len()).then_some((body, at));
        }
    }
}

/// A whole answer with `Content-Length`; the connection is to be closed after it.
pub fn response(status: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// The head of a chunked event stream, as vLLM sends it.
pub fn stream_head() -> &'static str {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
     connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
}

/// One HTTP chunk; [`last_chunk`] ends the body.
pub fn chunk(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut out = format!("{:x}\r\n", text.len()).into_bytes();
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
    out
}

/// The end of a chunked body.
pub fn last_chunk() -> &'static str {
    "0\r\n\r\n"
}

/// The event of one text delta, as an HTTP chunk.
pub fn text_delta(text: &str) -> Vec<u8> {
    let delta = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    });
    chunk(format!("data: {delta}\n\n"))
}

/// The event that ends the choice, as an HTTP chunk.
pub fn finish(reason: &str) -> Vec<u8> {
    let last = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "delta": {}, "finish_reason": reason}],
    });
    chunk(format!("data: {last}\n\n"))
}

/// `data: [DONE]`, as an HTTP chunk.
pub fn done() -> Vec<u8> {
    chunk("data: [DONE]\n\n")
}
