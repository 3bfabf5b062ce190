//! `chela agent --explain-prompt`: what stands before the user's message in every request, part by part.

use std::sync::Arc;

use chela_agent::model::{Model, Request};
use chela_agent::prompt::{self, SYSTEM, Section};
use chela_agent::remote::Remote;
use chela_agent::transcript::Message;
use chela_client::openai::chat::Message as Wire;
use chela_client::stream::estimate;
use chela_client::{ModelClient, Timing};
use chela_config::trust::Trust;
use chela_protocol::Thinking;
use serde_json::json;
use serde_json::value::RawValue;

use crate::args;
use crate::compose;
use crate::context::{Context, runtime};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, say, tokens};
use crate::trust;

/// The window for which the prompt is explained; a smaller one takes less of long instruction files.
const WINDOW: u64 = 32_768;

/// The prompt, before anything is said.
struct Parts {
    files: Vec<Section>,
    /// The `tools` array.
    tools: String,
    /// Each of it, by name.
    each: Vec<Section>,
}

/// Tokens of the parts, in the order of the rows.
struct Counts {
    system: u64,
    files: Vec<u64>,
    tools: u64,
    each: Vec<u64>,
    /// What the chat template puts around them, where the server said so.
    template: Option<u64>,
    /// Whose figures they are.
    by: String,
}

/// Runs the command.
pub fn run(args: &args::Agent, context: &Context) -> Outcome {
    let parts = Parts::of(context)?;
    let counts = match runtime()?.block_on(counted(args, context, &parts)) {
        Ok(counts) => counts,
        Err(why) => parts.estimated(&why),
    };
    let rows = parts.rows(&counts);
    let total = (rows.iter().filter(|row| !row.inside)).fold((0, 0), |(bytes, sum), row| {
        let of_template = if row.name == "chat template" { 0 } else { row.bytes };
        (bytes + of_template, sum + row.tokens)
    });
    if args.json {
        let row = |row: &Row| json!({"name": row.name, "bytes": row.bytes, "tokens": row.tokens, "tool": row.inside});
        return output::json(&json!({
            "sections": rows.iter().map(row).collect::<Vec<_>>(),
            "bytes": total.0,
            "tokens": total.1,
            "exact": counts.template.is_some(),
            "counted": counts.by,
        }));
    }
    let cells = |name: String, bytes: usize, count: u64| vec![name, tokens(bytes as u64), tokens(count)];
    let mut table = vec![["PART", "BYTES", "TOKENS"].map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        let indent = if row.inside { "  " } else { "" };
        cells(format!("{indent}{}", row.name), row.bytes, row.tokens)
    }));
    table.push(cells("total".to_owned(), total.0, total.1));
    output::answer(&format!("{}{}\n", output::table(&table), counts.by))?;
    if context.verbose > 0 {
        let system = [Section { name: "system".to_owned(), text: SYSTEM.to_owned() }];
        for part in system.iter().chain(&parts.files).chain(&parts.each) {
            say(format_args!("--- {}\n{}", part.name, part.text));
        }
    }
    Ok(())
}

struct Row {
    name: String,
    bytes: usize,
    tokens: u64,
    /// Part of the row `tools`.
    inside: bool,
}

impl Parts {
    fn of(context: &Context) -> Result<Self, Failure> {
        let workspace = context.workspace()?;
        let tools = compose::tools(context, &workspace, context.http()).registry;
        let trusted =
            Trust::load(&context.paths.trust()).map_err(trust::failure)?.of(&workspace) == Some(true);
        let budget = prompt::files_budget(WINDOW);
        let files = if trusted { prompt::workspace_files(&workspace, budget).sections } else { Vec::new() };
        let schemas = tools.schemas();
        let texts: Vec<&RawValue> =
            serde_json::from_str(&schemas).map_err(|error| Failure::new(Code::Failed, error))?;
        let each = tools.names().zip(texts);
        let each = each.map(|(name, text)| Section { name: name.to_owned(), text: text.get().to_owned() });
        Ok(Self { files, each: each.collect(), tools: schemas })
    }

