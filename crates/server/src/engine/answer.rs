//! From what the engine gives to the pieces of an answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chela_engine::block::BLOCK_TOKENS;
use chela_engine::engine::{self, Handle, Output};
use chela_engine::sampler::Logprobs;
use chela_openai::chat::{FinishReason, StopReason};
use chela_openai::usage::{CompletionTokensDetails, PromptTokensDetails, Usage};
use futures_util::Stream;

use super::Rate;
use super::choice::Choice;
use super::model::Model;
use super::prompt::{Prepared, Reading};
use super::tokens::Writer;
use crate::backend::{Piece, PromptEcho, Times};
use crate::error::ApiError;

/// The pieces of one answer: all choices of all prompts.
pub(super) struct Answer {
    model: Arc<Model>,
    rate: Arc<Rate>,
    prompts: Vec<Prompt>,
    queue: VecDeque<Piece>,
    /// What comes after the queue.
    failed: Option<ApiError>,
}

/// One prompt under way.
struct Prompt {
    handle: Handle,
    reading: Reading,
    ids: Vec<u32>,
    echo: Option<PromptEcho>,
    wants_logprobs: bool,
    logprobs: Vec<Option<Logprobs>>,
    cached: usize,
    first_choice: u32,
    choices: Vec<Choice>,
}

impl Answer {
    pub(super) fn new(model: Arc<Model>, rate: Arc<Rate>, started: Vec<(Prepared, Handle)>) -> Self {
        let mut prompts = Vec::with_capacity(started.len());
        let mut first_choice = 0;
        for (Prepared { request, reading, echo }, handle) in started {
            let n = u32::try_from(request.params.n).unwrap_or(1);
            prompts.push(Prompt {
                handle,
                ids: request.prompt,
                echo: Some(echo),
                wants_logprobs: request.params.prompt_logprobs.is_some(),
                logprobs: Vec::new(),
                cached: 0,
                first_choice,
                choices: (0..n).map(|_| Choice::new(&model, &reading)).collect(),
                reading,
            });
            first_choice += n;
        }
        let mut answer = Self { model, rate, prompts, queue: VecDeque::new(), failed: None };
        answer.queue.push_back(Piece::Usage(answer.usage()));
        for index in 0..answer.prompts.len() {
            if !answer.prompts[index].wants_logprobs {
                answer.tell_prompt(index);
            }
        }
        answer
    }

