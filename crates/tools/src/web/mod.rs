//! `web_fetch`: the text of a web page.
//!
//! Everything goes through the one HTTP client and its egress rules. The policy grants a host;
//! a redirect that leaves it is not followed but told, so that the next call asks for its own
//! right.

mod address;
mod body;
mod flow;
mod html;
mod window;

use std::sync::Arc;
use std::time::Duration;

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec, ceil, floor};
use chela_client::Http;
use chela_client::transport::{Reach, Request, Response, Transport, Via, show};
use chela_protocol::Right;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, header};
use serde_json::json;
use url::Url;

pub(crate) use self::body::visible;
use self::body::{Body, ContentType, Kind};
use self::window::Page;

/// Time for a page, redirects included.
const TIME: Duration = Duration::from_secs(30);
/// Redirects on one host.
const REDIRECTS: usize = 10;
/// Bytes of what a server says to an error.
const ERROR_TEXT: usize = 500;

/// The tool.
pub struct WebFetch {
    spec: ToolSpec,
    http: Arc<Http>,
}

impl WebFetch {
    /// A tool that fetches through this client.
    #[must_use]
    pub fn new(http: Arc<Http>) -> Self {
        let spec = ToolSpec {
            name: "web_fetch".into(),
            description: "Get the text of a web page.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"url": {"type": "string"}},
                "required": ["url"]
            }),
            read_only: true,
        };
        Self { spec, http }
    }

    /// The URL of a call, refused where no approval could let it through.
    fn url(&self, args: &Args) -> Result<Url, String> {
        let url = address::parse(args.get("url").and_then(|url| url.as_str()).unwrap_or_default())?;
        self.http.egress().check_url(&url, Reach::Public).map_err(|error| format!("error: {error}"))?;
        Ok(url)
    }

    async fn fetch(&self, ctx: &ToolCtx, args: &Args) -> Result<ToolResult, String> {
        let mut url = self.url(args)?;
        let host = address::host(&url);
        if !ctx.granted(&Right::Net { host: host.clone() }) {
            return Err(format!("error: requests to {host} were not allowed"));
        }
        let fragment = url.fragment().map(str::to_owned);
        for _ in 0..=REDIRECTS {
            url.set_fragment(None);
            let response = self.get(&url).await?;
            let Some(location) = redirect(&response) else {
                let taken = take(ctx, response, fragment.as_deref()).await;
                return Ok(taken.unwrap_or_else(ToolResult::error).untrusted());
            };
            match next(&url, &location, &host) {
                Ok(next) => url = next,
                Err(why) => return Ok(ToolResult::error(why).untrusted()),
            }
        }
        Err(format!("error: {url}: more than {REDIRECTS} redirects"))
    }

    async fn get(&self, url: &Url) -> Result<Response, String> {
        let mut request = Request { follow: false, ..Request::new(Method::GET, url.clone(), Via::public()) };
        let accept = "text/html,application/xhtml+xml,text/plain,application/json;q=0.9,*/*;q=0.5";
        request.headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        self.http.send(request).await.map_err(|error| format!("error: {error}"))
    }
}

impl Tool for WebFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, _: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(vec![Right::Net { host: address::host(&self.url(args)?) }])
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let fetched = tokio::select! {
                biased;
                () = ctx.cancel.cancelled() => return ToolResult::error("error: stopped"),
                fetched = tokio::time::timeout(TIME, self.fetch(ctx, &args)) => fetched,
            };
            match fetched {
                Ok(Ok(result)) => result,
                Ok(Err(text)) => ToolResult::error(text),
                Err(_) => {
                    ToolResult::error(format!("error: the page was not there within {} s", TIME.as_secs()))
                }
            }
        })
    }
}

/// Where a response sends the client, if it does.
fn redirect(response: &Response) -> Option<String> {
    let moved = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.header(header::LOCATION.as_str())?;
    moved.then(|| location.to_owned())
}

/// The next hop, which stays on the host that was granted.
fn next(from: &Url, location: &str, host: &str) -> Result<Url, String> {
    let to = from.join(location).map_err(|error| error.to_string());
    let to = to.and_then(|to| address::parse(to.as_str()));
    let to = to.map_err(|why| {
        let shown = &location[..floor(location, 200)];
        format!("error: {} redirects to {shown:?}, which cannot be fetched ({why})", show(from))
    })?;
    let downgraded = from.scheme() == "https" && to.scheme() == "http";
    if address::host(&to) == host && !downgraded {
        return Ok(to);
    }
    let why = if downgraded { "gives up encryption" } else { "leaves the host" };
    Err(format!(
        "error: {} redirects to {to} , which {why} and was not followed. If the user's task needs that page, call \
         web_fetch with its url.",
        show(from)
    ))
}

/// From a response to what the model reads.
async fn take(ctx: &ToolCtx, response: Response, fragment: Option<&str>) -> Result<ToolResult, String> {
    let (url, status) = (response.url.clone(), response.status);
    let shown = show(&url);
    let content_type = ContentType::parse(response.header(header::CONTENT_TYPE.as_str()));
    let size = response.header(header::CONTENT_LENGTH.as_str()).and_then(|size| size.parse().ok());
    let coding = response.header(header::CONTENT_ENCODING.as_str()).unwrap_or("identity").to_owned();
    if !coding.eq_ignore_ascii_case("identity") {
        let coding = &coding[..floor(&coding, 40)];
        return Err(format!("error: {shown} came compressed ({coding}), which was not asked for"));
    }
    if content_type.kind() == Kind::Other && status.is_success() {
        return Err(not_text(&shown, &content_type.essence, size));
    }
    let body = body::read(response).await.map_err(|error| format!("error: {error}"))?;
    let limit = ctx.limit;
    let fragment = fragment.map(str::to_owned);
    let work = move || {
        let page = page(&url, &content_type, &body);
        if !status.is_success() {
            let said = page.map(|page| page.text).unwrap_or_default();
            let said = said[..floor(&said, ERROR_TEXT)].trim();
            return Err(format!("error: {shown} answered {status}\n{said}").trim_end().to_owned());
        }
        let Some(page) = page else {
            let essence = if content_type.essence.is_empty() { "binary data" } else { &content_type.essence };
            return Err(not_text(&shown, essence, size.or(Some(body.bytes.len() as u64))));
        };
        page.show(&url, fragment.as_deref(), limit).map(ToolResult::ok)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| format!("error: the page could not be read: {error}"))?
}

/// The text of a body, or none where it is no text.
fn page(url: &Url, content_type: &ContentType, body: &Body) -> Option<Page> {
    let kind = match content_type.kind() {
        Kind::Unknown => body::sniff(body)?,
        Kind::Other => return None,
        _ if body::is_binary(&body.bytes) => return None,
        kind => kind,
    };
    let text = body::decode(body, content_type);
    let mut page = match kind {
        Kind::Html => html::readable(&body::visible(&text), url),
        _ => Page { text: body::visible(&text), ..Page::default() },
    };
    if kind == Kind::Html {
        // Character references bring in what the bytes did not have.
        page.title = body::visible(&page.title);
        page.text = body::visible(&page.text);
        page.is_html = true;
    }
    page.cut = body.cut;
    Some(page)
}

fn not_text(shown: &str, essence: &str, size: Option<u64>) -> String {
    let size = size.map_or_else(|| "of unknown size".to_owned(), crate::files::size);
    let essence = &essence[..floor(essence, 100)];
    format!("error: {shown} is {essence} ({size}), which is no text. It cannot be shown.")
}
