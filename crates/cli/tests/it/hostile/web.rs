//! The web of a test: a proxy that has the pages of a scenario and writes down what it is asked for.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

/// A page: its text, or all of its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Page {
    Text(String),
    Answer {
        #[serde(default)]
        status: Option<u16>,
        #[serde(default)]
        location: Option<String>,
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        body: String,
    },
}

impl Page {
    fn response(&self) -> String {
        let kind = |body: &str| if body.trim_start().starts_with('<') { "text/html" } else { "text/plain" };
        let (status, location, kind, body) = match self {
            Page::Text(body) => (200, None, kind(body), body),
            Page::Answer { status, location, kind: given, body } => (
                status.unwrap_or(if location.is_some() { 302 } else { 200 }),
                location.as_ref(),
                given.as_deref().unwrap_or(kind(body)),
                body,
            ),
        };
        let location = location.map(|to| format!("location: {to}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {status} Said\r\n{location}content-type: {kind}; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

/// The running proxy. Its thread ends with the process.
pub struct Web {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub fn serve(pages: BTreeMap<String, Page>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up has been written down all the same.
                let _ = answer(stream.unwrap(), &pages, &log);
            }
        });
        Self { address, asked }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The heads of all requests, as they came.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The hosts that were asked for, with the port where it is given.
    pub fn hosts(&self) -> Vec<String> {
        let host = |head: &String| {
            let target = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
            let rest = target.split_once("://").map_or(target.as_str(), |(_, rest)| rest);
            rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
        };
        self.asked().iter().map(host).collect()
    }
}

fn answer(
    mut stream: TcpStream,
    pages: &BTreeMap<String, Page>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = Vec::new();
    let mut buffer = [0; 4_096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => break,
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().unwrap().push(head.clone());
    let target = head.split_whitespace().nth(1).unwrap_or_default();
    let missing = Page::Answer { status: Some(404), location: None, kind: None, body: "no such page".into() };
    // CONNECT names a host and no page: nobody gets through.
    let page = pages.get(target).unwrap_or(&missing);
    stream.write_all(page.response().as_bytes())
}
