//! From calls to results: understand, decide, run. Calls that only read run beside one another,
//! all others one after the other, and results keep the order of the calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chela_protocol::{Call, Event, Item, Outcome, ResultStatus, Right, Taint, Thinking};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::approve::Approval;
use crate::args::written;
use crate::breaker::Advice;
use crate::policy::{self, Verdict};
use crate::tool::{Args, Output, Tool, ToolCtx, ToolResult};
use crate::turn::{Forced, Turn};

/// Calls that run at the same time.
const BESIDE: usize = 8;
/// What is running when the turn is stopped has this long to end by itself.
const GRACE: Duration = Duration::from_millis(100);
/// Bounds of a result in bytes; between them it follows the window.
const RESULT_BYTES: (usize, usize) = (1_000, 48_000);

/// A call that is ready.
struct Ready {
    call: Call,
    work: Work,
}

enum Work {
    /// It has a result already.
    Known(ToolResult),
    /// It may run.
    Run(Arc<dyn Tool>, ToolCtx, Args),
}

/// The end of a call.
struct Ended {
    result: ToolResult,
    millis: u64,
}

impl Turn<'_> {
    /// Runs the calls of one answer and writes a result for each. `cut` is true where the token
    /// limit cut the answer, so that its last call may be incomplete.
    pub async fn run_calls(&mut self, calls: Vec<Call>, cut: bool) -> Result<(), Outcome> {
        // All calls of an answer were written before any of their results was known, so that
        // what came before the answer is what they may carry out.
        let taint = self.session.transcript.taint();
        let (sender, mut outputs) = mpsc::channel(64);
        let mut batch: Vec<Ready> = Vec::new();
        let last = calls.len().saturating_sub(1);
        self.result_bytes = self.result_limit(calls.len());
        for (at, call) in calls.into_iter().enumerate() {
            self.announce(&call).await;
            let ready = match cut && at == last && call.raw.is_some() {
                true => Ready { work: Work::Known(cut_call(&call)), call },
                false => self.prepare(call, taint, &sender, &mut batch, &mut outputs).await?,
            };
            if !beside(&ready.work) {
                self.flush(&mut batch, &mut outputs, false).await?;
                batch.push(ready);
                self.flush(&mut batch, &mut outputs, at == last).await?;
            } else {
                batch.push(ready);
            }
        }
        self.flush(&mut batch, &mut outputs, true).await
    }

    async fn announce(&mut self, call: &Call) {
        self.announced.insert(call.id.clone(), Instant::now());
        let understood = self.core.reader.understand(call);
        let (name, args) = match understood {
            Ok(understood) => (understood.name, understood.args),
            Err(_) => (call.name.clone(), Args::new()),
        };
        self.emit(Event::ToolCallStarted { id: call.id.clone(), name, args: Value::Object(args) }).await;
    }

    /// Understands a call and has it decided. Before a human is asked, the calls before it run.
    async fn prepare(
        &mut self,
        call: Call,
        taint: Taint,
        sender: &mpsc::Sender<(String, String)>,
        batch: &mut Vec<Ready>,
        outputs: &mut mpsc::Receiver<(String, String)>,
    ) -> Result<Ready, Outcome> {
        let known = |call, result| Ok(Ready { call, work: Work::Known(result) });
        let understood = match self.core.reader.understand(&call) {
            Ok(understood) => understood,
            Err(text) => return known(call, ToolResult::error(text)),
        };
        let Some(tool) = self.core.tools.get(&understood.name).cloned() else {
            let text = format!("error: there is no tool {}", understood.name);
            return known(call, ToolResult::error(text));
        };
        if !understood.notes.is_empty() {
            self.read_as.insert(call.id.clone(), understood.notes);
        }
        let mut ctx = self.tool_ctx(&call, sender);
        let rights = match tool.rights(&ctx, &understood.args) {
            Ok(rights) => rights,
            Err(text) => return known(call, ToolResult::error(text)),
        };
        let subject = policy::Call { tool: &tool.spec().name, rights: &rights };
        match self.core.policy.decide(&subject, &taint, &self.core.mode()) {
            Verdict::Allow => {}
            Verdict::Deny { why, for_want_of_approval } => {
                let why = why.join("; ");
                if for_want_of_approval {
                    self.refused.insert(call.name.clone(), why.clone());
                }
                return known(call, denied(&format!("refused: {why}")));
            }
            Verdict::Ask { why } => {
                self.flush(batch, outputs, false).await?;
                let diff = tool.preview(&ctx, &understood.args);
                match self.approve(&call, why, &rights, diff).await? {
                    Approval::Yes => {}
                    Approval::No => return known(call, denied("refused: the user said no to this call")),
                    Approval::Unanswered(after) => {
                        let why = format!("nobody answered within {} s", after.as_secs());
                        self.refused.insert(call.name.clone(), why.clone());
                        return known(call, denied(&format!("refused: {why}")));
                    }
                }
            }
        }
        self.refused.remove(&call.name);
        self.core.reached(&rights);
        ctx.rights = rights.into();
        Ok(Ready { call, work: Work::Run(tool, ctx, understood.args) })
    }

    fn tool_ctx(&self, call: &Call, sender: &mpsc::Sender<(String, String)>) -> ToolCtx {
        ToolCtx {
            workspace: self.core.settings.workspace.clone(),
            session: self.session.id(),
            turn: self.id,
            call: call.id.clone(),
            limit: self.result_bytes,
            rights: Arc::from(Vec::<Right>::new()),
            protected: Arc::from(self.core.policy.protected.as_slice()),
            cancel: self.control.cancel.clone(),
            output: Output::new(&call.id, sender.clone()),
        }
    }

    /// Bytes that each of so many results may have: a fifth of the window, and all of them
    /// together half of what is free, so that what was just read is not compacted away unread.
    fn result_limit(&self, calls: usize) -> usize {
        let window = self.core.model().info().window;
        let used = self.session.meter.count(&self.session.request(true, Thinking::Off)).tokens;
        let together = (window.saturating_sub(used) / 2).clamp(window / 8, window * 2 / 5);
        let each = (together / calls.max(1) as u64).min(window / 5);
        self.session.meter.bytes(each).clamp(RESULT_BYTES.0, RESULT_BYTES.1)
    }

    /// Runs what is ready and writes the results. `last`: nothing comes after in this answer.
    async fn flush(
        &mut self,
        batch: &mut Vec<Ready>,
        outputs: &mut mpsc::Receiver<(String, String)>,
        last: bool,
    ) -> Result<(), Outcome> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.control.cancel.is_cancelled() {
            return Err(Outcome::Stopped);
        }
        let batch = std::mem::take(batch);
        let starts = batch.iter().filter(|ready| matches!(ready.work, Work::Run(..)));
        let starts = starts.map(|ready| Item::CallStarted { call: ready.call.id.clone() }).collect();
        self.append(starts).await?;
        let (calls, works): (Vec<Call>, Vec<Work>) =
            batch.into_iter().map(|ready| (ready.call, ready.work)).unzip();
        let (ended, stopped) = self.run_works(&calls, works, outputs).await;
        self.write_results(calls, ended, last && stopped.is_none()).await?;
        stopped.map_or(Ok(()), Err)
    }

    /// Runs works beside one another; one result for each that came to its end.
    async fn run_works(
        &mut self,
        calls: &[Call],
        works: Vec<Work>,
        outputs: &mut mpsc::Receiver<(String, String)>,
    ) -> (Vec<Option<Ended>>, Option<Outcome>) {
        let mut ended: Vec<Option<Ended>> = works.iter().map(|_| None).collect();
        let mut waiting = works.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        running.extend(waiting.by_ref().take(BESIDE).map(|(at, work)| run_work(at, work)));
        let deadline = self.deadline();
        let mut stopped: Option<(Outcome, Instant)> = None;
        while !running.is_empty() {
            let limit = stopped.as_ref().map_or(deadline, |(_, until)| Some(*until));
            tokio::select! {
                biased;
                () = self.control.cancel.cancelled(), if stopped.is_none() => {
                    stopped = Some((Outcome::Stopped, Instant::now() + GRACE));
                }
                () = crate::step::at(limit) => match stopped {
                    Some(_) => break,
                    None => {
                        self.control.cancel.cancel();
                        stopped = Some((self.out_of_time(), Instant::now() + GRACE));
                    }
                },
                Some((id, text)) = outputs.recv() => self.emit(Event::ToolOutput { id, text }).await,
                Some((at, end)) = running.next() => {
                    while let Ok((id, text)) = outputs.try_recv() {
                        self.emit(Event::ToolOutput { id, text }).await;
                    }
                    let end = tidy(end, self.limit());
                    self.finished(&calls[at], &end).await;
                    ended[at] = Some(end);
                    if stopped.is_none() {
                        running.extend(waiting.next().map(|(at, work)| run_work(at, work)));
                    }
                }
            }
        }
        (ended, stopped.map(|(outcome, _)| outcome))
    }

    fn limit(&self) -> usize {
        // Tools cut where it makes sense; this is for one that does not.
        RESULT_BYTES.1 + 4_000
    }

    async fn finished(&mut self, call: &Call, end: &Ended) {
        self.announced.remove(&call.id);
        self.emit(Event::ToolCallFinished {
            id: call.id.clone(),
            result: end.result.content.clone(),
            status: end.result.status,
            is_error: !end.result.status.is_ok(),
            diff: end.result.diff.clone(),
            duration: end.millis,
        })
        .await;
    }

    async fn write_results(
        &mut self,
        calls: Vec<Call>,
        ended: Vec<Option<Ended>>,
        last: bool,
    ) -> Result<(), Outcome> {
        let mut items = Vec::new();
        let count = calls.len();
        for (at, (call, end)) in calls.into_iter().zip(ended).enumerate() {
            let Some(Ended { result, millis }) = end else { continue };
            let mut notes = self.read_as.remove(&call.id).map(read_as).unwrap_or_default();
            notes.extend(self.watch(&call, &result));
            if last && at + 1 == count {
                notes.extend(self.last_notes());
            }
            items.push(Item::ToolResult {
                call: call.id,
                name: call.name,
                content: result.content,
                note: notes.join("\n"),
                status: result.status,
                diff: result.diff,
                taint: result.taint,
                millis,
            });
        }
        self.append(items).await
    }

    fn watch(&mut self, call: &Call, result: &ToolResult) -> Vec<String> {
        let error = !result.status.is_ok();
        if let Some(tool) = self.core.tools.get(&call.name) {
            // A command that ended badly has run, and a refusal ends the turn in its own way.
            let failed = error && result.content.starts_with("error:");
            self.deeds.note(&call.name, tool.spec().read_only, failed);
        }
        match self.breaker.observe(&call.name, written(call), &result.content, error) {
            Advice::Go => Vec::new(),
            Advice::Hint(text) => vec![text],
            Advice::Answer(text) => {
                self.forced = Some(Forced::Loop);
                vec![text]
            }
        }
    }

    /// What the last result of an answer carries: words of the user, and the end of the budget.
    fn last_notes(&mut self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .control
            .take_steer()
            .into_iter()
            .map(|text| format!("[The user says meanwhile: {text}]"))
            .collect();
        if self.forced.is_none() && self.steps + 1 >= self.core.settings.budgets.steps {
            self.forced = Some(Forced::Steps);
            notes.push(
                "[The step budget ends here. Answer now with what you have, and say what is left to do.]"
                    .to_owned(),
            );
        }
        notes
    }
}

