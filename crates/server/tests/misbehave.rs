//! The byte-playing server plays what its script says.

#![allow(clippy::unwrap_used)] // helpers outside of test functions

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chela_server::misbehave::{self, Act, Misbehave};

fn connect(server: &Misbehave) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

const REQUEST: &str = "POST /v1/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn scripts_are_played_one_per_connection() {
    let server = Misbehave::serve(vec![
        vec![Act::Request, Act::split(misbehave::response("200 OK", "text/html", "<html>"), 1)],
        vec![Act::Request, Act::Repeat("y".into(), 3)],
    ]);
    for expected in ["<html>", "yyy", "yyy"] {
        let mut stream = connect(&server);
        stream.write_all(REQUEST.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(expected), "{answer}");
    }
    let received = server.received();
    assert_eq!(received.len(), 3);
    assert_eq!(received[1].connection, 1);
    assert!(received[1].head.starts_with("POST /v1/x HTTP/1.1"));
    assert_eq!(received[1].body, b"abc");
    assert!(!received[1].closed_early);
}

#[test]
fn a_reset_is_a_reset() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::send("half"), Act::Request, Act::Reset]]);
    let mut stream = connect(&server);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let mut half = [0; 4];
    stream.read_exact(&mut half).unwrap();
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    stream.write_all(chunked.as_bytes()).unwrap();
    let error = stream.read(&mut half).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.received()[1].body, b"abc");
}

#[test]
fn a_client_that_hangs_up_is_noticed() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::Hang]]);
    let mut stream = connect(&server);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let started = Instant::now();
    while server.received().is_empty() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(stream);
    while !server.received()[0].closed_early {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
}
