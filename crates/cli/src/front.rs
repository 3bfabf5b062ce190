//! The one-shot front: events in, the answer on stdout, everything else on stderr.

use chela_protocol::{
    ApprovalId, Call, Envelope, Event, FailureKind, Level, Outcome as TurnOutcome, ResultStatus, Right, Usage,
};
use serde_json::Value;

use crate::demo;
use crate::env::Surroundings;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, say, tokens};

/// Characters of a call's arguments that are shown.
const SHOWN: usize = 100;

/// What the front wants done.
pub enum Wish {
    /// Nothing.
    Nothing,
    /// Ask the user about this call.
    Ask(ApprovalId),
    /// The turn is over.
    End,
}

/// Shows the events of one turn.
pub struct Front {
    json: bool,
    /// stdout is a terminal, which no text may steer.
    terminal: bool,
    /// Colour and dim text on stderr.
    style: bool,
    verbose: bool,
    /// Whether the answer's last character on stdout was an end of line, or nothing was written.
    line_begun: bool,
    /// Whether this part of the answer has begun.
    spoken: bool,
    reasoning: bool,
    /// What was said since the last call.
    said: String,
    /// Tokens that a cache could hold: those of the last request and its answer.
    known: u64,
    /// Known tokens of this turn that were computed again.
    again: u64,
    result: Option<Outcome>,
}

impl Front {
    /// A front that prints the answer, or with `json` all events as JSON lines.
    pub fn new(json: bool, surroundings: &Surroundings, verbose: bool) -> Self {
        let (terminal, style) = (surroundings.stdout_is_terminal, surroundings.may_style_stderr());
        Self {
            json,
            terminal,
            style,
            verbose,
            line_begun: false,
            spoken: false,
            reasoning: false,
            said: String::new(),
            known: 0,
            again: 0,
            result: None,
        }
    }

    /// How the turn ended. Without an end event it failed.
    pub fn result(self) -> Outcome {
        self.result.unwrap_or_else(|| Err(Failure::new(Code::Failed, "the agent ended without an answer")))
    }

