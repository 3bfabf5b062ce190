//! Messages from a pipe or a file: a line each, read only when the one before has been answered.

use std::io::{self, BufRead};
use std::sync::mpsc;

use tokio::sync::mpsc as channel;

use super::edit::{is_complete, joined};
use super::keys::Key;

/// Standard input that is no terminal.
pub struct Pipe {
    wishes: mpsc::Sender<()>,
}

impl Pipe {
    /// Starts the thread that reads.
    pub fn start() -> io::Result<(Self, channel::UnboundedReceiver<Key>)> {
        let (wishes, queue) = mpsc::channel::<()>();
        let (keys, received) = channel::unbounded_channel();
        std::thread::Builder::new().name("pipe".into()).spawn(move || {
            let mut input = io::stdin().lock();
            let mut number = 0;
            while queue.recv().is_ok() {
                let key = match message(&mut input, &mut number) {
                    Ok(Some(text)) => Key::Line(text),
                    Ok(None) => Key::End,
                    Err(why) => Key::Broken(why),
                };
                if keys.send(key).is_err() {
                    return;
                }
            }
        })?;
        Ok((Self { wishes }, received))
    }

    /// Wants the next message.
    pub fn next(&self) {
        // A thread that has ended has said so.
        let _ = self.wishes.send(());
    }
}

/// The next message that is not empty; none at the end. `number` counts lines.
fn message(input: &mut impl BufRead, number: &mut usize) -> Result<Option<String>, String> {
    let mut text = String::new();
    let mut begun = false;
    loop {
        let mut bytes = Vec::new();
        let read = input.read_until(b'\n', &mut bytes).map_err(|e| format!("standard input: {e}"))?;
        if read == 0 {
            return Ok(Some(joined(&text)).filter(|text| !text.trim().is_empty()));
        }
        *number += 1;
        let line = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            format!("standard input, line {number}: byte {at} begins no character; expected UTF-8 text")
        })?;
        if begun {
            text.push('\n');
        }
        text.push_str(line.trim_end_matches(['\n', '\r']));
        begun = true;
        if !is_complete(&text) {
            continue;
        }
        if !text.trim().is_empty() {
            return Ok(Some(joined(&text)));
        }
        text.clear();
        begun = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_and_can_be_continued() {
        let mut input = "one\r\n\n  \ntwo\\\n lines\n```\ncode\\\n\nmore\n```\n/help\nlast\\".as_bytes();
        let mut number = 0;
        let mut messages = Vec::new();
        while let Some(text) = message(&mut input, &mut number).unwrap() {
            messages.push(text);
        }
        assert_eq!(messages, ["one", "two\n lines", "```\ncode\\\n\nmore\n```", "/help", "last"]);
        assert_eq!(number, 12);
        let mut input = &b"ok\n\xffno\n"[..];
        message(&mut input, &mut 0).unwrap();
        let error = message(&mut input, &mut 1).unwrap_err();
        assert!(error.starts_with("standard input, line 2: byte 0"), "{error}");
    }
}
