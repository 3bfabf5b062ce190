//! Plays a turn as a backend.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chela_openai::chat::{ChatRequest, FinishReason, ToolChoice};
use chela_openai::models::ModelCard;
use chela_openai::tokenize::{TokenizeRequest, TokenizeResponse};
use chela_openai::usage::Usage;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::StatusCode;

use super::Shared;
use super::record::{Control, Cut};
use super::turn::{Gate, Step, Turn};
use crate::backend::{Backend, Health, Part, Piece, Pieces, Tokens};
use crate::error::ApiError;
use crate::validate::{self, Validated, context_overflow};

tokio::task_local! {
    /// The exchange whose answer is being made, for the backend below the router.
    pub(super) static CONTROL: Arc<Control>;
}

/// A step of the stream, with what it bends.
enum Play {
    Piece(Box<Piece>),
    Wait(Duration),
    Hold(Gate),
    Fail(ApiError),
    Cut(Cut),
}

impl Backend for Shared {
    fn models(&self) -> Vec<ModelCard> {
        self.setup.models.clone()
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        async { Health::Ready }.boxed()
    }

    fn submit(&self, request: Validated) -> BoxFuture<'_, Result<Pieces, ApiError>> {
        async move {
            if !self.setup.parser {
                refuse_tools(&request.request)?;
            }
            let prompt = prompt_tokens(&request.request);
            if let Some(window) = request.model.max_model_len.filter(|max| prompt > *max) {
                return Err(context_overflow(window, window + 1));
            }
            let turn = self.next_turn(&request.request);
            let control = CONTROL.try_with(Arc::clone).unwrap_or_default();
            if let Some(canned) = turn.canned {
                tokio::time::sleep(turn.wait).await;
                let mut replacement = control.replacement.lock().unwrap_or_else(PoisonError::into_inner);
                *replacement = Some(canned);
                return Err(ApiError::internal("a canned answer takes this one's place"));
            }
            Ok(play(turn, prompt, control))
        }
        .boxed()
    }

    fn tokenize(&self, request: TokenizeRequest) -> BoxFuture<'_, Result<TokenizeResponse, ApiError>> {
        async move {
            let model = validate::find(&self.setup.models, request.model.as_deref().unwrap_or(""))?;
            let count = match (&request.prompt, &request.messages) {
                (Some(prompt), _) => count(prompt.chars().count()),
                (None, Some(messages)) => prompt_tokens(&ChatRequest {
                    messages: messages.clone(),
                    tools: request.tools.clone(),
                    ..ChatRequest::default()
                }),
                (None, None) => 0,
            };
            let ids = u32::try_from(count).unwrap_or(u32::MAX);
            Ok(TokenizeResponse {
                count,
                max_model_len: model.max_model_len,
                tokens: (0..ids).collect(),
                token_strs: None,
            })
        }
        .boxed()
    }
}

/// What a vLLM without parser flags says (0.32.0).
fn refuse_tools(request: &ChatRequest) -> Result<(), ApiError> {
    if request.tools.is_none() {
        return Ok(());
    }
    let choice = match &request.tool_choice {
        Some(ToolChoice::None) => return Ok(()),
        Some(ToolChoice::Required) => "\"required\"".to_owned(),
        Some(ToolChoice::Function(name)) => format!("function \"{name}\""),
        _ => {
            return Err(ApiError::bad_request(
                None,
                "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser \
                 to be set",
            ));
        }
    };
    Err(ApiError::bad_request(None, format!("tool_choice={choice} requires --tool-call-parser to be set")))
}

fn count(chars: usize) -> u64 {
    chars.div_ceil(4) as u64
}

/// Four characters a token, over the text of messages and tools.
fn prompt_tokens(request: &ChatRequest) -> u64 {
    let text = |value: Result<String, serde_json::Error>| value.map_or(0, |s| s.chars().count());
    let tools = request.tools.as_ref().map(serde_json::to_string);
    let messages = request.messages.iter().map(serde_json::to_string);
    count(messages.chain(tools).map(text).sum())
}

fn play(turn: Turn, prompt: u64, control: Arc<Control>) -> Pieces {
    let mut plays = Vec::new();
    let mut calls = 0;
    let mut generated = 0;
    for step in turn.steps {
        generated += u64::from(!matches!(step, Step::Wait(_) | Step::Hold(_)));
        match step {
            Step::Text(text) => plays.push(part(Part::Text(text))),
            Step::Reasoning(text) => plays.push(part(Part::Reasoning(text))),
            Step::Call { id, name, arguments } => {
                let call = calls;
                calls += 1;
                let id = id.unwrap_or_else(|| format!("chatcmpl-tool-{call:016x}"));
                plays.push(part(Part::CallStart { call, id, name }));
                let pieces = arguments.into_iter();
                plays.extend(pieces.map(|json| part(Part::CallArguments { call, json })));
            }
            Step::Wait(time) => plays.push(Play::Wait(time)),
            Step::Hold(gate) => plays.push(Play::Hold(gate)),
            Step::Error(body) => plays.push(Play::Fail(ApiError::new(StatusCode::OK, body))),
            Step::Disconnect => plays.push(Play::Cut(Cut::Abort)),
            Step::Truncate => plays.push(Play::Cut(Cut::End)),
        }
    }
    let (reason, stop) = turn.finish.unwrap_or(match calls {
        0 => (FinishReason::Stop, None),
        _ => (FinishReason::ToolCalls, None),
    });
    let usage = turn.usage.unwrap_or(Usage::new(prompt, generated));
    plays.push(Play::Piece(Box::new(Piece::Usage(usage))));
    plays.push(Play::Piece(Box::new(Piece::End { choice: 0, reason, stop, tokens: Tokens::default() })));
    let wait = Play::Wait(turn.wait);
    stream::iter([wait].into_iter().chain(plays))
        .filter_map(move |play| {
            let control = control.clone();
            async move {
                match play {
                    Play::Piece(piece) => Some(Ok(*piece)),
                    Play::Wait(time) => {
                        if !time.is_zero() {
                            tokio::time::sleep(time).await;
                        }
                        None
                    }
                    Play::Hold(gate) => {
                        gate.passed().await;
                        None
                    }
                    Play::Fail(error) => Some(Err(error)),
                    Play::Cut(cut) => {
                        // what came before the cut is flushed while this waits
                        tokio::task::yield_now().await;
                        *control.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
                        // whatever the router makes of this is not sent
                        Some(Err(ApiError::internal("cut by the script")))
                    }
                }
            }
        })
        .boxed()
}

fn part(part: Part) -> Play {
    Play::Piece(Box::new(Piece::part(part)))
}
