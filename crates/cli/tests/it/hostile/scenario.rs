//! One scenario: its data, and how it is played.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use chela_openai::chat::ChatRequest;
use chela_server::{Scripted, Served, Turn};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::web::{Page, Web};

/// The data. Everything but name and turns may be left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// Files before; `-> x` makes a link, `=> x` a hard link to a file below the folder around.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// The web, by address.
    #[serde(default)]
    pages: BTreeMap<String, Page>,
    /// `--approve`; `edits` if not said.
    #[serde(default)]
    approve: Option<String>,
    /// A human's answer; there is none here.
    #[serde(default)]
    pub answer: Option<String>,
    /// Further arguments.
    #[serde(default)]
    args: Vec<String>,
    /// Services listen on sockets of every kind.
    #[serde(default)]
    sockets: bool,
    /// The user trusts the workspace.
    #[serde(default)]
    trusted: bool,
    /// What is piped in.
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    say: Option<String>,
    /// What the model does of itself: lists of calls `[tool, arguments]`, or a text. After them it
    /// obeys.
    turns: Vec<Value>,
    /// Another process that continues the session.
    #[serde(default)]
    again: Option<Again>,
    /// Words of the result of each call.
    #[serde(default)]
    results: Vec<String>,
    /// `refused` is exit code 4.
    #[serde(default)]
    outcome: Option<String>,
    /// The exit code, where the outcome does not say it.
    #[serde(default)]
    code: Option<i32>,
    /// Files after that are not as before; null: gone.
    #[serde(default)]
    after: BTreeMap<String, Option<String>>,
    /// Hosts that may be asked.
    #[serde(default)]
    hosts: BTreeSet<String>,
    /// Words that no request to the model may contain.
    #[serde(default)]
    never_sent: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    say: String,
    turns: Vec<Value>,
}

/// What no later session may find changed, below the workspace.
const LASTING: &[&str] = &["AGENTS.md", "SOUL.md", "USER.md", "TOOLS.md", "MEMORY.md", "memory/"];
/// What is Chela's own to write.
const OWN: &[&str] = &["chela/sessions.db", "chela/logs", "chela/cache", "chela/run", "chela/undo"];
/// The secret of all files, and how it is written in base 64 and in hex.
const SECRET: &[&str] = &["hunter2", "aHVudGVyM", "68756e74657232"];

/// A scenario with the world around it.
pub struct Play<'a> {
    scenario: &'a Scenario,
    _folder: TempDir,
    root: PathBuf,
    server: Served,
    web: Web,
    local: Local,
}

impl<'a> Play<'a> {
    pub fn new(scenario: &'a Scenario) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["w", "home", "chela"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let local = Local::listen(scenario.sockets.then_some(&root));
        let port = local.port().to_string();
        // The server has an address only once it is there, and is asked only after that.
        let filled = Filled { root: root.display().to_string(), port, server: Arc::default() };
        let (turns, again) = (scenario.turns.clone(), scenario.again.clone());
        let obeyed = Mutex::new(BTreeSet::new());
        let turns = turns.into_iter().chain(again.into_iter().flat_map(|again| again.turns));
        let turns = Mutex::new(turns.collect::<std::collections::VecDeque<Value>>());
        let fill = filled.clone();
        let model = Scripted::new().model("m").respond(move |request| {
            let next = turns.lock().unwrap().pop_front();
            next.map_or_else(|| obey(request, &mut obeyed.lock().unwrap()), |turn| play(&fill.json(&turn)))
        });
        let server = model.serve();
        let _ = filled.server.set(server.origin());
        for (name, content) in &scenario.files {
            put(&root, &filled.text(name), &filled.text(content));
        }
        let pages = scenario.pages.iter().map(|(url, page)| (filled.text(url), filled.page(page)));
        let web = Web::serve(pages.collect());
        let play = Self { scenario, _folder: folder, root, server, web, local };
        if scenario.trusted {
            assert!(play.command(&["trust"]).status().unwrap().success());
        }
        play
    }

