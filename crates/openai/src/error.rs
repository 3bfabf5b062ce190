//! Error bodies, in every shape that OpenAI-compatible servers use.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an error says, whatever shape carried it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WireError {
    /// The sentence.
    pub message: String,
    /// Class, such as `BadRequestError` or `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The request field at fault.
    pub param: Option<String>,
    /// HTTP status (vLLM, llama.cpp) or a word (OpenAI).
    pub code: Option<ErrorCode>,
    /// Prompt tokens counted by llama.cpp when they exceed the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_prompt_tokens: Option<u64>,
    /// The window that llama.cpp names with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<u64>,
}

impl WireError {
    /// An error in vLLM's terms: class, HTTP status, field, sentence.
    pub fn new(
        kind: impl Into<String>,
        status: u16,
        param: Option<&str>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            kind: Some(kind.into()),
            param: param.map(str::to_owned),
            code: Some(ErrorCode::Number(status.into())),
            ..Self::default()
        }
    }

    fn text(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    fn from_map(map: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let message = text("message")
            .or_else(|| text("detail"))
            .or_else(|| text("msg"))
            .or_else(|| text("code"))
            .or_else(|| text("type"))?;
        Some(Self {
            message,
            kind: text("type"),
            param: text("param"),
            code: match map.get("code") {
                Some(Value::Number(n)) => n.as_i64().map(ErrorCode::Number),
                Some(Value::String(s)) => Some(ErrorCode::Text(s.clone())),
                _ => None,
            },
            n_prompt_tokens: map.get("n_prompt_tokens").and_then(Value::as_u64),
            n_ctx: map.get("n_ctx").and_then(Value::as_u64),
        })
    }
}

/// `code` of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorCode {
    /// An HTTP status.
    Number(i64),
    /// A word, such as `context_length_exceeded`, or a status as text (LiteLLM).
    Text(String),
}

/// How an error was, or is to be, laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"error":{message,type,param,code}}`: vLLM, OpenAI, llama.cpp, Ollama's `/v1`.
    #[default]
    Object,
    /// `{"error":"Unauthorized"}`: vLLM's key check, Ollama's own API, LM Studio, TGI.
    Text,
    /// `{"detail":"Not Found"}`: routing errors of FastAPI servers.
    Detail,
    /// `{"type":"error","error":{type,message}}`: Anthropic's API.
    Anthropic,
    /// `{"object":"error",message,type,param,code}`: vLLM before 0.10, SGLang.
    Flat,
}

/// The body of an answer that is an error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBody {
    /// What it says.
    pub error: WireError,
    /// How it is laid out.
    pub shape: ErrorShape,
}

impl From<WireError> for ErrorBody {
    fn from(error: WireError) -> Self {
        Self { error, shape: ErrorShape::Object }
    }
}

impl ErrorBody {
    /// `{"error":"…"}`.
    pub fn text(message: impl Into<String>) -> Self {
        Self { error: WireError::text(message), shape: ErrorShape::Text }
    }

    /// `{"detail":"…"}`.
    pub fn detail(message: impl Into<String>) -> Self {
        Self { error: WireError::text(message), shape: ErrorShape::Detail }
    }

    /// Reads a body; `None` if it is not JSON or no error in any known shape
    /// (a chunk that carries a null `error` is not one).
    pub fn parse(body: &[u8]) -> Option<Self> {
        Self::from_value(&serde_json::from_slice(body).ok()?)
    }

    /// As [`ErrorBody::parse`], from JSON.
    pub fn from_value(body: &Value) -> Option<Self> {
        // llama.cpp's router and some gateways wrap the object in a list
        let map = match body {
            Value::Array(items) if items.len() == 1 => items[0].as_object()?,
            other => other.as_object()?,
        };
        let (error, shape) = match (map.get("error"), map.get("detail")) {
            (Some(Value::String(s)), _) => {
                let mut error = WireError::text(s);
                error.kind = map.get("error_type").and_then(Value::as_str).map(str::to_owned);
                (error, ErrorShape::Text)
            }
            (Some(Value::Object(inner)), _) => {
                let shape = if map.get("type").and_then(Value::as_str) == Some("error") {
                    ErrorShape::Anthropic
                } else {
                    ErrorShape::Object
                };
                let error = WireError::from_map(inner)
                    .unwrap_or_else(|| WireError::text(Value::Object(inner.clone()).to_string()));
                (error, shape)
            }
            (None | Some(Value::Null), Some(detail)) => (Self::of_detail(detail), ErrorShape::Detail),
            _ if map.get("object").and_then(Value::as_str) == Some("error")
                || (map.contains_key("message") && !map.contains_key("choices")) =>
            {
                (WireError::from_map(map)?, ErrorShape::Flat)
            }
            _ => return None,
        };
        Some(Self { error, shape })
    }

    /// FastAPI's `detail`: a sentence, or rows of `{loc, msg, type}`.
    fn of_detail(detail: &Value) -> WireError {
        match detail {
            Value::String(s) => WireError::text(s),
            Value::Object(map) => {
                WireError::from_map(map).unwrap_or_else(|| WireError::text(detail.to_string()))
            }
            Value::Array(rows) => {
                let sentences: Vec<String> = rows
                    .iter()
                    .map(|row| {
                        let msg = row.get("msg").and_then(Value::as_str);
                        let loc = row.get("loc").and_then(Value::as_array).map(|loc| {
                            loc.iter()
                                .map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_owned))
                                .collect::<Vec<_>>()
                                .join(".")
                        });
                        match (loc, msg) {
                            (Some(loc), Some(msg)) => format!("{loc}: {msg}"),
                            (None, Some(msg)) => msg.to_owned(),
                            _ => row.to_string(),
                        }
                    })
                    .collect();
                WireError::text(sentences.join("; "))
            }
            other => WireError::text(other.to_string()),
        }
    }
}

impl Serialize for ErrorBody {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Anthropic<'a> {
            #[serde(rename = "type")]
            kind: &'a Option<String>,
            message: &'a str,
        }
        let mut map = s.serialize_map(None)?;
        match self.shape {
            ErrorShape::Object => map.serialize_entry("error", &self.error)?,
            ErrorShape::Text => map.serialize_entry("error", &self.error.message)?,
            ErrorShape::Detail => map.serialize_entry("detail", &self.error.message)?,
            ErrorShape::Anthropic => {
                map.serialize_entry("type", "error")?;
                map.serialize_entry(
                    "error",
                    &Anthropic { kind: &self.error.kind, message: &self.error.message },
                )?;
            }
            ErrorShape::Flat => {
                map.serialize_entry("object", "error")?;
                map.serialize_entry("message", &self.error.message)?;
                map.serialize_entry("type", &self.error.kind)?;
                map.serialize_entry("param", &self.error.param)?;
                map.serialize_entry("code", &self.error.code)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ErrorBody {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let body = Value::deserialize(d)?;
        Self::from_value(&body)
            .ok_or_else(|| serde::de::Error::custom(format_args!("expected an error body, got {body}")))
    }
}
