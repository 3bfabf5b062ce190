//! Reads the recorded traffic of vLLM 0.32.

use std::fs;
use std::path::PathBuf;

/// One recorded exchange.
pub struct Exchange {
    /// `folder/name`.
    pub name: String,
    /// Path of the request line.
    pub path: String,
    /// Body of the request.
    pub request: Vec<u8>,
    /// Status of the response.
    pub status: u16,
    /// Whether the response is an event stream.
    pub stream: bool,
    /// Body of the response, without chunk framing.
    pub body: Vec<u8>,
}

/// All of them, in the order of their names.
pub fn exchanges() -> Vec<Exchange> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32");
    let mut all = Vec::new();
    for folder in fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let file_name = file.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some(name) = file_name.strip_suffix(".request.http") {
                let folder_name = folder.file_name().unwrap().to_str().unwrap();
                let request = fs::read(&file).unwrap();
                let response = fs::read(folder.join(format!("{name}.response.http"))).unwrap();
                all.push(exchange(format!("{folder_name}/{name}"), &request, &response));
            }
        }
    }
    assert!(all.len() > 200, "only {} exchanges found", all.len());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn exchange(name: String, request: &[u8], response: &[u8]) -> Exchange {
    let (request_head, request_body) = split_head(request);
    let (head, body) = split_head(response);
    let lower = head.to_ascii_lowercase();
    let body = if lower.contains("transfer-encoding: chunked") && !body.starts_with(b"data: ") {
        dechunk(body)
    } else {
        body.to_vec()
    };
    Exchange {
        name,
        path: request_head.split(' ').nth(1).unwrap().to_owned(),
        request: request_body.to_vec(),
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        stream: lower.contains("text/event-stream"),
        body,
    }
}

fn split_head(bytes: &[u8]) -> (String, &[u8]) {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..at]).unwrap().to_owned();
    (head, &bytes[at + 4..])
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        rest = &rest[end + 2..];
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
