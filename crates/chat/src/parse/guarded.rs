//! Reads calls that a grammar has guarded: exactly what it admits, the arguments as they come.

use super::reader::{Cx, Step, tail};
use super::transcode::Transcoder;
use crate::dialect::shape::{Fit, GAP, Shape, fit};
use crate::grammar::written_name;

/// The longest number after a counted name.
const NUMBER: usize = 8;

#[derive(Debug)]
enum State {
    /// Before the name of a call.
    Head,
    /// In the arguments.
    Args(Transcoder),
    /// After the arguments.
    Close,
    /// After a call.
    Next,
    Tail,
}

/// Reads one group of calls.
#[derive(Debug)]
pub(super) struct GuardedReader {
    shape: Shape,
    state: State,
    at: usize,
    calls: usize,
}

impl GuardedReader {
    /// A reader of a group whose marker, if it has one, ends at `body`.
    pub(super) fn new(shape: Shape, body: usize) -> Self {
        Self { shape, state: State::Head, at: body, calls: 0 }
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        loop {
            let step = match &mut self.state {
                State::Head => self.head(cx),
                State::Args(transcoder) => {
                    let mut delta = String::new();
                    let end = transcoder.advance(cx.text, cx.end, &mut delta);
                    cx.emit.args(&delta);
                    match end {
                        Some(Ok(end)) => {
                            self.at = end;
                            self.state = State::Close;
                            None
                        }
                        Some(Err(why)) => Some(self.broken(cx, why)),
                        None => Some(self.wait(cx)),
                    }
                }
                State::Close => self.close(cx),
                State::Next => self.next(cx),
                State::Tail => Some(match tail(cx.text, self.at, self.shape.tail, cx.end) {
                    Some(upto) => Step::Done(upto),
                    None => Step::Wait,
                }),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn wait(&self, cx: &Cx<'_>) -> Step {
        match cx.end {
            true => self.broken(cx, "the answer ended inside the call"),
            false => Step::Wait,
        }
    }

    fn broken(&self, cx: &Cx<'_>, why: &str) -> Step {
        match self.calls {
            0 => Step::Reject(0),
            _ => Step::Broken { upto: cx.text.len(), why: why.to_owned() },
        }
    }

    /// Looks for the tool whose head stands here. A name may be the beginning of another.
    fn head(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let mut best: Option<(usize, &str)> = None;
        let mut open = false;
        let gap = self.shape.between.as_ref().is_some_and(|between| between.ends_with(GAP));
        let lead = match (self.calls, gap) {
            (0, _) => self.shape.lead.as_str(),
            // White space that had not come yet when the separator was taken.
            (_, true) => "\0",
            (_, false) => "",
        };
        for tool in cx.tools {
            let name = written_name(&tool.name, self.shape.quoted);
            let found = match self.shape.counted {
                false => {
                    let head = format!("{lead}{}{name}{}", self.shape.before, self.shape.after);
                    fit(&head, &cx.text[self.at..])
                }
                true => self.counted(&format!("{lead}{}{name}:", self.shape.before), &cx.text[self.at..]),
            };
            match found {
                Fit::Whole(len) if best.is_none_or(|(longest, _)| longest < len) => {
                    best = Some((len, &tool.name));
                }
                Fit::Part => open = true,
                _ => {}
            }
        }
        let exact = !self.shape.after.trim_matches('\0').is_empty();
        match best {
            Some((len, name)) if exact || !open || cx.end => {
                self.at += len;
                self.calls += 1;
                cx.emit.start(name);
                self.state = State::Args(Transcoder::new(self.shape.args, self.at, cx.tools.get(name)));
                None
            }
            None if !open => Some(self.broken(cx, "no offered tool is called")),
            _ if cx.end => Some(self.broken(cx, "the answer ended inside the call")),
            _ => Some(Step::Wait),
        }
    }

    fn counted(&self, head: &str, text: &str) -> Fit {
        let Fit::Whole(len) = fit(head, text) else { return fit(head, text) };
        let rest = &text[len..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == rest.len() && digits < NUMBER {
            return Fit::Part;
        }
        match fit(&self.shape.after, &rest[digits..]) {
            Fit::Whole(after) => Fit::Whole(len + digits + after),
            other => other,
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        match fit(&self.shape.close, &cx.text[self.at..]) {
            Fit::Whole(len) => {
                cx.emit.end();
                self.at += len;
                self.state = State::Next;
                None
            }
            Fit::Part => Some(self.wait(cx)),
            Fit::No => Some(self.broken(cx, "the call is not closed")),
        }
    }

    /// The end of the group, or another call of it.
    fn next(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let rest = &cx.text[self.at..];
        let end = fit(&self.shape.end, rest);
        let more = self.shape.between.as_ref().map_or(Fit::No, |between| fit(between, rest));
        if self.shape.end.is_empty() {
            // Only another call says that the group goes on.
            return match more {
                Fit::Whole(len) if !rest[len..].is_empty() => self.again(len),
                Fit::Whole(_) | Fit::Part if !cx.end => Some(Step::Wait),
                _ => {
                    self.state = State::Tail;
                    None
                }
            };
        }
        match (end, more) {
            (Fit::Whole(len), _) => {
                self.at += len;
                self.state = State::Tail;
                None
            }
            (Fit::Part, _) if !cx.end => Some(Step::Wait),
            (_, Fit::Whole(len)) => self.again(len),
            (_, Fit::Part) if !cx.end => Some(Step::Wait),
            // The calls are whole; what misses is a marker.
            _ => {
                self.state = State::Tail;
                None
            }
        }
    }

    fn again(&mut self, len: usize) -> Option<Step> {
        self.at += len;
        self.state = State::Head;
        None
    }
}
