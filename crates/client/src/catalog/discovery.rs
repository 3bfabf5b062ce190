//! Asking a server which models it has.

use std::time::Duration;

use chela_openai::error::ErrorBody;
use chela_openai::models::ModelList;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::limits;
use super::model::{Endpoint, Input};
use super::providers::{self, Row};
use crate::fault::ExitClass;
use crate::transport::{Response, TransportError, show};

/// Time for the connection of a discovery request.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Time for a whole discovery request.
pub const TOTAL: Duration = Duration::from_secs(5);
/// Largest model list that is read: hosted routers send megabytes.
const LIST_LIMIT: usize = 16 << 20;

/// What a server said of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// Id of the row that describes this kind of server.
    pub kind: String,
    /// Its models, in its order.
    pub models: Vec<Found>,
}

/// One model of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Id to ask for.
    pub id: String,
    /// Window that the running server allows.
    pub window: Option<u32>,
    /// Window that the model's file or its training allows.
    pub card_window: Option<u32>,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// Kinds of input, where the server tells.
    pub input: Option<Vec<Input>>,
    /// Whether it takes tools, where the server tells.
    pub tools: Option<bool>,
    /// Whether it thinks, where the server tells.
    pub reasoning: Option<bool>,
    /// It makes embeddings and cannot chat.
    #[serde(default)]
    pub embeddings: bool,
    /// Name of the weights where the id is an alias: the path or repository of the file.
    pub root: Option<String>,
    /// Id of the family that the server's chat template shows.
    pub family: Option<String>,
}

/// Why a server's models are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{provider}: {url}: {cause}; {remedy}")]
pub struct DiscoveryError {
    /// Provider id.
    pub provider: String,
    /// Address asked, without credentials.
    pub url: String,
    /// What happened.
    pub cause: Cause,
    /// What to do about it.
    pub remedy: String,
}

impl DiscoveryError {
    /// What the error means for the exit status.
    pub fn exit_class(&self) -> ExitClass {
        ExitClass::Unusable
    }
}

