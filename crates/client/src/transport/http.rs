//! The one HTTP client of the process.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Position, Url};

use super::egress::{Egress, EgressError, Locality, Reach, show};
use super::proxy::ProxyRules;
use super::{At, Request, Response, Transport, TransportError, Via, tls};

/// Redirects followed before giving up.
const MAX_REDIRECTS: usize = 10;

/// Turns a host name into addresses. The default asks the operating system.
pub trait Lookup: Send + Sync + std::fmt::Debug {
    /// Addresses of a host name.
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;

    /// Where a connection to an address that passed the rules goes: to that address. A test
    /// leads it to a server of its own, so that it opens no socket to the outside.
    fn connect_to(&self, checked: IpAddr) -> IpAddr {
        checked
    }
}

#[derive(Debug)]
struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// Settings of the HTTP client.
#[derive(Debug, Default)]
pub struct HttpSettings {
    /// Refuse every address outside loopback and the configured endpoints.
    pub local_only: bool,
    /// Proxies.
    pub proxy: ProxyRules,
    /// CA bundle to use instead of the system's (`SSL_CERT_FILE`).
    pub ca_bundle: Option<PathBuf>,
    /// How names are resolved; the operating system's resolver if absent.
    pub lookup: Option<Arc<dyn Lookup>>,
}

/// The one HTTP client: connection pools per way of connecting, behind the egress rules.
#[derive(Debug)]
pub struct Http {
    egress: Arc<Egress>,
    proxy: Arc<ProxyRules>,
    ca_bundle: Option<PathBuf>,
    lookup: Arc<dyn Lookup>,
    clients: Mutex<HashMap<(bool, Via), reqwest::Client>>,
}

impl Http {
    /// A client that has opened and loaded nothing yet.
    pub fn new(settings: HttpSettings) -> Self {
        let egress = Egress::new(settings.local_only);
        for proxy in settings.proxy.proxies() {
            egress.trust_name(proxy);
        }
        Self {
            egress: Arc::new(egress),
            proxy: Arc::new(settings.proxy),
            ca_bundle: settings.ca_bundle,
            lookup: settings.lookup.unwrap_or_else(|| Arc::new(SystemLookup)),
            clients: Mutex::default(),
        }
    }

    /// The rules in force.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// The proxy that a request to this URL takes, if any.
    pub fn proxy_for(&self, url: &Url) -> Option<&Url> {
        if self.egress.local_only() || self.egress.is_trusted(url) {
            return None;
        }
        self.proxy.proxy_for(url)
    }

