//! From a validated request to one of the engine.

use chela_chat::{Detect, ParserOptions, ReasoningMode, ReasoningStyle, ToolSet};
use chela_engine::engine::{Request, ThinkingBudget};
use chela_engine::sampler::SamplingParams;
use chela_engine::scheduler::Priority;
use chela_openai::chat::{ChatRequest, Content, ToolChoice};
use chela_openai::completions::{CompletionRequest, Prompt};
use serde_json::{Map, Value};

use super::model::{Conversation, Model};
use super::sample::{self, Defaults, size};
use crate::backend::PromptEcho;
use crate::error::ApiError;
use crate::validate::Validated;
use crate::validate::sampled::Sampled;
use crate::validate::structured::{self, Calls, Held, Wanted};

/// Tokens that a plain completion has where nothing is said, as in OpenAI's API.
const COMPLETION_TOKENS: i64 = 16;

/// A request that is ready for the engine, and how its output is to be read.
pub(super) struct Prepared {
    pub(super) request: Request,
    pub(super) reading: Reading,
    pub(super) echo: PromptEcho,
}

/// How the output of a request is read.
#[derive(Clone, Default)]
pub(super) struct Reading {
    /// The parser of calls and reasoning; none in plain completions.
    pub(super) parser: Option<ParserOptions>,
    /// Whether the text is held to a form, which white space around it is no part of.
    pub(super) exact: bool,
    /// Whether a named function must be called, which ends with `stop` as in vLLM.
    pub(super) named: bool,
    /// Whether a call's id counts the calls, as Kimi's do.
    pub(super) counted_ids: bool,
    /// Whether token ids are told.
    pub(super) return_ids: bool,
    /// Whether tokens are named by their ids.
    pub(super) as_ids: bool,
    /// Alternatives in a list of log-probabilities, if they are told.
    pub(super) top: Option<usize>,
    /// Text before the answer, with `echo`.
    pub(super) before: String,
    /// Ids and log-probabilities of the echoed prompt are told as if they were generated.
    pub(super) echo_tokens: bool,
}

impl Model {
    /// Makes a chat request ready.
    ///
    /// # Errors
    /// 400 for what cannot be rendered, fitted or enforced.
    pub(super) fn prepare_chat(&self, validated: &Validated) -> Result<Prepared, ApiError> {
        let chat = &validated.request;
        let sampled = Sampled::from(chat);
        let (kwargs, thinking) = self.kwargs(chat);
        let text = self.render(Conversation {
            messages: &chat.messages,
            tools: chat.tools.as_deref(),
            kwargs,
            documents: chat.extra.get("documents").and_then(Value::as_array).map(Vec::as_slice),
            add_generation_prompt: chat.add_generation_prompt.unwrap_or(true),
            continue_final_message: chat.continue_final_message.unwrap_or(false),
        })?;
        let ids = self.ids(&text, &sampled, false)?;
        let reasoning = self.reasoning(&text, thinking);
        let (calls, choice) = self.calls(chat);
        let structured = is_structured(chat);
        let Held { grammar, calls: guarded } = structured::hold(&Wanted {
            response_format: chat.response_format.as_ref(),
            structured: chat.structured_outputs.as_ref(),
            extra: &chat.extra,
            calls: calls.map(|choice| Calls {
                tools: chat.tools.as_deref().unwrap_or_default(),
                choice,
                parallel: chat.parallel_tool_calls.unwrap_or(true),
                dialect: self.dialect.unwrap_or(chela_chat::Dialect::Json),
            }),
            reasoning: match structured && calls.is_none() {
                true => self.free_before(reasoning),
                false => reasoning,
            },
            specials: &self.specials,
            check: &|grammar| self.engine.check_grammar(grammar),
        })?;
        let mut request = self.request(ids, &sampled, grammar, &validated.client)?;
        let params = &mut request.params;
        let top = chat.top_logprobs.unwrap_or(0);
        params.logprobs = (chat.logprobs == Some(true)).then(|| u32::try_from(top).unwrap_or(u32::MAX));
        if self.special_markers {
            params.skip_special_tokens = false;
        }
        request.stop_at_ends = guarded;
        request.thinking = self.budget(chat, reasoning)?;
        let echo = PromptEcho {
            ids: sampled.return_token_ids.unwrap_or(false).then(|| request.prompt.clone()),
            text: chat.return_prompt_text.unwrap_or(false).then_some(text),
            logprobs: None,
        };
        let reading = Reading {
            parser: Some(self.parser(chat, guarded, calls, reasoning)),
            exact: structured,
            named: matches!(choice, Some(ToolChoice::Function(_))),
            counted_ids: self.dialect == Some(chela_chat::Dialect::KimiK2),
            return_ids: sampled.return_token_ids.unwrap_or(false),
            as_ids: sampled.return_tokens_as_token_ids.unwrap_or(false),
            top: (top >= 0).then(|| size(top)),
            before: if sampled.echo == Some(true) { last_text(chat) } else { String::new() },
            echo_tokens: false,
        };
        Ok(Prepared { request, reading, echo })
    }

