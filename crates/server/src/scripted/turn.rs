//! What a scripted server answers, as data.

use std::sync::Arc;
use std::time::Duration;

use chela_openai::chat::{FinishReason, StopReason};
use chela_openai::error::{ErrorBody, WireError};
use chela_openai::usage::Usage;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;

/// One answer of the script.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    pub(super) steps: Vec<Step>,
    pub(super) finish: Option<(FinishReason, Option<StopReason>)>,
    pub(super) usage: Option<Usage>,
    pub(super) wait: Duration,
    /// An answer in place of the steps.
    pub(super) canned: Option<Canned>,
}

/// What happens in an answer, in order.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Text(String),
    Reasoning(String),
    Call {
        id: Option<String>,
        name: String,
        /// Pieces of the arguments' text.
        arguments: Vec<String>,
    },
    Wait(Duration),
    Hold(Gate),
    Error(ErrorBody),
    Disconnect,
    Truncate,
}

impl Turn {
    /// An empty answer, to be filled; without more it ends with `stop`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Visible text, word by word. Text that holds a call in a model's own
    /// syntax is what a server without a parser sends.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::new().and_text(text)
    }

    /// An error before the first token, in vLLM's shape: `BadRequestError` for
    /// 400 and so on.
    ///
    /// # Panics
    /// On a number that is no HTTP status.
    pub fn error(status: u16, message: impl Into<String>) -> Self {
        let kind = match status {
            400 => "BadRequestError",
            401 => "AuthenticationError",
            403 => "PermissionDeniedError",
            404 => "NotFoundError",
            429 => "RateLimitError",
            503 => "ServiceUnavailableError",
            _ => "InternalServerError",
        };
        let body = ErrorBody::from(WireError::new(kind, status, None, message));
        Self::canned(Canned::json(status, &body))
    }

    /// Any answer at all: HTML, an empty body, another server's JSON.
    pub fn canned(answer: Canned) -> Self {
        Self { canned: Some(answer), ..Self::default() }
    }

    /// Adds visible text, word by word.
    #[must_use]
    pub fn and_text(mut self, text: impl AsRef<str>) -> Self {
        let words = text.as_ref().split_inclusive(' ');
        self.steps.extend(words.map(|w| Step::Text(w.to_owned())));
        self
    }

    /// Adds text in exactly these deltas.
    #[must_use]
    pub fn deltas<S: Into<String>>(mut self, deltas: impl IntoIterator<Item = S>) -> Self {
        let steps = deltas.into_iter().map(|delta| Step::Text(delta.into()));
        self.steps.extend(steps);
        self
    }

    /// Adds reasoning, word by word.
    #[must_use]
    pub fn reasoning(mut self, text: impl AsRef<str>) -> Self {
        let words = text.as_ref().split_inclusive(' ');
        self.steps.extend(words.map(|w| Step::Reasoning(w.to_owned())));
        self
    }

    /// Adds a tool call; the arguments come in small pieces.
    #[must_use]
    pub fn call(self, name: impl Into<String>, arguments: Value) -> Self {
        self.raw_call(name, arguments.to_string())
    }

    /// Adds a tool call whose arguments are this text, valid JSON or not.
    #[must_use]
    pub fn raw_call(mut self, name: impl Into<String>, arguments: impl AsRef<str>) -> Self {
        let chars: Vec<char> = arguments.as_ref().chars().collect();
        self.steps.push(Step::Call {
            id: None,
            name: name.into(),
            arguments: chars.chunks(5).map(String::from_iter).collect(),
        });
        self
    }

    /// Gives the last call this id.
    #[must_use]
    pub fn call_id(mut self, own: impl Into<String>) -> Self {
        if let Some(Step::Call { id, .. }) = self.steps.last_mut() {
            *id = Some(own.into());
        }
        self
    }

    /// Waits between two pieces.
    #[must_use]
    pub fn pause(mut self, time: Duration) -> Self {
        self.steps.push(Step::Wait(time));
        self
    }

    /// Goes on when this gate is opened.
    #[must_use]
    pub fn hold(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Hold(gate.clone()));
        self
    }

    /// Fails here: an `error` event inside the 200 stream, then `[DONE]`.
    #[must_use]
    pub fn error_event(mut self, status: u16, message: impl Into<String>) -> Self {
        let error = WireError::new("InternalServerError", status, None, message);
        self.steps.push(Step::Error(error.into()));
        self
    }

    /// Breaks the connection off here, in the middle of the HTTP body.
    #[must_use]
    pub fn disconnect(mut self) -> Self {
        self.steps.push(Step::Disconnect);
        self
    }

    /// Ends the body here in good HTTP order, without finish reason or `[DONE]`.
    #[must_use]
    pub fn truncate(mut self) -> Self {
        self.steps.push(Step::Truncate);
        self
    }

    /// The finish reason; without it `tool_calls` after a call, else `stop`.
    #[must_use]
    pub fn finish(mut self, reason: impl Into<FinishReason>) -> Self {
        self.finish = Some((reason.into(), None));
        self
    }

    /// The stop string or token that ended it, beside the finish reason `stop`.
    #[must_use]
    pub fn stop_reason(mut self, stop: StopReason) -> Self {
        self.finish = Some((FinishReason::Stop, Some(stop)));
        self
    }

    /// The token counts; without it they are counted from the request and the pieces.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Waits before the first piece (the headers of a stream are sent at once)
    /// or before the error.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.wait = time;
        self
    }

    /// Adds a header to an error or canned answer, such as `retry-after`.
    ///
    /// # Panics
    /// On a name or value that HTTP does not allow, and on a turn that is no
    /// error or canned answer.
    #[must_use]
    #[allow(clippy::expect_used)] // a wrong script is a wrong test
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let canned = self.canned.expect("`header` is for errors and canned answers");
        self.canned = Some(canned.header(name, value));
        self
    }
}

/// What holds a server up until the test has seen what it waits for, however fast the machine is.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.0.close();
    }

    pub(crate) async fn passed(&self) {
        // there is no permit to get: this ends when the gate is opened
        let _ = self.0.acquire().await;
    }
}

/// An answer in full: status, headers, bytes.
#[derive(Debug, Clone)]
pub struct Canned {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[allow(clippy::expect_used)] // a wrong script is a wrong test
impl Canned {
    /// A body of this type.
    ///
    /// # Panics
    /// On a number that is no HTTP status, or a type that is no header value.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let canned = Self {
            status: StatusCode::from_u16(status).expect("an HTTP status"),
            headers: HeaderMap::new(),
            body: body.into(),
        };
        canned.header("content-type", content_type)
    }

    /// A JSON body.
    ///
    /// # Panics
    /// On a number that is no HTTP status.
    pub fn json(status: u16, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a value that serialises");
        Self::new(status, "application/json", body)
    }

    /// Adds a header.
    ///
    /// # Panics
    /// On a name or value that HTTP does not allow.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(name, value);
        self
    }
}