/// What happened when a server was asked for its models.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// 401 or 403.
    #[error("the server refuses the key ({0})")]
    KeyRefused(u16),
    /// 401 or 403 without a key.
    #[error("the server wants a key ({0})")]
    KeyWanted(u16),
    /// 5xx.
    #[error("the server failed with {status}: {message}")]
    Server {
        /// Status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// 404 where the base URL already ends in `/v1`, or nothing answers below it either.
    #[error("there is no model list at this address (404)")]
    NotFound,
    /// The list is at `/v1/models`, and the base URL lacks the `/v1`.
    #[error("the base URL lacks /v1")]
    MissingV1,
    /// The base URL goes too deep: `/v1/v1`, `/v1/models`, `/v1/chat/completions`.
    #[error("the base URL goes too deep ({0})")]
    TooDeep(String),
    /// Another status.
    #[error("the server answered {status}: {message}")]
    Status {
        /// Status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// A web page.
    #[error("a web page answered, not an API")]
    Html,
    /// Something that is not JSON.
    #[error("the answer is not JSON: {0}")]
    NotJson(String),
    /// JSON without `data[]`.
    #[error("the answer is JSON but no model list: {0}")]
    NoList(String),
    /// A list without rows.
    #[error("the server lists no models")]
    Empty,
    /// A redirect that is not followed.
    #[error("{0}")]
    Redirect(String),
    /// Nothing listens.
    #[error("connection refused")]
    Refused,
    /// No connection, or no answer, in time.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// The connection was closed.
    #[error("{0}")]
    Closed(String),
    /// TLS, DNS, the egress rules, a list past the limit.
    #[error("{0}")]
    Transport(String),
    /// The provider cannot be asked as it is configured.
    #[error("{0}")]
    Config(String),
}

/// Ask a server for its models and their limits.
///
/// # Errors
/// What failed, with the address and the remedy.
pub async fn ask(endpoint: &Endpoint) -> Result<Discovered, DiscoveryError> {
    let url = endpoint.api("models");
    let answer = timeout(TOTAL, list(endpoint)).await;
    let list = match answer {
        Ok(Ok(list)) => list,
        Ok(Err(cause)) => return Err(explain(endpoint, &show(&url), cause)),
        Err(_) => return Err(explain(endpoint, &show(&url), Cause::Timeout(TOTAL.as_secs()))),
    };
    if list.data.is_empty() {
        return Err(explain(endpoint, &show(&url), Cause::Empty));
    }
    // The server knows what it is; the provider's name only says what the user expects.
    let row =
        list.data.iter().find_map(|card| providers::row_of_owner(&card.owned_by)).unwrap_or(endpoint.row);
    let mut models: Vec<Found> = list.data.iter().map(|card| limits::from_card(card, &list.data)).collect();
    // What the server adds to its list is welcome and may fail.
    if timeout(TOTAL, limits::probe(endpoint, row, &mut models)).await.is_err() {
        tracing::debug!(provider = endpoint.id, "limits were not told in time");
    }
    Ok(Discovered { kind: row.id.clone(), models })
}

async fn list(endpoint: &Endpoint) -> Result<ModelList, Cause> {
    let response = send(endpoint, endpoint.api("models")).await?;
    let status = response.status;
    if status == StatusCode::NOT_FOUND || (status.is_success() && is_html(&response)) {
        if let Some(deep) = too_deep(endpoint.base_url.path()) {
            return Err(Cause::TooDeep(deep));
        }
        let lacks_v1 = !endpoint.base_url.path().trim_end_matches('/').ends_with("/v1");
        if lacks_v1 && is_list(endpoint, endpoint.api("v1/models")).await {
            return Err(Cause::MissingV1);
        }
        return Err(if status.is_success() { Cause::Html } else { Cause::NotFound });
    }
    read_list(endpoint, response).await
}

async fn send(endpoint: &Endpoint, url: url::Url) -> Result<Response, Cause> {
    let mut request = endpoint.get(url);
    request.via.connect_timeout = request.via.connect_timeout.min(CONNECT);
    endpoint.transport.send(request).await.map_err(transport)
}

async fn is_list(endpoint: &Endpoint, url: url::Url) -> bool {
    match send(endpoint, url).await {
        Ok(response) => read_list(endpoint, response).await.is_ok(),
        Err(_) => false,
    }
}

async fn read_list(endpoint: &Endpoint, response: Response) -> Result<ModelList, Cause> {
    let status = response.status;
    let html = is_html(&response);
    let body = response.bytes(LIST_LIMIT).await.map_err(transport)?;
    if !status.is_success() {
        let message = message_of(&body);
        return Err(match status.as_u16() {
            code @ (401 | 403) if endpoint.key.is_some() => Cause::KeyRefused(code),
            code @ (401 | 403) => Cause::KeyWanted(code),
            404 => Cause::NotFound,
            status @ 500..=599 => Cause::Server { status, message },
            status => Cause::Status { status, message },
        });
    }
    if html {
        return Err(Cause::Html);
    }
    match serde_json::from_slice::<ModelList>(&body) {
        Ok(list) => Ok(list),
        Err(error) if error.is_data() => Err(Cause::NoList(excerpt(&body))),
        Err(_) if body.trim_ascii_start().starts_with(b"<") => Err(Cause::Html),
        Err(_) => Err(Cause::NotJson(excerpt(&body))),
    }
}

fn is_html(response: &Response) -> bool {
    response.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
}

/// The part of a base URL's path that does not belong into one.
fn too_deep(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    ["/v1/v1", "/v1/models", "/v1/chat/completions", "/chat/completions", "/v1/completions"]
        .iter()
        .find(|end| path.ends_with(*end))
        .map(|end| (*end).to_owned())
}

fn transport(error: TransportError) -> Cause {
    match error {
        TransportError::Refused { .. } => Cause::Refused,
        TransportError::ConnectTimeout { seconds, .. } => Cause::Timeout(seconds),
        TransportError::Redirect { to, why, .. } => {
            Cause::Redirect(format!("it redirects to {to}; not followed: {why}"))
        }
        TransportError::Closed { at, cause, .. } => {
            Cause::Closed(format!("the connection was closed {at} ({cause})"))
        }
        TransportError::Dns { cause, .. } => {
            Cause::Transport(format!("the host name does not resolve ({cause})"))
        }
        TransportError::Tls { cause, .. } => Cause::Transport(format!("TLS failed: {cause}")),
        TransportError::TooLarge { limit, .. } => {
            Cause::Transport(format!("the answer is larger than {limit} bytes"))
        }
        TransportError::Other { cause, .. } => Cause::Transport(cause),
        TransportError::Egress(error) => Cause::Transport(error.to_string()),
    }
}

/// What an error body says, or its beginning.
pub fn message_of(body: &[u8]) -> String {
    ErrorBody::parse(body).map_or_else(|| excerpt(body), |body| body.error.message)
}

/// The beginning of a body, on one line.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "(empty)".to_owned(),
        None => line,
    }
}