    /// Makes each prompt of a plain completion ready.
    ///
    /// # Errors
    /// 400 for what cannot be tokenized, fitted or enforced.
    pub(super) fn prepare_completion(
        &self,
        validated: &Validated<CompletionRequest>,
    ) -> Result<Vec<Prepared>, ApiError> {
        let asked = &validated.request;
        let mut sampled = Sampled::from(asked);
        let max_tokens = sampled.max_tokens.or_else(|| {
            let own = self.settings.generation.get("max_tokens").and_then(Value::as_i64);
            Some(own.unwrap_or(COMPLETION_TOKENS))
        });
        sampled.max_tokens = max_tokens;
        let echo = sampled.echo.unwrap_or(false);
        if echo && let Some(count) = asked.logprobs {
            sampled.prompt_logprobs = sampled.prompt_logprobs.max(Some(count));
        }
        let held = structured::hold(&Wanted {
            response_format: asked.response_format.as_ref(),
            structured: asked.structured_outputs.as_ref(),
            extra: &asked.extra,
            calls: None,
            reasoning: ReasoningMode::Off,
            specials: &self.specials,
            check: &|grammar| self.engine.check_grammar(grammar),
        })?;
        let prepare = |prompt: Either| {
            let (ids, text) = match prompt {
                Either::Text(text) => (self.ids(text, &sampled, true)?, Some(text.to_owned())),
                Either::Ids(ids) => (self.truncate(self.known(ids)?, &sampled)?, None),
            };
            self.check_length(ids.len())?;
            let mut request = self.request(ids, &sampled, held.grammar.clone(), &validated.client)?;
            request.params.logprobs = asked.logprobs.map(|top| u32::try_from(top).unwrap_or(u32::MAX));
            let before = match (echo, text) {
                (false, _) => String::new(),
                (true, Some(text)) => text,
                (true, None) => self.engine.tokenizer().decode(&request.prompt, true),
            };
            let return_ids = sampled.return_token_ids.unwrap_or(false);
            Ok(Prepared {
                echo: PromptEcho { ids: return_ids.then(|| request.prompt.clone()), ..PromptEcho::default() },
                reading: Reading {
                    return_ids,
                    as_ids: sampled.return_tokens_as_token_ids.unwrap_or(false),
                    // the token itself and so many others
                    top: asked.logprobs.filter(|top| *top >= 0).map(|top| size(top) + 1),
                    before,
                    echo_tokens: echo,
                    ..Reading::default()
                },
                request,
            })
        };
        match &asked.prompt {
            None => Ok(Vec::new()),
            Some(Prompt::Text(text)) => Ok(vec![prepare(Either::Text(text))?]),
            Some(Prompt::Tokens(ids)) => Ok(vec![prepare(Either::Ids(ids))?]),
            Some(Prompt::Texts(texts)) => texts.iter().map(|text| prepare(Either::Text(text))).collect(),
            Some(Prompt::TokenLists(lists)) => lists.iter().map(|ids| prepare(Either::Ids(ids))).collect(),
        }
    }

