//! Any bytes, cut at any place, give the same events, and the whole stream folds without a panic.
#![no_main]

use chela_openai::sse::{Decoder, Event};
use libfuzzer_sys::fuzz_target;

fn events(parts: &[&[u8]]) -> Option<Vec<Event>> {
    let mut decoder = Decoder::with_limit(1 << 16);
    let mut events = Vec::new();
    for part in parts {
        decoder.push(part).ok()?;
        events.extend(std::iter::from_fn(|| decoder.next_event()));
    }
    decoder.finish().ok()?;
    events.extend(std::iter::from_fn(|| decoder.next_event()));
    Some(events)
}

fuzz_target!(|input: (usize, &[u8])| {
    let (at, bytes) = input;
    let cut = if bytes.is_empty() { 0 } else { at % bytes.len() };
    let whole = events(&[bytes]);
    let split = events(&[&bytes[..cut], &bytes[cut..]]);
    assert_eq!(whole, split);
    for event in whole.into_iter().flatten() {
        if let Event::Data { data, .. } = event {
            let _ = chela_openai::chat::StreamEvent::parse(&data);
        }
    }
});