    /// Tells what was asked about a prompt, once.
    fn tell_prompt(&mut self, index: usize) {
        let prompt = &mut self.prompts[index];
        let Some(mut echo) = prompt.echo.take() else { return };
        if prompt.wants_logprobs {
            // one token has no predecessor, so that the engine has nothing to say about it
            let rows = if prompt.logprobs.is_empty() { &[None][..] } else { &prompt.logprobs };
            echo.logprobs = Some(writer(&self.model, &prompt.reading).prompt(rows));
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.queue.push_back(Piece::Prompt { index, prompt: echo });
    }

    fn usage(&self) -> Usage {
        let prompt: usize = self.prompts.iter().map(|prompt| prompt.ids.len()).sum();
        let choices = || self.prompts.iter().flat_map(|prompt| &prompt.choices);
        let mut usage = Usage::new(prompt as u64, choices().map(|choice| choice.tokens).sum());
        if self.model.settings.prompt_tokens_details {
            let cached: usize = self.prompts.iter().map(|prompt| prompt.cached).sum();
            let whole: usize = self.prompts.iter().map(|p| p.ids.len() / BLOCK_TOKENS * BLOCK_TOKENS).sum();
            usage.prompt_tokens_details = Some(Some(PromptTokensDetails {
                cached_tokens: Some(cached as u64),
                created_cache_tokens: Some(whole.saturating_sub(cached) as u64),
                multimodal_tokens: None,
            }));
        }
        let reasoning: u64 = choices().map(|choice| choice.reasoning.tokens).sum();
        let chat = self.prompts.iter().any(|prompt| prompt.reading.parser.is_some());
        if chat && (reasoning > 0 || self.model.settings.reasoning.is_some()) {
            let details = CompletionTokensDetails { reasoning_tokens: Some(reasoning) };
            usage.completion_tokens_details = Some(Some(details));
        }
        usage
    }

    fn take(&mut self, index: usize, output: Output) {
        match output {
            Output::Prompt { cached, .. } => {
                self.prompts[index].cached = cached;
                self.queue.push_back(Piece::Usage(self.usage()));
            }
            Output::PromptLogprobs(logprobs) => {
                self.prompts[index].logprobs = logprobs;
                self.tell_prompt(index);
            }
            Output::Delta(delta) => {
                self.tell_prompt(index);
                self.delta(index, delta);
            }
            Output::Failed(reason) => self.failed = Some(ApiError::internal(reason)),
        }
    }

    fn delta(&mut self, index: usize, delta: engine::Delta) {
        let model = self.model.clone();
        let prompt = &mut self.prompts[index];
        let Some(choice) = prompt.choices.get_mut(delta.index) else { return };
        let writer = writer(&model, &prompt.reading);
        let number = prompt.first_choice + u32::try_from(delta.index).unwrap_or(0);
        let mut grown = choice.echo(&prompt.reading, &prompt.ids, &prompt.logprobs, writer);
        grown.extend(choice.grow(&delta, &prompt.reading, writer));
        let tail = delta.finish.as_ref().map(|(finish, counts)| {
            let (reason, stop) = finish_reason(finish, choice.calls > 0 && !prompt.reading.named);
            let end =
                Piece::End { choice: number, reason, stop, tokens: std::mem::take(&mut choice.pending) };
            [Piece::Times(times(counts)), end]
        });
        self.queue.push_back(Piece::Usage(self.usage()));
        let piece = |(part, tokens)| Piece::Delta { choice: number, part, tokens };
        self.queue.extend(grown.into_iter().map(piece));
        if let Some(tail) = tail {
            self.queue.extend(tail);
            self.rate.finished();
        }
    }
}

fn finish_reason(finish: &engine::FinishReason, calls: bool) -> (FinishReason, Option<StopReason>) {
    let reason = if calls { FinishReason::ToolCalls } else { FinishReason::Stop };
    match finish {
        engine::FinishReason::Length => (FinishReason::Length, None),
        engine::FinishReason::EndToken(id) => (reason, id.map(|id| StopReason::Token(id.into()))),
        engine::FinishReason::StopString(text) => (reason, Some(StopReason::Text(text.clone()))),
    }
}

fn times(counts: &engine::Usage) -> Times {
    Times {
        queued: counts.queued,
        first_token: counts.first_token,
        total: counts.total,
        tokens: counts.completion_tokens as u64,
        prompt: counts.prompt_tokens as u64,
        computed: counts.prompt_tokens.saturating_sub(counts.cached_tokens) as u64,
    }
}

fn writer<'a>(model: &'a Model, reading: &Reading) -> Writer<'a> {
    Writer { tokenizer: model.engine.tokenizer(), as_ids: reading.as_ids, top: reading.top }
}

impl Stream for Answer {
    type Item = Result<Piece, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.queue.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            if let Some(error) = this.failed.take() {
                this.prompts.clear();
                return Poll::Ready(Some(Err(error)));
            }
            let (mut moved, mut open) = (false, false);
            for index in 0..this.prompts.len() {
                match this.prompts[index].handle.poll_recv(context) {
                    Poll::Ready(Some(output)) => {
                        moved = true;
                        this.take(index, output);
                    }
                    Poll::Ready(None) => {}
                    Poll::Pending => open = true,
                }
            }
            match (moved, open) {
                (true, _) => {}
                (false, true) => return Poll::Pending,
                (false, false) => return Poll::Ready(None),
            }
        }
    }
}
