//! `web_fetch` with the real client against servers on loopback. Names resolve to public addresses,
//! and a connection to any address goes to loopback and is recorded, so that no socket is opened
//! to the outside whatever the guards do.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chela_agent::tool::{Args, Output, Tool, ToolCtx, ToolResult};
use chela_client::transport::{Lookup, ProxyRules};
use chela_client::{Http, HttpSettings};
use chela_protocol::{ResultStatus, Right, SessionId, TurnId};
use chela_server::misbehave::{Act, Misbehave, response};
use chela_server::{Canned, Scripted, Served};
use chela_tools::web::WebFetch;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Names of a network that does not exist; unknown ones are public.
#[derive(Debug, Default)]
struct Net {
    names: BTreeMap<String, IpAddr>,
    asked: Mutex<Vec<String>>,
    connected: Mutex<Vec<String>>,
}

impl Lookup for Net {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let public = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));
        let address = self.names.get(&name).copied().unwrap_or(public);
        self.asked.lock().unwrap().push(name);
        Box::pin(async move { Ok(vec![address]) })
    }

    fn connect_to(&self, checked: IpAddr) -> IpAddr {
        self.connected.lock().unwrap().push(checked.to_string());
        Ipv4Addr::LOCALHOST.into()
    }
}

struct Room {
    net: Arc<Net>,
    tool: WebFetch,
    ctx: ToolCtx,
}

impl Room {
    fn new() -> Self {
        Self::with(&[], HttpSettings::default())
    }

    fn with(names: &[(&str, &str)], settings: HttpSettings) -> Self {
        let names = names.iter().map(|(name, address)| ((*name).to_owned(), address.parse().unwrap()));
        let net = Arc::new(Net { names: names.collect(), ..Net::default() });
        let lookup = Some(Arc::clone(&net) as Arc<dyn Lookup>);
        let http = Arc::new(Http::new(HttpSettings { lookup, ..settings }));
        let ctx = ToolCtx {
            workspace: "/w".into(),
            session: SessionId::new(),
            turn: TurnId::new(),
            call: "c".into(),
            limit: 8_000,
            rights: Arc::from(vec![]),
            protected: Arc::from(vec![]),
            cancel: CancellationToken::new(),
            output: Output::new("c", mpsc::channel(1).0),
        };
        Self { net, tool: WebFetch::new(http), ctx }
    }

    async fn fetch(&self, url: &str) -> ToolResult {
        let args: Args = json!({"url": url}).as_object().unwrap().clone();
        let mut ctx = self.ctx.clone();
        match self.tool.rights(&ctx, &args) {
            Ok(rights) => ctx.rights = rights.into(),
            Err(text) => return ToolResult::error(text),
        }
        self.tool.call(&ctx, args).await
    }

    async fn ok(&self, url: &str) -> String {
        let result = self.fetch(url).await;
        assert_eq!(result.status, ResultStatus::Ok, "{}", result.content);
        assert!(result.taint.untrusted, "{}", result.content);
        result.content
    }

    async fn error(&self, url: &str) -> String {
        let result = self.fetch(url).await;
        assert_eq!(result.status, ResultStatus::Error, "{}", result.content);
        result.content
    }

    fn connected(&self) -> Vec<String> {
        self.net.connected.lock().unwrap().clone()
    }
}

/// A web server with these pages: path, type, body.
fn site(pages: &[(&str, &str, &str)]) -> Served {
    let route = |served: Scripted, (path, kind, body): &(&str, &str, &str)| {
        served.route("GET", path, Canned::new(200, kind, *body))
    };
    pages.iter().fold(Scripted::new(), route).serve()
}

fn at(server: &Served, host: &str, path: &str) -> String {
    format!("http://{host}:{}{path}", server.address().port())
}

#[tokio::test]
async fn a_page_becomes_text() {
    let html = "<!doctype html><html><head><title>Tea &amp; more</title><script>evil()</script></head><body>\
        <nav><a href=/home>Home</a></nav><main><h1>Tea</h1><p>How to <b>make</b> it, see \
        <a href='/how?a=1&amp;b=2'>the guide</a>.</p><ul><li>water<li>leaves</ul></main></body></html>";
    let server = site(&[("/tea", "text/html", html)]);
    let url = at(&server, "example.org", "/tea");
    let base = at(&server, "example.org", "");
    let want = format!(
        "Tea & more\n{url}\n\n# Tea\n\nHow to make it, see [the guide]({base}/how?a=1&b=2).\n\n- water\n- leaves"
    );
    let room = Room::new();
    assert_eq!(room.ok(&format!("{url}#x")).await, want);
    let request = &server.requests()[0];
    assert_eq!(request.header("host"), format!("example.org:{}", server.address().port()));
    assert!(
        request.header("accept").contains("text/html") && request.header("user-agent").starts_with("chela/")
    );
    for absent in ["cookie", "referer", "authorization", "accept-encoding"] {
        assert_eq!(request.header(absent), "", "{absent}");
    }
    assert_eq!(room.connected(), ["93.184.216.34"]);
}

