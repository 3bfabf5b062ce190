//! `chela chat`: the line front. Events come in and are written below one another, never over what is
//! there; the keyboard edits a line while nothing runs and is watched while something does.
//!
//! [`Chat`] is the state; [`acts`] does what the user says, [`show`] writes events, [`keys`] reads the terminal, [`pipe`] a script,
//! [`markdown`] lays out answers, [`calls`] tool calls, [`screen`] is the page.

mod acts;
mod calls;
mod commands;
mod edit;
mod inline;
mod keys;
mod markdown;
mod pipe;
mod screen;
mod show;
mod style;
mod table;
mod words;
mod wrap;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chela_protocol::{ApprovalId, ApproveMode, Envelope, Op, QuestionId, SessionId, Status, Usage};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::calls::{Asked, Calls};
use self::edit::Completions;
use self::keys::{Key, Keyboard, Wish};
use self::markdown::Markdown;
use self::pipe::Pipe;
use self::screen::{Kind, Screen};
use self::style::Style;
use crate::args;
use crate::commands::agent::AHEAD;
use crate::compose::{self, Wishes};
use crate::context::{Context, runtime};
use crate::env::Stdin;
use crate::exit::{Code, Failure, Outcome};
use crate::first_run;
use crate::sessions;

/// A turn that was stopped and has not ended for so long is left alone by the next Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before every line of the user.
const PROMPT: &str = "> ";
/// The same while the model works.
const PROMPT_MEANWHILE: &str = "to the model> ";
/// Said after a Ctrl-C that stopped nothing.
const AGAIN: &str = "Ctrl-C once more leaves, and so does Ctrl-D";

/// Runs the command.
pub fn run(args: args::Chat, context: &Context) -> Outcome {
    if context.surroundings.stdin == Stdin::Other {
        let failure =
            Failure::usage("standard input is neither a terminal nor a pipe: nobody can say anything");
        return Err(failure.hint("for one task: chela agent -m 'What is in this folder?'"));
    }
    let runtime = runtime()?;
    let outcome = runtime.block_on(chat(args, context));
    // The thread that reads standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn chat(args: args::Chat, context: &Context) -> Outcome {
    let catalog = context.catalog()?;
    let model = first_run::model(context, &catalog, args.model).await?;
    let mut signals = Signals::new()?;
    let can_ask = context.surroundings.can_ask();
    let wishes = Wishes {
        model,
        session: args.session,
        can_ask,
        approve: args.approve.unwrap_or(if can_ask { ApproveMode::Ask } else { ApproveMode::None }),
        thinking: args.thinking,
        max_steps: args.max_steps,
    };
    let agent = tokio::select! {
        agent = compose::agent(context, Arc::new(catalog), wishes) => agent?,
        _ = signals.next() => return Err(Failure::new(Code::Interrupted, "interrupted")),
    };
    let (ops, op_queue) = mpsc::channel(AHEAD);
    let (events, mut event_queue) = mpsc::channel(AHEAD);
    let running = tokio::spawn(agent.run(op_queue, events));
    let (mut chat, mut keys) = Chat::start(context, ops)?;
    chat.settle().await;
    let ended = chat.run(&mut keys, &mut event_queue, &mut signals).await;
    drop(event_queue);
    let running = if chat.hard { Ok(Ok(())) } else { running.await };
    let outcome = match (ended, running) {
        (Err(failure), _) => Err(failure),
        (Ok(()), Ok(Ok(()))) => chat.farewell(),
        (Ok(()), Ok(Err(error))) => Err(Failure::new(Code::Failed, error)),
        (Ok(()), Err(error)) => Err(Failure::new(Code::Failed, format!("the agent broke off: {error}"))),
    };
    chat.forget_empty();
    outcome
}

/// What the process is told.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// A signal.
enum Told {
    Interrupt,
    End,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::End,
            _ = self.hangup.recv() => Told::End,
        }
    }
}

/// Where the user's words come from.
enum Input {
    Keyboard(Keyboard),
    Pipe(Pipe),
}

/// What the user is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A line is wanted.
    Idle,
    /// Something runs.
    Busy,
    /// Something runs, and the user types.
    Typing,
    /// A question is open.
    Asking,
    /// The agent is ending.
    Leaving,
}

/// What the model or the server is doing.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Waiting(Instant),
    Thinking(Instant),
    Writing,
    Calling,
}

/// A question to the user.
enum Open {
    Approval(ApprovalId, Asked),
    Question(QuestionId, Vec<String>),
}

/// A turn that has ended and of which the figures are still to be said.
struct Figures {
    usage: Usage,
    steps: u32,
    took: Duration,
}

