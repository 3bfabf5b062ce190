//! The outer state machine: text, reasoning, and where a call may begin.

use super::emit::Emitter;
use super::reader::{Cx, Reader, SPACE, Step};
use super::scan::{Stop, stop_at};
use super::{Answer, Detect, ParserOptions, Piece};
use crate::dialect::shape::{Place, Shape, shapes};
use crate::dialect::{self, Body, Dialect, Form, Open, Parallel, ToolDialect};
use crate::reasoning::{ReasoningMode, ReasoningStyle};
use crate::tools::ToolSet;

type FormRef = (&'static ToolDialect, &'static Form);

/// Splits what a model writes into [`Piece`]s while it is being written.
///
/// Any split of the text gives pieces with the same fold. Work is linear in the text. A piece is
/// held back only as long as it may belong to a marker, or is part of a call that is given whole.
///
/// ```
/// use chela_chat::{Answer, OutputParser, ParserOptions, ToolSet, ToolSpec};
/// let tools = ToolSet::new([ToolSpec {
///     name: "get_weather".into(),
///     description: None,
///     parameters: serde_json::json!({"type": "object"}),
/// }]);
/// let mut parser = OutputParser::new(ParserOptions { tools, ..Default::default() });
/// let mut answer = Answer::default();
/// answer.extend(parser.push("One moment.\n<tool_call>\n{\"name\": \"get_wea"));
/// answer.extend(parser.push("ther\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>"));
/// answer.extend(parser.finish());
/// assert_eq!(answer.text, "One moment.\n");
/// assert_eq!(answer.calls[0].arguments, r#"{"city": "Oslo"}"#);
/// ```
#[derive(Debug)]
pub struct OutputParser {
    tools: ToolSet,
    reasoning: ReasoningMode,
    guarded: bool,
    triggers: Vec<Trigger>,
    first: [bool; 256],
    /// What has arrived and is not given yet, from `at`.
    buf: String,
    at: usize,
    mode: Mode,
    place: Before,
    candidate: Option<Candidate>,
    /// The form of the last call, as long as only white space follows it.
    last: Option<FormRef>,
    in_section: bool,
    /// Whether a Harmony header has been seen.
    harmony: bool,
    /// Set when a call had to be cut at the end of the text: from then on the first end marker
    /// ends a call.
    first_marker: bool,
    emit: Emitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Text,
    Reasoning(ReasoningStyle),
}

/// What stands before a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing, or white space only, since the answer or this section of it began.
    Start,
    /// A call and white space.
    AfterCall,
    /// A line break and white space.
    Line,
    /// Text.
    Middle,
}

impl Before {
    fn after(self, text: &str) -> Before {
        let tail = match text.rfind('\n') {
            Some(at) => &text[at + 1..],
            None => text,
        };
        let broken = tail.len() < text.len();
        if text.trim().is_empty() {
            match self {
                Before::Middle if broken => Before::Line,
                other => other,
            }
        } else if broken && tail.trim().is_empty() {
            Before::Line
        } else {
            Before::Middle
        }
    }
}

#[derive(Debug)]
struct Trigger {
    marker: &'static str,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A call may begin, in one of these forms.
    Call(Vec<FormRef>),
    /// Opens reasoning.
    Open(ReasoningStyle),
    /// Closes it.
    Close(ReasoningStyle),
    /// Ends a Harmony message.
    MessageEnd,
}

/// A form, and the shape in which a grammar guards it.
#[derive(Debug)]
struct Attempt {
    form: FormRef,
    shape: Option<Shape>,
}

#[derive(Debug)]
struct Candidate {
    attempts: Vec<Attempt>,
    which: usize,
    reader: Option<Reader>,
    /// What is certainly text if no form fits.
    text: usize,
    grouped: bool,
}

/// Whether the scan of plain text can go on.
#[derive(PartialEq, Eq)]
enum Flow {
    Go,
    Hold,
}

enum Look {
    No,
    Wait,
    Hit(usize),
}

impl OutputParser {
    /// A parser for one answer.
    pub fn new(options: ParserOptions) -> Self {
        let ParserOptions { tools, detect, reasoning, guarded } = options;
        let dialects: &[Dialect] = match &detect {
            _ if tools.is_empty() => &[],
            Detect::Auto => dialect::ALL,
            Detect::Only(list) => list,
        };
        let triggers = triggers(dialects, reasoning);
        let mut first = [false; 256];
        for trigger in &triggers {
            first[usize::from(trigger.marker.as_bytes()[0])] = true;
        }
        let start = reasoning.starts_in();
        Self {
            tools,
            reasoning,
            guarded,
            triggers,
            first,
            buf: String::new(),
            at: 0,
            mode: start.map_or(Mode::Text, Mode::Reasoning),
            place: Before::Start,
            candidate: None,
            last: None,
            in_section: false,
            harmony: start == Some(ReasoningStyle::Harmony),
            first_marker: false,
            emit: Emitter::default(),
        }
    }

