//! `POST /v1/completions`: pieces to chunks, chunks to an answer or a stream.

use axum::response::Response;
use chela_openai::chat::TokenLogprob;
use chela_openai::completions::{
    Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionLogprobs,
    CompletionRequest, Prompt,
};
use chela_openai::usage::{RequestMetrics, Usage};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::backend::{Part, Piece, Pieces, PromptEcho, Tokens};
use crate::chat::request_metrics;
use crate::error::{ApiError, json};
use crate::events::{self, Chunks};
use crate::metrics::Running;
use crate::router::{App, Options};
use crate::validate::sampled::Sampled;
use crate::validate::{self, Validated, body};

/// Answers one request.
///
/// # Errors
/// Everything that can be told before the first token.
pub(crate) async fn answer(app: &App, headers: &HeaderMap, bytes: &[u8]) -> Result<Response, ApiError> {
    let request = body::read(headers, bytes)?;
    let models = app.backend.models();
    let validated = validate::completion(request, headers, &models, app.options.max_logprobs)?;
    let shared = Sampled::from(&validated.request);
    let mut running = app.metrics.start(&shared);
    let writer = Writer::new(&validated, &app.options);
    let id = validated.id.clone();
    let pieces = app.backend.complete(validated).await?;
    running.named(&id);
    if shared.stream.unwrap_or(false) {
        Ok(events::answer(writer, pieces, running, app.options.keep_alive))
    } else {
        let answer = whole(writer, pieces, running).await?;
        Ok(json(StatusCode::OK, &answer))
    }
}

/// The whole answer is the fold of the stream.
async fn whole(mut writer: Writer, mut pieces: Pieces, mut running: Running) -> Result<Completion, ApiError> {
    let mut choices: Vec<CompletionChoice> = writer
        .choices
        .iter()
        .zip(0..)
        .map(|(_, index)| CompletionChoice { index, ..CompletionChoice::default() })
        .collect();
    while let Some(piece) = pieces.next().await {
        let piece = piece.inspect_err(|_| running.failed())?;
        running.piece(&piece);
        for chunk in writer.piece(piece) {
            for part in chunk.choices {
                if let Some(choice) = choices.get_mut(part.index as usize) {
                    add(choice, part);
                }
            }
        }
    }
    writer.end().inspect_err(|_| running.failed())?;
    for (index, choice) in choices.iter_mut().enumerate() {
        if let Some(prompt) = writer.prompts.get(index / writer.n.max(1)) {
            choice.prompt_token_ids.clone_from(&prompt.ids);
            choice.prompt_logprobs.clone_from(&prompt.logprobs);
        }
    }
    let mut usage = writer.usage;
    if let Some(details) = usage.prompt_tokens_details.get_or_insert(None) {
        details.multimodal_tokens.get_or_insert(None);
    }
    usage.completion_tokens_details.get_or_insert(None);
    Ok(Completion {
        id: writer.id,
        object: "text_completion".into(),
        created: writer.created,
        model: writer.model,
        choices,
        system_fingerprint: Some(writer.fingerprint),
        usage: Some(usage),
        metrics: writer.metrics.map(|metrics| RequestMetrics { speculative_decoding: Some(None), ..metrics }),
        ..Completion::default()
    })
}

fn add(choice: &mut CompletionChoice, part: CompletionChunkChoice) {
    choice.text.push_str(&part.text);
    if let Some(more) = part.logprobs {
        let logprobs = choice.logprobs.get_or_insert_default();
        logprobs.text_offset.extend(more.text_offset);
        logprobs.token_logprobs.extend(more.token_logprobs);
        logprobs.tokens.extend(more.tokens);
        logprobs.top_logprobs.extend(more.top_logprobs);
    }
    if let Some(more) = part.token_ids {
        choice.token_ids.get_or_insert_default().extend(more);
    }
    if part.finish_reason.is_some() {
        choice.finish_reason = part.finish_reason;
        choice.stop_reason = part.stop_reason;
    }
}

/// Writes the chunks of one answer, in vLLM's order and with its nulls.
struct Writer {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
    continuous_usage: bool,
    per_request_metrics: bool,
    echo: bool,
    /// Choices per prompt.
    n: usize,
    choices: Vec<State>,
    usage: Usage,
    prompts: Vec<PromptEcho>,
    metrics: Option<RequestMetrics>,
}

/// What is kept of a choice between its chunks.
#[derive(Clone, Copy, Default)]
struct State {
    ended: bool,
    begun: bool,
    /// Characters before the next token, as its name counts them.
    offset: u64,
}

