//! `chela generate`: complete a prompt with a model in this process.

use std::future::poll_fn;
use std::io::Read;
use std::time::Instant;

use chela_chat::template::{ChatTemplate, Input};
use chela_engine::engine::{Engine, EngineOptions, FinishReason, Handle, ModelInfo, Output, Request, Usage};
use chela_engine::grammar::Grammar;
use chela_engine::model::PanelStatus;
use chela_engine::sampler::{Candidate, Logprobs, SamplingParams};
use chela_engine::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::args;
use crate::commands::agent::Interrupts;
use crate::context::{Context, runtime};
use crate::env::Stdin;
use crate::exit::{Code, Failure, Outcome};
use crate::local::{self, Bar};
use crate::output::{self, say, tokens};

/// Runs the command.
pub fn run(args: args::Generate, context: &Context) -> Outcome {
    let text = prompt(&args, context.surroundings.stdin)?;
    let grammar = grammar(&args.structure)?;
    let options = EngineOptions {
        threads: args.threads,
        panel_cache: if args.no_panel_cache { None } else { Some(local::panel_cache(context)) },
        ..local::options(&args.local, context)?
    };
    let local = args.local.clone();
    let runtime = runtime()?;
    let load = move || {
        let (bar, began) = (Bar::new(), Instant::now());
        let engine = Engine::load(&local.model, &options, &mut |at| bar.loading(at));
        bar.clear();
        let engine = engine.map_err(|error| local::refused(&local, error))?;
        say(headline(&local.model.display().to_string(), engine.info(), began));
        Ok((engine, bar))
    };
    let loaded = runtime.block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let loaded = local::until(&mut interrupts, load).await?;
        Ok::<_, Failure>((interrupts, loaded))
    });
    let (mut interrupts, (engine, bar)) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error);
        }
    };
    // The process ends with this command; to wait for the engine's step would hold up Ctrl-C.
    let engine: &'static Engine = Box::leak(Box::new(engine));
    let (text, ids) = encode(&args, engine, text, context)?;
    let params = params(&args.sampling, engine.info());
    let request = Request { grammar, ..Request::new(ids, params) };
    let handle = engine.submit(request).map_err(Failure::usage)?;
    let terminal = context.surroundings.stdout_is_terminal;
    let mut reader = Reader::new(&args, engine, text, bar, terminal);
    let read = runtime.block_on(async {
        tokio::select! {
            read = reader.read(handle) => read,
            () = interrupts.next() => Err(Failure::new(Code::Interrupted, "interrupted")),
        }
    });
    reader.bar.clear();
    reader.end_line()?;
    read?;
    reader.report()
}

/// What to complete.
fn prompt(args: &args::Generate, stdin: Stdin) -> Result<String, Failure> {
    let text = match (&args.prompt, stdin) {
        (Some(text), _) => text.clone(),
        (None, Stdin::Data) => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            String::from_utf8(bytes).map_err(|e| {
                let at = e.utf8_error().valid_up_to();
                Failure::usage(format!("standard input is not UTF-8 text: byte {at} begins no character"))
            })?
        }
        (None, _) => return Err(Failure::usage("no prompt: give one with -p, or on standard input")),
    };
    if text.is_empty() {
        return Err(Failure::usage("the prompt is empty"));
    }
    Ok(text)
}

fn grammar(args: &args::Structure) -> Result<Option<Grammar>, Failure> {
    let content = |text: &String| match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|e| Failure::usage(format!("{path}: {e}"))),
        None => Ok(text.clone()),
    };
    Ok(if let Some(schema) = &args.json_schema {
        let schema = serde_json::from_str(&content(schema)?);
        Some(Grammar::JsonSchema(schema.map_err(|e| Failure::usage(format!("--json-schema: {e}")))?))
    } else if let Some(regex) = &args.regex {
        Some(Grammar::Regex(regex.clone()))
    } else if let Some(lark) = &args.grammar {
        Some(Grammar::Lark(content(lark)?))
    } else if !args.choice.is_empty() {
        Some(Grammar::choice(&args.choice))
    } else {
        None
    })
}

