//! Large answers arrive whole, in seconds.

use std::time::{Duration, Instant};

use chela_server::misbehave::{Act, Misbehave, done, finish, last_chunk, stream_head, text_delta};

use crate::common::*;

#[tokio::test]
async fn ten_megabytes_arrive_whole() {
    let kilobyte = "lorem ipsum dolor sit amet, ".repeat(37)[..1024].to_owned();
    let script = vec![
        Act::Request,
        Act::send(stream_head()),
        Act::Repeat(text_delta(&kilobyte).into(), 10_240),
        Act::send(finish("stop")),
        Act::send(done()),
        Act::send(last_chunk()),
    ];
    let server = Misbehave::serve(vec![script]);
    let start = Instant::now();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!(error, None);
    assert_eq!(answer.text.len(), 10_240 * 1024);
    assert!(answer.text.starts_with(&kilobyte) && answer.text.ends_with(&kilobyte));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_event_without_end_is_given_up_in_bounded_memory() {
    let script = vec![
        Act::Request,
        Act::send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: "),
        Act::Repeat(vec![b'x'; 1 << 20].into(), 200),
    ];
    let server = Misbehave::serve(vec![script]);
    let (_, error) = say_hello(&server.base_url()).await;
    let error = error.unwrap().to_string();
    assert!(error.contains("longer than"), "{error}");
}
