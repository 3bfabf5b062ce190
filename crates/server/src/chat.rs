//! `POST /v1/chat/completions`: pieces to chunks, chunks to an answer or a stream.

use axum::response::Response;
use chela_openai::chat::{
    ChatChunk, ChatCompletion, ChunkChoice, Delta, Fold, FunctionDelta, Logprobs, ToolCallDelta, ToolChoice,
};
use chela_openai::usage::{RequestMetrics, Usage};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};

use crate::backend::{Part, Piece, Pieces, PromptEcho, Times, Tokens};
use crate::error::{ApiError, json};
use crate::events::{self, Chunks};
use crate::metrics::Running;
use crate::router::{App, Options, ReasoningField};
use crate::validate::sampled::Sampled;
use crate::validate::{self, Validated, body};

/// Answers one request.
///
/// # Errors
/// Everything that can be told before the first token.
pub(crate) async fn answer(app: &App, headers: &HeaderMap, bytes: &[u8]) -> Result<Response, ApiError> {
    let request = body::read(headers, bytes)?;
    let models = app.backend.models();
    let validated = validate::chat(request, headers, &models, app.options.max_logprobs)?;
    let shared = Sampled::from(&validated.request);
    let mut running = app.metrics.start(&shared);
    let writer = Writer::new(&validated, &app.options);
    let id = validated.id.clone();
    let pieces = app.backend.submit(validated).await?;
    running.named(&id);
    if shared.stream.unwrap_or(false) {
        Ok(events::answer(writer, pieces, running, app.options.keep_alive))
    } else {
        let answer = whole(writer, pieces, running).await?;
        Ok(json(StatusCode::OK, &answer))
    }
}

/// The whole answer is the fold of the stream.
async fn whole(
    mut writer: Writer,
    mut pieces: Pieces,
    mut running: Running,
) -> Result<ChatCompletion, ApiError> {
    let mut fold = Fold::new();
    writer.begin().into_iter().for_each(|chunk| fold.push(chunk));
    while let Some(piece) = pieces.next().await {
        let piece = piece.inspect_err(|_| running.failed())?;
        running.piece(&piece);
        writer.piece(piece).into_iter().for_each(|chunk| fold.push(chunk));
    }
    writer.end().inspect_err(|_| running.failed())?;
    let mut answer = fold.finish();
    for choice in &mut answer.choices {
        let message = &mut choice.message;
        // the fold keeps it under one name
        match writer.reasoning {
            ReasoningField::Reasoning => {}
            ReasoningField::Both => message.reasoning_content.clone_from(&message.reasoning),
            ReasoningField::ReasoningContent => message.reasoning_content = message.reasoning.take(),
        }
        let silent = message.reasoning_text().is_none() && message.tool_calls.is_empty();
        if message.content.is_none() && (silent && !writer.null_content || writer.must_call) {
            message.content = Some(String::new());
        }
    }
    let mut usage = writer.usage;
    // a whole answer says null where a stream says nothing
    let details = usage.prompt_tokens_details.get_or_insert(None);
    if let Some(details) = details {
        details.multimodal_tokens.get_or_insert(None);
    }
    usage.completion_tokens_details.get_or_insert(None);
    answer.usage = Some(usage);
    answer.system_fingerprint = Some(writer.fingerprint);
    answer.prompt_logprobs = writer.prompt.logprobs;
    answer.prompt_token_ids = writer.prompt.ids;
    answer.prompt_text = writer.prompt.text;
    answer.metrics =
        writer.metrics.map(|metrics| RequestMetrics { speculative_decoding: Some(None), ..metrics });
    Ok(answer)
}

/// Writes the chunks of one answer, in vLLM's order and with its nulls.
struct Writer {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    reasoning: ReasoningField,
    include_reasoning: bool,
    include_usage: bool,
    continuous_usage: bool,
    /// Whether the first chunks wait for what the backend says of the prompt.
    wants_prompt: bool,
    /// Whether content without any text is null, as with a reasoning parser.
    null_content: bool,
    /// Whether a call was demanded; then content without any text is empty.
    must_call: bool,
    per_request_metrics: bool,
    begun: bool,
    /// Choices that have not ended.
    open: Vec<u32>,
    usage: Usage,
    prompt: PromptEcho,
    metrics: Option<RequestMetrics>,
}

