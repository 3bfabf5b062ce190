//! `chela models show`, `bench` and `cache`: models in files.

use std::time::SystemTime;

use chela_chat::template::{ChatTemplate, TemplateFacts};
use chela_engine::bench::{self, BenchOptions, Reading, Work};
use chela_engine::engine::{EngineOptions, Needs, Sizing};
use chela_engine::formats::{DType, GenerationDefaults, Source};
use chela_engine::model::{LoadError, PanelEntry, Plan};
use chela_engine::spec::ModelSpec;
use chela_engine::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::args;
use crate::context::Context;
use crate::exit::{Code, Failure, Outcome};
use crate::local::{self, Bar, size};
use crate::output::{self, count, say, tokens};

/// What can be said of a model before it is loaded. What cannot be is a problem.
struct Report<'a> {
    source: &'a Source,
    spec: Option<ModelSpec>,
    needs: Option<Needs>,
    sizing: Option<Sizing>,
    tokenizer: Option<Tokenizer>,
    ends: GenerationDefaults,
    facts: Option<TemplateFacts>,
    panels: Option<PanelEntry>,
    problems: Vec<LoadError>,
    template_problem: Option<String>,
}

impl<'a> Report<'a> {
    fn new(source: &'a Source, options: &EngineOptions) -> Self {
        let mut problems = Vec::new();
        let mut keep = |error: LoadError| problems.push(error);
        let spec = ModelSpec::from_source(source).map_err(|e| keep(e.into())).ok();
        let plan = spec.as_ref().and_then(|spec| Plan::compile(spec).map_err(|e| keep(e.into())).ok());
        let sized = spec.as_ref().zip(plan.as_ref());
        let needs = sized.and_then(|(spec, plan)| options.needs(spec, plan, source).map_err(&mut keep).ok());
        let sizing = sized
            .filter(|_| needs.is_some())
            .and_then(|(spec, plan)| options.size(spec, plan, source).map_err(&mut keep).ok());
        let tokenizer = source.tokenizer().map_err(|e| keep(e.into())).ok();
        let ends = tokenizer
            .as_ref()
            .and_then(|t| source.generation_defaults(t).map_err(|e| keep(e.into())).ok())
            .unwrap_or_default();
        let (mut facts, mut template_problem) = (None, None);
        if let (Some(text), Some(tokenizer)) = (source.chat_template(), &tokenizer) {
            let specials = source.special_tokens(tokenizer).unwrap_or_default();
            match ChatTemplate::new(text, specials.named(tokenizer)) {
                Ok(template) => facts = Some(TemplateFacts::of(&template)),
                Err(error) => template_problem = Some(error.to_string()),
            }
        }
        let panels = options.panel_cache.as_ref().and_then(|cache| cache.entry(source, options.quantization));
        Self { source, spec, needs, sizing, tokenizer, ends, facts, panels, problems, template_problem }
    }

    /// The stored types of the matrices, those with the most bytes first.
    fn types(&self) -> Vec<(DType, usize, u64)> {
        let mut types: Vec<(DType, usize, u64)> = Vec::new();
        for tensor in self.source.tensors().filter(|t| t.shape.len() > 1) {
            let bytes = tensor.data.len() as u64;
            match types.iter_mut().find(|(dtype, ..)| *dtype == tensor.dtype) {
                Some((_, n, sum)) => (*n, *sum) = (*n + 1, *sum + bytes),
                None => types.push((tensor.dtype, 1, bytes)),
            }
        }
        types.sort_by_key(|(.., bytes)| std::cmp::Reverse(*bytes));
        types
    }

    fn parameters(&self) -> usize {
        let stored = || self.source.tensors().map(|tensor| tensor.len()).sum();
        self.spec.as_ref().map_or_else(stored, ModelSpec::parameters)
    }

    fn bytes(&self) -> u64 {
        self.source.files().iter().map(|(_, bytes)| bytes).sum()
    }

    fn ends(&self) -> Vec<String> {
        let piece = |id: &u32| self.tokenizer.as_ref()?.token_to_piece(*id);
        self.ends.stop_token_ids.iter().filter_map(piece).collect()
    }

    /// The window whose memory is told: that asked for, else the one that would be served.
    fn window(&self, asked: Option<usize>) -> Option<usize> {
        asked.or(self.sizing.as_ref().map(|s| s.window)).or(self.spec.as_ref().map(|s| s.context))
    }

