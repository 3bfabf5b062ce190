//! A scripted model, a few tools, and a front end that collects events.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chela_agent::journal::{Journal, MemoryJournal, MemorySessions};
use chela_agent::model::{Model, ModelError, ModelEvent, ModelInfo, Models, Request};
use chela_agent::policy::Policy;
use chela_agent::tool::{Args, Registry, Tool, ToolCtx, ToolResult, ToolSpec};
use chela_agent::{Agent, Parts, Settings};
use chela_protocol::*;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// One reply of the scripted model.
#[derive(Clone, Debug)]
pub enum Script {
    /// These events, then, without a `Done` in them, an end after the last.
    Events(Vec<ModelEvent>),
    /// These events, then nothing more, for ever.
    Hang(Vec<ModelEvent>),
    /// These events, then this error.
    Fail(Vec<ModelEvent>, ModelError),
}

pub fn text(text: &str) -> Script {
    Script::Events(vec![
        ModelEvent::Text(text.into()),
        ModelEvent::Usage(Usage { prompt: 100, completion: 10, ..Usage::default() }),
        ModelEvent::Done(Finish::Stop),
    ])
}

pub fn call(name: &str, arguments: serde_json::Value) -> ModelEvent {
    ModelEvent::Call { id: String::new(), name: name.into(), arguments: arguments.to_string() }
}

pub fn calls(calls: Vec<ModelEvent>) -> Script {
    let mut events = calls;
    events.push(ModelEvent::Done(Finish::ToolCalls));
    Script::Events(events)
}

pub fn error(kind: FailureKind, message: &str) -> ModelError {
    ModelError { kind, message: message.into(), window: None }
}

type Reply = Box<dyn FnMut(&Request) -> Option<Script> + Send>;

/// Answers by script and keeps the requests. Counts a token for every four bytes.
pub struct ScriptedModel {
    pub info: Mutex<ModelInfo>,
    script: Mutex<VecDeque<Script>>,
    reply: Mutex<Option<Reply>>,
    pub requests: Mutex<Vec<Request>>,
    pub counts: bool,
}

impl ScriptedModel {
    pub fn new(script: Vec<Script>) -> Arc<Self> {
        Arc::new(Self::of(script))
    }

    pub fn of(script: Vec<Script>) -> Self {
        Self {
            info: Mutex::new(ModelInfo {
                reference: "test/m".into(),
                provenance: Provenance {
                    provider: "test".into(),
                    model: "m".into(),
                    endpoint: "http://127.0.0.1:1/v1".into(),
                    local: true,
                },
                window: 32_768,
                max_output: 4_096,
                images: false,
                thinks: true,
                resend_reasoning: false,
            }),
            script: Mutex::new(script.into()),
            reply: Mutex::new(None),
            requests: Mutex::new(Vec::new()),
            counts: false,
        }
    }

    /// Answers by a function of the request; the script serves where it gives none.
    pub fn replying(reply: impl FnMut(&Request) -> Option<Script> + Send + 'static) -> Arc<Self> {
        let model = Self::of(Vec::new());
        *model.reply.lock().unwrap() = Some(Box::new(reply));
        Arc::new(model)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn next(&self, request: &Request) -> Script {
        let mut reply = self.reply.lock().unwrap();
        if let Some(script) = reply.as_mut().and_then(|reply| reply(request)) {
            return script;
        }
        let next = self.script.lock().unwrap().pop_front();
        next.unwrap_or_else(|| {
            Script::Fail(vec![], error(FailureKind::BadRequest, "the script is at its end"))
        })
    }
}

impl Model for ScriptedModel {
    fn info(&self) -> ModelInfo {
        self.info.lock().unwrap().clone()
    }

    fn stream(&self, request: Request) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let script = self.next(&request);
        self.requests.lock().unwrap().push(request);
        match script {
            Script::Events(events) => futures_util::stream::iter(events.into_iter().map(Ok)).boxed(),
            Script::Hang(events) => futures_util::stream::iter(events.into_iter().map(Ok))
                .chain(futures_util::stream::pending())
                .boxed(),
            Script::Fail(events, error) => futures_util::stream::iter(events.into_iter().map(Ok))
                .chain(futures_util::stream::iter([Err(error)]))
                .boxed(),
        }
    }

    fn count<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move { self.counts.then(|| request.weight() as u64 / 4) })
    }
}

pub struct OneModel(pub Arc<ScriptedModel>);

impl Models for OneModel {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, ModelError>> {
        Box::pin(async move {
            match name {
                "test/m" => Ok(Arc::clone(&self.0) as Arc<dyn Model>),
                _ => Err(error(FailureKind::Config, "no such model")),
            }
        })
    }

    fn list(&self, _: bool) -> BoxFuture<'_, Result<Vec<ModelRow>, ModelError>> {
        Box::pin(async {
            Ok(vec![ModelRow { model: "test/m".into(), window: Some(32_768), current: false, local: true }])
        })
    }
}

/// A tool of a test: a name, the rights of every call, and a function.
pub struct TestTool {
    spec: ToolSpec,
    rights: Vec<Right>,
    act: Box<dyn Fn(ToolCtx, Args) -> BoxFuture<'static, ToolResult> + Send + Sync>,
}

