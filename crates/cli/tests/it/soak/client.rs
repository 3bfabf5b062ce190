//! A client over one connection that is kept alive, with the power to hang up.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One connection, opened anew after each that broke.
pub(super) struct Client {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

/// The head of an answer; its body is read from the client.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
    length: Option<usize>,
}

impl Client {
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None }
    }

    pub(super) fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        let head = self.open("GET", path, "")?;
        Ok((head.status, self.rest(&head)?))
    }

    /// Sends a request and reads the head of the answer.
    pub(super) fn open(&mut self, method: &str, path: &str, body: &str) -> io::Result<Head> {
        self.send(method, path, body, body.len())?;
        let head = self.head();
        if head.is_err() {
            self.hang_up();
        }
        head
    }

    /// Sends a request, or as many bytes of its body.
    pub(super) fn send(&mut self, method: &str, path: &str, body: &str, bytes: usize) -> io::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let stream = self.stream()?;
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(&body.as_bytes()[..bytes])
    }

    fn stream(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            // far beyond any answer, so that a hang is an error and a slow machine is not
            stream.set_read_timeout(Some(Duration::from_secs(300)))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(super) fn hang_up(&mut self) {
        self.stream = None;
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream()?.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn head(&mut self) -> io::Result<Head> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {line:?}")))?;
        let mut head = Head { status, retry_after: None, length: None };
        loop {
            let line = self.line()?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(": ") else { return Ok(head) };
            match name {
                "retry-after" => head.retry_after = value.parse().ok(),
                "content-length" => head.length = value.parse().ok(),
                _ => {}
            }
        }
    }

    /// The next piece of a body that comes in pieces; none is its end.
    pub(super) fn chunk(&mut self) -> io::Result<Option<String>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let mut bytes = vec![0; size + 2];
        self.stream()?.read_exact(&mut bytes)?;
        bytes.truncate(size);
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        Ok((size > 0).then_some(text))
    }

    /// What is left of the body.
    pub(super) fn rest(&mut self, head: &Head) -> io::Result<String> {
        let Some(length) = head.length else {
            let mut text = String::new();
            while let Some(chunk) = self.chunk()? {
                text.push_str(&chunk);
            }
            return Ok(text);
        };
        let mut bytes = vec![0; length];
        self.stream()?.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }
}
