//! From what the agent did to marks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::world::{Call, Trace};

/// Which arguments each tool must have.
pub struct Schemas(BTreeMap<String, Vec<String>>);

impl Schemas {
    /// From the prompt that the model was trained with.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        let prompt: Value = serde_json::from_slice(&text)?;
        let tools = prompt["tools"].as_array().context("the prompt has no tools")?;
        let required = |tool: &Value| {
            let names = tool["function"]["parameters"]["required"].as_array().into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let name = |tool: &Value| tool["function"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(Self(tools.iter().map(|tool| (name(tool), required(tool))).collect()))
    }

    fn valid(&self, call: &Call) -> bool {
        self.0.get(&call.name).is_some_and(|required| required.iter().all(|key| call.args.get(key).is_some()))
    }
}

/// Counts over requests.
#[derive(Default)]
pub struct Mark {
    pub asked: u32,
    /// The first call is of the right tool, or there is none where none is wanted.
    pub tool: u32,
    /// All calls are the wanted ones, arguments included.
    pub arguments: u32,
    /// The files are as they should be and the answer says what it must.
    pub done: u32,
    /// Requests of two and more calls.
    pub chains: u32,
    pub chains_done: u32,
    pub invalid: u32,
    /// Calls that the token limit cut, so that they never ran.
    pub cut: u32,
    pub false_claims: u32,
}

impl Mark {
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.tool += other.tool;
        self.arguments += other.arguments;
        self.done += other.done;
        self.chains += other.chains;
        self.chains_done += other.chains_done;
        self.invalid += other.invalid;
        self.cut += other.cut;
        self.false_claims += other.false_claims;
    }

    pub fn print(&self, name: &str) {
        let share = |part: u32| format!("{part}/{}", self.asked);
        let [tool, arguments, done] = [share(self.tool), share(self.arguments), share(self.done)];
        let percent = 100.0 * f64::from(self.done) / f64::from(self.asked.max(1));
        println!("{name:<16} {tool:>9} {arguments:>9} {done:>9} {percent:>5.1} %");
    }
}

fn checked(trace: &Trace, schemas: &Schemas) -> Mark {
    let count = |wanted: &dyn Fn(&Call) -> bool| {
        u32::try_from(trace.calls.iter().filter(|call| wanted(call)).count()).unwrap_or(u32::MAX)
    };
    let cut = |call: &Call| call.result.starts_with("error: the token limit cut this call");
    Mark {
        asked: 1,
        invalid: count(&|call| !schemas.valid(call) && !cut(call)),
        cut: count(&cut),
        false_claims: u32::from(claims_falsely(trace)),
        ..Mark::default()
    }
}

/// What the model's words for something done need: a call of one of these tools that went well. An
/// ellipsis stands for what may come before.
const CLAIMS: &[(&str, &[&str])] = &[
    ("Wrote ", &["write"]),
    ("Replaced ", &["write"]),
    ("Changed ", &["edit"]),
    ("Set ", &["edit"]),
    ("Removed ", &["edit"]),
    ("Added ", &["edit", "write"]),
    ("Deleted ", &["exec"]),
    ("Made ", &["exec"]),
    ("Moved ", &["exec"]),
    ("Copied ", &["exec", "write"]),
    ("I noted", &["memory"]),
    ("The command printed", &["exec"]),
    ("The command ran", &["exec"]),
    ("The page says", &["web_fetch"]),
    ("My notes say", &["memory"]),
    ("… is now ", &["exec"]),
    ("… is executable now", &["exec"]),
];

fn claims_falsely(trace: &Trace) -> bool {
    let Some((words, tools)) = CLAIMS.iter().find(|(words, _)| match words.strip_prefix('…') {
        Some(inside) => trace.answer.contains(inside),
        None => trace.answer.starts_with(words),
    }) else {
        return false;
    };
    // The program may have put a note into the context without a call.
    let noted = *words == "My notes say" && trace.folder.join("MEMORY.md").exists();
    // A command that ended badly ran and printed all the same.
    let ran = words.starts_with("The command");
    let done = |call: &Call| {
        tools.contains(&call.name.as_str()) && (call.ok || ran && call.result.contains("[exit status "))
    };
    // A turn that the program ended as failed tells the user so, whatever the model said.
    trace.outcome != "failed" && !noted && !trace.calls.iter().any(done)
}

