//! One request, from its first byte to its last.

use std::time::SystemTime;

use bytes::Bytes;
use chela_chat::{ReasoningMode, ToolSet};
use chela_openai::chat::{FinishReason, StreamEvent};
use chela_openai::error::{ErrorBody, ErrorCode, WireError};
use chela_openai::sse::{Decoder, Event};
use chela_openai::usage::Usage;
use futures_util::StreamExt;
use http::StatusCode;
use tokio::time::timeout;

use super::Timing;
use super::assemble::Assembly;
use super::emit::Emitter;
use super::facts::Reasoning;
use super::liveness::{Liveness, Waited};
use super::retry::{Failure, retry_after};
use super::turn::{ModelError, ModelEvent, Notice, Provenance};
use crate::catalog::discovery::{excerpt, message_of};
use crate::catalog::{Endpoint, Model};
use crate::transport::{Locality, Response, TransportError, show};

/// Longest body of a refusal that is read.
const REFUSAL_LIMIT: usize = 1 << 20;
/// Largest whole answer of a server that ignores `stream`.
const WHOLE_LIMIT: usize = 64 << 20;
/// Unreadable lines after which the answer is given up.
const MALFORMED_LIMIT: u32 = 100;
/// Time for the rest of a connection after `[DONE]`, so that it can be used again.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// How an attempt ended, where it did not end in an error of the turn.
#[derive(Debug)]
pub enum Ended {
    /// The answer is complete; all its events are out but `Done`.
    Done {
        /// Why it ended.
        finish: FinishReason,
        /// Tokens used, if the server told.
        usage: Option<Usage>,
        /// Where reasoning came from that the prompt had opened.
        reasoning: Option<Reasoning>,
    },
    /// The server refused the request, before the first token.
    Refused(Refusal),
    /// The exchange failed before the first token.
    Failed {
        /// What failed, for the decision to go again.
        failure: Failure,
        /// What to tell if it does not go again.
        error: ModelError,
    },
}

/// What a server said instead of answering.
#[derive(Debug)]
pub struct Refusal {
    /// Status; for an error inside a stream the one that it names, or 500.
    pub status: StatusCode,
    /// What it said.
    pub error: WireError,
    /// `Retry-After`.
    pub after: Option<std::time::Duration>,
    /// The body was no error in any known shape, such as a web page.
    pub foreign: bool,
}

/// One request to one model.
pub struct Attempt<'a> {
    pub model: &'a Model,
    pub window: u32,
    pub tools: ToolSet,
    /// What text starts in where the server does not split off reasoning.
    pub mode: ReasoningMode,
    pub timing: &'a Timing,
    pub emit: &'a Emitter,
}

/// What an event of the stream meant.
enum Step {
    Next,
    Done,
    Error(WireError),
}