    fn template_names(&self) -> Vec<&str> {
        self.source.chat_templates().iter().map(|template| template.name.as_str()).collect()
    }
}

/// Shows a model.
pub fn show(args: &args::Show, context: &Context) -> Outcome {
    let options = local::options(&args.local, context)?;
    let source = Source::open(&args.local.model).map_err(|e| local::refused(&args.local, e.into()))?;
    let mut report = Report::new(&source, &options);
    if args.json {
        output::json(&report_json(&report, &args.local))?;
    } else {
        output::answer(&output::table(&report_rows(&report, &args.local)))?;
        if let (Some(spec), true) = (&report.spec, context.verbose > 0) {
            say(format_args!("{spec}"));
        }
    }
    match report.problems.is_empty() {
        true => Ok(()),
        // The report has said all of them; the first decides how the command ends.
        false => Err(Failure::new(local::refused(&args.local, report.problems.remove(0)).code, "")),
    }
}

fn report_rows(report: &Report, args: &args::LocalModel) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    let files = report.source.files();
    row("architecture", architecture(report));
    row("parameters", format!("{} ({})", short(report.parameters()), tokens(report.parameters() as u64)));
    row("size", format!("{} in {}", size(report.bytes()), count(files.len(), "file")));
    if let Some(spec) = &report.spec {
        row("context", format!("{} tokens", tokens(spec.context as u64)));
    }
    let types: Vec<String> = report.types().iter().map(|(dtype, n, _)| format!("{dtype} ×{n}")).collect();
    let rounded = args.quantization.map(|kind| format!(", loaded as {kind:?}").to_lowercase());
    row("quantization", types.join(", ") + &rounded.unwrap_or_default());
    if let Some(tokenizer) = &report.tokenizer {
        let ends = report.ends();
        let ends =
            if ends.is_empty() { "no end token".to_owned() } else { format!("ends: {}", ends.join(" ")) };
        row("tokenizer", format!("{} tokens, {ends}", tokens(tokenizer.vocab_size() as u64)));
    }
    let names = report.template_names();
    row("template", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    if let Some(problem) = &report.template_problem {
        row("", problem.clone());
    }
    if let Some(facts) = &report.facts {
        let dialect = facts.dialect.map_or("none that is known".to_owned(), |d| named(&d));
        let reasoning = facts.reasoning.map(|r| format!(", reasoning {}", named(&r))).unwrap_or_default();
        row("dialect", dialect + &reasoning);
    }
    if let (Some(needs), Some(window)) = (&report.needs, report.window(args.context)) {
        let cache = needs.cache(window);
        let total = needs.weights + cache + needs.working;
        row("memory", format!("{} at {} tokens:", size(total), tokens(window as u64)));
        row("", format!("{} weights", size(needs.weights)));
        row("", format!("{} KV cache, {} per 1,000 tokens", size(cache), size(needs.block * 1000 / 32)));
        row("", format!("{} working memory", size(needs.working)));
    }
    match (&report.sizing, report.problems.is_empty()) {
        (Some(sizing), true) => {
            let window = tokens(sizing.window as u64);
            row("runs here", format!("yes, with a window of {window} tokens: {}", sizing.reason));
        }
        _ => report.problems.iter().enumerate().for_each(|(i, problem)| {
            row(if i == 0 { "runs here" } else { "" }, format!("no: {problem}"));
        }),
    }
    match (&report.panels, &report.needs) {
        (Some(entry), _) => {
            let used = date(entry.used);
            row("panel cache", format!("{}, last used {used}: {}", size(entry.bytes), entry.file.display()));
        }
        (None, Some(needs)) => {
            row("panel cache", format!("nothing yet; the first load keeps {}", size(needs.weights)));
        }
        (None, None) => {}
    }
    rows
}

/// `Qwen3ForCausalLM: 28 layers of 1,024, 16 heads of 128, 8 for keys and values`.
fn architecture(report: &Report) -> String {
    let name = report.source.architecture().unwrap_or("unnamed").to_owned();
    let Some(spec) = &report.spec else { return name };
    let shape = format!("{name}: {} of {}", count(spec.layers.len(), "layer"), tokens(spec.hidden as u64));
    match spec.layers.first().map(|layer| &layer.mixer) {
        Some(chela_engine::spec::Mixer::Attention(a)) => {
            format!("{shape}, {} of {}, {} for keys and values", count(a.heads, "head"), a.dim, a.kv_heads)
        }
        _ => shape,
    }
}