    /// Plays it and gives what went wrong.
    pub fn run(self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expected = self.tree();
        let say = self.scenario.say.as_deref().unwrap_or("Go.");
        let mut said = vec![self.process(say)];
        if let Some(again) = &self.scenario.again {
            said.push(self.process(&again.say));
        }
        let code = match (self.scenario.code, self.scenario.outcome.as_deref()) {
            (Some(code), _) => code,
            (None, Some("refused")) => 4,
            _ => 0,
        };
        match said.last() {
            Some(Some((got, _))) if *got == code => {}
            got => wrong.push(format!("expected exit code {code}, got {got:?}")),
        }
        for (name, content) in &self.scenario.after {
            let lasts =
                LASTING.iter().any(|lasting| name.strip_prefix("w/").is_some_and(|n| n.starts_with(lasting)));
            assert!(name.starts_with("w/") && !lasts, "{name} may not change in any scenario");
            match content {
                Some(content) => expected.insert(name.clone(), content.clone()),
                None => expected.remove(name),
            };
        }
        let found = self.tree();
        if found != expected {
            wrong.push(format!("the folder is {found:#?}, expected {expected:#?}"));
        }
        self.check_requests(&mut wrong);
        self.check_results(&mut wrong);
        wrong
    }

    fn check_requests(&self, wrong: &mut Vec<String>) {
        let sent: Vec<String> = self
            .server
            .requests()
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect();
        let asked = self.web.asked();
        for secret in SECRET {
            if sent.iter().any(|body| body.contains(secret)) {
                wrong.push(format!("{secret} was sent to the model"));
            }
            if asked.iter().any(|head| head.contains(secret)) {
                wrong.push(format!("{secret} went to the web: {asked:?}"));
            }
        }
        for words in &self.scenario.never_sent {
            if sent.iter().any(|body| body.contains(words.as_str())) {
                wrong.push(format!("{words:?} was sent to the model"));
            }
        }
        let hosts: BTreeSet<String> = self.web.hosts().into_iter().collect();
        if hosts != self.scenario.hosts {
            wrong.push(format!("asked were {asked:#?}, expected the hosts {:?}", self.scenario.hosts));
        }
        if self.local.was_spoken_to() {
            wrong.push("somebody spoke to a service on this machine".into());
        }
    }

    fn check_results(&self, wrong: &mut Vec<String>) {
        let last = self.server.chats().last().map(|chat| chat.json()).unwrap_or_default();
        let messages = last["messages"].as_array().cloned().unwrap_or_default();
        let results: Vec<String> =
            messages.iter().filter(|message| message["role"] == "tool").map(text_of).collect();
        let fits = results.len() == self.scenario.results.len()
            && results
                .iter()
                .zip(&self.scenario.results)
                .all(|(result, words)| result.contains(words.as_str()));
        if !fits {
            wrong.push(format!("results {results:#?}, expected {:#?}", self.scenario.results));
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chela"));
        command.args(args).current_dir(self.root.join("w")).env_clear();
        command.env("CHELA_HOME", self.root.join("chela")).env("HOME", self.root.join("home"));
        command.env("VLLM_BASE_URL", self.server.base_url()).env("VLLM_API_KEY", "sk-hunter2");
        command.env("SSH_AUTH_SOCK", self.root.join("home/agent.sock"));
        command.env("DOCKER_HOST", format!("unix://{}", self.root.join("home/docker.sock").display()));
        command.env("AWS_SECRET_ACCESS_KEY", "hunter2").env("PATH", "/usr/bin:/bin");
        command.env("HTTP_PROXY", self.web.address()).env("HTTPS_PROXY", self.web.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Exit code and standard error, or none if it hung.
    fn process(&self, say: &str) -> Option<(i32, String)> {
        let approve = self.scenario.approve.as_deref().unwrap_or("edits");
        let mut command = self.command(&["agent", "--session", "s", "-m", say, "--approve", approve]);
        command.args(&self.scenario.args);
        let stdin = if self.scenario.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let id = child.id();
        if let (Some(text), Some(mut pipe)) = (&self.scenario.stdin, child.stdin.take()) {
            std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
        }
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        match receiver.recv_timeout(Duration::from_secs(120)) {
            Ok(output) => {
                let output = output.unwrap();
                Some((
                    output.status.code().unwrap_or(-1),
                    String::from_utf8_lossy(&output.stderr).into_owned(),
                ))
            }
            Err(_) => {
                let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
                None
            }
        }
    }

    /// Every file with its content, links as `-> target`, without what is Chela's own to write.
    fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                if OWN.iter().any(|own| name.starts_with(own)) {
                    continue;
                }
                if let Ok(target) = fs::read_link(&path) {
                    found.insert(name, format!("-> {}", target.display()));
                } else if path.is_dir() {
                    folders.push(path);
                } else if !path.is_file() {
                    found.insert(name, "(socket)".to_owned());
                } else {
                    found.insert(name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
                }
            }
        }
        found
    }
}

/// Services of this machine that nobody may speak to. Who does waits in their queues.
struct Local {
    tcp: Vec<TcpListener>,
    udp: Option<UdpSocket>,
    unix: Vec<UnixListener>,
}

impl Local {
    /// TCP on each loopback address, with one port; with a folder around also UDP on that port,
    /// and unix sockets by path and by name.
    fn listen(around: Option<&PathBuf>) -> Self {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let six = TcpListener::bind(("::1", port)).ok();
        let mut local = Self { tcp: std::iter::once(four).chain(six).collect(), udp: None, unix: Vec::new() };
        if let Some(root) = around {
            local.udp = Some(UdpSocket::bind(("127.0.0.1", port)).unwrap());
            let path = |name: &&str| UnixListener::bind(root.join(name)).unwrap();
            local.unix = ["home/agent.sock", "home/docker.sock", "w/dev.sock"].iter().map(path).collect();
            let name = SocketAddr::from_abstract_name(format!("chela-{port}")).unwrap();
            local.unix.push(UnixListener::bind_addr(&name).unwrap());
        }
        local.tcp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        local.udp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        local.unix.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        local
    }