    /// The template's variables, and what the request says about thinking.
    pub(super) fn kwargs(&self, chat: &ChatRequest) -> (Map<String, Value>, Option<bool>) {
        let mut kwargs = self.settings.template_kwargs.clone();
        if let Some(effort) = &chat.reasoning_effort {
            kwargs.insert("reasoning_effort".into(), effort.as_str().into());
            for name in ["enable_thinking"].into_iter().chain(self.thinking_kwarg()) {
                kwargs.insert(name.into(), (effort != "none").into());
            }
        }
        kwargs.extend(chat.chat_template_kwargs.clone().unwrap_or_default());
        let names = ["enable_thinking", "thinking"];
        let thinking = names.iter().find_map(|name| kwargs.get(*name)?.as_bool());
        (kwargs, thinking)
    }

    /// What may stand before an answer that is held to a form. As in vLLM, a model that nobody expects
    /// to reason is held to it from its first token on.
    fn free_before(&self, reasoning: ReasoningMode) -> ReasoningMode {
        match reasoning {
            ReasoningMode::Style { opened: false, style } if style != ReasoningStyle::Harmony => {
                if self.settings.reasoning.is_some() { reasoning } else { ReasoningMode::Off }
            }
            ReasoningMode::Any => ReasoningMode::Off,
            other => other,
        }
    }