fn report_json(report: &Report, args: &args::LocalModel) -> Value {
    let types = report.types();
    let facts = report.facts.as_ref();
    let memory = report.needs.zip(report.window(args.context)).map(|(needs, window)| {
        let cache = needs.cache(window);
        json!({
            "context": window, "weights": needs.weights, "cache": cache, "working": needs.working,
            "total": needs.weights + cache + needs.working, "cache_block": needs.block,
        })
    });
    json!({
        "model": args.model,
        "architecture": report.source.architecture().ok(),
        "parameters": report.parameters(),
        "bytes": report.bytes(),
        "files": report.source.files().iter().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect::<Vec<_>>(),
        "context": report.spec.as_ref().map(|spec| spec.context),
        "types": types.iter().map(|(t, n, bytes)| json!({"type": t.name(), "matrices": n, "bytes": bytes})).collect::<Vec<_>>(),
        "quantization": args.quantization.map(|kind| format!("{kind:?}").to_lowercase()),
        "vocabulary": report.tokenizer.as_ref().map(Tokenizer::vocab_size),
        "ends": report.ends(),
        "templates": report.template_names(),
        "template_problem": report.template_problem,
        "dialect": facts.and_then(|f| f.dialect),
        "reasoning": facts.and_then(|f| f.reasoning),
        "memory": memory,
        "fits": report.problems.is_empty(),
        "window": report.sizing.as_ref().map(|s| s.window),
        "reason": report.sizing.as_ref().map(|s| &s.reason),
        "budget": report.sizing.as_ref().map(|s| s.budget),
        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "panels": report.panels.as_ref().map(entry_json),
        "spec": report.spec.as_ref().map(ToString::to_string),
    })
}

/// The name that an enum has in JSON.
fn named(value: &impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// `596 M`, `4.0 B`.
fn short(parameters: usize) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.1} B", n / 1e9),
        n if n >= 1e6 => format!("{:.0} M", n / 1e6),
        n => format!("{:.0} K", n / 1e3),
    }
}

