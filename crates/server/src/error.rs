//! An answer that is an error.

use axum::response::{IntoResponse, Response};
use chela_openai::error::{ErrorBody, WireError};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// An error with its status, headers and body, in vLLM's shape unless said otherwise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} {}", .0.status.as_u16(), .0.body.error.message)]
pub struct ApiError(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    status: StatusCode,
    headers: HeaderMap,
    body: ErrorBody,
}

impl ApiError {
    /// Any status with any body.
    pub fn new(status: StatusCode, body: impl Into<ErrorBody>) -> Self {
        Self(Box::new(Inner { status, headers: HeaderMap::new(), body: body.into() }))
    }

    /// An error object of this class.
    pub fn of(status: StatusCode, kind: &str, param: Option<&str>, message: impl Into<String>) -> Self {
        Self::new(status, WireError::new(kind, status.as_u16(), param, message))
    }

    /// 400: a field of the right type with a value that cannot be used.
    pub fn bad_request(param: Option<&str>, message: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "BadRequestError", param, message)
    }

    /// 404: no such model, with the names of those there are.
    pub fn unknown_model(asked: &str, known: &[&str]) -> Self {
        let message = format!("The model `{asked}` does not exist. Valid aliases: {}.", known.join(", "));
        Self::of(StatusCode::NOT_FOUND, "NotFoundError", Some("model"), message)
    }

    /// 500: a failure of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", None, message)
    }

    /// Adds a header, such as `retry-after`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The body.
    pub fn body(&self) -> &ErrorBody {
        &self.0.body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let inner = *self.0;
        let mut response = json(inner.status, &inner.body);
        response.headers_mut().extend(inner.headers);
        response
    }
}

/// A JSON answer. What the wire types hold always serialises: the fallback
/// is there so that a mistake is an answer and not a panic.
pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let (status, text) = match serde_json::to_string(body) {
        Ok(text) => (status, text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            serde_json::json!({"error": {"message": error.to_string()}}).to_string(),
        ),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
