//! What the user's words lead to: messages, commands, answers.

use std::time::Instant;

use chela_protocol::{ApproveMode, Decision, ListWhat, Op};

use super::commands::{self, Command, Think};
use super::keys::Wish;
use super::style::{Colour, Style};
use super::{Chat, Doing, Open, State, words};
use crate::attach;

impl Chat<'_> {
    /// A whole line.
    pub(super) async fn line(&mut self, text: String) {
        let meanwhile = self.state == State::Typing;
        self.armed = false;
        self.screen.release();
        self.busy();
        let text = text.trim();
        if text.starts_with('/') {
            match commands::parse(text) {
                Ok(command) => self.command(command).await,
                Err(why) => self.screen.say(Style::of(Colour::Red), &why),
            }
        } else if !text.is_empty() {
            self.message(text, meanwhile).await;
        }
        self.next_question();
        self.idle();
    }

    /// A message is on its way.
    fn began(&mut self) {
        self.turn_began = Instant::now();
        self.does(Doing::Waiting(self.turn_began));
        self.meter = None;
    }

    /// Words to the model. On a terminal a person wrote them, and the files that she names go along.
    async fn message(&mut self, text: &str, meanwhile: bool) {
        let bare = || Op::UserMessage { text: text.to_owned(), images: Vec::new(), attachments: Vec::new() };
        let message = if self.is_terminal() { attach::message(text, self.context) } else { Ok(bare()) };
        let message = match message {
            Ok(message) => message,
            Err(failure) => {
                self.screen.say(Style::of(Colour::Red), &failure.to_string());
                text.clone_into(&mut self.begun);
                return;
            }
        };
        match message {
            Op::UserMessage { text, images, attachments }
                if meanwhile && self.turn && images.is_empty() && attachments.is_empty() =>
            {
                self.steered = true;
                self.send(Op::Steer { text }).await;
                let words = "sent: the model reads it with its next tool result, or after this answer";
                self.screen.say(Style::DIM, words);
            }
            message => {
                if self.turn {
                    self.screen.say(Style::DIM, "queued: it goes with its files after this turn");
                } else {
                    self.began();
                }
                self.send(message).await;
            }
        }
        self.settle().await;
    }

    async fn command(&mut self, command: Command) {
        let page = self.page();
        let later = self.turn;
        match command {
            Command::Help => return self.print(words::help(page)),
            Command::Show(number) => {
                return match self.calls.show(number, page) {
                    Ok(lines) => self.print(lines),
                    Err(why) => self.screen.say(Style::of(Colour::Red), &why),
                };
            }
            Command::Quit => return self.leave().await,
            Command::Stop if !self.turn => return self.screen.say(Style::DIM, "nothing is running"),
            Command::Stop => return self.stop().await,
            Command::Think(think) => return self.think(think).await,
            Command::Approve(mode) => return self.approve(mode).await,
            Command::New if self.session.is_some_and(|id| self.empty.contains(&id)) && !self.turn => {
                return self.screen.say(Style::DIM, "this session is new: nothing was said in it yet");
            }
            Command::Sessions(Some(name)) if self.is_open(&name) => {
                return self.screen.say(Style::DIM, "this is the session at hand");
            }
            Command::Status => {
                self.status_wanted = true;
                if let (Some(status), true) = (self.status.clone(), later) {
                    self.status_wanted = false;
                    return self.print_status(&status);
                }
            }
            Command::Model(None) => self.list(ListWhat::Models).await,
            Command::Model(Some(model)) => self.send(Op::SetModel { model }).await,
            Command::New => self.send(Op::New).await,
            Command::Compact => {
                self.does(Doing::Waiting(Instant::now()));
                self.send(Op::Compact).await;
            }
            Command::Undo => self.send(Op::Undo { turn: None }).await,
            Command::Tools => self.list(ListWhat::Tools).await,
            Command::Sessions(None) => self.list(ListWhat::Sessions).await,
            Command::Sessions(Some(session)) => self.send(Op::Resume { session }).await,
        }
        if later {
            self.screen.say(Style::DIM, "after this turn");
        }
        self.settle().await;
    }

    async fn list(&self, what: ListWhat) {
        self.send(Op::List { what, refresh: false }).await;
    }

    fn is_open(&self, name: &str) -> bool {
        let id = self.session.map(|id| id.to_string()).unwrap_or_default();
        self.name.as_deref() == Some(name) || (name.len() >= 6 && id.starts_with(name))
    }

    async fn think(&mut self, think: Option<Think>) {
        match think {
            Some(Think::Shown(shown)) => self.thoughts_shown = shown,
            Some(Think::Level(level)) => {
                self.send(Op::SetThinking { level }).await;
                if let Some(status) = &mut self.status {
                    status.thinking = level;
                }
            }
            None => {}
        }
        let level = self.status.as_ref().map(|status| status.thinking).unwrap_or_default();
        self.screen.say(Style::DIM, &words::thinking(level, self.thoughts_shown));
    }

    async fn approve(&mut self, mode: Option<ApproveMode>) {
        if let Some(mode) = mode {
            self.send(Op::SetApprove { mode }).await;
            if let Some(status) = &mut self.status {
                status.approve = mode;
            }
        }
        let mode = self.status.as_ref().map(|status| status.approve).unwrap_or_default();
        self.screen.say(Style::DIM, &words::approve(mode));
    }

    /// Shows the oldest open question, if the user is free for it.
    pub(super) fn next_question(&mut self) {
        if self.state == State::Busy && !self.questions.is_empty() {
            self.ask(false);
        }
    }

    fn ask(&mut self, all: bool) {
        self.end_answer();
        let page = self.page();
        let Some(open) = self.questions.front() else { return };
        let prompt = match open {
            Open::Approval(_, asked) => {
                let lines = self.calls.question(asked, all, page);
                let prompt = words::choices(asked);
                self.screen.apart();
                self.print(lines);
                prompt
            }
            Open::Question(..) => "your answer: ".to_owned(),
        };
        self.screen.asks();
        self.state = State::Asking;
        let prompt = Style::BOLD.paint(self.screen.styled(), &prompt);
        self.wish(Wish::Answer { prompt });
    }

    pub(super) async fn answered(&mut self, text: &str) {
        self.screen.typed();
        if self.state != State::Asking {
            return;
        }
        match self.questions.front() {
            Some(Open::Question(id, options)) => {
                let chosen = text.trim().parse().ok().and_then(|n: usize| options.get(n.checked_sub(1)?));
                let op = Op::Answer { id: *id, text: chosen.cloned().unwrap_or_else(|| text.to_owned()) };
                self.questions.pop_front();
                self.send(op).await;
                self.busy();
                self.next_question();
            }
            Some(Open::Approval(id, _)) => {
                let id = *id;
                let (word, reason) = text.trim().split_once([' ', ',']).unwrap_or((text.trim(), ""));
                let decision = match word.to_lowercase().as_str() {
                    "y" | "yes" if reason.is_empty() => Decision::Once,
                    "a" | "s" | "always" | "session" if reason.is_empty() => Decision::Session,
                    "n" | "no" => Decision::Deny,
                    "d" | "diff" if reason.is_empty() => return self.ask(true),
                    _ => {
                        let words = "nothing was decided: y, a or n, please; `n` can have a reason behind it";
                        self.screen.say(Style::of(Colour::Yellow), words);
                        return self.ask(false);
                    }
                };
                self.questions.pop_front();
                if !reason.trim().is_empty() {
                    self.send(Op::Steer { text: reason.trim().to_owned() }).await;
                }
                self.send(Op::Approve { id, decision }).await;
                self.busy();
            }
            None => self.busy(),
        }
    }
}