fn date(time: SystemTime) -> String {
    let zoned = jiff::Timestamp::try_from(time).map(|t| t.to_zoned(jiff::tz::TimeZone::system()));
    zoned.map_or_else(|_| "at an unknown time".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M").to_string())
}

/// Measures a model.
pub fn bench(args: args::Bench, context: &Context) -> Outcome {
    let options = EngineOptions {
        panel_cache: if args.no_panel_cache { None } else { Some(local::panel_cache(context)) },
        ..local::options(&args.local, context)?
    };
    let threads = match args.threads.as_slice() {
        [] => vec![std::thread::available_parallelism().map_or(1, usize::from)],
        given => given.to_vec(),
    };
    let zero = [&threads, &args.prompts, &args.batches].into_iter().flatten().any(|n| *n == 0);
    if zero {
        return Err(Failure::usage("threads, prompts and batches are numbers from 1"));
    }
    let wanted = BenchOptions {
        threads,
        prompts: args.prompts.clone(),
        batches: args.batches.clone(),
        context: args.depth,
        steps: args.steps as usize,
    };
    local::interruptible(move || measure(&args, &options, &wanted))
}

fn measure(args: &args::Bench, options: &EngineOptions, wanted: &BenchOptions) -> Outcome {
    let bar = Bar::new();
    let total = wanted.threads.len() * (wanted.prompts.len() + wanted.batches.len());
    let mut readings: Vec<Reading> = Vec::new();
    let mut written = Ok(());
    let loading = bar.clone();
    let mut done = |reading: Reading| {
        bar.clear();
        if !args.json && written.is_ok() {
            let head = readings.is_empty().then(|| cells(&COLUMNS.map(str::to_owned)));
            written = output::answer(&(head.unwrap_or_default() + &reading_line(&reading)));
        }
        readings.push(reading);
        if readings.len() < total {
            bar.busy(format!("measured {} of {total}", readings.len()));
        }
    };
    let measured = bench::bench(&args.local.model, options, wanted, &mut |at| loading.loading(at), &mut done);
    bar.clear();
    let setup = measured.map_err(|error| local::refused(&args.local, error))?;
    written?;
    if args.json {
        let formats = setup.formats.iter().map(|(f, n)| json!({"format": format!("{f:?}"), "matrices": n}));
        return output::json(&json!({
            "model": args.local.model,
            "isa": setup.isa.to_string(),
            "formats": formats.collect::<Vec<_>>(),
            "depth": wanted.context,
            "readings": readings.iter().map(reading_json).collect::<Vec<_>>(),
        }));
    }
    Ok(())
}

const COLUMNS: [&str; 7] = ["THREADS", "WORK", "TOKENS/S", "MEMORY GB/S", "SHARE", "COMPUTE GOP/S", "SHARE"];

/// A line of the table; columns have fixed widths, since lines appear one by one.
fn cells(cells: &[String; 7]) -> String {
    let [threads, work, rate, memory, of_memory, compute, of_compute] = cells;
    format!("{threads:<9}{work:<14}{rate:>10}{memory:>14}{of_memory:>8}{compute:>16}{of_compute:>8}\n")
}

fn reading_line(r: &Reading) -> String {
    let work = match r.work {
        Work::Prefill(tokens) => format!("prefill {tokens}"),
        Work::Decode(sequences) => format!("decode ×{sequences}"),
    };
    let share = |part: f64, whole: f64| format!("{:.0} %", 100.0 * part / whole);
    cells(&[
        r.threads.to_string(),
        work,
        format!("{:.1}", r.rate),
        format!("{:.1}", r.bytes_rate / 1e9),
        share(r.bytes_rate, r.bandwidth),
        format!("{:.0}", r.operations_rate / 1e9),
        share(r.operations_rate, r.peak),
    ])
}

fn reading_json(r: &Reading) -> Value {
    let (kind, size) = match r.work {
        Work::Prefill(tokens) => ("prefill", tokens),
        Work::Decode(sequences) => ("decode", sequences),
    };
    json!({
        "threads": r.threads, "work": kind, "size": size, "seconds": r.seconds, "tokens_per_second": r.rate,
        "bytes_per_second": r.bytes_rate, "bandwidth": r.bandwidth,
        "operations_per_second": r.operations_rate, "peak": r.peak,
    })
}

/// Shows or removes kept panels.
pub fn cache(command: args::Cache, context: &Context) -> Outcome {
    let cache = local::panel_cache(context);
    let unreadable =
        |e: std::io::Error| Failure::new(Code::Failed, format!("{}: {e}", cache.folder.display()));
    let entries = cache.entries().map_err(unreadable)?;
    match command {
        args::Cache::List { json } => {
            let total: u64 = entries.iter().map(|entry| entry.bytes).sum();
            if json {
                let entries: Vec<Value> = entries.iter().map(entry_json).collect();
                return output::json(
                    &json!({"folder": cache.folder, "limit": cache.limit, "bytes": total, "entries": entries}),
                );
            }
            let head = ["MODEL", "KIND", "SIZE", "LAST USED"].map(str::to_owned).to_vec();
            let rows = entries.iter().map(|e| {
                let model = e.model.display().to_string();
                vec![model, e.quantization.clone(), size(e.bytes), date(e.used)]
            });
            if !entries.is_empty() {
                output::answer(&output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
            }
            say(format_args!(
                "{} of at most {} in {}",
                size(total),
                size(cache.limit),
                cache.folder.display()
            ));
            Ok(())
        }
        args::Cache::Remove { model, all, json } => {
            let models = match model {
                Some(model) => vec![model],
                None => entries.iter().map(|entry| entry.model.clone()).collect(),
            };
            let mut freed = 0;
            for model in &models {
                freed += cache.remove(model).map_err(unreadable)?;
            }
            if json {
                return output::json(&json!({"freed": freed}));
            }
            if let ([model], 0, false) = (models.as_slice(), freed, all) {
                return Err(Failure::new(Code::Failed, format!("nothing is kept of {}", model.display())));
            }
            say(format_args!("freed {}", size(freed)));
            Ok(())
        }
    }
}

fn entry_json(entry: &PanelEntry) -> Value {
    let used = jiff::Timestamp::try_from(entry.used).ok().map(|t| t.to_string());
    json!({
        "model": entry.model, "quantization": entry.quantization, "file": entry.file,
        "bytes": entry.bytes, "used": used,
    })
}