#[tokio::test]
async fn text_and_json_are_as_they_are() {
    let server = site(&[
        ("/a.json", "application/json", "{\"a\": [1,  2]}"),
        ("/a.txt", "text/plain", "one\r\n<b>\n"),
    ]);
    let room = Room::new();
    assert_eq!(room.ok(&at(&server, "example.org", "/a.json")).await, "{\"a\": [1,  2]}");
    assert_eq!(room.ok(&at(&server, "example.org", "/a.txt")).await, "one\n<b>");
}

#[tokio::test]
async fn what_is_no_text_is_refused_by_name_and_size() {
    let server = Scripted::new()
        .route("GET", "/a.pdf", Canned::new(200, "application/pdf", vec![b'%'; 1_234_567]))
        .route("GET", "/a.bin", Canned::new(200, "application/octet-stream", vec![0; 20]))
        .route("GET", "/a.txt", Canned::new(200, "text/plain", "a\0b"))
        .route("GET", "/z", Canned::new(200, "text/html", "x").header("content-encoding", "gzip"))
        .serve();
    let room = Room::new();
    let table = [
        ("/a.pdf", "/a.pdf is application/pdf (1.2 MB), which is no text"),
        ("/a.bin", "is application/octet-stream (20 B), which is no text"),
        ("/a.txt", "is text/plain (3 B), which is no text"),
        ("/z", "came compressed (gzip)"),
    ];
    for (path, words) in table {
        let error = room.error(&at(&server, "example.org", path)).await;
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_says_what_the_server_said() {
    let server = Scripted::new()
        .route("GET", "/gone", Canned::new(404, "text/html", "<title>x</title><p>No such <b>page</b>.</p>"))
        .route("GET", "/down", Canned::new(503, "image/png", vec![0; 9]))
        .route("GET", "/empty", Canned::new(200, "text/html", "<script>app()</script>"))
        .serve();
    let room = Room::new();
    let gone = room.fetch(&at(&server, "example.org", "/gone")).await;
    assert!(gone.content.ends_with("answered 404 Not Found\nNo such page."), "{}", gone.content);
    assert!(gone.taint.untrusted);
    let down = room.error(&at(&server, "example.org", "/down")).await;
    assert!(down.ends_with("answered 503 Service Unavailable"), "{down}");
    assert!(
        room.ok(&at(&server, "example.org", "/empty"))
            .await
            .ends_with("(no text; the page may need JavaScript)")
    );
}

#[tokio::test]
async fn a_long_page_is_read_in_parts() {
    let text: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
    let server = site(&[("/long", "text/plain", &text)]);
    let room = Room::new();
    let mut url = at(&server, "example.org", "/long");
    let mut whole = String::new();
    loop {
        let part = room.ok(&url).await;
        assert!(part.len() <= 8_000);
        let (lines, note) = part.rsplit_once("\n[characters ").unwrap();
        whole.push_str(lines);
        whole.push('\n');
        match note.split_once("for more: ") {
            Some((_, more)) => url = more.trim_end_matches(']').to_owned(),
            None => break,
        }
    }
    assert_eq!(whole, text);
}

#[tokio::test]
async fn redirects_stay_on_the_host() {
    let other = Scripted::new().serve();
    let to = |location: &str| Canned::new(302, "text/plain", "").header("location", location);
    let outside = format!("http://elsewhere.example:{}/x?stolen=1", other.address().port());
    let server = Scripted::new()
        .route("GET", "/a", to("/b"))
        .route("GET", "/b", to("c"))
        .route("GET", "/c", Canned::new(200, "text/plain", "there"))
        .route("GET", "/out", to(&outside))
        .route("GET", "/in", to("http://127.0.0.1:1/"))
        .route("GET", "/file", to("file:///etc/passwd"))
        .route("GET", "/user", to("http://me:pw@example.org/"))
        .route("GET", "/round", to("/round"))
        .route("GET", "/none", Canned::new(304, "text/plain", ""))
        .serve();
    let room = Room::new();
    assert_eq!(room.ok(&at(&server, "www.example.org", "/a")).await, "there");
    let table = [
        ("/out", outside.as_str()),
        ("/out", "leaves the host and was not followed"),
        ("/in", "leaves the host and was not followed"),
        ("/file", "file: is no web address"),
        ("/user", "a user name or a password"),
        ("/round", "more than 10 redirects"),
        ("/none", "304"),
    ];
    for (path, words) in table {
        let error = room.error(&at(&server, "example.org", path)).await;
        assert!(error.contains(words), "{path}: {error}");
    }
    assert!(other.requests().is_empty());
    assert!(room.connected().iter().all(|address| address == "93.184.216.34"));
    // A redirect brings a stranger's words with it.
    assert!(room.fetch(&at(&server, "example.org", "/out")).await.taint.untrusted);
}

/// The apex sends to `www.` and back everywhere; for the one host that both are, one right is enough.
#[tokio::test]
async fn www_is_the_same_host() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut request = [0; 2_000];
            let read = stream.read(&mut request).unwrap();
            let home = String::from_utf8_lossy(&request[..read]).contains("host: www.example.org:");
            let moved = format!("location: http://www.example.org:{port}/\r\n");
            let (status, moved) = if home { ("200 OK", "") } else { ("301 Moved", moved.as_str()) };
            let end = "content-length: 4\r\nconnection: close\r\n\r\nhome";
            write!(stream, "HTTP/1.1 {status}\r\n{moved}content-type: text/plain\r\n{end}").unwrap();
        }
    });
    let room = Room::new();
    assert_eq!(room.ok(&format!("http://example.org:{port}/")).await, "home");
    server.join().unwrap();
    let args: Args = json!({"url": "https://www.example.org/a"}).as_object().unwrap().clone();
    assert_eq!(room.tool.rights(&room.ctx, &args).unwrap(), [Right::Net { host: "example.org".into() }]);
}