impl Attempt<'_> {
    /// Send the request and hand on the answer.
    ///
    /// # Errors
    /// What ends the turn: stalled, or cut off after the first token.
    pub async fn run(self, body: Bytes) -> Result<Ended, ModelError> {
        let endpoint = &self.model.provider;
        let mut live = Liveness::new(endpoint, self.timing);
        let mut sending = endpoint.transport.send(endpoint.post(endpoint.api("chat/completions"), body));
        let sent = loop {
            match live.wait(&mut sending).await? {
                Waited::Ready(sent) => break sent,
                Waited::Still { seconds } => self.waiting(seconds).await,
            }
        };
        drop(sending);
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Ok(unreachable_server(endpoint, &error)),
        };
        if !response.status.is_success() {
            return Ok(Ended::Refused(refusal(response, self.timing).await));
        }
        let kind = response.header("content-type").unwrap_or("").to_ascii_lowercase();
        self.emit.event(ModelEvent::Answering(self.provenance(response.locality))).await;
        if kind.starts_with("application/json") {
            return self.whole(response, live).await;
        }
        if kind.starts_with("text/html") {
            let page = timeout(self.timing.check_limit, response.bytes(REFUSAL_LIMIT)).await;
            let page = page.ok().and_then(Result::ok).unwrap_or_default();
            return Ok(Ended::Failed {
                failure: Failure::Permanent,
                error: self.protocol(format!("a web page came instead of an answer: {}", excerpt(&page))),
            });
        }
        self.stream(response, live).await
    }

    async fn waiting(&self, seconds: u64) {
        self.emit.notice(Notice::Waiting { seconds, what: "it lives and has not begun to answer" }).await;
    }

    fn provenance(&self, locality: Locality) -> Provenance {
        Provenance {
            provider: self.model.reference.provider.clone(),
            model: self.model.reference.model.clone(),
            endpoint: show(&self.model.provider.base_url),
            local: locality == Locality::Local,
            locality,
            window: self.window,
        }
    }

    fn protocol(&self, message: String) -> ModelError {
        ModelError::Protocol { url: show(&self.model.provider.base_url), message }
    }

    /// The answer of a server that ignores `stream`.
    async fn whole(&self, response: Response, mut live: Liveness<'_>) -> Result<Ended, ModelError> {
        let mut reading = Box::pin(response.bytes(WHOLE_LIMIT));
        let body = loop {
            match live.wait(&mut reading).await? {
                Waited::Ready(body) => break body,
                Waited::Still { seconds } => self.waiting(seconds).await,
            }
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => return Ok(unreachable_server(&self.model.provider, &error)),
        };
        let mut assembly = Assembly::new(self.tools.clone(), self.mode);
        match StreamEvent::parse(&String::from_utf8_lossy(&body)) {
            Ok(StreamEvent::Chunk(chunk)) if !chunk.choices.is_empty() => {
                for event in assembly.push(*chunk) {
                    self.emit.event(event).await;
                }
                self.complete(assembly).await
            }
            Ok(StreamEvent::Error(error)) => Ok(Ended::Refused(in_stream(error.error))),
            _ => Ok(Ended::Failed {
                failure: Failure::Permanent,
                error: self.protocol(format!("expected a stream of events, got {}", excerpt(&body))),
            }),
        }
    }

    async fn stream(&self, mut response: Response, mut live: Liveness<'_>) -> Result<Ended, ModelError> {
        let mut decoder = Decoder::new();
        let mut assembly = Assembly::new(self.tools.clone(), self.mode);
        let mut malformed = Malformed::default();
        let cause = 'read: loop {
            let next = {
                let mut reading = response.body.next();
                match live.wait(&mut reading).await {
                    Ok(Waited::Ready(next)) => next,
                    Ok(Waited::Still { seconds }) => {
                        if !self.emit.started() {
                            self.waiting(seconds).await;
                        }
                        continue;
                    }
                    Err(error) => {
                        self.give_out(assembly).await;
                        return Err(error);
                    }
                }
            };
            let ended = match next {
                Some(Ok(bytes)) => decoder.push(&bytes).err().map(|error| error.to_string()),
                Some(Err(error)) => Some(error.to_string()),
                None => {
                    // A last event without its blank line counts.
                    decoder.finish().err().map(|error| error.to_string()).or_else(|| {
                        Some("the server closed the stream without an end of the answer".to_owned())
                    })
                }
            };
            while let Some(event) = decoder.next_event() {
                match self.step(event, &mut assembly, &mut malformed).await {
                    Step::Next => {}
                    Step::Done => {
                        drain(response);
                        self.report(&malformed).await;
                        return self.complete(assembly).await;
                    }
                    Step::Error(error) if self.emit.started() => {
                        break 'read format!("the server says: {}", error.message);
                    }
                    Step::Error(error) => return Ok(Ended::Refused(in_stream(error))),
                }
            }
            // Only now: a reader that takes its time is not the server's silence.
            live.byte();
            if self.emit.started() {
                live.answering();
            }
            if malformed.lines > MALFORMED_LIMIT {
                break format!("more than {MALFORMED_LIMIT} unreadable lines");
            }
            if let Some(cause) = ended {
                break cause;
            }
        };
        self.report(&malformed).await;
        if assembly.finished() {
            // Only `[DONE]` is missing.
            return self.complete(assembly).await;
        }
        let nothing_readable = malformed.lines > 0;
        self.give_out(assembly).await;
        if self.emit.started() {
            return Err(ModelError::Truncated { cause });
        }
        if nothing_readable {
            let error = self
                .protocol(format!("no event of the stream could be read; the first: {}", malformed.excerpt));
            return Ok(Ended::Failed { failure: Failure::Permanent, error });
        }
        let error = ModelError::Unavailable {
            message: format!("{}: {cause}", show(&self.model.provider.base_url)),
            hint: "look at the server's log".to_owned(),
        };
        Ok(Ended::Failed { failure: Failure::Lost, error })
    }

    async fn step(&self, event: Event, assembly: &mut Assembly, malformed: &mut Malformed) -> Step {
        let data = match event {
            Event::Data { data, .. } if !data.trim().is_empty() => data,
            _ => return Step::Next,
        };
        match StreamEvent::parse(&data) {
            Ok(StreamEvent::Chunk(chunk)) => {
                for event in assembly.push(*chunk) {
                    match event {
                        ModelEvent::Notice(notice) => self.emit.notice(notice).await,
                        event => self.emit.event(event).await,
                    }
                }
                Step::Next
            }
            Ok(StreamEvent::Done) => Step::Done,
            Ok(StreamEvent::Error(error)) => Step::Error(error.error),
            Err(_) => {
                malformed.add(&data);
                Step::Next
            }
        }
    }

    async fn report(&self, malformed: &Malformed) {
        if malformed.lines > 0 {
            let (lines, excerpt) = (malformed.lines, malformed.excerpt.clone());
            self.emit.notice(Notice::Malformed { lines, excerpt }).await;
        }
    }

    async fn give_out(&self, assembly: Assembly) {
        for event in assembly.end().events {
            self.emit.event(event).await;
        }
    }

    async fn complete(&self, assembly: Assembly) -> Result<Ended, ModelError> {
        let ending = assembly.end();
        let called = ending.events.iter().any(|event| matches!(event, ModelEvent::ToolCallEnd { .. }));
        for event in ending.events {
            self.emit.event(event).await;
        }
        let finish =
            ending.finish.unwrap_or(if called { FinishReason::ToolCalls } else { FinishReason::Stop });
        Ok(Ended::Done { finish, usage: ending.usage, reasoning: ending.reasoning })
    }
}

