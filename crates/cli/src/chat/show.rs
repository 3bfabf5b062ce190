//! Events on the page.

use std::time::{Duration, Instant};

use chela_protocol::{Envelope, Event, Level, Listing, Op, Outcome as TurnOutcome, Status};

use super::calls::{Asked, Page};
use super::keys::lock;
use super::markdown::Markdown;
use super::screen::Kind;
use super::style::{Colour, Style};
use super::wrap::Wrap;
use super::{Chat, Doing, Figures, Open, State, words};
use crate::demo;
use crate::front::result_of;
use crate::output::{harmless, printable, tokens};

/// Seconds of silence after which it is said what goes on: on a line that is written over, and on
/// one that stays.
pub(super) const SAID_AFTER: (u64, u64) = (2, 10);

impl Chat<'_> {
    pub(super) fn page(&self) -> Page {
        Page { width: self.screen.width(), styled: self.screen.styled() }
    }

    pub(super) async fn event(&mut self, envelope: Envelope) {
        match envelope.event {
            Event::SessionOpened { items, .. } => self.opened(envelope.session, items),
            Event::TurnStarted { .. } => {
                self.turn = true;
                self.said.clear();
                self.empty.remove(&envelope.session);
                self.does(Doing::Waiting(Instant::now()));
            }
            Event::TextDelta { text } => {
                self.said.push_str(&text);
                self.text(&text);
            }
            Event::ReasoningDelta { text } => self.thought(&text),
            Event::ToolCallStarted { id, name, args } => {
                self.said.clear();
                self.end_answer();
                self.calls.started(&id, &name, &args);
                self.does(Doing::Calling);
            }
            Event::ToolOutput { id, text } => {
                let lines = self.calls.output(&id, &text, self.page());
                self.tool_lines(lines);
            }
            Event::ToolCallFinished { id, result, status, diff, duration, .. } => {
                let took = Duration::from_millis(duration);
                let lines = self.calls.finished(&id, &result, status, diff.as_deref(), took, self.page());
                self.tool_lines(lines);
                if self.calls.busy().is_none() {
                    self.does(Doing::Waiting(Instant::now()));
                }
            }
            Event::ApprovalRequested { id, call, why, rights, session, diff, timeout } => {
                let asked = Asked { call, why, rights, session, diff, timeout };
                self.questions.push_back(Open::Approval(id, asked));
                self.next_question();
            }
            Event::ApprovalResolved { id, why, .. } => {
                let of = |open: &Open| matches!(open, Open::Approval(own, _) if *own == id);
                let at_hand = self.state == State::Asking && self.questions.front().is_some_and(of);
                self.questions.retain(|open| !of(open));
                if at_hand {
                    // Nobody answered, or the turn was stopped: the user does not know yet.
                    self.screen.abandon();
                    self.busy();
                    self.screen.say(Style::of(Colour::Yellow), &why);
                }
                self.screen.apart();
            }
            Event::Question { id, text, options } => self.question(id, &text, options).await,
            Event::Notice { level, text } => self.notice(level, &text),
            Event::Waiting { seconds } => {
                let since = Instant::now().checked_sub(Duration::from_secs(seconds));
                if let (Doing::Waiting(_), Some(since)) = (self.doing, since) {
                    self.doing = Doing::Waiting(since);
                }
            }
            Event::Usage(_) => {
                if std::mem::take(&mut self.steered) {
                    self.end_answer();
                    self.screen.apart();
                }
            }
            Event::ContextMeter { used, window, exact } => self.meter = Some((used, window, exact)),
            Event::Compacted { before, after, how } => {
                let (before, after) = (tokens(before), tokens(after));
                let words = format!("context compacted from {before} to {after} tokens: {}", printable(&how));
                self.end_line();
                self.screen.say(Style::DIM, &words);
            }
            Event::TurnFinished { outcome, steps, usage, provenance } => {
                self.end_answer();
                if !self.outgrown && demo::declined(&provenance, &self.said) {
                    self.outgrown = true;
                    self.screen.say(Style::DIM, demo::OUTGROWN);
                }
                self.turn = false;
                self.figures = Some(Figures { usage, steps, took: self.turn_began.elapsed() });
                self.ended(&outcome);
            }
            Event::Listed(listing) => self.listed(&listing),
            Event::Status(status) => self.stands(status),
            Event::Undone { files, kept } => {
                let workspace = self.status.as_ref().map_or("", |status| status.workspace.as_str());
                for file in &files {
                    let inside = file.strip_prefix(workspace).and_then(|file| file.strip_prefix('/'));
                    let file = printable(inside.filter(|_| !workspace.is_empty()).unwrap_or(file));
                    self.screen.say(Style::PLAIN, &format!("as it was: {file}"));
                }
                for kept in &kept {
                    self.screen
                        .say(Style::of(Colour::Yellow), &format!("not taken back: {}", printable(kept)));
                }
            }
            Event::Closed => {}
        }
    }

    fn opened(&mut self, session: chela_protocol::SessionId, items: u64) {
        let first = self.session.is_none();
        self.session = Some(session);
        self.meter = None;
        let stored = self.store.get(&session.to_string()).ok().flatten();
        self.name = stored.and_then(|info| info.row.name);
        if items == 0 {
            self.empty.insert(session);
            if !first {
                self.screen.say(Style::DIM, &format!("new session {}", words::short_id(session)));
            }
        } else if self.is_terminal() {
            self.resumed = Some(items);
        }
    }

    /// Where a session that goes on was left.
    fn told_so_far(&mut self, session: chela_protocol::SessionId, items: u64) {
        let name = self.name.clone().unwrap_or_else(|| words::short_id(session));
        self.screen.say(Style::DIM, &format!("session {name} goes on after {} items", tokens(items)));
        let records = self.store.read(&session.to_string()).unwrap_or_default();
        let (user, answer) = words::last_exchange(&records);
        if let Some(user) = user {
            self.screen.say(Style::BOLD, &format!("> {}", printable(user).replace('\n', "\n  ")));
        }
        if let Some(answer) = answer {
            self.text(answer);
            self.end_answer();
        }
    }

    fn text(&mut self, text: &str) {
        self.end_thoughts();
        self.doing = Doing::Writing;
        let look = self.screen.look();
        let shown = self.answer.get_or_insert_with(|| Markdown::new(look)).push(text);
        self.screen.answer(&shown);
    }

    fn thought(&mut self, text: &str) {
        if self.thoughts.is_none() && text.trim().is_empty() {
            return;
        }
        if !matches!(self.doing, Doing::Thinking(_)) {
            self.end_line();
            self.does(Doing::Thinking(Instant::now()));
        }
        if self.thoughts_shown {
            let (width, styled) = (self.screen.width(), self.screen.styled());
            let first = self.thoughts.is_none();
            let wrap = self.thoughts.get_or_insert_with(|| Wrap::new(width, styled));
            let text = if first { text.trim_start() } else { text };
            text.chars().filter_map(harmless).for_each(|c| wrap.push(c, Style::DIM));
            let shown = wrap.take();
            self.screen.beside(Kind::Thought, &shown);
        }
    }

    fn end_thoughts(&mut self) {
        if let Some(mut wrap) = self.thoughts.take() {
            wrap.newline();
            let rest = wrap.take();
            self.screen.beside(Kind::Thought, &rest);
        } else if let Doing::Thinking(since) = self.doing
            && since.elapsed().as_secs() >= SAID_AFTER.0
        {
            let seconds = since.elapsed().as_secs();
            self.screen
                .say(Style::DIM, &format!("thought for {seconds} s; /think show shows it as it comes"));
        }
    }

    /// The answer has no more text before what comes next.
    pub(super) fn end_answer(&mut self) {
        self.end_thoughts();
        if let Some(mut answer) = self.answer.take() {
            let rest = answer.finish();
            self.screen.answer(&rest);
        }
    }

    /// What comes next stands in a line of its own; the answer goes on behind it.
    pub(super) fn end_line(&mut self) {
        self.end_thoughts();
        if let Some(answer) = &mut self.answer {
            let rest = answer.end_line();
            self.screen.answer(&rest);
        }
    }

    fn tool_lines(&mut self, lines: Vec<String>) {
        lines.iter().for_each(|line| self.screen.line(Kind::Tool, line));
    }

    async fn question(&mut self, id: chela_protocol::QuestionId, text: &str, options: Vec<String>) {
        self.end_answer();
        if !self.is_terminal() {
            let text = "nobody is there to answer".to_owned();
            return self.send(Op::Answer { id, text }).await;
        }
        self.screen.say(Style::BOLD, &printable(text));
        for (n, option) in options.iter().enumerate() {
            self.screen.say(Style::PLAIN, &format!("  {}. {}", n + 1, printable(option)));
        }
        self.questions.push_back(Open::Question(id, options));
        self.next_question();
    }

    fn notice(&mut self, level: Level, text: &str) {
        let (word, style) = match level {
            Level::Info => ("note", Style::DIM),
            Level::Warn => ("warning", Style::of(Colour::Yellow)),
            Level::Error => ("error", Style::of(Colour::Red)),
        };
        self.end_line();
        self.screen.say(style, &format!("{word}: {}", printable(text)));
    }

    fn ended(&mut self, outcome: &TurnOutcome) {
        let (style, words) = match outcome {
            TurnOutcome::Done => return,
            TurnOutcome::Stopped => (Style::of(Colour::Yellow), "stopped".to_owned()),
            TurnOutcome::Failed { message, .. } => (Style::of(Colour::Red), format!("error: {message}")),
            TurnOutcome::Cut { message } => (Style::of(Colour::Yellow), format!("cut: {message}")),
            TurnOutcome::Budget { message, .. } => (Style::of(Colour::Yellow), message.clone()),
            TurnOutcome::Refused { message } => (Style::of(Colour::Yellow), format!("refused: {message}")),
        };
        self.screen.say(style, &printable(&words));
        if let Err(mut failure) = result_of(outcome) {
            // It has been said.
            failure.message.clear();
            self.failed = Some(failure);
        }
    }

    fn listed(&mut self, listing: &Listing) {
        match listing {
            Listing::Models(rows) => {
                lock(&self.completions).models = rows.iter().map(|row| row.model.clone()).collect();
            }
            Listing::Sessions(rows) => lock(&self.completions).sessions = words::session_names(rows),
            Listing::Tools(_) => {}
        }
        let lines = words::listing(listing, self.session, self.page());
        self.print(lines);
    }

    /// The agent says how it stands, and with that, that it has done what it was asked before.
    fn stands(&mut self, status: Status) {
        self.pending = self.pending.saturating_sub(1);
        if !self.greeted {
            self.greeted = true;
            if self.is_terminal() {
                let lines = words::greeting(&status, self.page());
                self.print(lines);
                self.screen.apart();
                self.learn_names(&status);
            }
        }
        if let (Some(items), Some(session)) = (self.resumed.take(), self.session) {
            self.told_so_far(session, items);
        }
        if std::mem::take(&mut self.status_wanted) {
            self.print_status(&status);
        }
        if let Some(figures) = self.figures.take() {
            let line = words::figures(&figures, self.meter.unwrap_or((status.used, status.window, false)));
            self.screen.apart();
            self.screen.say(Style::DIM, &line);
        }
        self.status = Some(status);
        self.idle();
    }

    fn learn_names(&self, status: &Status) {
        let mut completions = lock(&self.completions);
        completions.models = vec![status.model.clone()];
        let rows: Vec<_> = self.store.list().unwrap_or_default().into_iter().map(|info| info.row).collect();
        completions.sessions = words::session_names(&rows);
    }

    pub(super) fn print_status(&mut self, status: &Status) {
        let session = self.session.map(words::short_id).unwrap_or_default();
        let lines = words::status(
            status,
            self.meter,
            &session,
            self.name.as_deref(),
            self.thoughts_shown,
            self.page(),
        );
        self.print(lines);
    }

    /// Something else is done from now on.
    pub(super) fn does(&mut self, doing: Doing) {
        self.doing = doing;
        self.next_word = SAID_AFTER.1;
    }

    /// A second has passed: says what goes on, where nothing else does.
    pub(super) fn tick(&mut self) {
        if self.state != State::Busy || !(self.turn || self.pending > 0) {
            return;
        }
        let (words, seconds) = match self.doing {
            Doing::Writing => return,
            Doing::Waiting(since) => ("waiting for the server".to_owned(), since.elapsed().as_secs()),
            Doing::Thinking(_) if self.thoughts_shown => return,
            Doing::Thinking(since) => ("thinking".to_owned(), since.elapsed().as_secs()),
            Doing::Calling => match self.calls.busy() {
                Some((title, took)) => (format!("running {title}"), took.as_secs()),
                None => return,
            },
        };
        let line = format!("{words}, {seconds} s");
        if self.screen.passing() {
            if seconds >= SAID_AFTER.0 {
                self.screen.pass(&line);
            }
        } else if seconds >= self.next_word {
            self.next_word = seconds * 2;
            self.end_line();
            self.screen.say(Style::DIM, &line);
        }
    }
}