impl TestTool {
    pub fn build<F>(
        name: &'static str,
        read_only: bool,
        rights: Vec<Right>,
        act: impl Fn(ToolCtx, Args) -> F + Send + Sync + 'static,
    ) -> Arc<dyn Tool>
    where
        F: Future<Output = ToolResult> + Send + 'static,
    {
        let parameters = json!({"type": "object", "properties": {"x": {"type": "string"}}});
        let spec =
            ToolSpec { name: name.into(), description: "A tool of a test.".into(), parameters, read_only };
        Arc::new(Self { spec, rights, act: Box::new(move |ctx, args| Box::pin(act(ctx, args))) })
    }
}

impl Tool for TestTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, _: &ToolCtx, _: &Args) -> Result<Vec<Right>, String> {
        Ok(self.rights.clone())
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        (self.act)(ctx.clone(), args)
    }
}

/// `look`: reads, gives back its argument.
pub fn look() -> Arc<dyn Tool> {
    TestTool::build("look", true, vec![], |_, args| async move {
        ToolResult::ok(format!("saw {}", args.get("x").and_then(|x| x.as_str()).unwrap_or("nothing")))
    })
}

/// A running agent and the front end's end of it.
pub struct Running {
    pub ops: Option<mpsc::Sender<Op>>,
    pub events: mpsc::Receiver<Envelope>,
    pub seen: Vec<Envelope>,
    pub journal: Arc<MemoryJournal>,
    pub task: JoinHandle<()>,
}

pub struct Setup {
    pub model: Arc<ScriptedModel>,
    pub tools: Vec<Arc<dyn Tool>>,
    pub settings: Settings,
    pub records: Vec<Record>,
}

impl Setup {
    pub fn new(script: Vec<Script>) -> Self {
        Self::with(ScriptedModel::new(script))
    }

    pub fn with(model: Arc<ScriptedModel>) -> Self {
        let mut settings = Settings::new(PathBuf::from("/workspace"));
        settings.approve = ApproveMode::Ask;
        settings.can_ask = true;
        Self { model, tools: vec![look()], settings, records: Vec::new() }
    }

    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.push(tool);
        self
    }

    pub fn start(self) -> Running {
        let journal = Arc::new(MemoryJournal::new(self.records));
        let parts = Parts {
            policy: Policy {
                workspace: self.settings.workspace.clone(),
                protected: vec!["/home/u/.chela".into()],
                instructions: vec![],
                readable: vec![],
            },
            settings: self.settings,
            tools: Registry::new(self.tools),
            models: Arc::new(OneModel(Arc::clone(&self.model))),
            model: self.model,
            sessions: Arc::new(MemorySessions::default()),
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            undo: None,
            recall: None,
        };
        let (ops, receiver) = mpsc::channel(16);
        let (sender, events) = mpsc::channel(1024);
        let task = tokio::spawn(async move { Agent::new(parts).run(receiver, sender).await.unwrap() });
        Running { ops: Some(ops), events, seen: Vec::new(), journal, task }
    }
}

impl Running {
    pub async fn send(&self, op: Op) {
        self.ops.as_ref().unwrap().send(op).await.unwrap();
    }

    pub async fn say(&self, text: &str) {
        self.send(Op::UserMessage { text: text.into(), images: vec![], attachments: vec![] }).await;
    }

    /// The next event for which `f` gives something. The limit only ends a test that hangs.
    pub async fn until<T>(&mut self, mut f: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.events.recv());
            let Ok(Some(envelope)) = next.await else {
                panic!("no such event came; there were {:#?}", self.seen);
            };
            let found = f(&envelope.event);
            self.seen.push(envelope);
            if let Some(found) = found {
                return found;
            }
        }
    }

    pub async fn outcome(&mut self) -> Outcome {
        self.until(|event| match event {
            Event::TurnFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    /// Says something and waits for the end of the turn.
    pub async fn turn(&mut self, text: &str) -> Outcome {
        self.say(text).await;
        self.outcome().await
    }

    pub async fn approval(&mut self) -> ApprovalId {
        self.until(|event| match event {
            Event::ApprovalRequested { id, .. } => Some(*id),
            _ => None,
        })
        .await
    }

    /// Closes the operations and waits for the end.
    pub async fn finish(mut self) -> Vec<Envelope> {
        self.ops = None;
        self.until(|event| matches!(event, Event::Closed).then_some(())).await;
        self.task.await.unwrap();
        self.seen
    }

    pub fn items(&self) -> Vec<Item> {
        self.journal.records().into_iter().map(|record| record.item).collect()
    }

    /// The results of all calls: content and note.
    pub fn results(&self) -> Vec<(String, String, ResultStatus)> {
        let result = |item| match item {
            Item::ToolResult { content, note, status, .. } => Some((content, note, status)),
            _ => None,
        };
        self.items().into_iter().filter_map(result).collect()
    }

    pub fn said(&self) -> String {
        let text = |envelope: &Envelope| match &envelope.event {
            Event::TextDelta { text } => Some(text.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(text).collect()
    }
}
