//! Messages of a request.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::de;

/// One message of the conversation, as sent to a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`; servers pass other words to the template.
    pub role: String,
    /// Text or parts; always written, `null` beside tool calls.
    #[serde(default)]
    pub content: Option<Content>,
    /// Name of the speaker, or of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The assistant's reasoning, sent back. vLLM's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The same under the older name; llama.cpp, DeepSeek.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls that the assistant made.
    #[serde(default, deserialize_with = "de::or_default", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a `tool` message answers.
    #[serde(default, deserialize_with = "de::opt_id", skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    fn of(role: &str, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(Content::Text(text.into())), ..Self::default() }
    }

    /// A `system` message.
    pub fn system(text: impl Into<String>) -> Self {
        Self::of("system", text)
    }

    /// A `user` message.
    pub fn user(text: impl Into<String>) -> Self {
        Self::of("user", text)
    }

    /// An `assistant` message of text alone.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::of("assistant", text)
    }

    /// An `assistant` message that calls tools; `content` is null without text.
    pub fn assistant_calls(text: Option<String>, tool_calls: Vec<ToolCall>) -> Self {
        Self { role: "assistant".into(), content: text.map(Content::Text), tool_calls, ..Self::default() }
    }

    /// The result of one call.
    pub fn tool(tool_call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tool_call_id: Some(tool_call_id.into()), ..Self::of("tool", text) }
    }

    /// The text of the content: empty without any, parts joined with newlines.
    pub fn text(&self) -> Cow<'_, str> {
        self.content.as_ref().map_or(Cow::Borrowed(""), Content::text)
    }
}

/// Content of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Text, images and others in order.
    Parts(Vec<ContentPart>),
}

impl Content {
    /// The text: that of the parts joined with newlines, as vLLM joins it for
    /// templates that take a string.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Parts(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(ContentPart::text).collect();
                match texts.as_slice() {
                    [one] => Cow::Borrowed(one),
                    many => Cow::Owned(many.join("\n")),
                }
            }
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentPart {
    /// `{"type":"text","text":…}`; a bare string reads as one too.
    Text(String),
    /// `{"type":"image_url","image_url":{"url":…}}`.
    ImageUrl(ImageUrl),
    /// Any other part as it stands, `type` included.
    Other(Map<String, Value>),
}

impl ContentPart {
    /// The part's text, if it has one (`input_text`, `output_text`, `refusal` included).
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::ImageUrl(_) => None,
            Self::Other(map) => map.get("text").or_else(|| map.get("refusal"))?.as_str(),
        }
    }
}

/// Where an image is: a URL, or the bytes as a `data:` URI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageUrl {
    /// URL or `data:` URI.
    pub url: String,
    /// `auto`, `low` or `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Serialize for ContentPart {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match self {
            Self::Other(map) => map.serialize(s),
            Self::Text(text) => {
                let mut map = s.serialize_map(Some(2))?;
                map.serialize_entry("type", "text")?;
                map.serialize_entry("text", text)?;
                map.end()
            }
            Self::ImageUrl(image) => {
                let mut map = s.serialize_map(Some(2))?;
                map.serialize_entry("type", "image_url")?;
                map.serialize_entry("image_url", image)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for ContentPart {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let map = match Value::deserialize(d)? {
            Value::String(text) => return Ok(Self::Text(text)),
            Value::Object(map) => map,
            other => {
                return Err(D::Error::custom(format_args!(
                    "a content part should be an object, got {other}"
                )));
            }
        };
        Ok(match map.get("type").and_then(Value::as_str) {
            Some("text") => match map.get("text") {
                Some(Value::String(text)) => Self::Text(text.clone()),
                _ => return Err(D::Error::custom("a text part should have a `text` string")),
            },
            Some("image_url") => match map.get("image_url") {
                Some(Value::String(url)) => Self::ImageUrl(ImageUrl { url: url.clone(), detail: None }),
                Some(image) => Self::ImageUrl(ImageUrl::deserialize(image).map_err(D::Error::custom)?),
                None => {
                    return Err(D::Error::custom("an image_url part should have an `image_url`"));
                }
            },
            _ => Self::Other(map),
        })
    }
}

/// A call that the model made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id; empty where the server sent none.
    #[serde(default, deserialize_with = "de::id")]
    pub id: String,
    /// `function`.
    #[serde(default = "function", rename = "type")]
    pub kind: String,
    /// What to call and with what.
    pub function: FunctionCall,
}

pub(super) fn function() -> String {
    "function".into()
}

impl ToolCall {
    /// A function call; `arguments` is JSON text.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: function(),
            function: FunctionCall { name: name.into(), arguments: arguments.into() },
        }
    }
}

/// Name and arguments of a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    #[serde(default, deserialize_with = "de::or_default")]
    pub name: String,
    /// Arguments as JSON text, unchecked: a model may have written anything.
    #[serde(default, deserialize_with = "de::arguments")]
    pub arguments: String,
}