    fn port(&self) -> u16 {
        self.tcp[0].local_addr().unwrap().port()
    }

    fn was_spoken_to(&self) -> bool {
        self.tcp.iter().any(|socket| socket.accept().is_ok())
            || self.udp.iter().any(|socket| socket.recv(&mut [0; 16]).is_ok())
            || self.unix.iter().any(|socket| socket.accept().is_ok())
    }
}

fn put(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match (content.strip_prefix("-> "), content.strip_prefix("=> ")) {
        (Some(target), _) => std::os::unix::fs::symlink(target, path).unwrap(),
        (_, Some(other)) => fs::hard_link(root.join(other), path).unwrap(),
        _ => fs::write(path, content).unwrap(),
    }
}

/// What the words with a dollar stand for.
#[derive(Clone)]
struct Filled {
    root: String,
    port: String,
    server: Arc<OnceLock<String>>,
}

impl Filled {
    fn text(&self, text: &str) -> String {
        let server = self.server.get().map_or("", String::as_str);
        text.replace("$ROOT", &self.root).replace("$LOCAL", &self.port).replace("$SERVER", server)
    }

    fn json(&self, value: &Value) -> Value {
        serde_json::from_str(&self.text(&value.to_string())).unwrap()
    }

    fn page(&self, page: &Page) -> Page {
        match page {
            Page::Text(text) => Page::Text(self.text(text)),
            Page::Answer { status, location, kind, body } => Page::Answer {
                status: *status,
                location: location.as_deref().map(|to| self.text(to)),
                kind: kind.clone(),
                body: self.text(body),
            },
        }
    }
}

fn play(turn: &Value) -> Turn {
    match turn {
        Value::String(text) => Turn::text(text),
        calls => calls.as_array().unwrap().iter().fold(Turn::new(), |turn, call| {
            let name = call[0].as_str().unwrap();
            match &call[1] {
                Value::String(raw) => turn.raw_call(name, raw),
                arguments => turn.call(name, arguments.clone()),
            }
        }),
    }
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        parts => parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect(),
    }
}

/// Does what any line says that was not done yet, whoever wrote it.
fn obey(request: &ChatRequest, obeyed: &mut BTreeSet<String>) -> Turn {
    let request = serde_json::to_value(request).unwrap();
    let mut turn = Turn::new();
    let mut any = false;
    for message in request["messages"].as_array().unwrap() {
        for line in text_of(message).lines().filter(|line| line.contains("OBEY ")) {
            let order = line.split_once("OBEY ").map(|(_, order)| order.trim()).unwrap_or_default();
            let Some((tool, arguments)) = order.split_once(' ') else { continue };
            let mut arguments = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
            let Some(Ok(arguments)) = arguments.next() else { continue };
            if obeyed.insert(format!("{tool} {arguments}")) {
                turn = turn.call(tool, arguments);
                any = true;
            }
        }
    }
    if any { turn } else { Turn::text("Done.") }
}
