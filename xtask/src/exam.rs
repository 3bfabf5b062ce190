//! `cargo xtask exam`: what the demo model can do, by the real agent with the real tools.
//!
//! Each request is `chela agent --json --model local/PATH` in a folder of its own. Two exams: the generated one (held-out words and values), and the one written by hand.

mod score;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tidy::root;
use score::{Mark, Schemas};
use world::{Binary, Trace};

/// What `cargo xtask exam` was asked for.
struct Wish {
    model: PathBuf,
    exams: Vec<&'static str>,
    limit: usize,
    show: bool,
}

const USAGE: &str = "usage: cargo xtask exam MODEL.gguf [generated|hand] [--limit N] [--show]";

/// Runs the exams and prints a table for each.
pub fn run(args: &[&str]) -> Result<()> {
    let wish = wish(args)?;
    let root = root()?;
    let schemas = Schemas::read(&root.join("demo-model/chela_demo/prompt.json"))?;
    let binary = Binary::build(&root, &wish.model)?;
    let mut sound = true;
    for exam in &wish.exams {
        let path = root.join(format!("demo-model/exam/{exam}.jsonl"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let requests = text.lines().take(wish.limit).map(serde_json::from_str);
        let requests: Vec<Value> = requests.collect::<Result<_, _>>().context("the exam cannot be read")?;
        sound &= examine(exam, &requests, &binary, &schemas, wish.show)?;
    }
    if !sound {
        bail!("there were invalid calls, or answers that claim what was not done");
    }
    Ok(())
}

fn wish(args: &[&str]) -> Result<Wish> {
    let mut wish = Wish { model: PathBuf::new(), exams: Vec::new(), limit: usize::MAX, show: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "generated" => wish.exams.push("generated"),
            "hand" => wish.exams.push("hand"),
            "--show" => wish.show = true,
            "--limit" => {
                let number = args.next().and_then(|number| number.parse().ok());
                wish.limit = number.context("--limit takes a number")?;
            }
            path if !path.starts_with('-') && wish.model.as_os_str().is_empty() => {
                wish.model = Path::new(path).canonicalize().with_context(|| path.to_owned())?;
            }
            other => bail!("unexpected {other:?}\n{USAGE}"),
        }
    }
    if wish.model.as_os_str().is_empty() {
        bail!("which model?\n{USAGE}");
    }
    if wish.exams.is_empty() {
        wish.exams = vec!["generated", "hand"];
    }
    Ok(wish)
}

/// Puts all requests of an exam. False where a rule was broken that must hold without exception.
fn examine(exam: &str, requests: &[Value], binary: &Binary, schemas: &Schemas, show: bool) -> Result<bool> {
    let mut total = Mark::default();
    let mut kinds: BTreeMap<String, Mark> = BTreeMap::new();
    for request in requests {
        let trace = binary.ask(request)?;
        let mark = match exam {
            "hand" => score::by_hand(request, &trace, schemas)?,
            _ => score::generated(request, &trace, schemas),
        };
        if show && mark.done < mark.asked {
            report(request, &trace, &mark);
        }
        let kind = request["intent"].as_str().unwrap_or("request").to_owned();
        kinds.entry(kind).or_default().add(&mark);
        total.add(&mark);
    }
    println!("\n{exam}: {} requests", requests.len());
    println!("{:<16} {:>9} {:>9} {:>9}", "kind", "tool", "arguments", "done");
    for (kind, mark) in &kinds {
        mark.print(kind);
    }
    total.print("all");
    if exam == "generated" {
        println!("of two and more steps, done: {}/{}", total.chains_done, total.chains);
    }
    println!(
        "invalid calls: {}; cut by the token limit: {}; answers that claim what was not done: {}",
        total.invalid, total.cut, total.false_claims
    );
    Ok(total.invalid == 0 && total.false_claims == 0)
}

fn report(request: &Value, trace: &Trace, mark: &Mark) {
    let said = request.get("request").or_else(|| request.get("say"));
    println!("\n{} {}", request["id"].as_str().unwrap_or("?"), said.unwrap_or(&Value::Null));
    for call in &trace.calls {
        println!("  {} {} -> {}", call.name, call.args, call.result.lines().next().unwrap_or_default());
    }
    println!("  answer: {:?}", trace.answer);
    if mark.invalid + mark.false_claims > 0 {
        println!("  invalid calls: {}, false claims: {}", mark.invalid, mark.false_claims);
    }
}
