//! The complete answer: the fold of its stream.

use chela_openai::chat::FinishReason;
use chela_openai::usage::Usage;
use futures_util::{Stream, StreamExt};

use super::turn::{ModelError, ModelEvent, Notice, Provenance};

/// Everything that a stream gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Visible text.
    pub text: String,
    /// Reasoning.
    pub reasoning: String,
    /// Calls, in order.
    pub calls: Vec<Call>,
    /// What looked like calls and could not be read: the text and what is wrong with it.
    pub malformed: Vec<(String, String)>,
    /// Tokens used.
    pub usage: Option<Usage>,
    /// What the user was told.
    pub notices: Vec<Notice>,
    /// Who answered.
    pub provenance: Option<Provenance>,
    /// Why the answer ended; absent if it did not.
    pub finish: Option<FinishReason>,
}

/// A tool call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Id.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: String,
    /// The call arrived whole.
    pub complete: bool,
}

impl Answer {
    /// Add an event.
    pub fn add(&mut self, event: ModelEvent) {
        match event {
            ModelEvent::Answering(provenance) => self.provenance = Some(provenance),
            ModelEvent::Text(text) => self.text.push_str(&text),
            ModelEvent::Reasoning(text) => self.reasoning.push_str(&text),
            ModelEvent::ToolCallStart { id, name, .. } => {
                self.calls.push(Call { id, name, ..Call::default() });
            }
            ModelEvent::ToolCallArgs { index, text } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&text);
                }
            }
            ModelEvent::ToolCallEnd { index } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.complete = true;
                }
            }
            ModelEvent::MalformedCall { raw, why } => self.malformed.push((raw, why)),
            ModelEvent::Usage(usage) => self.usage = Some(usage),
            ModelEvent::Notice(notice) => self.notices.push(notice),
            ModelEvent::Done { finish } => self.finish = Some(finish),
        }
    }
}

/// Read a stream to its end: what it gave, and the error that ended it, if one did.
pub async fn fold<S>(stream: S) -> (Answer, Option<ModelError>)
where
    S: Stream<Item = Result<ModelEvent, ModelError>>,
{
    let mut stream = std::pin::pin!(stream);
    let mut answer = Answer::default();
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => answer.add(event),
            Err(error) => return (answer, Some(error)),
        }
    }
    (answer, None)
}