    /// The complete answer in `text`.
    pub fn parse(options: ParserOptions, text: &str) -> Answer {
        let mut parser = Self::new(options);
        let mut answer = Answer::default();
        answer.extend(parser.push(text));
        answer.extend(parser.finish());
        answer
    }

    /// Takes the next part of the text, and gives what is certain by now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.buf.push_str(text);
        self.run(false);
        self.buf.drain(..self.at);
        self.at = 0;
        self.emit.take()
    }

    /// Ends the text, and gives the rest. The parser is empty afterwards.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.run(true);
        self.buf.clear();
        self.at = 0;
        self.emit.take()
    }

    /// Whether the text so far ends inside reasoning.
    pub fn in_reasoning(&self) -> bool {
        matches!(self.mode, Mode::Reasoning(_))
    }

    fn run(&mut self, end: bool) {
        loop {
            let flow = if self.candidate.is_some() {
                self.step_candidate(end)
            } else if self.place == Before::AfterCall && self.skip_after_call(end) == Flow::Hold {
                Flow::Hold
            } else {
                self.scan_text(end)
            };
            if flow == Flow::Hold {
                return;
            }
        }
    }

    /// Gives plain text up to the next place where something else may begin.
    fn scan_text(&mut self, end: bool) -> Flow {
        let mut mark = self.at;
        let mut at = self.at;
        while at < self.buf.len() {
            if self.first[usize::from(self.buf.as_bytes()[at])] {
                self.place = self.place.after(&self.buf[mark..at]);
                mark = at;
                match self.look(at, end) {
                    Look::No => {}
                    Look::Wait => {
                        self.give_text(at);
                        return Flow::Hold;
                    }
                    Look::Hit(trigger) => {
                        self.give_text(at);
                        self.act(trigger);
                        return Flow::Go;
                    }
                }
            }
            at += 1;
        }
        self.place = self.place.after(&self.buf[mark..]);
        self.give_text(at);
        Flow::Hold
    }

    /// Gives everything before `upto` as text; `place` has been moved already.
    fn give_text(&mut self, upto: usize) {
        if upto == self.at {
            return;
        }
        let reasoning = self.in_reasoning();
        self.emit.text(&self.buf[self.at..upto], reasoning);
        self.at = upto;
        if self.place != Before::AfterCall {
            self.last = None;
            self.in_section = false;
        }
    }

    /// Which trigger stands at `at`, the longest one if several do.
    fn look(&self, at: usize, end: bool) -> Look {
        let rest = &self.buf.as_bytes()[at..];
        let mut best: Option<(usize, usize)> = None;
        let mut open = 0;
        for (index, trigger) in self.triggers.iter().enumerate() {
            let marker = trigger.marker.as_bytes();
            if marker[0] != rest[0] || !self.allowed(trigger) {
                continue;
            }
            if rest.starts_with(marker) {
                if best.is_none_or(|(len, _)| len < marker.len()) {
                    best = Some((marker.len(), index));
                }
            } else if !end && marker.starts_with(rest) {
                open = open.max(marker.len());
            }
        }
        match best {
            Some((len, index)) if len >= open => Look::Hit(index),
            _ if open > 0 => Look::Wait,
            _ => Look::No,
        }
    }

    fn allowed(&self, trigger: &Trigger) -> bool {
        let fresh = matches!(self.place, Before::Start | Before::AfterCall);
        match &trigger.what {
            What::Call(forms) => forms.is_empty() || forms.iter().any(|form| self.form_allowed(*form)),
            What::Open(style) => match self.mode {
                Mode::Text => fresh || style.markers().is_some_and(|markers| markers.anywhere),
                Mode::Reasoning(current) => current == *style && self.place == Before::Start,
            },
            What::Close(style) => self.mode == Mode::Reasoning(*style),
            What::MessageEnd => self.harmony,
        }
    }

    fn form_allowed(&self, (_, form): FormRef) -> bool {
        match form.open {
            Open::Marker(_) => true,
            Open::Start => self.mode == Mode::Text && matches!(self.place, Before::Start | Before::AfterCall),
            Open::Rest => self.place != Before::Middle,
        }
    }

    /// Takes the trigger that stands at the front of the text.
    fn act(&mut self, index: usize) {
        let marker = self.triggers[index].marker;
        match &self.triggers[index].what {
            What::Call(forms) => {
                let forms = forms.iter().copied().filter(|form| self.form_allowed(*form));
                let attempts = forms.flat_map(|form| attempts(form, marker, self.guarded)).collect();
                // The model went over to its call without closing its reasoning.
                if self.reasoning == ReasoningMode::VllmQwen3 && marker == "<tool_call>" {
                    self.mode = Mode::Text;
                }
                self.candidate =
                    Some(Candidate { attempts, which: 0, reader: None, text: marker.len(), grouped: false });
            }
            What::Open(style) => {
                self.mode = Mode::Reasoning(*style);
                self.at += marker.len();
                self.place = Before::Line;
            }
            What::Close(_) | What::MessageEnd => {
                self.mode = Mode::Text;
                self.at += marker.len();
                self.place = Before::Start;
            }
        }
    }

    /// Drops white space after a call, and markers there that have no use any more.
    fn skip_after_call(&mut self, end: bool) -> Flow {
        let Some((table, form)) = self.last else {
            return Flow::Go;
        };
        let mut markers: Vec<&str> = form.close.to_vec();
        markers.extend(form.section.as_ref().map(|section| section.close));
        if let Parallel::Inside(between) = table.parallel
            && !between.trim().is_empty()
        {
            markers.push(between.trim());
        }
        loop {
            let rest = &self.buf[self.at..];
            let text = rest.trim_start();
            self.at += rest.len() - text.len();
            match stop_at(text.as_bytes(), &markers) {
                Stop::Whole => {
                    let found = markers.iter().find(|marker| text.starts_with(**marker));
                    self.at += found.map_or(0, |marker| marker.len());
                    if form.section.as_ref().map(|s| s.close) == found.copied() {
                        self.in_section = false;
                    }
                }
                Stop::Part if !end || text.is_empty() => return Flow::Hold,
                _ => return Flow::Go,
            }
        }
    }

    fn step_candidate(&mut self, end: bool) -> Flow {
        let Some(mut candidate) = self.candidate.take() else {
            return Flow::Go;
        };
        let reasoning = self.in_reasoning();
        let text = &self.buf[self.at..];
        while let Some(attempt) = candidate.attempts.get(candidate.which) {
            let (table, form) = attempt.form;
            if candidate.reader.is_none()
                && let Some(shape) = &attempt.shape
            {
                candidate.reader = Some(Reader::guarded(shape));
            }
            if candidate.reader.is_none() {
                match open_form(text, form, self.in_section, end) {
                    OpenForm::At { body, grouped } => {
                        candidate.reader = Some(Reader::new(form, body));
                        candidate.grouped = grouped;
                    }
                    OpenForm::Wait => {
                        self.candidate = Some(candidate);
                        return Flow::Hold;
                    }
                    OpenForm::No => {
                        candidate.which += 1;
                        continue;
                    }
                }
            }
            let mut cx = Cx {
                text,
                end,
                tools: &self.tools,
                offered_only: reasoning || !matches!(form.open, Open::Marker(_)),
                first_marker: self.first_marker,
                guarded: self.guarded,
                form,
                emit: &mut self.emit,
            };
            let step = match &mut candidate.reader {
                Some(reader) => reader.advance(&mut cx),
                None => Step::Reject(0),
            };
            match step {
                Step::Wait => {
                    self.candidate = Some(candidate);
                    return Flow::Hold;
                }
                Step::Reject(upto) => {
                    candidate.text = candidate.text.max(upto);
                    candidate.which += 1;
                    candidate.reader = None;
                    continue;
                }
                Step::Done(upto) => {
                    self.after_call((table, form), upto, candidate.grouped, end);
                }
                Step::Broken { upto, why } => {
                    self.emit.malformed(&text[..upto], why);
                    self.after_call((table, form), upto, candidate.grouped, end);
                }
                Step::Message { upto, reasoning } => {
                    self.at += upto;
                    self.harmony = true;
                    self.place = Before::Start;
                    self.mode = match reasoning {
                        true => Mode::Reasoning(ReasoningStyle::Harmony),
                        false => Mode::Text,
                    };
                }
            }
            return Flow::Go;
        }
        // No form fits: this is text.
        let upto = self.at + candidate.text.min(text.len());
        self.place = self.place.after(&self.buf[self.at..upto]);
        self.first_marker |= end;
        self.give_text(upto);
        Flow::Go
    }

    fn after_call(&mut self, form: FormRef, upto: usize, grouped: bool, end: bool) {
        self.at += upto;
        self.place = Before::AfterCall;
        self.last = Some(form);
        self.in_section |= grouped;
        self.first_marker |= end;
        if matches!(form.1.body, Body::Harmony) {
            self.harmony = true;
            self.mode = Mode::Text;
        }
    }
}