impl Writer {
    fn new(validated: &Validated<CompletionRequest>, options: &Options) -> Self {
        let request = &validated.request;
        let wanted = request.stream_options.unwrap_or_default();
        let n = usize::try_from(request.n.unwrap_or(1)).unwrap_or(1);
        let prompts = match &request.prompt {
            Some(Prompt::Texts(texts)) => texts.len(),
            Some(Prompt::TokenLists(lists)) => lists.len(),
            _ => 1,
        };
        Self {
            id: validated.id.clone(),
            created: validated.created,
            model: validated.model.id.clone(),
            fingerprint: options.fingerprint.clone(),
            include_usage: wanted.include_usage.unwrap_or(false) || options.force_usage,
            continuous_usage: wanted.continuous_usage_stats.unwrap_or(false) || options.force_usage,
            per_request_metrics: options.per_request_metrics,
            echo: request.echo.unwrap_or(false),
            n,
            choices: vec![State::default(); n * prompts],
            usage: Usage::default(),
            prompts: vec![PromptEcho::default(); prompts],
            metrics: None,
        }
    }

    fn chunk(&self, choices: Vec<CompletionChunkChoice>) -> CompletionChunk {
        let usage = || Usage { prompt_tokens_details: None, ..self.usage.clone() };
        CompletionChunk {
            id: self.id.clone(),
            object: "text_completion".into(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: self.continuous_usage.then(usage),
            ..CompletionChunk::default()
        }
    }

    /// A chunk's choice with the details of its tokens.
    fn choice(&mut self, index: u32, text: String, tokens: Tokens) -> CompletionChunkChoice {
        let prompt = self.prompts.get(index as usize / self.n.max(1));
        let ids = prompt.and_then(|prompt| prompt.ids.clone());
        let mut state = self.choices.get(index as usize).copied().unwrap_or_default();
        let echoed = self.echo && !state.begun;
        let logprobs = tokens.logprobs.map(|tokens| logprobs(&tokens, &mut state.offset, echoed));
        let prompt_token_ids = ids.filter(|_| !state.begun);
        state.begun = true;
        if let Some(kept) = self.choices.get_mut(index as usize) {
            *kept = state;
        }
        CompletionChunkChoice {
            index,
            text,
            logprobs,
            prompt_token_ids,
            token_ids: tokens.ids,
            ..CompletionChunkChoice::default()
        }
    }
}

/// Log-probabilities in OpenAI's first form. The first token of an echoed prompt has none.
fn logprobs(tokens: &[TokenLogprob], offset: &mut u64, echoed: bool) -> CompletionLogprobs {
    let mut out = CompletionLogprobs::default();
    for (at, token) in tokens.iter().enumerate() {
        let known = at > 0 || !echoed;
        out.text_offset.push(*offset);
        *offset += token.token.chars().count() as u64;
        out.tokens.push(token.token.clone());
        out.token_logprobs.push(known.then_some(token.logprob));
        let top = token.top_logprobs.iter().map(|top| (top.token.clone(), Value::from(top.logprob)));
        out.top_logprobs.push(known.then(|| top.collect::<Map<_, _>>()));
    }
    out
}

impl Chunks for Writer {
    type Chunk = CompletionChunk;

    fn begin(&mut self) -> Vec<CompletionChunk> {
        Vec::new()
    }

    fn piece(&mut self, piece: Piece) -> Vec<CompletionChunk> {
        match piece {
            Piece::Usage(usage) => self.usage = usage,
            Piece::Times(times) => self.metrics = self.per_request_metrics.then(|| request_metrics(times)),
            Piece::Prompt { index, prompt } => {
                if let Some(kept) = self.prompts.get_mut(index as usize) {
                    *kept = prompt;
                }
            }
            Piece::Delta { choice, part: Part::Text(text), tokens } => {
                let choice = self.choice(choice, text, tokens);
                return vec![self.chunk(vec![choice])];
            }
            // no other part comes without a parser
            Piece::Delta { .. } => {}
            Piece::End { choice: index, reason, stop, tokens } => {
                let choice = self.choice(index, String::new(), tokens);
                if let Some(state) = self.choices.get_mut(index as usize) {
                    state.ended = true;
                }
                let choice =
                    CompletionChunkChoice { finish_reason: Some(reason), stop_reason: stop, ..choice };
                let mut chunk = self.chunk(vec![choice]);
                if !self.include_usage {
                    chunk.system_fingerprint = Some(self.fingerprint.clone());
                }
                return vec![chunk];
            }
        }
        Vec::new()
    }

    fn end(&mut self) -> Result<Option<CompletionChunk>, ApiError> {
        if let Some(choice) = self.choices.iter().position(|choice| !choice.ended) {
            return Err(ApiError::internal(format!(
                "the answer broke off: choice {choice} has no finish reason"
            )));
        }
        Ok(self.include_usage.then(|| CompletionChunk {
            usage: Some(self.usage.clone()),
            system_fingerprint: Some(self.fingerprint.clone()),
            metrics: self.metrics.clone(),
            ..self.chunk(Vec::new())
        }))
    }
}
