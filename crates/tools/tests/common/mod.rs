//! A real agent with real tools, on a folder of its own, against a scripted server on a socket.

#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chela_agent::journal::{Journal, MemoryJournal, MemorySessions};
use chela_agent::model::Models;
use chela_agent::policy::Policy;
use chela_agent::remote::Remote;
use chela_agent::tool::Registry;
use chela_agent::{Agent, Parts, Settings};
use chela_client::catalog::{self, State};
use chela_client::{Catalog, Http, HttpSettings, ModelClient, Timing};
use chela_protocol::*;
use chela_server::Served;
use chela_tools::files::{Files, tools};
use chela_tools::undo::UndoLog;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A workspace with what lies around it: `w` is the workspace, `home` the home folder, `chela`
/// the agent's own folder.
pub struct Place {
    pub folder: TempDir,
    pub root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["w", "home", "chela"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        Self { folder, root }
    }

    pub fn put(&self, name: &str, content: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Every file below the folder with its content, links as `-> target`. What the undo journal
    /// keeps is not part of it.
    pub fn all(&self) -> std::collections::BTreeMap<String, String> {
        let mut found = std::collections::BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                if let Ok(target) = fs::read_link(&path) {
                    found.insert(name, format!("-> {}", target.display()));
                } else if path.is_dir() {
                    folders.extend((name != "undo").then_some(path));
                } else {
                    found.insert(name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
                }
            }
        }
        found
    }

    /// Starts an agent; `journal` is what an earlier process left.
    pub async fn agent(
        &self,
        server: &Served,
        journal: Arc<MemoryJournal>,
        change: impl FnOnce(&mut Settings),
    ) -> Running {
        let workspace = self.root.join("w");
        let http = Arc::new(Http::new(HttpSettings::default()));
        let catalog = Arc::new(Catalog::new(catalog::Settings {
            config: Arc::default(),
            env: Arc::new([("VLLM_BASE_URL", server.base_url())].into_iter().collect()),
            profiles: Default::default(),
            cache: None,
            http,
            in_process: Vec::new(),
        }));
        let models = Remote::new(catalog, ModelClient::new(State::default(), Timing::default()));
        let model = models.resolve("vllm/tiny").await.unwrap();
        let undo = Arc::new(UndoLog::new(self.root.join("undo")));
        let files = Files::new(Arc::clone(&undo), Some(self.root.join("home")));
        let mut settings = Settings::new(workspace.clone());
        settings.approve = ApproveMode::Edits;
        change(&mut settings);
        let parts = Parts {
            settings,
            tools: Registry::new(tools(&files)),
            policy: Policy {
                workspace,
                protected: vec![self.root.join("chela")],
                instructions: vec![self.root.join("w/memory")],
                readable: vec![],
            },
            models: Arc::new(models),
            model,
            sessions: Arc::new(MemorySessions::default()),
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            undo: Some(undo),
            recall: None,
        };
        let (ops, receiver) = mpsc::channel(16);
        let (sender, events) = mpsc::channel(1024);
        tokio::spawn(async move { Agent::new(parts).run(receiver, sender).await.unwrap() });
        Running { ops, events, seen: Vec::new(), journal }
    }
}

pub struct Running {
    pub ops: mpsc::Sender<Op>,
    pub events: mpsc::Receiver<Envelope>,
    pub seen: Vec<Event>,
    pub journal: Arc<MemoryJournal>,
}

impl Running {
    pub async fn say(&self, text: &str) {
        let op = Op::UserMessage { text: text.into(), images: vec![], attachments: vec![] };
        self.ops.send(op).await.unwrap();
    }

    /// The next event for which `f` gives something. The limit only ends a test that hangs.
    pub async fn until<T>(&mut self, mut f: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(120), self.events.recv());
            let Ok(Some(envelope)) = next.await else {
                panic!("no such event came; there were {:#?}", self.seen);
            };
            let found = f(&envelope.event);
            self.seen.push(envelope.event);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Waits for the end of the turn and answers every request for approval with `decision`.
    pub async fn outcome(&mut self, decision: Decision) -> Outcome {
        loop {
            let step = self
                .until(|event| match event {
                    Event::TurnFinished { outcome, .. } => Some(Ok(outcome.clone())),
                    Event::ApprovalRequested { id, .. } => Some(Err(*id)),
                    _ => None,
                })
                .await;
            match step {
                Ok(outcome) => return outcome,
                Err(id) => self.ops.send(Op::Approve { id, decision }).await.unwrap(),
            }
        }
    }

    pub async fn turn(&mut self, text: &str) -> Outcome {
        self.say(text).await;
        self.outcome(Decision::Deny).await
    }

    /// What all calls came to, as the model reads it.
    pub fn results(&self) -> Vec<String> {
        let result = |record: Record| match record.item {
            Item::ToolResult { content, note, .. } if note.is_empty() => Some(content),
            Item::ToolResult { content, note, .. } => Some(format!("{content}\n{note}")),
            _ => None,
        };
        self.journal.records().into_iter().filter_map(result).collect()
    }

    pub fn said(&self) -> String {
        let text = |event: &Event| match event {
            Event::TextDelta { text } => Some(text.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(text).collect()
    }
}
