//! A loaded model with what is known of how it talks.

use std::sync::OnceLock;

use chela_chat::family::{self, Family, Hints};
use chela_chat::grammar::Specials;
use chela_chat::template::{ChatTemplate, Input, TemplateError, TemplateFacts, normalise};
use chela_chat::{Dialect, ReasoningMode, ReasoningStyle, ToolSet, render};
use chela_engine::engine::{Engine, EngineOptions};
use chela_engine::formats::{GenerationDefaults, Source};
use chela_engine::model::{LoadError, Progress};
use chela_openai::chat::{Message, Tool};
use chela_openai::models::{ModelCard, ModelPermission};
use serde_json::{Map, Value};

use super::settings::ServeSettings;
use crate::error::ApiError;
use crate::router::now;
use crate::validate::rules::too_few;
use crate::validate::{context_overflow, random_id};

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine cannot load it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// A loaded model.
pub(super) struct Model {
    pub(super) engine: Engine,
    pub(super) settings: ServeSettings,
    pub(super) dialect: Option<Dialect>,
    /// How it marks reasoning, if it reasons.
    pub(super) style: Option<ReasoningStyle>,
    /// Whether markers of calls or reasoning are special tokens, which must then stay in the text.
    pub(super) special_markers: bool,
    /// The special tokens of the vocabulary.
    pub(super) specials: Specials,
    template: Option<Template>,
    family: Option<&'static Family>,
    created: u64,
    longest_token: OnceLock<usize>,
}

struct Template {
    plain: ChatTemplate,
    /// The one for requests with tools, where the model has two.
    tools: Option<ChatTemplate>,
    facts: TemplateFacts,
}

/// A conversation to render.
pub(super) struct Conversation<'a> {
    pub(super) messages: &'a [Message],
    pub(super) tools: Option<&'a [Tool]>,
    pub(super) kwargs: Map<String, Value>,
    pub(super) documents: Option<&'a [Value]>,
    pub(super) add_generation_prompt: bool,
    pub(super) continue_final_message: bool,
}

impl Model {
    pub(super) fn load(
        source: Source,
        options: &EngineOptions,
        settings: ServeSettings,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ServeError> {
        let path = source.path().to_owned();
        let engine = Engine::load_source(source, options, progress)?;
        let template = Template::of(&engine, &settings)?;
        let family = family::find(Hints {
            model: path.file_stem().and_then(|name| name.to_str()),
            architecture: Some(&engine.info().spec.arch),
            template: template.as_ref().map(|template| template.plain.source()),
        });
        let facts = template.as_ref().map(|template| &template.facts);
        let dialect = settings
            .dialect
            .or_else(|| facts.and_then(|facts| facts.dialect))
            .or_else(|| family.map(|family| family.dialect));
        let style = match settings.reasoning {
            Some(rule) => Some(rule.style()),
            None => {
                facts.and_then(|facts| facts.reasoning).or_else(|| family.and_then(|family| family.reasoning))
            }
        };
        let specials = Specials::new(engine.tokenizer().special_tokens());
        let mut model = Self {
            engine,
            dialect,
            style,
            special_markers: false,
            specials,
            template,
            family,
            created: now(),
            longest_token: OnceLock::new(),
            settings,
        };
        model.special_markers = model.has_special_markers();
        Ok(model)
    }

    /// The row of `/v1/models` under each of its names.
    pub(super) fn cards(&self) -> Vec<ModelCard> {
        let window = self.window() as u64;
        let names = self.settings.names.iter();
        names.map(|name| card(name, &self.settings.root, Some(window), self.created)).collect()
    }

    /// The window in tokens.
    pub(super) fn window(&self) -> usize {
        self.engine.info().sizing.window
    }

    /// What the model's files recommend for sampling, where that is wanted.
    pub(super) fn defaults(&self) -> GenerationDefaults {
        match self.settings.plain_generation {
            true => GenerationDefaults::default(),
            false => self.engine.info().defaults.clone(),
        }
    }

    /// The family that it belongs to.
    pub(super) fn family(&self) -> Option<&'static Family> {
        self.family
    }

    /// Whether it can chat.
    pub(super) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The variable of the template that switches thinking, if there is one.
    pub(super) fn thinking_kwarg(&self) -> Option<&'static str> {
        self.template.as_ref()?.facts.thinking_kwarg
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// 400: there is no template, or it refuses the conversation.
    pub(super) fn render(&self, conversation: Conversation<'_>) -> Result<String, ApiError> {
        let Some(template) = &self.template else {
            return Err(ApiError::bad_request(
                None,
                "this model has no chat template; start the server with --chat-template FILE, or send \
                 plain completions",
            ));
        };
        let Conversation { messages, mut tools, .. } = conversation;
        if let Some(part) = messages.iter().find_map(foreign_part) {
            let name = self.settings.names.first().map_or("this", String::as_str);
            let message = format!("{name} is not a multimodal model");
            tracing::debug!(part, "a part of a message is not text");
            return Err(ApiError::bad_request(None, message));
        }
        let own;
        let mut messages = messages;
        if let Some(offered) = tools.filter(|_| !template.facts.tools) {
            let dialect = self.dialect.unwrap_or(Dialect::Json);
            own = render::without_tools(messages, dialect, &ToolSet::from(offered));
            (messages, tools) = (&own, None);
        }
        let messages: Vec<Value> = messages.iter().map(json).collect();
        let tools: Option<Vec<Value>> = tools.map(|tools| tools.iter().map(json).collect());
        let compiled = match (&template.tools, &tools) {
            (Some(with_tools), Some(_)) => with_tools,
            _ => &template.plain,
        };
        let text = compiled.render(&Input {
            messages: &normalise(&messages, &template.facts),
            tools: tools.as_deref(),
            documents: conversation.documents,
            add_generation_prompt: conversation.add_generation_prompt,
            continue_final_message: conversation.continue_final_message,
            kwargs: Some(&conversation.kwargs),
            now: Some(jiff::Zoned::now().datetime()),
        });
        text.map_err(|error| ApiError::bad_request(None, error.to_string()))
    }