/// `model: window 4,096 tokens (the model's own limit), W8 weights, 2 threads, avx512bf16, 0.4 s`.
fn headline(model: &str, info: &ModelInfo, began: Instant) -> String {
    let formats: Vec<String> = info.formats.iter().map(|(format, _)| format!("{format:?}")).collect();
    let panels = match &info.panels {
        PanelStatus::Off | PanelStatus::Stored => String::new(),
        PanelStatus::Mapped => " mapped from the cache".to_owned(),
        PanelStatus::NotStored(why) => format!(" not kept on disk: {why}"),
    };
    format!(
        "{model}: window {} tokens ({}), {} weights{panels}, {}, {}, loaded in {:.1} s",
        tokens(info.sizing.window as u64),
        info.sizing.reason,
        formats.join("+"),
        output::count(info.threads, "thread"),
        info.isa,
        began.elapsed().as_secs_f64()
    )
}

/// The text that the model reads, and its tokens.
fn encode(
    args: &args::Generate,
    engine: &Engine,
    text: String,
    context: &Context,
) -> Result<(String, Vec<u32>), Failure> {
    let text = if args.chat { render(args, engine, &text)? } else { text };
    // A template writes the beginning of the sequence itself.
    let ids = engine.tokenizer().encode(&text, !args.chat, true);
    if context.verbose > 0 && args.chat {
        say(&text);
    }
    Ok((text, ids.map_err(|e| Failure::new(Code::Failed, e))?))
}

fn render(args: &args::Generate, engine: &Engine, text: &str) -> Result<String, Failure> {
    let info = engine.info();
    let no_template = || {
        Failure::new(Code::NoModel, "the model has no chat template").hint("complete plainly, without --chat")
    };
    let default = info.templates.iter().find(|t| t.name == "default").or(info.templates.first());
    let source = &default.ok_or_else(no_template)?.text;
    let specials = info.specials.named(engine.tokenizer());
    let mut messages = Vec::new();
    messages.extend(args.system.as_ref().map(|text| json!({"role": "system", "content": text})));
    messages.push(json!({"role": "user", "content": text}));
    let kwargs = args.enable_thinking.map(|on| Map::from_iter([("enable_thinking".to_owned(), on.into())]));
    let input = Input {
        messages: &messages,
        add_generation_prompt: true,
        kwargs: kwargs.as_ref(),
        now: Some(jiff::Zoned::now().datetime()),
        ..Input::default()
    };
    let template = ChatTemplate::new(source, specials).map_err(|e| Failure::new(Code::NoModel, e))?;
    template.render(&input).map_err(|e| Failure::new(Code::Failed, e))
}

fn params(args: &args::Sampling, info: &ModelInfo) -> SamplingParams {
    let base = SamplingParams::recommended(&info.defaults);
    SamplingParams {
        n: args.n,
        max_tokens: args.max_tokens.or(base.max_tokens),
        min_tokens: args.min_tokens.unwrap_or(base.min_tokens),
        temperature: args.temperature.unwrap_or(base.temperature),
        top_p: args.top_p.unwrap_or(base.top_p),
        top_k: args.top_k.unwrap_or(base.top_k),
        min_p: args.min_p.unwrap_or(base.min_p),
        repetition_penalty: args.repetition_penalty.unwrap_or(base.repetition_penalty),
        presence_penalty: args.presence_penalty.unwrap_or(base.presence_penalty),
        frequency_penalty: args.frequency_penalty.unwrap_or(base.frequency_penalty),
        logit_bias: args.logit_bias.clone(),
        seed: args.seed,
        logprobs: args.logprobs,
        prompt_logprobs: args.prompt_logprobs,
        stop: args.stop.clone(),
        stop_token_ids: args.stop_token_id.clone(),
        include_stop: args.include_stop,
        ignore_eos: args.ignore_eos,
        bad_words: args.bad_word.clone(),
        allowed_token_ids: args.allowed_token_ids.clone(),
        skip_special_tokens: !args.show_special_tokens,
    }
}

