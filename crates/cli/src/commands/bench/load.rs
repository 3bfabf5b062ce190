//! Sends the requests and takes the times.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chela_client::transport::{Http, Request, Response, Transport, Via};
use chela_openai::sse::{Decoder, Event};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, HeaderValue, Method, header};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::Url;

use super::work::{Work, sample};
use super::{BenchServe, Endpoint, text};
use crate::context::Context;
use crate::exit::{Code, Failure};

/// The most of an answer that is not a stream.
const LIMIT: usize = 4 << 20;

/// The server under load.
pub(super) struct Target {
    http: Arc<Http>,
    base: Url,
    headers: HeaderMap,
    pub(super) model: String,
    endpoint: Endpoint,
    ignore_eos: bool,
    temperature: f64,
    timeout: Duration,
}

/// What became of a request. Times are in seconds.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) error: Option<String>,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u64,
    /// From sending to the first token.
    pub(super) ttft: f64,
    /// Between one piece with tokens and the next.
    pub(super) itl: Vec<f64>,
    /// From sending to the last token.
    pub(super) latency: f64,
}

impl Target {
    /// Reads the address, and finds out which model is served.
    pub(super) async fn open(args: &BenchServe, context: &Context) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::usage(format!("--base-url {}: {why}", args.base_url));
        let mut base = Url::parse(&args.base_url).map_err(|error| {
            wrong(error.to_string()).hint("an address such as http://127.0.0.1:8000 is expected")
        })?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong("expected an http or https address".into()));
        }
        let path = base.path().trim_end_matches('/').to_owned();
        let path = if path.ends_with("/v1") { path } else { path + "/v1" };
        base.set_path(&(path + "/"));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = context.env().get(chela_config::env::OPENAI_API_KEY) {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| Failure::usage("OPENAI_API_KEY has characters that no key has"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let http = context.http();
        http.egress().trust(&base);
        let mut target = Self {
            http,
            base,
            headers,
            model: args.model.clone().unwrap_or_default(),
            endpoint: args.endpoint,
            ignore_eos: !args.stop_at_eos,
            temperature: args.temperature,
            timeout: Duration::from_secs(args.timeout),
        };
        if args.model.is_none() {
            target.model = target.first_model().await?;
        }
        Ok(target)
    }

    async fn first_model(&self) -> Result<String, Failure> {
        let failed = |why: String| {
            Failure::new(Code::NoModel, format!("{}: {why}", self.base)).hint("name one with --model")
        };
        let listed = self.call(Method::GET, "models", Bytes::new()).await.map_err(failed)?;
        let id = listed.pointer("/data/0/id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| failed("the server lists no model".into()))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request, String> {
        let url = self.base.join(path).map_err(|error| error.to_string())?;
        let headers = self.headers.clone();
        Ok(Request { headers, body, ..Request::new(method, url, Via::configured()) })
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Value, String> {
        let request = self.request(method, path, body)?;
        let response = self.http.send(request).await.map_err(|error| error.to_string())?;
        if !response.status.is_success() {
            return Err(refusal(response).await);
        }
        let body = response.bytes(LIMIT).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"))
    }

    /// Words that make a token, where the server counts tokens; else one.
    pub(super) async fn words_per_token(&self) -> f64 {
        let body = json!({"model": self.model, "prompt": sample(), "add_special_tokens": false});
        match self.call(Method::POST, "../tokenize", body.to_string().into()).await {
            Ok(counted) => match counted.get("count").and_then(Value::as_f64) {
                Some(tokens) if tokens > 0.0 => 256.0 / tokens,
                _ => 1.0,
            },
            Err(_) => 1.0,
        }
    }

    fn body(&self, work: &Work) -> Bytes {
        let mut body = json!({
            "model": self.model,
            "temperature": self.temperature,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if self.ignore_eos {
            body["ignore_eos"] = true.into();
        }
        body["max_tokens"] = work.output.into();
        match self.endpoint {
            Endpoint::Chat => {
                body["max_completion_tokens"] = work.output.into();
                body["messages"] = json!([{"role": "user", "content": work.prompt}]);
            }
            Endpoint::Completions => body["prompt"] = work.prompt.as_str().into(),
        }
        body.to_string().into()
    }

    /// Sends a request and reads its stream to the end.
    pub(super) async fn send(&self, work: &Work) -> Done {
        let path = match self.endpoint {
            Endpoint::Chat => "chat/completions",
            Endpoint::Completions => "completions",
        };
        let request = match self.request(Method::POST, path, self.body(work)) {
            Ok(request) => request,
            Err(error) => return Done { error: Some(error), ..Done::default() },
        };
        let mut done = Done::default();
        let read = tokio::time::timeout(self.timeout, self.stream(request, &mut done)).await;
        done.error = match read {
            Err(_) => Some(format!("no end after {} s", self.timeout.as_secs())),
            Ok(Err(error)) => Some(error),
            Ok(Ok(())) => None,
        };
        done
    }

    async fn stream(&self, request: Request, done: &mut Done) -> Result<(), String> {
        let started = Instant::now();
        let mut response = self.http.send(request).await.map_err(|error| error.to_string())?;
        if !response.status.is_success() {
            return Err(refusal(response).await);
        }
        let mut decoder = Decoder::new();
        let mut last: Option<Instant> = None;
        while let Some(chunk) = response.body.next().await {
            let now = Instant::now();
            decoder.push(&chunk.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
            while let Some(event) = decoder.next_event() {
                let Event::Data { data, .. } = event else { continue };
                if data.trim() == "[DONE]" {
                    continue;
                }
                let event: Value =
                    serde_json::from_str(&data).map_err(|e| format!("no JSON in the stream: {e}"))?;
                if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
                    return Err(text(error, "message").map_or_else(|| error.to_string(), str::to_owned));
                }
                take_usage(&event, done);
                if !has_token(&event) {
                    continue;
                }
                match last {
                    None => done.ttft = (now - started).as_secs_f64(),
                    Some(last) => done.itl.push((now - last).as_secs_f64()),
                }
                done.latency = (now - started).as_secs_f64();
                last = Some(now);
            }
        }
        match last {
            Some(_) => Ok(()),
            None => Err("the stream had no token".into()),
        }
    }
}

fn take_usage(event: &Value, done: &mut Done) {
    let count = |key: &str| event.get("usage")?.get(key)?.as_u64();
    if let Some(tokens) = count("completion_tokens") {
        done.output_tokens = tokens;
    }
    if let Some(tokens) = count("prompt_tokens") {
        done.prompt_tokens = tokens;
    }
}

/// Whether a piece of a stream carries generated text. The piece that only names the role does not:
/// a server may send it before it computes anything.
fn has_token(event: &Value) -> bool {
    let Some(choice) = event.pointer("/choices/0") else { return false };
    let delta = choice.get("delta").unwrap_or(&Value::Null);
    let said = ["content", "reasoning", "reasoning_content"].iter().any(|key| text(delta, key).is_some());
    let called = delta.get("tool_calls").is_some_and(|calls| !calls.is_null());
    said || called || text(choice, "text").is_some() || text(choice, "finish_reason").is_some()
}

/// What a refusing answer says.
async fn refusal(response: Response) -> String {
    let status = response.status;
    let body = response.bytes(LIMIT).await.unwrap_or_default();
    let said: Option<Value> = serde_json::from_slice(&body).ok();
    let message = said.as_ref().and_then(|said| said.pointer("/error/message")).and_then(Value::as_str);
    match message {
        Some(message) => format!("{status}: {message}"),
        None => status.to_string(),
    }
}

/// Sends every request at its time, no more under way than are allowed.
pub(super) async fn all(
    target: &Target,
    args: &BenchServe,
    requests: Vec<Work>,
    gathered: &Mutex<Vec<Done>>,
    bar: &ProgressBar,
) {
    let most = args.max_concurrency.map_or(Semaphore::MAX_PERMITS, |most| most as usize);
    let places = Semaphore::new(most);
    let started = tokio::time::Instant::now();
    let sending = requests.iter().map(|work| async {
        tokio::time::sleep_until(started + work.at).await;
        // The semaphore is never closed.
        let _place = places.acquire().await;
        let done = target.send(work).await;
        bar.inc(1);
        gathered.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    });
    let mut under_way: FuturesUnordered<_> = sending.collect();
    while under_way.next().await.is_some() {}
}
