//! The one HTTP client: what it reaches, and what it refuses.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use chela_client::openai::chat::Message;
use chela_client::transport::{EgressError, Locality, Lookup, ProxyRules, Request, TransportError, Via};
use chela_client::{Catalog, Http, HttpSettings, InProcess, Transport, Turn};
use chela_server::misbehave::{Act, Misbehave, response};
use chela_server::{Canned, Scripted, Turn as Answer};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, header};
use url::Url;

use crate::common::*;

/// Resolves every name to one address and records what was asked.
#[derive(Debug, Clone)]
struct Fixed {
    address: IpAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fixed {
    fn new(address: &str) -> Self {
        Self { address: address.parse().unwrap(), asked: Arc::default() }
    }

    fn http(&self, local_only: bool) -> Http {
        Http::new(HttpSettings {
            local_only,
            lookup: Some(Arc::new(self.clone())),
            ..HttpSettings::default()
        })
    }
}

impl Lookup for Fixed {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name);
        let address = self.address;
        Box::pin(async move { Ok(vec![address]) })
    }
}

fn get(url: &str, via: Via) -> Request {
    Request::new(Method::GET, Url::parse(url).unwrap(), via)
}

#[tokio::test]
async fn model_traffic_to_an_unnamed_server_is_refused_before_it_is_resolved() {
    let fixed = Fixed::new("127.0.0.1");
    let error = fixed
        .http(false)
        .send(get("http://elsewhere.example/v1/models", Via::configured()))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotConfigured { .. })), "{error}");
    assert!(fixed.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_configured_name_is_reached_whatever_it_resolves_to() {
    let server = Scripted::new().serve();
    let fixed = Fixed::new("127.0.0.1");
    let http = fixed.http(true);
    let url = format!("http://gpu.example:{}/v1/models", server.address().port());
    http.egress().trust(&Url::parse(&url).unwrap());
    let response = http.send(get(&url, Via::configured())).await.unwrap();
    assert_eq!((response.status.as_u16(), response.locality), (200, Locality::Local));
}

#[tokio::test]
async fn a_web_name_that_resolves_to_loopback_is_refused() {
    let server = Scripted::new().serve();
    let fixed = Fixed::new("127.0.0.1");
    let url = format!("http://rebound.example:{}/health", server.address().port());
    let error = fixed.http(false).send(get(&url, Via::public())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotPublic { .. })), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_lock_refuses_the_web_without_asking_the_resolver() {
    let fixed = Fixed::new("93.184.216.34");
    let error = fixed.http(true).send(get("https://example.org/", Via::public())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::LocalOnly { .. })), "{error}");
    assert!(fixed.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn localhost_that_is_not_loopback_is_refused() {
    let fixed = Fixed::new("10.0.0.1");
    let error =
        fixed.http(false).send(get("http://localhost:9/v1/models", Via::configured())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotLoopback { .. })), "{error}");
}

