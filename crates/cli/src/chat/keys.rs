//! What the user types, read on a thread of its own that does one thing at a time: edit a line, watch
//! for the first key while a turn runs, or take the answer to a question. An answer is only what was
//! typed after its question was on the screen.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcsetattr,
};
use rustyline::config::{Behavior, BellStyle, ColorMode, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::sync::mpsc as channel;

use super::edit::{Completions, Typing};
use super::style::Style;

/// Lines that the history keeps.
const HISTORY: usize = 1_000;
/// Bytes of a key's escape sequence.
const SEQUENCE: usize = 64;
/// Bytes of a pasted text.
const PASTE: usize = 1024 * 1024;
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// What is wanted of the keyboard. A new wish ends the watching or answering before it.
#[derive(Debug)]
pub enum Wish {
    /// A line, begun with this text.
    Line { prompt: String, begun: String },
    /// Word of the first key.
    Watch,
    /// The answer to a question that is on the screen, behind this prompt.
    Answer { prompt: String },
    /// Nothing.
    Rest,
}

/// What the user did.
#[derive(Debug, PartialEq, Eq)]
pub enum Key {
    /// A whole line, of several lines if it was continued.
    Line(String),
    /// The first key of a line, or a pasted text, while the keyboard was watched. It stands in the
    /// next line that is wanted.
    Typed,
    /// The answer to a question.
    Answer(String),
    /// Ctrl-C, and the line that it took away.
    Interrupt(String),
    /// Ctrl-D, or the terminal is gone.
    End,
    /// The terminal cannot be used.
    Broken(String),
}

/// The keyboard of a terminal.
pub struct Keyboard {
    wishes: mpsc::Sender<Wish>,
    wake: OwnedFd,
    original: Option<Termios>,
    rich: bool,
}

impl Keyboard {
    /// Takes the terminal. Without `rich` lines are edited by the terminal itself and no escape
    /// sequence is written.
    pub fn start(
        rich: bool,
        styled: bool,
        history: PathBuf,
        completions: Arc<Mutex<Completions>>,
    ) -> io::Result<(Self, channel::UnboundedReceiver<Key>)> {
        let original = tcgetattr(stdin()).ok();
        let (woken, wake) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
        let (wishes, queue) = mpsc::channel();
        let (keys, received) = channel::unbounded_channel();
        let terminal = Terminal {
            original: original.clone(),
            woken,
            queue,
            keys,
            next: None,
            kept: String::new(),
            question: String::new(),
            rich,
        };
        std::thread::Builder::new().name("keyboard".into()).spawn(move || {
            let mut terminal = terminal;
            if let Err(error) = terminal.run(styled, &history, completions) {
                let _ = terminal.keys.send(Key::Broken(error.to_string()));
            }
        })?;
        Ok((Self { wishes, wake, original, rich }, received))
    }

    /// Wants something else from now on. A line that is being edited is ended first.
    pub fn wish(&self, wish: Wish) {
        // A thread that has ended has said so.
        let _ = self.wishes.send(wish);
        let _ = rustix::io::write(&self.wake, b"!");
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if let Some(original) = &self.original {
            let _ = tcsetattr(stdin(), OptionalActions::Now, original);
        }
        if self.rich {
            put("\x1b[?2004l");
        }
    }
}

/// Why watching or answering ended.
enum Stop {
    /// There is another wish.
    Wish,
    /// The user ended it.
    Key(Key),
}

struct Terminal {
    original: Option<Termios>,
    woken: OwnedFd,
    queue: mpsc::Receiver<Wish>,
    keys: channel::UnboundedSender<Key>,
    next: Option<Wish>,
    /// What was typed while no line was edited.
    kept: String,
    /// The prompt of the question at hand.
    question: String,
    rich: bool,
}

type Lines = Editor<Typing, FileHistory>;

impl Terminal {
    fn run(
        &mut self,
        styled: bool,
        history: &Path,
        completions: Arc<Mutex<Completions>>,
    ) -> Result<(), ReadlineError> {
        let mut lines = if self.rich { Some(editor(styled, history, completions)?) } else { None };
        loop {
            let wish = match self.next.take() {
                Some(wish) => wish,
                None => match self.queue.recv() {
                    Ok(wish) => wish,
                    Err(mpsc::RecvError) => return Ok(()),
                },
            };
            let stop = match wish {
                Wish::Rest => Stop::Wish,
                Wish::Line { prompt, begun } => Stop::Key(match &mut lines {
                    Some(lines) => {
                        let begun = begun + &std::mem::take(&mut self.kept);
                        edit(lines, &prompt, &begun, styled, history)?
                    }
                    None => self.plain_line(&prompt)?,
                }),
                Wish::Watch => self.raw(Self::watch)?,
                Wish::Answer { prompt } => {
                    self.question = prompt;
                    self.raw(Self::answer)?
                }
            };
            if let Stop::Key(key) = stop
                && self.keys.send(key).is_err()
            {
                return Ok(());
            }
        }
    }

    /// Runs with keys coming one by one and unseen.
    fn raw(&mut self, work: fn(&mut Self) -> io::Result<Stop>) -> io::Result<Stop> {
        if let Some(original) = &self.original {
            let mut modes = original.clone();
            if self.rich {
                modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
                modes.special_codes[SpecialCodeIndex::VMIN] = 1;
                modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            }
            tcsetattr(stdin(), OptionalActions::Drain, &modes)?;
        }
        if self.rich {
            put("\x1b[?2004h");
        }
        let stop = work(self);
        if self.rich {
            put("\x1b[?2004l");
        }
        if let Some(original) = &self.original {
            tcsetattr(stdin(), OptionalActions::Drain, original)?;
        }
        stop
    }

    /// Waits for a key; none where there is another wish first.
    fn ready(&mut self) -> io::Result<bool> {
        loop {
            let (stdin, woken) = (stdin(), &self.woken);
            let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let (typed, woken) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if woken {
                let _ = rustix::io::read(&self.woken, &mut [0_u8; 64]);
                match self.queue.try_recv() {
                    Ok(wish) => {
                        self.next = Some(wish);
                        return Ok(false);
                    }
                    // The wish that this is about has been taken already.
                    Err(mpsc::TryRecvError::Empty) => {}
                    Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
                }
            }
            if typed {
                return Ok(true);
            }
        }
    }

    fn watch(&mut self) -> io::Result<Stop> {
        loop {
            if !self.ready()? {
                return Ok(Stop::Wish);
            }
            if !self.rich {
                return Ok(Stop::Key(Key::Typed));
            }
            match read_key()? {
                Pressed::Char(c) => {
                    self.kept.push(c);
                    return Ok(Stop::Key(Key::Typed));
                }
                Pressed::Paste(text) => {
                    self.kept.push_str(&text);
                    return Ok(Stop::Key(Key::Typed));
                }
                Pressed::Control(3) => {
                    let _ = self.keys.send(Key::Interrupt(String::new()));
                }
                Pressed::Control(26) => self.suspend()?,
                Pressed::Control(_) | Pressed::Other => {}
                Pressed::Gone => return Ok(Stop::Key(Key::End)),
            }
        }
    }

    /// What was typed up to now is no answer; it stands in the next line.
    fn keep(&mut self) -> io::Result<()> {
        if !self.rich {
            tcflush(stdin(), QueueSelector::IFlush)?;
        }
        while self.rich && soon(0) {
            match read_key()? {
                Pressed::Char(c) => self.kept.push(c),
                Pressed::Control(10 | 13) => self.kept.push('\n'),
                Pressed::Paste(text) => self.kept.push_str(&text),
                Pressed::Control(3) => {
                    let _ = self.keys.send(Key::Interrupt(String::new()));
                }
                Pressed::Control(_) | Pressed::Other => {}
                Pressed::Gone => return Ok(()),
            }
        }
        Ok(())
    }

    /// A short line, shown as it is typed.
    fn answer(&mut self) -> io::Result<Stop> {
        self.keep()?;
        put(&self.question);
        if !self.rich {
            return Ok(if self.ready()? { Stop::Key(plain_answer()?) } else { Stop::Wish });
        }
        let mut line = String::new();
        loop {
            if !self.ready()? {
                return Ok(Stop::Wish);
            }
            match read_key()? {
                Pressed::Char(c) => {
                    line.push(c);
                    put(&c.to_string());
                }
                Pressed::Control(8 | 127) => {
                    if line.pop().is_some() {
                        put("\x08 \x08");
                    }
                }
                Pressed::Control(21) => {
                    put(&"\x08 \x08".repeat(line.chars().count()));
                    line.clear();
                }
                Pressed::Control(10 | 13) => {
                    put("\n");
                    return Ok(Stop::Key(Key::Answer(line)));
                }
                Pressed::Control(3) => {
                    put("^C");
                    let _ = self.keys.send(Key::Interrupt(String::new()));
                }
                Pressed::Control(4) => {
                    put("\n");
                    return Ok(Stop::Key(Key::Answer("n".to_owned())));
                }
                Pressed::Control(26) => self.suspend()?,
                // A pasted text is no answer to this question.
                Pressed::Control(_) | Pressed::Other | Pressed::Paste(_) => {}
                Pressed::Gone => return Ok(Stop::Key(Key::End)),
            }
        }
    }

    /// Ctrl-Z: gives the terminal back until the shell continues us.
    fn suspend(&self) -> io::Result<()> {
        let Some(original) = &self.original else { return Ok(()) };
        let ours = tcgetattr(stdin())?;
        put("\x1b[?2004l");
        tcsetattr(stdin(), OptionalActions::Drain, original)?;
        kill_process(getpid(), Signal::TSTP)?;
        tcsetattr(stdin(), OptionalActions::Drain, &ours)?;
        put("\x1b[?2004h");
        Ok(())
    }

    /// A line that the terminal itself edits, continued as the prompt allows.
    fn plain_line(&mut self, prompt: &str) -> io::Result<Key> {
        let mut text = String::new();
        put(prompt);
        loop {
            match read_line()? {
                None if text.is_empty() => return Ok(Key::End),
                None => return Ok(Key::Line(super::edit::joined(&text))),
                Some(line) => text.push_str(&line),
            }
            if super::edit::is_complete(&text) {
                return Ok(Key::Line(super::edit::joined(&text)));
            }
            text.push('\n');
            put("… ");
        }
    }
}

fn editor(
    styled: bool,
    history: &Path,
    completions: Arc<Mutex<Completions>>,
) -> Result<Lines, ReadlineError> {
    let config = Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        .color_mode(if styled { ColorMode::Enabled } else { ColorMode::Disabled })
        .behavior(Behavior::PreferTerm)
        .build();
    let mut lines = Editor::with_history(config.clone(), FileHistory::with_config(&config))?;
    lines.set_helper(Some(Typing::new(completions)));
    // A history that cannot be read costs the history, never the chat.
    let _ = lines.load_history(history);
    Ok(lines)
}

fn edit(
    lines: &mut Lines,
    prompt: &str,
    begun: &str,
    styled: bool,
    history: &Path,
) -> Result<Key, ReadlineError> {
    let painted = Style::BOLD.paint(styled, prompt);
    match lines.readline_with_initial(&(prompt, painted.as_str()), (begun, "")) {
        Ok(text) => {
            if lines.add_history_entry(text.as_str())? {
                let _ = lines.append_history(history);
            }
            Ok(Key::Line(super::edit::joined(&text)))
        }
        Err(ReadlineError::Interrupted) => {
            let typed = lines.helper().map(Typing::line).unwrap_or_default();
            Ok(Key::Interrupt(typed))
        }
        Err(ReadlineError::Eof) => Ok(Key::End),
        // A terminal that has gone away ends the chat.
        Err(ReadlineError::Errno(_) | ReadlineError::Io(_)) => Ok(Key::End),
        Err(error) => Err(error),
    }
}

enum Pressed {
    Char(char),
    Control(u8),
    Paste(String),
    Other,
    Gone,
}

fn read_key() -> io::Result<Pressed> {
    let Some(first) = read_byte()? else { return Ok(Pressed::Gone) };
    if first == 0x1b {
        return escape();
    }
    if first.is_ascii_control() {
        return Ok(Pressed::Control(first));
    }
    let length = match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let mut bytes = vec![first];
    while bytes.len() < length {
        match read_byte()? {
            Some(byte) => bytes.push(byte),
            None => return Ok(Pressed::Gone),
        }
    }
    let c = String::from_utf8(bytes).ok().and_then(|text| text.chars().next());
    Ok(c.map_or(Pressed::Other, Pressed::Char))
}

/// The rest of an escape sequence: a key without a meaning here, or a pasted text.
fn escape() -> io::Result<Pressed> {
    let mut bytes = vec![0x1b];
    while bytes.len() < SEQUENCE && soon(20) {
        let Some(byte) = read_byte()? else { return Ok(Pressed::Gone) };
        bytes.push(byte);
        if bytes.len() > 2 && (byte.is_ascii_alphabetic() || byte == b'~') {
            break;
        }
    }
    if bytes != PASTE_BEGINS {
        return Ok(Pressed::Other);
    }
    let mut text = Vec::new();
    while !text.ends_with(PASTE_ENDS) && text.len() < PASTE {
        match read_byte()? {
            Some(byte) => text.push(byte),
            None => return Ok(Pressed::Gone),
        }
    }
    let text = text.strip_suffix(PASTE_ENDS).unwrap_or(&text);
    Ok(Pressed::Paste(String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n")))
}

/// More bytes come within so many milliseconds.
fn soon(millis: i64) -> bool {
    let stdin = stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let limit = Timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 };
    poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
}

/// One byte of standard input; none at its end. Unbuffered, so that what is not read stays there for
/// whoever reads next.
fn read_byte() -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match rustix::io::read(stdin(), &mut byte) {
            Ok(0) | Err(rustix::io::Errno::IO) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A line without its end; none at the end of the input.
fn read_line() -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        match read_byte()? {
            None if bytes.is_empty() => return Ok(None),
            None | Some(b'\n') => break,
            Some(byte) => bytes.push(byte),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned()))
}

fn plain_answer() -> io::Result<Key> {
    Ok(read_line()?.map_or(Key::End, Key::Answer))
}

fn put(text: &str) {
    crate::output::prompt(text);
}

/// The completions, for those who add to them.
pub fn lock(completions: &Mutex<Completions>) -> std::sync::MutexGuard<'_, Completions> {
    completions.lock().unwrap_or_else(PoisonError::into_inner)
}