/// The state of the chat.
struct Chat<'a> {
    context: &'a Context,
    ops: mpsc::Sender<Op>,
    input: Input,
    completions: Arc<Mutex<Completions>>,
    screen: Screen,
    calls: Calls,
    state: State,
    session: Option<SessionId>,
    /// The name by which the session is continued, if it has one.
    name: Option<String>,
    /// Sessions of this chat in which nothing was said.
    empty: BTreeSet<SessionId>,
    store: chela_store::Store,
    /// A turn runs.
    turn: bool,
    /// Answers to [`Op::Status`] that have not come. With none of them and no turn, all is done.
    pending: usize,
    /// Something was said during this request: the next one answers that.
    steered: bool,
    doing: Doing,
    turn_began: Instant,
    /// Seconds of `doing` at which it is said next, where no line is written over.
    next_word: u64,
    /// The answer that comes in.
    answer: Option<Markdown>,
    /// Its text since the last call.
    said: String,
    /// It was said that the demo model has its limits.
    outgrown: bool,
    /// The thoughts that come in.
    thoughts: Option<wrap::Wrap>,
    thoughts_shown: bool,
    questions: VecDeque<Open>,
    status: Option<Status>,
    status_wanted: bool,
    greeted: bool,
    /// Items of the session that was opened, until they have been told about.
    resumed: Option<u64>,
    /// The context after the last request: tokens, window, counted by the server.
    meter: Option<(u64, u64, bool)>,
    figures: Option<Figures>,
    /// What the user had typed when Ctrl-C stopped the turn.
    begun: String,
    /// Ctrl-C was pressed and nothing else since.
    armed: bool,
    stopping: Option<Instant>,
    /// The process ends without waiting for the agent.
    hard: bool,
    /// How the last message that failed ended.
    failed: Option<Failure>,
    /// A signal ended the chat.
    signalled: Option<Failure>,
}

impl<'a> Chat<'a> {
    fn start(
        context: &'a Context,
        ops: mpsc::Sender<Op>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Key>), Failure> {
        let screen = Screen::new(&context.surroundings);
        let folder = context.surroundings.folder.as_ref().ok().cloned().unwrap_or_default();
        let completions = Arc::new(Mutex::new(Completions { folder, ..Completions::default() }));
        let (input, keys) = if context.surroundings.stdin == Stdin::Terminal {
            let rich = screen.passing();
            let history = context.paths.history();
            let (keyboard, keys) = Keyboard::start(rich, screen.styled(), history, Arc::clone(&completions))?;
            (Input::Keyboard(keyboard), keys)
        } else {
            let (pipe, keys) = Pipe::start()?;
            (Input::Pipe(pipe), keys)
        };
        let now = Instant::now();
        let chat = Self {
            context,
            ops,
            input,
            completions,
            screen,
            calls: Calls::default(),
            state: State::Busy,
            session: None,
            name: None,
            empty: BTreeSet::new(),
            store: sessions::store(context)?,
            turn: false,
            pending: 0,
            steered: false,
            doing: Doing::Waiting(now),
            turn_began: now,
            next_word: show::SAID_AFTER.1,
            answer: None,
            said: String::new(),
            outgrown: false,
            thoughts: None,
            thoughts_shown: false,
            questions: VecDeque::new(),
            status: None,
            status_wanted: false,
            greeted: false,
            resumed: None,
            meter: None,
            figures: None,
            begun: String::new(),
            armed: false,
            stopping: None,
            hard: false,
            failed: None,
            signalled: None,
        };
        Ok((chat, keys))
    }

    async fn run(
        &mut self,
        keys: &mut mpsc::UnboundedReceiver<Key>,
        events: &mut mpsc::Receiver<Envelope>,
        signals: &mut Signals,
    ) -> Outcome {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !self.hard {
            tokio::select! {
                biased;
                told = signals.next() => self.told(told).await?,
                Some(key) = keys.recv() => self.key(key).await?,
                _ = tick.tick() => self.tick(),
                envelope = events.recv() => match envelope {
                    Some(envelope) => self.event(envelope).await,
                    None => return Ok(()),
                },
            }
            if self.screen.gone() && self.state != State::Leaving {
                self.leave().await;
            }
        }
        Ok(())
    }

    async fn send(&self, op: Op) {
        // An agent that has ended has sent its last event.
        let _ = self.ops.send(op).await;
    }

    /// Has the agent say when everything up to here is done.
    async fn settle(&mut self) {
        self.pending += 1;
        self.send(Op::Status).await;
    }

    fn is_terminal(&self) -> bool {
        matches!(self.input, Input::Keyboard(_))
    }

    fn wish(&self, wish: Wish) {
        if let Input::Keyboard(keyboard) = &self.input {
            keyboard.wish(wish);
        }
    }

    /// Everything is done: the user's turn.
    fn idle(&mut self) {
        if self.turn || self.pending > 0 || matches!(self.state, State::Typing | State::Leaving) {
            return;
        }
        self.state = State::Idle;
        self.stopping = None;
        match &self.input {
            Input::Pipe(pipe) => pipe.next(),
            Input::Keyboard(_) => {
                self.screen.prompt();
                let begun = std::mem::take(&mut self.begun);
                self.wish(Wish::Line { prompt: PROMPT.to_owned(), begun });
            }
        }
    }

