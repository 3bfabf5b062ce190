//! A server in the same process: a tower service instead of a socket.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

use super::{At, Locality, Request, Response, Transport, TransportError, show};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Call = dyn Fn(Request) -> BoxFuture<'static, Result<Response, TransportError>> + Send + Sync;

/// Requests answered by a tower service of this process, in the wire types of HTTP.
pub struct InProcess {
    call: Box<Call>,
}

impl InProcess {
    /// Wrap a service, for instance an axum router. It is cloned for every request.
    pub fn new<S, B, R>(service: S) -> Self
    where
        S: Service<http::Request<B>, Response = http::Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        Self { call: Box::new(move |request| Box::pin(call(service.clone(), request))) }
    }
}

async fn call<S, B, R>(service: S, request: Request) -> Result<Response, TransportError>
where
    S: Service<http::Request<B>, Response = http::Response<R>> + Send,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: From<Bytes>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let url = request.url;
    let closed = |at, error: BoxError, url: &url::Url| TransportError::Closed {
        url: show(url),
        at,
        cause: error.to_string(),
    };
    let mut message = http::Request::new(B::from(request.body));
    *message.method_mut() = request.method;
    *message.headers_mut() = request.headers;
    *message.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| {
        TransportError::Other { url: show(&url), cause: error.to_string() }
    })?;
    let response = service.oneshot(message).await.map_err(|error| closed(At::Head, error.into(), &url))?;
    let (head, body) = response.into_parts();
    let body_url = url.clone();
    Ok(Response {
        status: head.status,
        headers: head.headers,
        url,
        locality: Locality::Local,
        body: body.into_data_stream().map_err(move |error| closed(At::Body, error.into(), &body_url)).boxed(),
    })
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl Transport for InProcess {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        (self.call)(request)
    }
}