fn explain(endpoint: &Endpoint, url: &str, cause: Cause) -> DiscoveryError {
    let id = &endpoint.id;
    let base = show(&endpoint.base_url);
    let remedy = match &cause {
        Cause::KeyWanted(_) => wanted_key(id, endpoint.row),
        Cause::KeyRefused(_) => format!(
            "the key came from {}; give the one that the server was started with",
            endpoint.key.as_ref().map_or("nowhere", |key| key.source.as_str())
        ),
        Cause::Server { .. } => "look at the server's log; it may still be loading its model".to_owned(),
        Cause::NotFound | Cause::Html | Cause::NotJson(_) | Cause::NoList(_) => format!(
            "is {base} the base URL of an OpenAI-compatible API? It usually ends in /v1 \
             (models.providers.{id}.baseUrl)"
        ),
        Cause::MissingV1 => format!("set models.providers.{id}.baseUrl to {}", show(&endpoint.api("v1"))),
        Cause::TooDeep(deep) => {
            let path = endpoint.base_url.path().trim_end_matches('/');
            let mut right = endpoint.base_url.clone();
            let head = path.strip_suffix(deep.as_str()).unwrap_or(path);
            right.set_path(&format!("{head}/v1"));
            format!("set models.providers.{id}.baseUrl to {}", show(&right))
        }
        Cause::Empty => match endpoint.row.id.as_str() {
            "ollama" => "pull a model first: ollama pull MODEL".to_owned(),
            _ => "load a model in the server".to_owned(),
        },
        Cause::Redirect(_) => {
            format!("set models.providers.{id}.baseUrl to the address that it redirects to, if you trust it")
        }
        Cause::Refused => start_it(endpoint, &base),
        Cause::Timeout(_) => {
            format!("is the server at {base} up, and reachable from here? A firewall drops silently")
        }
        Cause::Closed(_) => format!("is {base} an http server, or does it want https?"),
        Cause::Status { .. } | Cause::Transport(_) | Cause::Config(_) => {
            format!("check models.providers.{id}; `chela doctor` looks closer")
        }
    };
    DiscoveryError { provider: id.clone(), url: url.to_owned(), cause, remedy }
}

fn wanted_key(id: &str, row: &Row) -> String {
    let variable = (row.id == id).then_some(row.key_variable.as_deref()).flatten();
    match variable {
        Some(variable) => format!("set {variable}, or models.providers.{id}.apiKey"),
        None => format!("set models.providers.{id}.apiKey, or run `chela auth add {id}`"),
    }
}

fn start_it(endpoint: &Endpoint, base: &str) -> String {
    match (&endpoint.row.start, endpoint.row.url_variable.as_deref()) {
        (Some(start), Some(variable)) => {
            format!("nothing listens there: start the server ({start}), or set {variable} to where it is")
        }
        (Some(start), None) => {
            format!(
                "nothing listens there: start the server ({start}), or set models.providers.{}.baseUrl",
                endpoint.id
            )
        }
        (None, _) => format!("nothing listens at {base}: start the server, or correct its address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_go_too_deep() {
        assert_eq!(too_deep("/v1"), None);
        assert_eq!(too_deep("/v1/v1/"), Some("/v1/v1".to_owned()));
        assert_eq!(too_deep("/v1/chat/completions"), Some("/v1/chat/completions".to_owned()));
        assert_eq!(too_deep("/api/v1/models"), Some("/v1/models".to_owned()));
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt(b"a\n  b"), "a b");
        assert_eq!(excerpt(b""), "(empty)");
        assert!(excerpt("ä".repeat(500).as_bytes()).chars().count() <= 121);
    }
}
