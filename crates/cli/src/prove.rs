//! The proof that a model works as an agent: a file in a temporary folder, and the real loop that has to
//! read it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chela_client::catalog::{Catalog, Model};
use chela_protocol::{Event, Op, Outcome as TurnOutcome, ResultStatus};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::commands::agent::{AHEAD, Interrupts};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::front::{result_of, short};
use crate::local::Bar;
use crate::{compose, env};

/// What the model is asked.
pub const REQUEST: &str = "Read notes.txt and tell me what it says.";
const FILE: &str = "notes.txt";
const CONTENT: &str = "The meeting is on Friday.\n";
/// A word that only the file has.
const WORD: &str = "Friday";
/// A model that takes longer for one file is of no use.
const PATIENCE: Duration = Duration::from_secs(600);

/// What came of it.
pub struct Proof {
    /// The calls: the tool, its arguments in short, whether it went well.
    pub calls: Vec<(String, String, bool)>,
    /// What it said at the end.
    pub answer: String,
    /// How long it took.
    pub took: Duration,
}

impl Proof {
    /// Why it is none, if it is none: no tool did its work.
    pub fn lacks(&self) -> Option<&'static str> {
        match self.calls.as_slice() {
            [] => Some("the model called no tool"),
            calls if !calls.iter().any(|(.., ok)| *ok) => Some("no call of the model's went well"),
            _ => None,
        }
    }

    /// Whether the answer has what stands in the file.
    pub fn answers(&self) -> bool {
        self.answer.contains(WORD)
    }

    /// The calls in words.
    pub fn words(&self) -> String {
        let call = |(tool, args, ok): &(String, String, bool)| {
            format!("{tool} {args}{}", if *ok { "" } else { " (failed)" })
        };
        self.calls.iter().map(call).collect::<Vec<_>>().join(", ")
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let call =
            |(tool, args, ok): &(String, String, bool)| json!({"tool": tool, "arguments": args, "ok": ok});
        json!({
            "ok": self.lacks().is_none(),
            "request": REQUEST,
            "calls": self.calls.iter().map(call).collect::<Vec<_>>(),
            "answer": self.answer,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

/// Asks the model to read a file.
///
/// # Errors
/// It cannot be asked, or the turn failed.
pub async fn prove(context: &Context, catalog: Catalog, model: Model) -> Result<Proof, Failure> {
    let folder = Folder::new()?;
    std::fs::write(folder.0.join(FILE), CONTENT)?;
    let agent = compose::trial(context, Arc::new(catalog), model, folder.0.canonicalize()?);
    let mut interrupts = Interrupts::listen()?;
    let (ops, op_queue) = mpsc::channel(AHEAD);
    let (events, mut event_queue) = mpsc::channel(AHEAD);
    let began = Instant::now();
    let running = tokio::spawn(agent.run(op_queue, events));
    let message = Op::UserMessage { text: REQUEST.to_owned(), images: Vec::new(), attachments: Vec::new() };
    // The agent listens until it has ended.
    let _ = ops.send(message).await;
    let mut proof = Proof { calls: Vec::new(), answer: String::new(), took: Duration::ZERO };
    let bar = Bar::new();
    let turn = async {
        while let Some(envelope) = event_queue.recv().await {
            match envelope.event {
                Event::TextDelta { text } => proof.answer.push_str(&text),
                Event::ToolCallStarted { name, args, .. } => {
                    proof.answer.clear();
                    proof.calls.push((name, short(&args), false));
                }
                Event::ToolCallFinished { status, .. } => {
                    if let Some((.., ok)) = proof.calls.last_mut() {
                        *ok = status == ResultStatus::Ok;
                    }
                }
                Event::Waiting { seconds } => bar.busy(format!("waiting for the model, {seconds} s")),
                Event::TurnFinished { outcome, .. } => return Some(outcome),
                _ => {}
            }
        }
        None
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(PATIENCE, turn) => ended,
        () = interrupts.next() => return Err(Failure::new(Code::Interrupted, "interrupted")),
    };
    bar.clear();
    drop(ops);
    running.abort();
    proof.took = began.elapsed();
    proof.answer = proof.answer.trim().to_owned();
    match ended {
        Err(_) => Err(Failure::new(Code::Failed, format!("no answer within {} s", PATIENCE.as_secs()))),
        Ok(None) => Err(Failure::new(Code::Failed, "the agent ended without an answer")),
        // A refused call or an answer that was cut shows what the model does as well.
        Ok(Some(TurnOutcome::Done | TurnOutcome::Cut { .. } | TurnOutcome::Refused { .. })) => Ok(proof),
        Ok(Some(outcome)) => result_of(&outcome).map(|()| proof),
    }
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("chela-{}-{}", std::process::id(), crate::sessions::now());
        let path = env::temporary().join(name);
        // One that is there already is somebody else's.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies among the temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