/// How the text at `marker` may be a call of `form`. Where a grammar guards the calls, nothing but
/// what it admits is one without a marker.
fn attempts((table, form): FormRef, marker: &str, guarded: bool) -> Vec<Attempt> {
    let shapes = if guarded { shapes(table, form) } else { Vec::new() };
    let fits = |shape: &Shape| match shape.place {
        Place::Anywhere => shape.open == marker,
        _ => true,
    };
    let guards = shapes.into_iter().filter(fits);
    let mut all: Vec<_> = guards.map(|shape| Attempt { form: (table, form), shape: Some(shape) }).collect();
    if !guarded || matches!(form.open, Open::Marker(_)) {
        all.push(Attempt { form: (table, form), shape: None });
    }
    all
}

enum OpenForm {
    At { body: usize, grouped: bool },
    Wait,
    No,
}

/// Matches the opening markers of `form` at the beginning of `text`.
fn open_form(text: &str, form: &Form, in_section: bool, end: bool) -> OpenForm {
    let Open::Marker(marker) = form.open else {
        return OpenForm::At { body: 0, grouped: false };
    };
    let required = form.section.as_ref().is_some_and(|section| section.required);
    if text.starts_with(marker) && (!required || in_section) {
        let body = match form.body {
            // The marker is part of the header.
            Body::Harmony => 0,
            _ => marker.len(),
        };
        return OpenForm::At { body, grouped: false };
    }
    let Some(inner) = form.section.as_ref().and_then(|section| text.strip_prefix(section.open)) else {
        return OpenForm::No;
    };
    let call = inner.trim_start();
    match stop_at(call.as_bytes(), &[marker]) {
        Stop::Whole => OpenForm::At { body: text.len() - call.len() + marker.len(), grouped: true },
        Stop::Part if !end && inner.len() - call.len() <= SPACE => OpenForm::Wait,
        _ => OpenForm::No,
    }
}