    /// The system text with so many of the files.
    fn system(&self, files: usize) -> String {
        prompt::system_text(&self.files[..files])
    }

    fn rows(&self, counts: &Counts) -> Vec<Row> {
        let row = |name: &str, bytes, tokens, inside| Row { name: name.to_owned(), bytes, tokens, inside };
        let mut rows = vec![row("system", SYSTEM.len(), counts.system, false)];
        for (n, (file, tokens)) in self.files.iter().zip(&counts.files).enumerate() {
            rows.push(row(&file.name, self.system(n + 1).len() - self.system(n).len(), *tokens, false));
        }
        rows.push(row("tools", self.tools.len(), counts.tools, false));
        let each = self.each.iter().zip(&counts.each);
        rows.extend(each.map(|(tool, tokens)| row(&tool.name, tool.text.len(), *tokens, true)));
        rows.extend(counts.template.map(|tokens| row("chat template", 0, tokens, false)));
        rows
    }

    fn estimated(&self, why: &str) -> Counts {
        let message = |text: &str| u64::from(estimate(&[Wire::user(text)], &[]).tokens);
        let around = message("");
        let of = |text: &str| message(text).saturating_sub(around);
        // What to do about it is another command's to say.
        let why = why.split_once("; ").map_or(why, |(why, _)| why);
        let each: Vec<u64> = self.each.iter().map(|tool| of(&tool.text)).collect();
        Counts {
            system: of(SYSTEM),
            files: self.files.iter().map(|file| of(&file.text)).collect(),
            tools: of(&self.tools),
            each,
            template: None,
            by: format!("Tokens are estimated: {why}."),
        }
    }
}

/// The counts of the server's own tokenizer, each by what the prompt grows by it.
async fn counted(args: &args::Agent, context: &Context, parts: &Parts) -> Result<Counts, String> {
    let failed = |failure: Failure| failure.message;
    let catalog = Arc::new(context.catalog().map_err(failed)?);
    let client = ModelClient::new(catalog.state().clone(), Timing::default());
    let model = match &args.model {
        Some(name) => catalog.find(name).await,
        None => catalog.default_model().await,
    };
    let model = model.map_err(|error| error.to_string())?;
    let model: Arc<dyn Model> = Remote::new(Arc::clone(&catalog), client).model(model, Vec::new());
    let name = model.info().reference;
    let count = async |system: &str, tools: &str| {
        let user = Message::User { text: ".".to_owned(), images: Vec::new() };
        let request = Request {
            messages: vec![Message::System(system.to_owned()), user],
            tools: Arc::from(tools),
            may_call: true,
            thinking: Thinking::Off,
            max_tokens: None,
            prompt: None,
        };
        model.count(&request).await.ok_or_else(|| format!("the server of {name} does not count them"))
    };
    // Two full stops, each a token in any vocabulary, and what the template puts around them.
    let template = count(".", "[]").await?.saturating_sub(2);
    let mut before = count(SYSTEM, "[]").await?;
    let system = before.saturating_sub(template + 1);
    let mut files = Vec::new();
    for n in 1..=parts.files.len() {
        let now = count(&parts.system(n), "[]").await?;
        files.push(now.saturating_sub(before));
        before = now;
    }
    let (mut each, mut list, mut last) = (Vec::new(), Vec::new(), before);
    for tool in &parts.each {
        list.push(tool.text.as_str());
        let now = count(&parts.system(files.len()), &format!("[{}]", list.join(","))).await?;
        each.push(now.saturating_sub(last));
        last = now;
    }
    let by = format!(
        "Tokens as the server of {name} counts them; the first tool has what stands once before all of them."
    );
    Ok(Counts { system, files, tools: last.saturating_sub(before), each, template: Some(template), by })
}