#[derive(Debug, Default)]
struct Malformed {
    lines: u32,
    excerpt: String,
}

impl Malformed {
    fn add(&mut self, data: &str) {
        if self.lines == 0 {
            self.excerpt = excerpt(data.as_bytes());
        }
        self.lines += 1;
    }
}

/// Read what is left of a finished answer, so that its connection can carry the next request.
fn drain(mut response: Response) {
    tokio::spawn(async move {
        let rest = async { while let Some(Ok(_)) = response.body.next().await {} };
        // What is not at its end by then is closed by the drop.
        let _ = timeout(DRAIN, rest).await;
    });
}

async fn refusal(response: Response, timing: &Timing) -> Refusal {
    let status = response.status;
    let after = response.header("retry-after").and_then(|value| retry_after(value, SystemTime::now()));
    let body = timeout(timing.check_limit, response.bytes(REFUSAL_LIMIT)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let parsed = ErrorBody::parse(&body);
    let foreign = parsed.is_none();
    let error = parsed
        .map_or_else(|| WireError { message: message_of(&body), ..WireError::default() }, |body| body.error);
    Refusal { status, error, after, foreign }
}

/// An error inside a 200 stream, with the status that it names.
fn in_stream(error: WireError) -> Refusal {
    let code = match &error.code {
        Some(ErrorCode::Number(code)) => u16::try_from(*code).ok(),
        Some(ErrorCode::Text(code)) => code.parse().ok(),
        None => None,
    };
    let status =
        code.and_then(|code| StatusCode::from_u16(code).ok()).filter(|status| status.as_u16() >= 400);
    Refusal {
        status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        error,
        after: None,
        foreign: false,
    }
}

fn unreachable_server(endpoint: &Endpoint, error: &TransportError) -> Ended {
    let failure = match error {
        TransportError::Refused { .. } => Failure::Refused,
        TransportError::Closed { .. } => Failure::Lost,
        _ => Failure::Permanent,
    };
    let hint = match error {
        TransportError::Refused { .. } => match endpoint.row.start.as_deref() {
            Some(start) => {
                format!("start the server ({start}), or correct models.providers.{}.baseUrl", endpoint.id)
            }
            None => format!("start the server, or correct models.providers.{}.baseUrl", endpoint.id),
        },
        TransportError::Closed { .. } => "look at the server's log".to_owned(),
        _ => "`chela doctor` looks closer".to_owned(),
    };
    Ended::Failed { failure, error: ModelError::Unavailable { message: error.to_string(), hint } }
}