    /// Something runs: only the first key of the user's is waited for.
    fn busy(&mut self) {
        self.state = State::Busy;
        self.wish(Wish::Watch);
    }

    async fn key(&mut self, key: Key) -> Outcome {
        match key {
            Key::Line(text) => self.line(text).await,
            Key::Typed if self.state == State::Busy => {
                self.end_line();
                self.screen.prompt();
                self.state = State::Typing;
                let begun = std::mem::take(&mut self.begun);
                self.wish(Wish::Line { prompt: PROMPT_MEANWHILE.to_owned(), begun });
            }
            // Something else is wanted already; it stands in the next line.
            Key::Typed => {}
            Key::Answer(text) => self.answered(&text).await,
            Key::Interrupt(text) => self.interrupt(text).await?,
            Key::End if self.state == State::Typing => {
                self.screen.release();
                self.busy();
                self.next_question();
            }
            Key::End => self.leave().await,
            Key::Broken(why) => {
                self.leave().await;
                return Err(Failure::usage(why));
            }
        }
        Ok(())
    }

    async fn stop(&mut self) {
        self.stopping.get_or_insert_with(Instant::now);
        self.send(Op::Stop).await;
    }

    /// A signal from outside, or Ctrl-C on a terminal that makes signals of it.
    async fn told(&mut self, told: Told) -> Outcome {
        match (told, self.state) {
            (Told::End, _) => {
                self.screen.abandon();
                self.leave().await;
                self.signalled = Some(Failure::new(Code::Interrupted, "ended by a signal"));
            }
            // The line editor has the terminal and takes Ctrl-C as a key: this came from elsewhere.
            (Told::Interrupt, State::Idle) if self.screen.passing() => {
                self.screen.abandon();
                self.leave().await;
            }
            (Told::Interrupt, State::Typing) => self.stop().await,
            (Told::Interrupt, State::Idle) if self.is_terminal() && !self.armed => {
                // The terminal has thrown the line away and goes on reading one.
                self.armed = true;
                self.screen.release();
                self.screen.say(Style::DIM, AGAIN);
                self.screen.prompt_again(PROMPT);
            }
            (Told::Interrupt, _) => self.interrupt(String::new()).await?,
        }
        Ok(())
    }

    /// Ctrl-C; `text` is the line that it took away.
    async fn interrupt(&mut self, text: String) -> Outcome {
        match self.state {
            State::Leaving => self.hard = true,
            State::Idle if !self.is_terminal() => {
                self.leave().await;
                self.signalled = Some(Failure::new(Code::Interrupted, "interrupted"));
            }
            State::Idle if self.armed => self.leave().await,
            State::Idle => {
                self.armed = true;
                self.screen.release();
                self.screen.say(Style::DIM, AGAIN);
                self.idle();
            }
            State::Busy | State::Typing | State::Asking => {
                if self.stopping.is_some_and(|since| since.elapsed() > PATIENCE) {
                    self.hard = true;
                    return Err(Failure::new(Code::Interrupted, "interrupted while the turn did not end"));
                }
                self.stop().await;
                if self.state == State::Typing {
                    self.begun = text;
                    self.screen.release();
                    self.busy();
                }
                if !self.is_terminal() {
                    self.leave().await;
                    self.signalled = Some(Failure::new(Code::Interrupted, "interrupted"));
                }
            }
        }
        Ok(())
    }

    async fn leave(&mut self) {
        if self.state != State::Leaving {
            self.screen.release();
            self.state = State::Leaving;
            self.wish(Wish::Rest);
            self.send(Op::Shutdown).await;
        }
    }

    /// How the chat ended.
    fn farewell(&mut self) -> Outcome {
        if let Some(id) = self.session.filter(|id| self.is_terminal() && !self.empty.contains(id)) {
            let name = self.name.clone().unwrap_or_else(|| words::short_id(id));
            self.screen.say(Style::DIM, &format!("chela chat --session {name} continues this session"));
        }
        let failed = if self.is_terminal() { None } else { self.failed.take() };
        self.signalled.take().or(failed).map_or(Ok(()), Err)
    }

    /// Sessions in which nothing was said are not kept.
    fn forget_empty(&self) {
        for id in &self.empty {
            // One that cannot be removed is an empty line in a list.
            let found = self.store.get(&id.to_string()).ok().flatten();
            if found.is_some_and(|info| info.row.items == 0) && self.store.delete(&id.to_string()).is_ok() {
                let _ = chela_tools::undo::UndoLog::new(self.context.paths.undo()).forget(*id);
            }
        }
    }

    fn print(&mut self, lines: Vec<String>) {
        lines.iter().for_each(|line| self.screen.line(Kind::Word, line));
    }
}
