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

/// Resolves every name to these addresses, one after the other, and records what was asked. A
/// connection to any of them goes to loopback and is recorded.
#[derive(Debug, Clone)]
struct Fixed {
    addresses: Vec<IpAddr>,
    asked: Arc<Mutex<Vec<String>>>,
    connected: Arc<Mutex<Vec<IpAddr>>>,
}

impl Fixed {
    fn new(address: &str) -> Self {
        Self::in_turn(&[address])
    }

    /// The last address is given for ever.
    fn in_turn(addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Self { addresses, asked: Arc::default(), connected: Arc::default() }
    }

    fn connected(&self) -> Vec<String> {
        self.connected.lock().unwrap().iter().map(ToString::to_string).collect()
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
        let mut asked = self.asked.lock().unwrap();
        let address = self.addresses[asked.len().min(self.addresses.len() - 1)];
        asked.push(name);
        Box::pin(async move { Ok(vec![address]) })
    }

    fn connect_to(&self, checked: IpAddr) -> IpAddr {
        self.connected.lock().unwrap().push(checked);
        std::net::Ipv4Addr::LOCALHOST.into()
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
async fn the_web_is_reached_at_the_address_that_was_checked() {
    let server = Scripted::new().serve();
    let fixed = Fixed::new("93.184.216.34");
    let port = server.address().port();
    let http = fixed.http(false);
    for host in ["example.org", "93.184.216.35", "[2606:2800:220:1:248:1893:25c8:1946]"] {
        let answer = http.send(get(&format!("http://{host}:{port}/health"), Via::public())).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(server.requests().last().unwrap().header("host"), format!("{host}:{port}"));
    }
    assert_eq!(fixed.connected(), ["93.184.216.34", "93.184.216.35", "2606:2800:220:1:248:1893:25c8:1946"]);
    assert_eq!(*fixed.asked.lock().unwrap(), ["example.org"]);
}

/// The name is resolved once for a connection, and what was checked is what is connected to.
#[tokio::test]
async fn a_name_that_is_rebound_is_refused_at_the_next_connection() {
    let script =
        vec![Act::Request, Act::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")];
    let server = Misbehave::serve(vec![script]);
    let fixed = Fixed::in_turn(&["93.184.216.34", "127.0.0.1"]);
    let http = fixed.http(false);
    let url = format!("http://rebound.example:{}/", server.address().port());
    assert_eq!(http.send(get(&url, Via::public())).await.unwrap().bytes(10).await.unwrap(), "ok");
    let error = http.send(get(&url, Via::public())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotPublic { .. })), "{error}");
    assert_eq!(fixed.connected(), ["93.184.216.34"]);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn one_private_address_among_many_refuses_the_name() {
    #[derive(Debug)]
    struct Both;
    impl Lookup for Both {
        fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
            Box::pin(async { Ok(vec!["93.184.216.34".parse().unwrap(), "127.0.0.1".parse().unwrap()]) })
        }

        fn connect_to(&self, _: IpAddr) -> IpAddr {
            panic!("nothing may be connected to");
        }
    }
    let http = Http::new(HttpSettings { lookup: Some(Arc::new(Both)), ..HttpSettings::default() });
    let error = http.send(get("http://both.example/", Via::public())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotPublic { .. })), "{error}");
}

/// A configured server was open to the web tools, whatever its name resolved to.
#[tokio::test]
async fn a_configured_server_is_no_part_of_the_web() {
    let server = Scripted::new().serve();
    let fixed = Fixed::new("127.0.0.1");
    let http = fixed.http(false);
    let url = format!("http://gpu.example:{}/v1/models", server.address().port());
    http.egress().trust(&Url::parse(&url).unwrap());
    let error = http.send(get(&url, Via::public())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotPublic { .. })), "{error}");
    assert!(fixed.connected().is_empty() && server.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_is_the_answer_where_it_is_not_followed() {
    let away = Canned::new(302, "text/plain", "").header("location", "http://127.0.0.1:9/");
    let server = Scripted::new().route("GET", "/away", away).serve();
    let fixed = Fixed::new("93.184.216.34");
    let url = format!("http://example.org:{}/away", server.address().port());
    let request = Request { follow: false, ..get(&url, Via::public()) };
    let answer = fixed.http(false).send(request).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("http://127.0.0.1:9/")));
    let error = fixed.http(false).send(get(&url, Via::public())).await.unwrap_err();
    assert!(matches!(error, TransportError::Egress(EgressError::NotPublic { .. })), "{error}");
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
    let refused = ["http://intranet/", "http://10.0.0.1/", "http://metadata.google.internal/"];
    for url in refused {
        let error = http.send(get(url, Via::public())).await.unwrap_err();
        assert!(matches!(error, TransportError::Egress(EgressError::NotPublic { .. })), "{error}");
    }
    assert_eq!(proxy.received().len(), 1);
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