/// Tells the model how its call was taken.
fn read_as(notes: Vec<String>) -> Vec<String> {
    vec![format!("[Your call was corrected: {}.]", notes.join("; "))]
}

/// True where the call may run beside others.
fn beside(work: &Work) -> bool {
    match work {
        Work::Known(_) => true,
        Work::Run(tool, ..) => tool.spec().read_only,
    }
}

async fn run_work(at: usize, work: Work) -> (usize, Ended) {
    let since = Instant::now();
    let result = match work {
        Work::Known(result) => result,
        // The turn may have been stopped between the decision and this moment.
        Work::Run(_, ctx, _) if ctx.cancel.is_cancelled() => ToolResult {
            status: ResultStatus::Interrupted,
            ..ToolResult::ok("[interrupted: the turn was stopped before this call started; it did nothing]")
        },
        Work::Run(tool, ctx, args) => tool.call(&ctx, args).await,
    };
    let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    (at, Ended { result, millis })
}

/// A result that is neither blank nor endless.
fn tidy(mut end: Ended, limit: usize) -> Ended {
    let content = &mut end.result.content;
    if content.trim().is_empty() {
        *content = match end.result.status {
            ResultStatus::Ok => "(done; no output)".to_owned(),
            _ => "error: the tool failed and did not say why".to_owned(),
        };
    }
    if content.len() > limit {
        *content = crate::tool::head_and_tail(content, limit);
    }
    end
}

fn denied(text: &str) -> ToolResult {
    ToolResult {
        status: ResultStatus::Denied,
        ..ToolResult::ok(format!("{text}. Do not try to get there another way; say what you need."))
    }
}

fn cut_call(call: &Call) -> ToolResult {
    ToolResult::error(format!(
        "error: the token limit cut this call to {} before its end, so it did not run. Make it smaller, for \
         instance in several steps.",
        call.name
    ))
}