    fn client(&self, url: &Url, via: &Via) -> Result<reqwest::Client, TransportError> {
        let secure = url.scheme() == "https";
        let key = (secure, via.clone());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let failed = |cause: String| TransportError::Tls { url: show(url), cause };
        let config = if secure {
            tls::with_certificates(via.ca_file.as_deref(), self.ca_bundle.as_deref()).map_err(failed)?
        } else {
            tls::without_certificates().map_err(failed)?
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("chela/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(via.connect_timeout)
            .tcp_keepalive(Duration::from_secs(30))
            // vLLM's server closes idle connections after 5 s; stay below it.
            .pool_idle_timeout(Duration::from_secs(4))
            .dns_resolver(Arc::new(GuardedResolver {
                egress: Arc::clone(&self.egress),
                lookup: Arc::clone(&self.lookup),
                reach: via.reach,
            }));
        if let Some(socket) = &via.socket {
            builder = builder.unix_socket(socket.clone());
        }
        if !self.egress.local_only() {
            let (rules, egress, reach) = (Arc::clone(&self.proxy), Arc::clone(&self.egress), via.reach);
            builder = builder.proxy(reqwest::Proxy::custom(move |url| match reach {
                Reach::Public => rules.for_web(url).cloned(),
                Reach::Configured if egress.is_trusted(url) => None,
                Reach::Configured => rules.proxy_for(url).cloned(),
            }));
        }
        let client = builder
            .build()
            .map_err(|error| TransportError::Other { url: show(url), cause: chain(&error) })?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    async fn exchange(&self, mut request: Request) -> Result<Response, TransportError> {
        for _ in 0..=MAX_REDIRECTS {
            if request.via.socket.is_none() {
                self.egress.check_url(&request.url, request.via.reach)?;
            }
            let response = self.once(&request).await?;
            if !request.follow {
                return Ok(response);
            }
            match next_hop(&request, &response)? {
                None => return Ok(response),
                Some(next) => request = next,
            }
        }
        Err(refused_redirect(&request.url, &request.url, "too many redirects"))
    }

    /// URL and headers to send. An address in the URL meets no resolver, so that one which is to be
    /// connected to elsewhere is replaced here; the server is told the one that was asked for.
    fn lead(&self, request: &Request) -> (Url, HeaderMap) {
        let (mut url, mut headers) = (request.url.clone(), request.headers.clone());
        let address = match request.url.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            _ => return (url, headers),
        };
        let to = self.lookup.connect_to(address);
        let asked = &url[Position::BeforeHost..Position::AfterPort];
        if let (true, Ok(host)) = (to != address, HeaderValue::from_str(asked)) {
            headers.insert(header::HOST, host);
            // Fails only for URLs without a host.
            let _ = url.set_ip_host(to);
        }
        (url, headers)
    }

    async fn once(&self, request: &Request) -> Result<Response, TransportError> {
        let client = self.client(&request.url, &request.via)?;
        let (url, headers) = self.lead(request);
        let sent = client
            .request(request.method.clone(), url)
            .headers(headers)
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| classify(&error, &request.url, &request.via, At::Head))?;
        let locality = match (&request.via.socket, sent.remote_addr()) {
            (Some(_), _) => Locality::Local,
            (None, Some(peer)) => Locality::of(peer.ip()),
            (None, None) => Locality::of_host(&request.url),
        };
        let (url, via) = (request.url.clone(), request.via.clone());
        Ok(Response {
            status: sent.status(),
            headers: sent.headers().clone(),
            url: request.url.clone(),
            locality,
            body: sent.bytes_stream().map_err(move |error| classify(&error, &url, &via, At::Body)).boxed(),
        })
    }
}

impl Transport for Http {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

/// Whether the request carries something that must not reach another origin.
fn carries_secret(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| value.is_sensitive() || *name == header::AUTHORIZATION)
}

fn refused_redirect(from: &Url, to: &Url, why: &'static str) -> TransportError {
    TransportError::Redirect { from: show(from), to: show(to), why }
}

/// The request that a redirect asks for, where it may be followed.
fn next_hop(request: &Request, response: &Response) -> Result<Option<Request>, TransportError> {
    let rewrites = match response.status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => true,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let Some(location) = response.header(header::LOCATION.as_str()) else { return Ok(None) };
    let to = request.url.join(location).map_err(|error| TransportError::Other {
        url: show(&request.url),
        cause: format!("redirect to an unusable address {location:?}: {error}"),
    })?;
    let same_origin = to.origin() == request.url.origin();
    if !same_origin && carries_secret(&request.headers) {
        return Err(refused_redirect(
            &request.url,
            &to,
            "the request carries a key, and the redirect leaves its origin",
        ));
    }
    if !same_origin && request.via.reach == Reach::Configured {
        return Err(refused_redirect(&request.url, &to, "it leaves the configured server"));
    }
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    if rewrites && !reads {
        return Err(refused_redirect(
            &request.url,
            &to,
            "it would turn the request into a GET and lose its body",
        ));
    }
    Ok(Some(Request { url: to, ..request.clone() }))
}

/// Resolver that lets only permitted addresses through.
#[derive(Debug)]
struct GuardedResolver {
    egress: Arc<Egress>,
    lookup: Arc<dyn Lookup>,
    reach: Reach,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, reach) = (Arc::clone(&self.egress), self.reach);
        let name = name.as_str().to_owned();
        let (addresses, lookup) = (self.lookup.lookup(name.clone()), Arc::clone(&self.lookup));
        Box::pin(async move {
            let addresses = addresses.await?;
            if addresses.is_empty() {
                return Err(std::io::Error::other("the name has no address").into());
            }
            for address in &addresses {
                egress.check_address(&name, *address, reach)?;
            }
            let addresses: Addrs = Box::new(
                addresses.into_iter().map(move |address| SocketAddr::new(lookup.connect_to(address), 0)),
            );
            Ok(addresses)
        })
    }
}

/// Turn an error of the HTTP library into ours, by what stands among its causes.
fn classify(error: &reqwest::Error, url: &Url, via: &Via, at: At) -> TransportError {
    let url = show(url);
    for cause in causes(error) {
        if let Some(denied) = cause.downcast_ref::<EgressError>() {
            return TransportError::Egress(denied.clone());
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return TransportError::Tls { url, cause: tls_cause(tls) };
        }
        match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::ConnectionRefused) => return TransportError::Refused { url },
            Some(std::io::ErrorKind::NotFound) if via.socket.is_some() => {
                return TransportError::Refused { url };
            }
            _ => {}
        }
    }
    if error.is_dns() {
        return TransportError::Dns { url, cause: innermost(error) };
    }
    if error.is_connect() && error.is_timeout() {
        return TransportError::ConnectTimeout { url, seconds: via.connect_timeout.as_secs() };
    }
    if error.is_builder() {
        return TransportError::Other { url, cause: chain(error) };
    }
    TransportError::Closed { url, at, cause: innermost(error) }
}

/// An error and what caused it.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// What caused an error; an `io::Error` hides the error that it wraps from `source()`.
fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

fn tls_cause(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(_) => {
            format!("{error}; if its authority is your own, name its certificate in request.tls.caFile")
        }
        error => error.to_string(),
    }
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
