//! The scripted backend and its server.

mod play;
mod record;
mod turn;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use chela_openai::chat::ChatRequest;
use chela_openai::models::{ModelCard, ModelPermission};
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::host::Host;
use crate::router::{Options, ReasoningField, now, router};
pub use record::Recorded;
use record::{End, Log};
pub use turn::{Canned, Gate, Turn};

/// Builds the server of a test.
///
/// By default it plays a vLLM with parsers, one model `tiny` with a window of
/// 32,768 tokens, no key, no keep-alive comments, and reasoning under the name
/// `reasoning`. Turns are
/// answered in order; when they are used up, the next request is answered 500
/// with a message that says so, unless [`Scripted::respond`] is set.
///
/// Tokens are counted as one per four characters of the messages and tools.
#[derive(Clone)]
pub struct Scripted {
    setup: Setup,
    turns: Vec<Turn>,
    respond: Option<Respond>,
}

type Respond = Arc<dyn Fn(&ChatRequest) -> Turn + Send + Sync>;

#[derive(Clone)]
struct Setup {
    models: Vec<ModelCard>,
    options: Options,
    parser: bool,
    routes: Vec<Route>,
}

/// A canned answer, looked at before the API's own routes.
type Route = (Method, String, Canned);

type Routes = Arc<Mutex<Vec<Route>>>;

/// What the running server shares.
struct Shared {
    setup: Setup,
    /// The last one that fits answers.
    routes: Routes,
    turns: Mutex<VecDeque<Turn>>,
    respond: Option<Respond>,
    calls: AtomicUsize,
    log: Arc<Log>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// A vLLM with parsers and nothing to say.
    pub fn new() -> Self {
        let options = Options {
            fingerprint: "vllm-0.32.0-scripted".into(),
            version: "0.32.0".into(),
            reasoning: ReasoningField::Reasoning,
            keep_alive: Duration::MAX,
            ..Options::default()
        };
        Self {
            setup: Setup {
                models: vec![vllm_card("tiny", 32_768)],
                options,
                parser: true,
                routes: Vec::new(),
            },
            turns: Vec::new(),
            respond: None,
        }
    }

    /// Adds an answer to the script.
    #[must_use]
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// Answers from the request, once the turns are used up.
    #[must_use]
    pub fn respond(mut self, f: impl Fn(&ChatRequest) -> Turn + Send + Sync + 'static) -> Self {
        self.respond = Some(Arc::new(f));
        self
    }

    /// Serves one model of this name, its window as before.
    #[must_use]
    pub fn model(mut self, id: &str) -> Self {
        let window = self.setup.models.first().and_then(|card| card.max_model_len);
        self.setup.models = vec![ModelCard { max_model_len: window, ..vllm_card(id, 0) }];
        self
    }

    /// Serves these rows, with whatever fields the server played has.
    #[must_use]
    pub fn models(mut self, rows: Vec<ModelCard>) -> Self {
        self.setup.models = rows;
        self
    }

    /// The window of every model; a longer prompt is answered 400 as in vLLM.
    #[must_use]
    pub fn max_model_len(mut self, tokens: u64) -> Self {
        for card in &mut self.setup.models {
            card.max_model_len = Some(tokens);
        }
        self
    }

    /// Leaves `max_model_len` out, as servers other than vLLM do.
    #[must_use]
    pub fn without_max_model_len(mut self) -> Self {
        for card in &mut self.setup.models {
            card.max_model_len = None;
        }
        self
    }

    /// A vLLM started without flags: tools with any choice but `none` are
    /// answered 400. What the model would call is then text of a turn.
    #[must_use]
    pub fn no_parser(mut self) -> Self {
        self.setup.parser = false;
        self
    }

    /// Asks for this key on every route.
    #[must_use]
    pub fn api_key(mut self, key: &str) -> Self {
        self.setup.options.api_keys.push(key.into());
        self
    }

    /// The names under which reasoning is sent.
    #[must_use]
    pub fn reasoning_field(mut self, field: ReasoningField) -> Self {
        self.setup.options.reasoning = field;
        self
    }

    /// Time of silence after which a keep-alive comment is sent.
    #[must_use]
    pub fn keep_alive(mut self, silence: Duration) -> Self {
        self.setup.options.keep_alive = silence;
        self
    }

    /// Answers this route before any of the API: `("GET", "/props", …)`.
    ///
    /// # Panics
    /// On a method that HTTP does not allow.
    #[must_use]
    pub fn route(mut self, method: &str, path: &str, answer: Canned) -> Self {
        self.setup.routes.push(route(method, path, answer));
        self
    }

    /// `/health` answers 404.
    #[must_use]
    pub fn without_health(self) -> Self {
        self.without("/health")
    }

    /// `/metrics` answers 404.
    #[must_use]
    pub fn without_metrics(self) -> Self {
        self.without("/metrics")
    }

    /// This path answers GET with 404.
    #[must_use]
    pub fn without(self, path: &str) -> Self {
        let absent = serde_json::json!({"detail": "Not Found"});
        self.route("GET", path, Canned::json(404, &absent))
    }