    /// What of an answer is reasoning. `prompt` is the rendered conversation, `thinking` what the
    /// request says.
    pub(super) fn reasoning(&self, prompt: &str, thinking: Option<bool>) -> ReasoningMode {
        let markers = self.style.and_then(ReasoningStyle::markers);
        let opened = markers.is_some_and(|markers| prompt.trim_end().ends_with(markers.open.trim_end()));
        match (self.settings.reasoning, self.style) {
            (Some(rule), _) => rule.mode(thinking, opened),
            (None, Some(style)) => ReasoningMode::Style { style, opened },
            (None, None) => ReasoningMode::Any,
        }
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// 400: it cannot be tokenized, or is too long to fit whatever its tokens are.
    pub(super) fn encode(&self, text: &str, add_special: bool, limit: bool) -> Result<Vec<u32>, ApiError> {
        let window = self.window();
        // Bytes bound characters from above; the exact count is taken only where it can matter.
        if limit && text.len() > window * 4 {
            let most = window * self.longest_token();
            let chars = text.chars().count();
            if chars > most {
                return Err(ApiError::bad_request(
                    Some("input_text"),
                    format!(
                        "This model's maximum context length is {window} tokens. However, your prompt \
                         contains {chars} characters (more than {most} characters, which is the upper \
                         bound for {window} input tokens). Please reduce the length of the input prompt. \
                         (parameter=input_text, value={chars})"
                    ),
                ));
            }
        }
        let ids = self.engine.tokenizer().encode(text, add_special, true);
        ids.map_err(|error| ApiError::bad_request(None, error.to_string()))
    }

    /// Checks that a prompt leaves room for a token.
    ///
    /// # Errors
    /// 400 with the numbers.
    pub(super) fn check_length(&self, tokens: usize) -> Result<(), ApiError> {
        let window = self.window();
        match tokens {
            tokens if tokens > window => Err(context_overflow(window as u64, tokens as u64)),
            tokens if tokens == window => Err(too_few(0)),
            _ => Ok(()),
        }
    }

    /// Characters of the longest token.
    fn longest_token(&self) -> usize {
        *self.longest_token.get_or_init(|| {
            let tokenizer = self.engine.tokenizer();
            let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
            let length = |id| tokenizer.token_to_piece(id).map_or(0, |piece| piece.chars().count());
            ids.map(length).max().unwrap_or(1).max(1)
        })
    }

    fn has_special_markers(&self) -> bool {
        let tokenizer = self.engine.tokenizer();
        let special = |text: &str| {
            let id = tokenizer.added_token_to_id(text.trim());
            id.is_some_and(|id| tokenizer.is_special(id))
        };
        let style = self.style.map(|style| match style.markers() {
            Some(markers) => special(markers.open) || special(markers.close),
            None => special("<|channel|>"),
        });
        let dialect = self.dialect.map(|dialect| {
            let forms = dialect.table().forms.iter();
            forms.flat_map(chela_chat::dialect::Form::markers).any(special)
        });
        style.unwrap_or(false) || dialect.unwrap_or(false)
    }
}

impl Template {
    fn of(engine: &Engine, settings: &ServeSettings) -> Result<Option<Self>, ServeError> {
        let specials = engine.info().specials.named(engine.tokenizer());
        let named = |name: &str| engine.info().templates.iter().find(|one| one.name == name);
        let templates = &engine.info().templates;
        let only = templates.first().filter(|_| templates.len() == 1);
        let text =
            settings.chat_template.as_deref().or_else(|| Some(named("default").or(only)?.text.as_str()));
        let Some(text) = text else { return Ok(None) };
        let tools = match (&settings.chat_template, named("tool_use")) {
            (None, Some(template)) => Some(ChatTemplate::new(&template.text, specials.clone())?),
            _ => None,
        };
        let plain = ChatTemplate::new(text, specials)?;
        let facts = TemplateFacts::of(tools.as_ref().unwrap_or(&plain));
        Ok(Some(Self { plain, tools, facts }))
    }
}

/// A row of `/v1/models`.
pub(super) fn card(name: &str, root: &str, window: Option<u64>, created: u64) -> ModelCard {
    ModelCard {
        created,
        owned_by: "chela".into(),
        root: Some(root.to_owned()),
        max_model_len: window,
        permission: vec![ModelPermission::new(format!("modelperm-{}", random_id()), created)],
        ..ModelCard::new(name)
    }
}

/// The kind of a part that is not text, if a message has one.
fn foreign_part(message: &Message) -> Option<String> {
    use chela_openai::chat::{Content, ContentPart};
    let Some(Content::Parts(parts)) = &message.content else { return None };
    parts.iter().find(|part| part.text().is_none()).map(|part| match part {
        ContentPart::Other(map) => map.get("type").and_then(Value::as_str).unwrap_or("unknown").to_owned(),
        _ => "image_url".to_owned(),
    })
}

/// The wire types always serialise.
fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