    /// The choice under which calls may be made, and the choice that was asked for.
    fn calls<'a>(&self, chat: &'a ChatRequest) -> (Option<&'a ToolChoice>, Option<&'a ToolChoice>) {
        let choice = chat.tool_choice.as_ref();
        let offered = chat.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let effective = choice.unwrap_or(&ToolChoice::Auto);
        let may = offered && *effective != ToolChoice::None;
        (may.then_some(effective), choice)
    }

    fn parser(
        &self,
        chat: &ChatRequest,
        guarded: bool,
        calls: Option<&ToolChoice>,
        reasoning: ReasoningMode,
    ) -> ParserOptions {
        let tools = calls.map(|_| ToolSet::from(chat.tools.as_deref().unwrap_or_default()));
        ParserOptions {
            tools: tools.unwrap_or_default(),
            detect: self.dialect.map_or(Detect::Auto, |dialect| Detect::Only(vec![dialect])),
            reasoning,
            guarded,
        }
    }

    /// The hard limit of reasoning that was asked for.
    ///
    /// # Errors
    /// 400: there is no way to end this model's reasoning.
    fn budget(
        &self,
        chat: &ChatRequest,
        reasoning: ReasoningMode,
    ) -> Result<Option<ThinkingBudget>, ApiError> {
        let Some(tokens) = chat.thinking_token_budget.filter(|tokens| *tokens != -1) else { return Ok(None) };
        let field = Some("thinking_token_budget");
        let Ok(tokens) = usize::try_from(tokens) else {
            let message = format!("thinking_token_budget must be non-negative or -1, got {tokens}.");
            return Err(ApiError::bad_request(field, message));
        };
        // A model that does not reason is within every budget.
        let Some(style) = self.style else { return Ok(None) };
        let (start, end) = match (style.markers(), style) {
            (Some(markers), _) => (markers.open, markers.close),
            (None, _) => ("<|channel|>analysis<|message|>", "<|end|>"),
        };
        let open = match reasoning {
            ReasoningMode::Off => return Ok(None),
            ReasoningMode::Style { opened, .. } => opened,
            ReasoningMode::Any => false,
            // Everything counts as reasoning from the first token on.
            ReasoningMode::VllmQwen3 | ReasoningMode::VllmDeepseekR1 => true,
        };
        let encode = |text: &str| self.encode(text, false, false);
        Ok(Some(ThinkingBudget { tokens, start: encode(start)?, end: encode(end)?, open }))
    }

    /// The ids of a prompt's text, cut as asked and short enough.
    fn ids(&self, text: &str, sampled: &Sampled, add_special: bool) -> Result<Vec<u32>, ApiError> {
        let add_special = sampled.add_special_tokens.unwrap_or(add_special);
        let whole = sampled.truncate_prompt_tokens.is_none();
        let ids = self.truncate(self.encode(text, add_special, whole)?, sampled)?;
        self.check_length(ids.len())?;
        Ok(ids)
    }

    /// The last tokens of a prompt, if so many are asked for.
    fn truncate(&self, mut ids: Vec<u32>, sampled: &Sampled) -> Result<Vec<u32>, ApiError> {
        let Some(keep) = sampled.truncate_prompt_tokens else { return Ok(ids) };
        let keep = match usize::try_from(keep) {
            Ok(keep) if keep > self.window() => {
                let message = format!(
                    "truncate_prompt_tokens={keep} cannot be greater than max_model_len={}.",
                    self.window()
                );
                return Err(ApiError::bad_request(Some("truncate_prompt_tokens"), message));
            }
            Ok(keep) => keep,
            Err(_) => self.window().saturating_sub(size(sampled.max_tokens.unwrap_or(1)).max(1)),
        };
        ids.drain(..ids.len().saturating_sub(keep));
        Ok(ids)
    }

    /// Ids that the request gives itself.
    fn known(&self, ids: &[i64]) -> Result<Vec<u32>, ApiError> {
        let vocab = self.engine.info().spec.vocab;
        let known = |id: &i64| {
            let inside = u32::try_from(*id).ok().filter(|id| (*id as usize) < vocab);
            inside.ok_or_else(|| ApiError::bad_request(None, format!("Token id {id} is out of vocabulary")))
        };
        ids.iter().map(known).collect()
    }

    fn request(
        &self,
        prompt: Vec<u32>,
        sampled: &Sampled,
        grammar: Option<chela_engine::grammar::Grammar>,
        client: &str,
    ) -> Result<Request, ApiError> {
        let info = self.engine.info();
        let defaults = Defaults { model: &self.defaults(), server: &self.settings.generation };
        let mut params: SamplingParams = sample::params(sampled, &defaults, info.spec.vocab)?;
        if params.max_tokens.is_none() {
            params.max_tokens = defaults.max_tokens().and_then(|most| usize::try_from(most).ok());
        }
        if let Some(most) = params.max_tokens.as_mut() {
            *most = (*most).min(self.window() - prompt.len());
            params.min_tokens = params.min_tokens.min(*most);
        }
        Ok(Request {
            client: client.to_owned(),
            priority: match sampled.priority.unwrap_or(0) {
                ..=0 => Priority::Interactive,
                _ => Priority::Background,
            },
            cache_salt: sampled.cache_salt.clone(),
            grammar,
            ..Request::new(prompt, params)
        })
    }
}

#[derive(Clone, Copy)]
enum Either<'a> {
    Text(&'a str),
    Ids(&'a [i64]),
}

/// Whether the text of the answer is held to a form.
fn is_structured(chat: &ChatRequest) -> bool {
    let format = chat.response_format.as_ref();
    chat.structured_outputs.is_some() || format.is_some_and(|format| format.kind != "text")
}

/// The text of the last message, if it is the assistant's, for `echo`.
fn last_text(chat: &ChatRequest) -> String {
    let last = chat.messages.last().filter(|message| message.role == "assistant");
    last.and_then(|message| message.content.as_ref()).map(Content::text).unwrap_or_default().into_owned()
}

/// The markers of a style as they stand in text.
pub(super) fn marks(style: Option<ReasoningStyle>) -> (&'static str, &'static str) {
    style.and_then(ReasoningStyle::markers).map_or(("", ""), |markers| (markers.open, markers.close))
}