/// What the parser looks for.
fn triggers(dialects: &[Dialect], reasoning: ReasoningMode) -> Vec<Trigger> {
    let mut calls: Vec<(&'static str, Vec<FormRef>)> = Vec::new();
    let mut add = |marker: &'static str, form: Option<FormRef>| {
        let at = match calls.iter().position(|(known, _)| *known == marker) {
            Some(at) => at,
            None => {
                calls.push((marker, Vec::new()));
                calls.len() - 1
            }
        };
        if let Some(form) = form
            && !calls[at].1.contains(&form)
        {
            calls[at].1.push(form);
        }
    };
    let styles = reasoning.styles();
    let harmony = styles.contains(&ReasoningStyle::Harmony);
    let mut tables: Vec<&'static ToolDialect> = dialects.iter().map(|d| d.table()).collect();
    if harmony && !dialects.contains(&Dialect::Harmony) {
        tables.push(Dialect::Harmony.table());
    }
    for table in tables {
        for form in table.forms {
            let form_ref = Some((table, form));
            match form.open {
                Open::Marker(marker) => add(marker, form_ref),
                Open::Start => ["{", "["].into_iter().for_each(|first| add(first, form_ref)),
                Open::Rest if matches!(form.body, Body::Python { .. }) => {
                    ["[", "```"].into_iter().for_each(|first| add(first, form_ref))
                }
                Open::Rest => ["{", "[", "```"].into_iter().for_each(|first| add(first, form_ref)),
            }
            if let Some(section) = &form.section {
                add(section.open, form_ref);
            }
        }
    }
    if reasoning == ReasoningMode::VllmQwen3 {
        add("<tool_call>", None);
    }
    let mut triggers: Vec<_> =
        calls.into_iter().map(|(marker, forms)| Trigger { marker, what: What::Call(forms) }).collect();
    for style in styles {
        if let Some(markers) = style.markers() {
            for (marker, what) in [(markers.open, What::Open(*style)), (markers.close, What::Close(*style))] {
                triggers.push(Trigger { marker, what });
            }
        }
    }
    if harmony || dialects.contains(&Dialect::Harmony) {
        triggers
            .extend(dialect::HARMONY_CLOSE.iter().map(|marker| Trigger { marker, what: What::MessageEnd }));
    }
    triggers
}
