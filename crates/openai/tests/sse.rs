//! The SSE decoder: the standard's rules as a table, and any split as a property.
#![allow(clippy::unwrap_used)] // helpers outside of test functions

use std::time::{Duration, Instant};

use chela_openai::sse::{self, Decoder, Event, TooLong};
use proptest::prelude::*;

fn decode(pieces: &[&[u8]]) -> Vec<Event> {
    let mut decoder = Decoder::new();
    for piece in pieces {
        decoder.push(piece).unwrap();
    }
    decoder.finish().unwrap();
    std::iter::from_fn(|| decoder.next_event()).collect()
}

fn data(text: &str) -> Event {
    Event::Data { name: None, data: text.into() }
}

fn named(name: &str, text: &str) -> Event {
    Event::Data { name: Some(name.into()), data: text.into() }
}

fn comment(text: &str) -> Event {
    Event::Comment(text.into())
}

#[test]
fn the_rules_of_the_standard() {
    let table: [(&str, Vec<Event>); 19] = [
        ("error: {}\n\n", vec![named("error", "{}")]),
        ("", vec![]),
        ("data: a\n\n", vec![data("a")]),
        ("data:a\n\n", vec![data("a")]),
        ("data:  a\n\n", vec![data(" a")]),
        ("data: a\r\n\r\n", vec![data("a")]),
        ("data: a\r\r", vec![data("a")]),
        ("data: a\r\n\rdata: b\n\n", vec![data("a"), data("b")]),
        ("data: a\ndata: b\n\n", vec![data("a\nb")]),
        ("data\n\n", vec![data("")]),
        ("data:\ndata:\n\n", vec![data("\n")]),
        ("\u{feff}data: a\n\n", vec![data("a")]),
        ("data: \u{feff}a\n\n", vec![data("\u{feff}a")]),
        (": keep-alive\n\ndata: a\n\n", vec![comment("keep-alive"), data("a")]),
        (":\n\n", vec![comment("")]),
        ("event: done\ndata: a\n\ndata: b\n\n", vec![named("done", "a"), data("b")]),
        ("event: lost\n\ndata: b\n\n", vec![data("b")]),
        ("id: 1\nretry: 5\nunknown: x\ndata: a\n\n", vec![data("a")]),
        ("data: a: b\n\n\n\n", vec![data("a: b")]),
    ];
    for (text, expected) in table {
        assert_eq!(decode(&[text.as_bytes()]), expected, "{text:?}");
    }
}

#[test]
fn the_end_of_the_stream_completes_an_event() {
    for text in ["data: a\n\ndata: b", "data: a\n\ndata: b\n", "data: a\n\ndata: b\r"] {
        assert_eq!(decode(&[text.as_bytes()]), [data("a"), data("b")], "{text:?}");
    }
}

#[test]
fn an_event_is_ready_with_its_last_byte() {
    let mut decoder = Decoder::new();
    decoder.push(b"data: a\r\n\r").unwrap();
    assert_eq!(decoder.next_event(), Some(data("a")));
    decoder.push(b"\ndata: b\r\n\r\n").unwrap();
    assert_eq!(decoder.next_event(), Some(data("b")));
    assert_eq!(decoder.next_event(), None);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    assert_eq!(decode(&[b"data: a\xffb\n\n"]), [data("a\u{fffd}b")]);
}

#[test]
fn an_event_over_the_limit_is_an_error_for_good() {
    let long = "x".repeat(100);
    for text in [
        format!("data: a\n\ndata: {long}\n\n"),
        format!("data: a\n\n: {long}"),
        format!("data: a\n\n{}", "data: 123456789\n".repeat(9)),
    ] {
        let mut decoder = Decoder::with_limit(64);
        let mut failed = None;
        for byte in text.bytes() {
            failed = decoder.push(&[byte]).err().or(failed);
        }
        assert_eq!(failed, Some(TooLong { limit: 64 }), "{text}");
        assert_eq!(decoder.next_event(), Some(data("a")));
        assert_eq!(decoder.next_event(), None);
        assert!(decoder.push(b"data: b\n\n").is_err());
        assert!(decoder.finish().is_err());
    }
}

/// 10 MB as one event in small pieces, and as 100,000 events in one piece: a
/// quadratic decoder needs minutes for either.
#[test]
fn ten_megabytes_take_linear_time() {
    let started = Instant::now();
    let mut decoder = Decoder::new();
    decoder.push(b"data: ").unwrap();
    for _ in 0..100_000 {
        decoder.push(&[b'x'; 100]).unwrap();
    }
    decoder.push(b"\n\n").unwrap();
    let Some(Event::Data { data, .. }) = decoder.next_event() else {
        panic!("no event");
    };
    assert_eq!(data.len(), 10_000_000);
    let many = format!("data: {}\n\n", "y".repeat(92)).repeat(100_000);
    decoder.push(many.as_bytes()).unwrap();
    let count = std::iter::from_fn(|| decoder.next_event()).count();
    assert_eq!(count, 100_000);
    assert!(started.elapsed() < Duration::from_secs(20));
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("data: ".to_owned()),
        Just("data".to_owned()),
        Just("event: e".to_owned()),
        Just(":".to_owned()),
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("🦀é".to_owned()),
        "[a-z{}\": ]{0,6}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_gives_the_same_events(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = decode(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&decode(&single), &whole);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(&decode(&pieces), &whole);
    }

    #[test]
    fn the_decoder_reads_what_the_encoder_writes(
        name in prop::option::of("[a-z.]{1,12}"),
        text in "[ -~\n🦀é]{0,60}",
    ) {
        let mut out = String::new();
        sse::encode_comment(&mut out, "keep-alive");
        sse::encode_data(&mut out, name.as_deref(), &text);
        prop_assert_eq!(
            decode(&[out.as_bytes()]),
            vec![comment("keep-alive"), Event::Data { name, data: text }]
        );
    }
}

/// The limit counts the line that is being read and the data before it, and is itself allowed.
#[test]
fn the_limit_is_exact() {
    let fits = |parts: &[&str], limit: usize| {
        let mut decoder = Decoder::with_limit(limit);
        parts.iter().all(|part| decoder.push(part.as_bytes()).is_ok())
    };
    let table: [(&[&str], usize); 4] = [
        (&["data: 12345\n\n"], 11),
        (&["data: ", "12345\n\n"], 11),
        (&["data: 1\n", "data: 2\n\n"], 8),
        (&["data: 123456"], 12),
    ];
    for (parts, limit) in table {
        assert!(fits(parts, limit), "{parts:?} within {limit}");
        assert!(!fits(parts, limit - 1), "{parts:?} over {}", limit - 1);
    }
}
