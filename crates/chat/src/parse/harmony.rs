//! Harmony messages: a header with channel and recipient, then a body.

use super::json_call::JsonReader;
use super::reader::{Cx, NAME, SPACE, Step, find_first, resume, tail};
use super::transcode::Transcoder;
use crate::dialect::shape::Args;

const MESSAGE: &[&str] = &["<|message|>"];
const CHANNEL: &str = "<|channel|>";

/// Reads a Harmony header, and the call that follows where it has a recipient.
#[derive(Debug)]
pub(super) struct HarmonyReader {
    call: Option<JsonReader>,
    /// The arguments of a guarded call.
    guarded: Option<Transcoder>,
    /// Where a guarded call has ended.
    ended: Option<usize>,
    /// Where the search for the end of a body that is no JSON goes on.
    from: usize,
}

impl HarmonyReader {
    pub(super) fn new() -> Self {
        Self { call: None, guarded: None, ended: None, from: 0 }
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        if let Some(call) = &mut self.call {
            return call.advance(cx);
        }
        if self.guarded.is_some() {
            return self.guarded(cx);
        }
        let window = cx.text.floor_char_boundary(NAME);
        let Some((header_end, body)) = find_first(&cx.text[..window], 0, MESSAGE) else {
            return if cx.end || window < cx.text.len() { Step::Reject(0) } else { Step::Wait };
        };
        let header = &cx.text[..header_end];
        let analysis = header
            .rsplit_once(CHANNEL)
            .is_some_and(|(_, channel)| channel.trim_start().starts_with("analysis"));
        let Some(recipient) = recipient(header).filter(|name| *name != "assistant") else {
            return Step::Message { upto: body, reasoning: analysis };
        };
        let Some(name) = cx.accept(recipient).filter(|_| !cx.tools.is_empty()) else {
            return Step::Message { upto: body, reasoning: true };
        };
        let name = name.to_owned();
        let at = cx.skip_space(body);
        match cx.text.as_bytes().get(at) {
            Some(b'{') if cx.guarded && cx.tools.offers(&name) => {
                cx.emit.start(&name);
                self.guarded = Some(Transcoder::new(Args::Json, at, None));
                self.guarded(cx)
            }
            Some(b'{') => {
                let call = self.call.insert(JsonReader::arguments(name, at));
                call.advance(cx)
            }
            None if !cx.end && at - body <= SPACE => Step::Wait,
            _ => self.without_json(cx, &name, at),
        }
    }

    /// Gives the arguments as they come.
    fn guarded(&mut self, cx: &mut Cx<'_>) -> Step {
        if self.ended.is_none()
            && let Some(transcoder) = &mut self.guarded
        {
            let mut delta = String::new();
            let found = transcoder.advance(cx.text, cx.end, &mut delta);
            cx.emit.args(&delta);
            match found {
                Some(Ok(end)) => {
                    cx.emit.end();
                    self.ended = Some(end);
                }
                None if !cx.end => return Step::Wait,
                _ => {
                    let why = "the answer ended inside the call".to_owned();
                    return Step::Broken { upto: cx.text.len(), why };
                }
            }
        }
        match tail(cx.text, self.ended.unwrap_or_default(), cx.form.close, cx.end) {
            Some(upto) => Step::Done(upto),
            None => Step::Wait,
        }
    }

    /// The body is not an object: nothing at all is no arguments, anything else is a fault.
    fn without_json(&mut self, cx: &mut Cx<'_>, name: &str, at: usize) -> Step {
        let found = find_first(cx.text, self.from.max(at), cx.form.close);
        self.from = resume(cx.text, at, cx.form.close);
        match found {
            Some((end, after)) if end == at => {
                cx.emit.call(name, "{}");
                Step::Done(after)
            }
            None if !cx.end => Step::Wait,
            found => Step::Broken {
                upto: found.map_or(cx.text.len(), |(_, after)| after),
                why: format!("the arguments of {name} must be a JSON object"),
            },
        }
    }
}

/// The `to=` of a header.
fn recipient(header: &str) -> Option<&str> {
    let (_, after) = header.split_once("to=")?;
    let end = after.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(after.len());
    (end > 0).then(|| &after[..end])
}