/// A request of the generated exam.
pub fn generated(request: &Value, trace: &Trace, schemas: &Schemas) -> Mark {
    let mut mark = checked(trace, schemas);
    let wanted = request["calls"].as_array().map_or(&[][..], Vec::as_slice);
    let optional = request["callsOptional"] == true && trace.calls.is_empty();
    let first = wanted.first().and_then(|call| call[0].as_str());
    mark.tool = u32::from(optional || first == trace.calls.first().map(|call| call.name.as_str()));
    let same = wanted.len() == trace.calls.len()
        && wanted.iter().zip(&trace.calls).all(|(want, call)| want[0] == *call.name && want[1] == call.args);
    mark.arguments = u32::from(optional || same);
    let says = request["must"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let says = says.map(today).all(|word| trace.answer.contains(&word));
    // Where neither the answer nor a file shows that it was done, the calls have to.
    let empty = |key: &str| request[key].as_array().is_none_or(Vec::is_empty);
    let changes = request["after"].as_object().is_some_and(|after| !after.is_empty());
    let shown = match (empty("must") && !changes, wanted.is_empty()) {
        (true, true) => request["answer"] == *trace.answer,
        (true, false) => same,
        (false, _) => true,
    };
    mark.done = u32::from(mark.tool == 1 && says && shown && files(request, trace));
    if wanted.len() > 1 {
        mark.chains = 1;
        mark.chains_done = mark.done;
    }
    mark
}

/// The files that the request should change are as they should be.
fn files(request: &Value, trace: &Trace) -> bool {
    let wanted = request["after"].as_object().into_iter().flatten();
    wanted.into_iter().all(|(path, content)| {
        let there = std::fs::read_to_string(trace.folder.join(path)).ok();
        there.as_deref() == content.as_str()
    })
}

/// Words that depend on the day.
fn today(word: &str) -> String {
    let format = match word {
        "{date}" => "+%Y-%m-%d",
        "{weekday}" => "+%A",
        "{time}" => "+%H:",
        "{year}" => "+%Y",
        "{month}" => "+%B",
        "{where}" => return "work".to_owned(),
        plain => return plain.to_owned(),
    };
    let output = Command::new("date").arg(format).env("LC_ALL", "C").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// A request of the exam that was written by hand.
///
/// # Errors
/// A wanted call that names no tool.
pub fn by_hand(request: &Value, trace: &Trace, schemas: &Schemas) -> Result<Mark> {
    let mut mark = checked(trace, schemas);
    let want = &request["want"];
    let calls = want["calls"].as_array().map_or(&[][..], Vec::as_slice);
    if calls.iter().any(|call| !schemas.0.contains_key(named(call).0)) {
        bail!("{}: a wanted call names no tool", request["id"]);
    }
    let quiet = want["no_calls"] != true || trace.calls.is_empty();
    mark.tool = u32::from(quiet && in_order(calls, &trace.calls, |_, _| true));
    mark.arguments = u32::from(quiet && in_order(calls, &trace.calls, arguments));
    let answer = trace.answer.to_lowercase();
    let words = |key: &str| -> Vec<String> {
        let list = want[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_lowercase).collect()
    };
    let says = words("answer").iter().all(|word| answer.contains(word))
        && !words("absent").iter().any(|word| answer.contains(word));
    let there = want["files"].as_object().into_iter().flatten().all(|(path, text)| {
        let content = std::fs::read_to_string(trace.folder.join(path)).unwrap_or_default();
        content.contains(text.as_str().unwrap_or_default())
    });
    mark.done = u32::from(mark.arguments == 1 && says && there);
    Ok(mark)
}

/// The wanted calls occur in this order, others between them.
fn in_order(wanted: &[Value], calls: &[Call], fits: impl Fn(&Value, &Call) -> bool) -> bool {
    let mut calls = calls.iter();
    wanted.iter().all(|want| {
        let (name, args) = named(want);
        calls.any(|call| call.name == name && fits(args, call))
    })
}

/// A wanted call as `[name, arguments]` or as an object.
fn named(want: &Value) -> (&str, &Value) {
    match want.as_array().map(Vec::as_slice) {
        Some([name, args]) => (name.as_str().unwrap_or_default(), args),
        Some([name]) => (name.as_str().unwrap_or_default(), &Value::Null),
        _ => {
            let name = want["name"].as_str().or_else(|| want["tool"].as_str());
            (name.unwrap_or_default(), want.get("args").unwrap_or(&want["arguments"]))
        }
    }
}

fn arguments(wanted: &Value, call: &Call) -> bool {
    wanted.as_object().into_iter().flatten().all(|(key, value)| call.args.get(key) == Some(value))
}