    /// Shows one event.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn show(&mut self, envelope: &Envelope) -> Result<Wish, Failure> {
        if self.json {
            let line = serde_json::to_string(envelope).map_err(|e| Failure::new(Code::Failed, e))?;
            output::answer(&(line + "\n"))?;
        }
        match &envelope.event {
            Event::TextDelta { text } => self.said.push_str(text),
            Event::ToolCallStarted { .. } => self.said.clear(),
            _ => {}
        }
        match &envelope.event {
            Event::TextDelta { text } if !self.json => self.text(text)?,
            Event::ReasoningDelta { text } if !self.json && self.verbose => self.reason(text),
            Event::ToolCallStarted { name, args, .. } if !self.json => {
                self.aside(format!("{name} {}", short(args)).trim_end())?
            }
            Event::ToolCallFinished { status, result, .. } if !self.json && *status != ResultStatus::Ok => {
                let word = status_word(*status);
                let first = result.lines().next().unwrap_or_default();
                // The result has the word too; what follows tells the model what to do now.
                let first =
                    first.strip_prefix(word).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(first);
                let denied = *status == ResultStatus::Denied;
                let end = if denied { first.find(". ").unwrap_or(first.len()) } else { first.len() };
                self.aside(&format!("  {word}: {}", cut(&first[..end], 160)))?;
            }
            Event::Notice { level, text } if !self.json => {
                let word = match level {
                    Level::Info => "note",
                    Level::Warn => "warning",
                    Level::Error => "error",
                };
                self.aside(&format!("{word}: {text}"))?;
            }
            Event::Waiting { seconds } if !self.json => {
                self.aside(&format!("waiting for the server, {seconds} s"))?
            }
            Event::Compacted { before, after, how } if !self.json => {
                let (before, after) = (tokens(*before), tokens(*after));
                self.aside(&format!("context compacted from {before} to {after} tokens: {how}"))?;
            }
            Event::ApprovalRequested { id, call, why, rights, .. } => {
                if !self.json {
                    self.aside(&question(call, why, rights))?;
                }
                return Ok(Wish::Ask(*id));
            }
            Event::Usage(usage) => {
                // A template that leaves earlier reasoning out makes the rest of the prompt new.
                if let Some(cached) = usage.cached {
                    self.again += self.known.min(usage.prompt).saturating_sub(cached);
                }
                self.known = usage.prompt + usage.completion;
            }
            Event::TurnFinished { outcome, usage, provenance, steps } => {
                self.end_line()?;
                if self.verbose && !self.json {
                    let who =
                        format!("{}/{} at {}", provenance.provider, provenance.model, provenance.endpoint);
                    let again = match std::mem::take(&mut self.again) {
                        0 => String::new(),
                        n => format!("; {} tokens of earlier requests were read again", tokens(n)),
                    };
                    say(format_args!("{}; {steps} requests to {who}{again}", usage_line(usage)));
                }
                if demo::declined(provenance, &self.said) {
                    self.aside(demo::OUTGROWN)?;
                }
                self.result = Some(result_of(outcome));
                return Ok(Wish::End);
            }
            _ => {}
        }
        Ok(Wish::Nothing)
    }

    fn text(&mut self, text: &str) -> Outcome {
        if self.reasoning {
            self.reasoning = false;
            say("");
        }
        // What a model writes before its first word (a line break before a call, say) is no answer.
        let text = if self.spoken { text } else { text.trim_start() };
        if text.is_empty() {
            return Ok(());
        }
        self.spoken = true;
        self.line_begun = !text.ends_with('\n');
        if self.terminal { output::answer(&output::printable(text)) } else { output::answer(text) }
    }

    fn reason(&mut self, text: &str) {
        self.reasoning = true;
        output::prompt(self.dim(&output::printable(text)));
    }

    /// A line beside the answer; the answer goes on in a new line.
    fn aside(&mut self, line: &str) -> Outcome {
        self.end_line()?;
        if self.reasoning {
            self.reasoning = false;
            say("");
        }
        say(self.dim(&output::printable(line)));
        Ok(())
    }

    fn end_line(&mut self) -> Outcome {
        self.spoken = false;
        if std::mem::take(&mut self.line_begun) { output::answer("\n") } else { Ok(()) }
    }

    fn dim(&self, text: &str) -> String {
        if self.style { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `1,204 prompt tokens (1,024 cached), 56 answer tokens, cost 0.0012`.
pub fn usage_line(usage: &Usage) -> String {
    let cached = usage.cached.map(|n| format!(" ({} cached)", tokens(n))).unwrap_or_default();
    let reasoning = usage.reasoning.filter(|n| *n > 0).map(|n| format!(" ({} reasoning)", tokens(n)));
    let cost = usage.cost.map(|cost| format!(", cost {cost:.6}")).unwrap_or_default();
    let reasoning = reasoning.unwrap_or_default();
    format!(
        "{} prompt tokens{cached}, {} answer tokens{reasoning}{cost}",
        tokens(usage.prompt),
        tokens(usage.completion)
    )
}

fn status_word(status: ResultStatus) -> &'static str {
    match status {
        ResultStatus::Ok => "ok",
        ResultStatus::Error => "error",
        ResultStatus::Denied => "refused",
        ResultStatus::Interrupted => "interrupted",
    }
}

pub fn result_of(outcome: &TurnOutcome) -> Outcome {
    let failed = |code, message: &String| Err(Failure::new(code, message));
    match outcome {
        TurnOutcome::Done => Ok(()),
        TurnOutcome::Failed { kind, message } => failed(code_of(*kind), message),
        TurnOutcome::Cut { message } | TurnOutcome::Budget { message, .. } => failed(Code::Failed, message),
        TurnOutcome::Stopped => Err(Failure::new(Code::Interrupted, "stopped")),
        TurnOutcome::Refused { message } => failed(Code::Refused, message),
    }
}

fn code_of(kind: FailureKind) -> Code {
    match kind {
        FailureKind::Unavailable
        | FailureKind::Unauthorized
        | FailureKind::RateLimited
        | FailureKind::Protocol => Code::NoModel,
        FailureKind::Config => Code::Usage,
        FailureKind::ContextOverflow
        | FailureKind::BadRequest
        | FailureKind::Empty
        | FailureKind::Loop
        | FailureKind::Untrue
        | FailureKind::Storage => Code::Failed,
    }
}

/// The question for an approval, without the line that takes the answer.
fn question(call: &Call, why: &[String], rights: &[Right]) -> String {
    let mut text = format!("{} {}", call.name, cut(&call.arguments, SHOWN * 4));
    for reason in why {
        text.push_str(&format!("\n  asks because {reason}"));
    }
    for right in rights {
        text.push_str(&format!("\n  would be allowed: {}", right_words(right)));
    }
    text
}

/// What a right allows, in words.
pub fn right_words(right: &Right) -> String {
    match right {
        Right::Read { path } => format!("read {path}"),
        Right::Write { path } => format!("write {path}"),
        Right::Exec { command, cwd, sandboxed, network } => {
            let sandbox = if *sandboxed { "in the sandbox" } else { "without a sandbox" };
            let network = if *network { ", with network" } else { "" };
            format!("run `{command}` in {cwd}, {sandbox}{network}")
        }
        Right::Net { host } => format!("connect to {host}"),
        Right::Remember => "add to the notes that later sessions read".to_owned(),
        Right::Use { tool } => format!("use {tool}"),
    }
}

/// The arguments of a call in a short line.
pub fn short(args: &Value) -> String {
    let Some(object) = args.as_object() else { return cut(&args.to_string(), SHOWN) };
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one = |(key, value): (&String, &Value)| match object.len() {
        1 => word(value),
        _ => format!("{key}={}", cut(&word(value), 40)),
    };
    cut(&object.iter().map(one).collect::<Vec<_>>().join(" "), SHOWN)
}

/// One line of at most `length` characters; control characters are shown as spaces, so that nothing
/// from a model or a file steers the terminal.
fn cut(text: &str, length: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(length + 1).collect();
    if clean.chars().count() <= length {
        clean
    } else {
        clean.chars().take(length).collect::<String>() + "…"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_short_and_cannot_steer_the_terminal() {
        assert_eq!(short(&json!({"path": "a.txt"})), "a.txt");
        assert_eq!(short(&json!({"path": "a\x1b[2Jb", "limit": 3})), "path=a [2Jb limit=3");
        assert_eq!(cut(&"é".repeat(5), 3), "ééé…");
    }

    #[test]
    fn every_end_has_its_exit_code() {
        let message = || "m".to_owned();
        let kinds = [
            (FailureKind::Unavailable, Code::NoModel),
            (FailureKind::Unauthorized, Code::NoModel),
            (FailureKind::Config, Code::Usage),
            (FailureKind::Empty, Code::Failed),
            (FailureKind::Untrue, Code::Failed),
            (FailureKind::ContextOverflow, Code::Failed),
        ];
        for (kind, code) in kinds {
            let outcome = TurnOutcome::Failed { kind, message: message() };
            assert_eq!(result_of(&outcome).unwrap_err().code, code, "{kind:?}");
        }
        assert!(result_of(&TurnOutcome::Done).is_ok());
        assert_eq!(result_of(&TurnOutcome::Cut { message: message() }).unwrap_err().code, Code::Failed);
        assert_eq!(result_of(&TurnOutcome::Stopped).unwrap_err().code, Code::Interrupted);
        assert_eq!(result_of(&TurnOutcome::Refused { message: message() }).unwrap_err().code, Code::Refused);
    }

    #[test]
    fn usage_shows_cost() {
        let usage = Usage {
            prompt: 1204,
            cached: Some(1024),
            completion: 56,
            cost: Some(0.0012),
            ..Usage::default()
        };
        assert_eq!(usage_line(&usage), "1,204 prompt tokens (1,024 cached), 56 answer tokens, cost 0.001200");
    }
}