impl Writer {
    fn new(validated: &Validated, options: &Options) -> Self {
        let request = &validated.request;
        let wanted = request.stream_options.unwrap_or_default();
        let choices = u32::try_from(request.n.unwrap_or(1)).unwrap_or(1);
        let continuous_usage = wanted.continuous_usage_stats.unwrap_or(false) || options.force_usage;
        let yes = |field: Option<bool>| field == Some(true);
        Self {
            id: validated.id.clone(),
            created: validated.created,
            model: validated.model.id.clone(),
            fingerprint: options.fingerprint.clone(),
            reasoning: options.reasoning,
            include_reasoning: request.include_reasoning.unwrap_or(true),
            include_usage: wanted.include_usage.unwrap_or(false) || options.force_usage,
            continuous_usage,
            wants_prompt: continuous_usage
                || yes(request.return_token_ids)
                || yes(request.return_prompt_text),
            null_content: options.null_content,
            must_call: matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_))),
            per_request_metrics: options.per_request_metrics,
            begun: false,
            open: (0..choices).collect(),
            usage: Usage::default(),
            prompt: PromptEcho::default(),
            metrics: None,
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        // so far told with a null, at the end without
        let usage = || Usage {
            prompt_tokens_details: None,
            completion_tokens_details: Some(self.usage.completion_tokens_details.clone().flatten()),
            ..self.usage.clone()
        };
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: self.continuous_usage.then(usage),
            ..ChatChunk::default()
        }
    }

    /// The first chunk of each choice.
    fn roles(&mut self) -> Vec<ChatChunk> {
        self.begun = true;
        let role = |index: &u32| {
            let delta = Delta {
                role: Some("assistant".into()),
                content: Some(Some(String::new())),
                ..Delta::default()
            };
            let choice = ChunkChoice { index: *index, delta, ..ChunkChoice::default() };
            ChatChunk {
                prompt_token_ids: Some(self.prompt.ids.clone()),
                prompt_text: Some(self.prompt.text.clone()),
                ..self.chunk(vec![choice])
            }
        };
        self.open.iter().map(role).collect()
    }

    fn delta(&self, part: Part) -> Option<Delta> {
        let call =
            |call: ToolCallDelta| Delta { content: Some(None), tool_calls: vec![call], ..Delta::default() };
        Some(match part {
            // vLLM tells that there is no reasoning where it was asked to leave it out
            Part::Text(text) if !self.include_reasoning => {
                Delta { content: Some(Some(text)), reasoning: Some(None), ..Delta::default() }
            }
            Part::Text(text) => Delta { content: Some(Some(text)), ..Delta::default() },
            Part::Reasoning(_) if !self.include_reasoning => return None,
            Part::Reasoning(text) => Delta {
                reasoning_content: match self.reasoning {
                    ReasoningField::Reasoning => None,
                    _ => Some(Some(text.clone())),
                },
                reasoning: match self.reasoning {
                    ReasoningField::ReasoningContent => None,
                    _ => Some(Some(text)),
                },
                ..Delta::default()
            },
            Part::CallStart { call: index, id, name } => call(ToolCallDelta {
                id: Some(id),
                kind: Some("function".into()),
                index: Some(index),
                function: Some(FunctionDelta { name: Some(name), arguments: None }),
            }),
            Part::CallArguments { call: index, json } => call(ToolCallDelta {
                index: Some(index),
                function: Some(FunctionDelta { name: None, arguments: Some(json) }),
                ..ToolCallDelta::default()
            }),
        })
    }

    fn choice(&mut self, piece: Piece) -> Option<ChunkChoice> {
        match piece {
            Piece::Usage(usage) => {
                self.usage = usage;
                None
            }
            Piece::Times(times) => {
                self.metrics = self.per_request_metrics.then(|| request_metrics(times));
                None
            }
            Piece::Prompt { prompt, .. } => {
                self.prompt = prompt;
                None
            }
            Piece::Delta { choice, part, tokens } => {
                Some(ChunkChoice { index: choice, delta: self.delta(part)?, ..details(tokens) })
            }
            Piece::End { choice, reason, stop, tokens } => {
                self.open.retain(|&open| open != choice);
                Some(ChunkChoice {
                    index: choice,
                    finish_reason: Some(reason),
                    stop_reason: Some(stop),
                    ..details(tokens)
                })
            }
        }
    }
}

fn details(tokens: Tokens) -> ChunkChoice {
    let logprobs = tokens.logprobs.map(|content| Logprobs { content: Some(content) });
    ChunkChoice { logprobs, token_ids: Some(tokens.ids), ..ChunkChoice::default() }
}

/// vLLM's figures for one request.
pub(crate) fn request_metrics(times: Times) -> RequestMetrics {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let generation = ms(times.total.saturating_sub(times.first_token));
    let total = times.total.as_secs_f64();
    RequestMetrics {
        time_to_first_token_ms: Some(ms(times.first_token)),
        generation_time_ms: Some(generation),
        queue_time_ms: Some(ms(times.queued)),
        mean_itl_ms: (times.tokens > 1).then(|| generation / (times.tokens - 1) as f64),
        tokens_per_second: (total > 0.0).then(|| times.tokens as f64 / total),
        speculative_decoding: None,
    }
}

impl Chunks for Writer {
    type Chunk = ChatChunk;

    fn begin(&mut self) -> Vec<ChatChunk> {
        if self.wants_prompt { Vec::new() } else { self.roles() }
    }

    fn piece(&mut self, piece: Piece) -> Vec<ChatChunk> {
        let usage = matches!(piece, Piece::Usage(_) | Piece::Times(_));
        let choice = self.choice(piece);
        let mut chunks = if self.begun || usage { Vec::new() } else { self.roles() };
        if let Some(choice) = choice {
            let mut chunk = self.chunk(vec![choice]);
            let ends = chunk.choices.iter().any(|choice| choice.finish_reason.is_some());
            if ends && !self.include_usage {
                chunk.system_fingerprint = Some(self.fingerprint.clone());
            }
            chunks.push(chunk);
        }
        chunks
    }

    fn end(&mut self) -> Result<Option<ChatChunk>, ApiError> {
        if let Some(choice) = self.open.first() {
            return Err(ApiError::internal(format!(
                "the answer broke off: choice {choice} has no finish reason"
            )));
        }
        Ok(self.include_usage.then(|| ChatChunk {
            usage: Some(self.usage.clone()),
            system_fingerprint: Some(self.fingerprint.clone()),
            metrics: self.metrics.clone(),
            ..self.chunk(Vec::new())
        }))
    }
}
