//! One request, one streamed response: the seam between the model client and the wire.
//!
//! [`Transport`] has two implementations: [`Http`], the one HTTP client of the process, and
//! [`InProcess`], a tower service in the same process spoken to in the same wire types.

mod egress;
mod http;
mod in_process;
mod proxy;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use url::Url;

pub use self::egress::{Egress, EgressError, Locality, Reach, show};
pub use self::http::{Http, HttpSettings, Lookup};
pub use self::in_process::InProcess;
pub use self::proxy::ProxyRules;

/// Sends a request and returns the response's head with its body as a stream. Dropping the
/// future or the response closes the connection, so that the server stops computing.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Send one request.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute http or https URL.
    pub url: Url,
    /// Headers, the key among them.
    pub headers: HeaderMap,
    /// Whole body; empty for none.
    pub body: Bytes,
    /// How to connect.
    pub via: Via,
    /// Whether a redirect is followed, as far as the rules allow; else it is the answer.
    pub follow: bool,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url, via: Via) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), via, follow: true }
    }
}

/// How a connection is made. Requests with equal values share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Via {
    /// Which addresses may be reached.
    pub reach: Reach,
    /// PEM bundle that replaces the system's certificates (`request.tls.caFile`).
    pub ca_file: Option<PathBuf>,
    /// Unix socket to connect to instead of the URL's host and port.
    pub socket: Option<PathBuf>,
    /// Time for name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
}

impl Via {
    /// Model traffic over TCP with the system's certificates.
    pub fn configured() -> Self {
        Self {
            reach: Reach::Configured,
            ca_file: None,
            socket: None,
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// A fetch from the open web.
    pub fn public() -> Self {
        Self { reach: Reach::Public, ..Self::configured() }
    }
}

/// The head of a response, and its body as it arrives.
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// URL that answered, after redirects.
    pub url: Url,
    /// How far away the peer is, by the address that was connected to.
    pub locality: Locality,
    /// Body, chunk by chunk.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("url", &show(&self.url))
            .finish_non_exhaustive()
    }
}

impl Response {
    /// The whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`] past the limit; what the connection reports before it.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, TransportError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk?;
            if whole.len() + chunk.len() > limit {
                return Err(TransportError::TooLarge { url: show(&self.url), limit });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What goes wrong below HTTP. `url` never carries credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The egress rules refuse the address.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Nothing listens there.
    #[error("{url}: connection refused (nothing listens at that address)")]
    Refused {
        /// Address.
        url: String,
    },
    /// The name has no address.
    #[error("{url}: the host name does not resolve ({cause})")]
    Dns {
        /// Address.
        url: String,
        /// What the resolver said.
        cause: String,
    },
    /// No connection within the time for connecting.
    #[error("{url}: no connection within {seconds} s")]
    ConnectTimeout {
        /// Address.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// Certificates, their absence, or the handshake.
    #[error("{url}: TLS failed: {cause}")]
    Tls {
        /// Address.
        url: String,
        /// What failed, and the remedy where there is one.
        cause: String,
    },
    /// The connection ended before the message did.
    #[error("{url}: the connection was closed {at} ({cause})")]
    Closed {
        /// Address.
        url: String,
        /// Where in the exchange.
        at: At,
        /// What the connection reported.
        cause: String,
    },
    /// A redirect that may not be followed.
    #[error("{from} redirects to {to}, which is refused: {why}")]
    Redirect {
        /// Where the redirect came from.
        from: String,
        /// Where it points.
        to: String,
        /// The rule.
        why: &'static str,
    },
    /// A body past the limit of the caller.
    #[error("{url}: the response is larger than {limit} bytes")]
    TooLarge {
        /// Address.
        url: String,
        /// Limit in bytes.
        limit: usize,
    },
    /// Anything else: a broken response, an unusable header.
    #[error("{url}: {cause}")]
    Other {
        /// Address.
        url: String,
        /// What was reported.
        cause: String,
    },
}

/// Where in the exchange a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the response's head.
    Head,
    /// Inside the response's body.
    Body,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            At::Head => "before an answer came",
            At::Body => "in the middle of the answer",
        })
    }
}