/// One answer.
#[derive(Default)]
struct Choice {
    text: String,
    tokens: Vec<u32>,
    logprobs: Vec<Logprobs>,
    finish: Option<(FinishReason, Usage)>,
}

/// Shows answers as they come.
struct Reader {
    engine: &'static Engine,
    model: String,
    prompt: String,
    choices: Vec<Choice>,
    prompt_logprobs: Vec<Option<Logprobs>>,
    /// A single answer that is not to be JSON is shown as it comes.
    live: bool,
    json: bool,
    echo: bool,
    terminal: bool,
    line_begun: bool,
    bar: Bar,
}

impl Reader {
    fn new(args: &args::Generate, engine: &'static Engine, prompt: String, bar: Bar, terminal: bool) -> Self {
        Self {
            engine,
            model: args.local.model.display().to_string(),
            prompt,
            choices: (0..args.sampling.n).map(|_| Choice::default()).collect(),
            prompt_logprobs: Vec::new(),
            live: args.sampling.n == 1 && !args.json,
            json: args.json,
            echo: args.sampling.echo,
            terminal,
            line_begun: false,
            bar,
        }
    }

    async fn read(&mut self, mut handle: Handle) -> Outcome {
        if self.live && self.echo {
            let prompt = self.prompt.clone();
            self.write(&prompt)?;
        }
        while let Some(output) = poll_fn(|cx| handle.poll_recv(cx)).await {
            match output {
                Output::Prompt { done, total, .. } if done < total => self.bar.reading(done, total),
                Output::Prompt { .. } => {}
                Output::PromptLogprobs(all) => self.prompt_logprobs = all,
                Output::Failed(reason) => return Err(Failure::new(Code::Failed, reason)),
                Output::Delta(delta) => {
                    self.bar.clear();
                    if self.live {
                        self.write(&delta.text)?;
                    }
                    let choice = &mut self.choices[delta.index];
                    choice.text.push_str(&delta.text);
                    choice.tokens.extend(delta.tokens);
                    choice.logprobs.extend(delta.logprobs);
                    choice.finish = delta.finish.or(choice.finish.take());
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Outcome {
        if let Some(last) = text.chars().next_back() {
            self.line_begun = last != '\n';
        }
        if self.terminal { output::answer(&output::printable(text)) } else { output::answer(text) }
    }

    /// What comes next begins in a new line.
    fn end_line(&mut self) -> Outcome {
        if std::mem::take(&mut self.line_begun) { output::answer("\n") } else { Ok(()) }
    }

    /// What is known when all answers are complete.
    fn report(&mut self) -> Outcome {
        if self.json {
            return output::json(&self.as_json());
        }
        if !self.live {
            for i in 0..self.choices.len() {
                say(format_args!("--- answer {} of {}", i + 1, self.choices.len()));
                let prompt = if self.echo { self.prompt.as_str() } else { "" };
                let text = format!("{prompt}{}", self.choices[i].text);
                self.write(&text)?;
                self.end_line()?;
            }
        }
        let tokenizer = self.engine.tokenizer();
        for logprobs in self.prompt_logprobs.iter().flatten() {
            say(format_args!("prompt {}", line(tokenizer, logprobs)));
        }
        for logprobs in self.choices.iter().flat_map(|c| &c.logprobs) {
            say(line(tokenizer, logprobs));
        }
        for (reason, usage) in self.choices.iter().filter_map(|c| c.finish.as_ref()) {
            say(summary(reason, usage));
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        let tokenizer = self.engine.tokenizer();
        let info = self.engine.info();
        let choices = self.choices.iter().enumerate().map(|(index, choice)| {
            let (finish, stop) = match choice.finish.as_ref().map(|(reason, _)| reason) {
                Some(FinishReason::EndToken(id)) => (Some("stop"), json!(id)),
                Some(FinishReason::StopString(text)) => (Some("stop"), json!(text)),
                Some(FinishReason::Length) => (Some("length"), Value::Null),
                None => (None, Value::Null),
            };
            let text =
                if self.echo { format!("{}{}", self.prompt, choice.text) } else { choice.text.clone() };
            let mut value = json!({
                "index": index, "text": text, "token_ids": choice.tokens,
                "finish_reason": finish, "stop_reason": stop,
            });
            if !choice.logprobs.is_empty() {
                value["logprobs"] = choice.logprobs.iter().map(|l| logprobs_json(tokenizer, l)).collect();
            }
            value
        });
        let usages: Vec<&Usage> = self.choices.iter().filter_map(|c| Some(&c.finish.as_ref()?.1)).collect();
        let seconds = |time: fn(&Usage) -> f64| usages.iter().map(|u| time(u)).fold(0.0, f64::max);
        let mut value = json!({
            "model": self.model,
            "prompt": self.prompt,
            "choices": choices.collect::<Vec<_>>(),
            "usage": {
                "prompt_tokens": usages.first().map(|u| u.prompt_tokens),
                "cached_tokens": usages.first().map(|u| u.cached_tokens),
                "completion_tokens": usages.iter().map(|u| u.completion_tokens).sum::<usize>(),
            },
            "timing": {
                "first_token_seconds": seconds(|u| u.first_token.as_secs_f64()),
                "total_seconds": seconds(|u| u.total.as_secs_f64()),
            },
            "engine": {
                "window": info.sizing.window,
                "window_reason": info.sizing.reason,
                "threads": info.threads,
                "isa": info.isa.to_string(),
                "formats": info.formats.iter().map(|(f, n)| json!({"format": format!("{f:?}"), "matrices": n})).collect::<Vec<_>>(),
                "weight_bytes": info.sizing.weight_bytes,
                "kv_bytes": info.sizing.kv_bytes,
            },
        });
        if !self.prompt_logprobs.is_empty() {
            let one = |l: &Option<Logprobs>| l.as_ref().map(|l| logprobs_json(tokenizer, l));
            value["prompt_logprobs"] = self.prompt_logprobs.iter().map(one).collect::<Vec<_>>().into();
        }
        value
    }
}

fn text_of(tokenizer: &Tokenizer, token: u32) -> String {
    String::from_utf8_lossy(&tokenizer.token_bytes(token).unwrap_or_default()).into_owned()
}

fn logprobs_json(tokenizer: &Tokenizer, logprobs: &Logprobs) -> Value {
    let one = |c: &Candidate| json!({"id": c.token, "token": text_of(tokenizer, c.token), "logprob": c.logprob, "rank": c.rank});
    let mut value = one(&logprobs.chosen);
    value["top"] = logprobs.top.iter().map(one).collect();
    value
}

/// `-0.105  " Paris"   " the" -2.31   " a" -4.02`.
fn line(tokenizer: &Tokenizer, logprobs: &Logprobs) -> String {
    let text = |c: &Candidate| format!("{:?}", text_of(tokenizer, c.token));
    let others = logprobs.top.iter().filter(|c| c.token != logprobs.chosen.token);
    let others: Vec<String> = others.map(|c| format!("{} {:.3}", text(c), c.logprob)).collect();
    let line =
        format!("{:8.3}  {:16} {}", logprobs.chosen.logprob, text(&logprobs.chosen), others.join("  "));
    line.trim_end().to_owned()
}

fn summary(reason: &FinishReason, usage: &Usage) -> String {
    let reason = match reason {
        FinishReason::EndToken(_) => "ended by the model".to_owned(),
        FinishReason::StopString(text) => format!("ended by {text:?}"),
        FinishReason::Length => "ended at the limit".to_owned(),
    };
    let decode = (usage.total - usage.first_token).as_secs_f64();
    let rate = match usage.completion_tokens {
        n if n > 1 && decode > 0.0 => format!(", then {:.1} tokens/s", (n - 1) as f64 / decode),
        _ => String::new(),
    };
    format!(
        "{} prompt tokens, {} answer tokens, the first after {:.2} s{rate}; {reason}",
        tokens(usage.prompt_tokens as u64),
        tokens(usage.completion_tokens as u64),
        usage.first_token.as_secs_f64()
    )
}