#[tokio::test]
async fn redirects_leave_neither_the_server_nor_with_the_key() {
    let other = Scripted::new().serve();
    let away = Canned::new(307, "text/plain", "").header("location", &format!("{}/health", other.origin()));
    let within = Canned::new(307, "text/plain", "").header("location", "/health");
    let server = Scripted::new().route("GET", "/away", away).route("GET", "/within", within).serve();
    let http = Http::new(HttpSettings::default());
    let within = http.send(get(&format!("{}/within", server.origin()), Via::configured())).await.unwrap();
    assert_eq!(within.status.as_u16(), 200);
    for key in [false, true] {
        let mut request = get(&format!("{}/away", server.origin()), Via::configured());
        if key {
            request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer k"));
        }
        let error = http.send(request).await.unwrap_err();
        assert!(matches!(error, TransportError::Redirect { .. }), "{error}");
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_prompt_is_never_turned_into_a_get_by_a_redirect() {
    let moved =
        "HTTP/1.1 302 Found\r\nlocation: /v1/elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Misbehave::serve(vec![vec![Act::Request, Act::send(moved)]]);
    let (_, error) = say_hello(&server.base_url()).await;
    assert!(error.unwrap().to_string().contains("redirects to"));
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let around = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /v1/chat/completions\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Misbehave::serve(vec![vec![Act::Request, Act::send(around)]]);
    let (_, error) = say_hello(&server.base_url()).await;
    assert!(error.unwrap().to_string().contains("too many redirects"));
}

#[tokio::test]
async fn https_without_certificates_names_the_remedy_and_http_needs_none() {
    let http =
        Http::new(HttpSettings { ca_bundle: Some("/nonexistent/ca.pem".into()), ..HttpSettings::default() });
    let error = http.send(get("https://127.0.0.1:1/v1/models", Via::configured())).await.unwrap_err();
    assert!(
        matches!(&error, TransportError::Tls { cause, .. } if cause.contains("/nonexistent/ca.pem")),
        "{error}"
    );
    let server = Scripted::new().serve();
    let answer = http.send(get(&format!("{}/health", server.origin()), Via::configured())).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200);
}

/// An http proxy that answers everything itself, and the rules that name it.
fn proxied(local_only: bool) -> (Misbehave, Http) {
    let page = response("200 OK", "text/plain", "from the proxy");
    let proxy = Misbehave::serve(vec![vec![Act::Request, Act::send(page)]]);
    let address = format!("http://{}", proxy.address());
    let env: chela_config::Env = [("HTTP_PROXY", address)].into_iter().collect();
    let http = Http::new(HttpSettings {
        local_only,
        proxy: ProxyRules::from_environment(&env),
        lookup: Some(Arc::new(Fixed::new("127.0.0.1"))),
        ..HttpSettings::default()
    });
    (proxy, http)
}

#[tokio::test]
async fn the_web_goes_through_the_proxy() {
    let (proxy, http) = proxied(false);
    let answer = http.send(get("http://example.org/page", Via::public())).await.unwrap();
    assert_eq!(answer.bytes(100).await.unwrap(), "from the proxy");
    assert!(proxy.received()[0].head.starts_with("GET http://example.org/page HTTP/1.1"));
}

#[tokio::test]
async fn loopback_and_configured_hosts_go_past_the_proxy() {
    let (proxy, http) = proxied(false);
    let server = Scripted::new().serve();
    let named = format!("http://gpu.example.org:{}/health", server.address().port());
    http.egress().trust(&Url::parse(&named).unwrap());
    for url in [format!("{}/health", server.origin()), named] {
        let answer = http.send(get(&url, Via::configured())).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200);
    }
    assert_eq!(server.requests().len(), 2);
    assert!(proxy.received().is_empty());
}

#[tokio::test]
async fn the_lock_uses_no_proxy() {
    let (proxy, http) = proxied(true);
    assert!(http.send(get("http://example.org/page", Via::public())).await.is_err());
    assert_eq!(http.proxy_for(&Url::parse("http://example.org/").unwrap()), None);
    assert!(proxy.received().is_empty());
}

#[tokio::test]
async fn bodies_past_the_limit_are_refused() {
    let big = response("200 OK", "text/plain", "x".repeat(100_000));
    let server = Misbehave::serve(vec![vec![Act::Request, Act::send(big)]]);
    let http = Http::new(HttpSettings::default());
    let answer = http.send(get(&server.base_url(), Via::configured())).await.unwrap();
    let error = answer.bytes(1000).await.unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { limit: 1000, .. }), "{error}");
}

#[tokio::test]
async fn a_server_of_this_process_is_asked_without_a_port() {
    let (router, requests) = Scripted::new().model("demo").turn(Answer::text("Hello.")).router();
    let mut settings = settings("{}", &[], None);
    settings.in_process.push(chela_client::catalog::InProcessServer {
        id: "chela".to_owned(),
        transport: Arc::new(InProcess::new::<_, axum::body::Body, _>(router)),
    });
    let catalog = Catalog::new(settings);
    let model = catalog.default_model().await.unwrap();
    assert_eq!(model.reference.to_string(), "chela/demo");
    let (answer, error) = ask(&client(), Turn::new(model, vec![Message::user("hello")])).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert!(answer.provenance.unwrap().local);
    assert_eq!(requests().iter().filter(|request| request.path == "/v1/chat/completions").count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_local() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let (router, _) = Scripted::new().router();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let http = Http::new(HttpSettings { local_only: true, ..HttpSettings::default() });
    let via = Via { socket: Some(socket), ..Via::configured() };
    let answer = http.send(get("http://localhost/health", via)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.locality), (200, Locality::Local));
    server.abort();
}