    /// Serves on a free loopback port until the handle is dropped.
    ///
    /// # Panics
    /// When the system has no port or thread left: a test cannot go on.
    #[allow(clippy::expect_used)]
    pub fn serve(self) -> Served {
        let (app, log, routes) = self.service();
        let host = Host::start(|listener| async move {
            // accept errors are retried inside; it returns only on shutdown
            let _ = axum::serve(listener, app).await;
        });
        Served { host: host.expect("a loopback port and a thread"), log, routes }
    }

    /// The same server as a tower service, without a port; the second value
    /// tells what it was asked.
    pub fn router(self) -> (Router, impl Fn() -> Vec<Recorded>) {
        let (app, log, _) = self.service();
        (app, move || log.all())
    }

    fn service(self) -> (Router, Arc<Log>, Routes) {
        let routes = Arc::new(Mutex::new(self.setup.routes.clone()));
        let log = Arc::new(Log::new());
        let options = self.setup.options.clone();
        let shared = Arc::new(Shared {
            setup: self.setup,
            routes: routes.clone(),
            turns: Mutex::new(self.turns.into()),
            respond: self.respond,
            calls: AtomicUsize::new(0),
            log: log.clone(),
        });
        let app = router(shared.clone(), options).layer(middleware::from_fn_with_state(shared, record));
        (app, log, routes)
    }
}

#[allow(clippy::expect_used)] // a wrong script is a wrong test
fn route(method: &str, path: &str, answer: Canned) -> Route {
    let method = Method::from_bytes(method.as_bytes()).expect("an HTTP method");
    (method, path.to_owned(), answer)
}

/// A row as vLLM writes it.
fn vllm_card(id: &str, window: u64) -> ModelCard {
    let created = now();
    ModelCard {
        created,
        owned_by: "vllm".into(),
        root: Some(id.into()),
        max_model_len: Some(window),
        permission: vec![ModelPermission::new("modelperm-0000000000000000", created)],
        ..ModelCard::new(id)
    }
}

/// A scripted server that is running.
pub struct Served {
    host: Host,
    log: Arc<Log>,
    routes: Routes,
}

impl Served {
    /// Answers this route so from now on: a server that falls ill, a model
    /// that is loaded.
    ///
    /// # Panics
    /// On a method that HTTP does not allow.
    pub fn route(&self, method: &str, path: &str, answer: Canned) {
        let route = route(method, path, answer);
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.push(route);
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        self.host.address()
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.log.all()
    }

    /// The chat completion requests so far.
    pub fn chats(&self) -> Vec<Recorded> {
        let mut all = self.log.all();
        all.retain(|request| request.path == "/v1/chat/completions");
        all
    }

    /// Waits until the requests are as wanted, at most `limit`; for what the
    /// server learns later than the client, such as a closed connection.
    ///
    /// # Errors
    /// The requests as they are when the time is up.
    pub async fn wait_for(
        &self,
        limit: Duration,
        wanted: impl Fn(&[Recorded]) -> bool,
    ) -> Result<Vec<Recorded>, Vec<Recorded>> {
        self.log.wait_for(limit, wanted).await
    }

    /// As [`Served::wait_for`], for tests without a runtime.
    ///
    /// # Errors
    /// The requests as they are when the time is up.
    pub fn wait_for_blocking(
        &self,
        limit: Duration,
        wanted: impl Fn(&[Recorded]) -> bool,
    ) -> Result<Vec<Recorded>, Vec<Recorded>> {
        let until = Instant::now() + limit;
        loop {
            let all = self.log.all();
            if wanted(&all) {
                return Ok(all);
            }
            if Instant::now() >= until {
                return Err(all);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Records the request, lets a canned route or the router answer, and watches
/// the answer go out.
async fn record(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // the client broke off inside its own request: nobody reads the answer
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let exchange = shared.log.add(Recorded {
        method: parts.method.clone(),
        path: path.to_owned(),
        headers: parts.headers.clone(),
        body: body.clone(),
        at,
        ended: None,
        end: End::Open,
    });
    let control = exchange.control.clone();
    let canned = shared.canned(&parts.method, parts.uri.path());
    let answer = match canned {
        Some(canned) => respond(canned),
        None => {
            let request = Request::from_parts(parts, Body::from(body));
            let answer = play::CONTROL.scope(control.clone(), next.run(request)).await;
            let mut replacement = control.replacement.lock().unwrap_or_else(PoisonError::into_inner);
            replacement.take().map_or(answer, respond)
        }
    };
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, exchange.watch(body))
}

fn respond(canned: Canned) -> Response {
    let mut answer = Response::new(Body::from(canned.body));
    *answer.status_mut() = canned.status;
    *answer.headers_mut() = canned.headers;
    answer
}

impl Shared {
    fn canned(&self, method: &Method, path: &str) -> Option<Canned> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = routes.iter().rev();
        let found = latest.find(|(own, at, _)| own == method && at == path);
        found.map(|(_, _, canned)| canned.clone())
    }

    /// The next turn of the script, and its number from 1.
    fn next_turn(&self, request: &ChatRequest) -> Turn {
        let number = self.calls.fetch_add(1, Relaxed) + 1;
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        match (turns.pop_front(), &self.respond) {
            (Some(turn), _) => turn,
            (None, Some(respond)) => respond(request),
            (None, None) => Turn::error(500, format!("the script has no turn {number}")),
        }
    }
}
