//! A pseudo-terminal with the binary in it: what a person types and what she sees.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use rustix::termios::{Termios, tcgetattr};

use crate::world::World;

/// Time in which anything that is waited for has to come.
const LIMIT: Duration = Duration::from_secs(60);

type Bytes = Arc<(Mutex<Vec<u8>>, Condvar)>;

pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    bytes: Bytes,
    /// What was waited for ends here, in the text without escapes.
    seen: usize,
    /// The modes before the binary ran.
    pub modes: Termios,
}

impl World {
    pub fn terminal(&self, args: &[&str]) -> Terminal {
        self.terminal_with(args, &[("TERM", "xterm-256color")])
    }

    pub fn terminal_with(&self, args: &[&str], env: &[(&str, &str)]) -> Terminal {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(40, 100)).unwrap();
        let plain = self.command(args);
        let mut command = Command::new(plain.get_program()).args(args).env_clear().current_dir(self.work());
        command = command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let modes = tcgetattr(&pty).unwrap();
        let child = command.envs(env.iter().copied()).spawn(pts).unwrap();
        let (pty, bytes) = (Arc::new(pty), Bytes::default());
        let (reader, sink) = (Arc::clone(&pty), Arc::clone(&bytes));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody has open any more reads as an error.
            while let Ok(read @ 1..) = (&*reader).read(&mut buffer) {
                sink.0.lock().unwrap().extend_from_slice(&buffer[..read]);
                sink.1.notify_all();
            }
        });
        Terminal { pty, child, bytes, seen: 0, modes }
    }
}

impl Terminal {
    pub fn send(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// Every byte that was written to the terminal.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.bytes.0.lock().unwrap()).into_owned()
    }

    /// The same without escape sequences and carriage returns.
    pub fn text(&self) -> String {
        plain(&self.raw())
    }

    /// Waits until this text comes behind what was waited for before.
    #[track_caller]
    pub fn sees(&mut self, wanted: &str) -> &mut Self {
        let until = Instant::now() + LIMIT;
        let mut bytes = self.bytes.0.lock().unwrap();
        loop {
            let text = plain(&String::from_utf8_lossy(&bytes));
            let from = self.seen.min(text.len());
            if let Some(at) = text[from..].find(wanted) {
                self.seen = from + at + wanted.len();
                drop(bytes);
                return self;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {wanted:?} behind what was seen; behind it: {:?}", &text[from..]);
            bytes = self.bytes.1.wait_timeout(bytes, left).unwrap().0;
        }
    }

    /// Waits for the prompt and types a line.
    #[track_caller]
    pub fn says(&mut self, line: &str) -> &mut Self {
        self.sees("> ");
        self.send(line);
        self.send("\r");
        self.sees(line.lines().next().unwrap_or_default())
    }

    /// Waits for the end of the process; its exit code.
    #[track_caller]
    pub fn ends(&mut self) -> i32 {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn modes_now(&self) -> Termios {
        tcgetattr(&*self.pty).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text without CSI sequences (ECMA-48, section 5.4) and carriage returns.
fn plain(raw: &str) -> String {
    let mut text = String::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.clone().next() == Some('[') => {
                chars.next();
                chars.by_ref().find(|c| matches!(c, '\x40'..='\x7e'));
            }
            '\r' => {}
            c => text.push(c),
        }
    }
    text
}