#[tokio::test]
async fn private_addresses_are_refused_in_every_spelling() {
    let server = site(&[("/", "text/plain", "secret")]);
    let names =
        [("rebound.example", "127.0.0.1"), ("meta.example", "169.254.169.254"), ("six.example", "::1")];
    let room = Room::with(&names, HttpSettings::default());
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "[fd00::1]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9.254.0251.0xfe",
        "１６９.２５４.１６９.２５４",
        "%31%36%39.254.169.254",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "metadata",
        "metadata.google.internal",
        "printer.local",
        "rebound.example",
        "meta.example",
        "six.example",
        "rebound.example.",
    ];
    for host in hosts {
        let error = room.error(&at(&server, host, "/")).await;
        assert!(error.contains("public addresses only"), "{host}: {error}");
    }
    for url in ["https://example.org:22/", "http://example.org:6379@127.0.0.1/", "gopher://127.0.0.1:6379/_x"]
    {
        assert!(room.error(url).await.starts_with("error: "));
    }
    assert!(server.requests().is_empty());
    assert!(room.connected().is_empty(), "{:?}", room.connected());
}

#[tokio::test]
async fn what_was_not_granted_is_not_fetched() {
    let server = site(&[("/", "text/plain", "x")]);
    let room = Room::new();
    let args: Args = json!({"url": at(&server, "example.org", "/")}).as_object().unwrap().clone();
    let mut ctx = room.ctx.clone();
    ctx.rights = Arc::from(vec![Right::Net { host: "example.org".into() }]);
    let result = room.tool.call(&ctx, args).await;
    assert!(result.content.contains("were not allowed"), "{}", result.content);
    assert!(room.connected().is_empty() && room.net.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_lock_is_a_hard_error_before_anyone_is_asked() {
    let room = Room::with(&[], HttpSettings { local_only: true, ..HttpSettings::default() });
    let error = room.error("https://example.org/").await;
    assert!(error.contains("--local-only"), "{error}");
    assert!(room.connected().is_empty() && room.net.asked.lock().unwrap().is_empty());
}

/// Whatever is wrong with the guards, a request for the web is one to the proxy where there is one.
#[tokio::test]
async fn a_proxy_gets_names_and_no_private_ones() {
    let page = response("200 OK", "text/plain", "from the proxy");
    let proxy = Misbehave::serve(vec![vec![Act::Request, Act::send(page)]]);
    let address = format!("http://{}", proxy.address());
    let env = [("HTTP_PROXY", address.as_str())].into_iter().collect();
    let proxy_rules = ProxyRules::from_environment(&env);
    let room = Room::with(&[], HttpSettings { proxy: proxy_rules, ..HttpSettings::default() });
    assert_eq!(room.ok("http://example.org/x").await, "from the proxy");
    assert!(room.error("http://intranet/").await.contains("public addresses only"));
    assert_eq!(proxy.received().len(), 1);
    assert!(room.net.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_page_without_end_is_cut() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n";
    let server = Misbehave::serve(vec![vec![
        Act::Request,
        Act::send(head),
        Act::Repeat("0123456789abcde\n".repeat(1_000).into(), 100_000),
    ]]);
    let room = Room::new();
    let text = room.ok(&format!("http://example.org:{}/", server.address().port())).await;
    assert!(
        text.ends_with("[only the first 4194304 bytes of the page were read]"),
        "{}",
        &text[text.len() - 200..]
    );
    assert!(text.len() <= 8_000);
}

#[tokio::test]
async fn a_stop_ends_it_at_once() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::Hang]]);
    let mut room = Room::new();
    room.ctx.cancel = CancellationToken::new();
    let cancel = room.ctx.cancel.clone();
    let url = format!("http://example.org:{}/", server.address().port());
    let stop = async {
        while server.received().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
        Instant::now()
    };
    let (result, stopped) = tokio::join!(room.fetch(&url), stop);
    assert_eq!(result.content, "error: stopped");
    assert!(stopped.elapsed() < Duration::from_secs(20));
    let closed = async {
        while !server.received().iter().any(|request| request.closed_early) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.unwrap();
}
