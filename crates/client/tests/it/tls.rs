//! https against a server whose certificate a private authority signed.
//! Oracle: the certificates in tests/fixtures/tls, made with openssl.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chela_server::{Scripted, Turn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::common::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// Serve over TLS, HTTP/1.1 and 2, until the test's runtime ends.
async fn serve(alpn: &[&str]) -> (SocketAddr, impl Fn() -> Vec<chela_server::Recorded>) {
    let certificates = CertificateDer::pem_file_iter(fixture("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.map(Result::unwrap).collect(), key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, requests) = Scripted::new().model("tiny").respond(|_| Turn::text("Hello.")).router();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_its_file_over_http_1_and_2() {
    for alpn in [&["http/1.1"][..], &["h2"]] {
        let (address, requests) = serve(alpn).await;
        let ca = fixture("ca.pem");
        let more = format!("apiKey: 'k', request: {{tls: {{caFile: '{}'}}}},", ca.display());
        let config = declared(&format!("https://{address}/v1"), &more);
        let model = catalog(&config, &[]).find("vllm/tiny").await.unwrap();
        let (answer, error) = ask(&client(), hello(&model)).await;
        assert_eq!((answer.text.as_str(), error), ("Hello.", None), "{alpn:?}");
        assert_eq!(requests()[0].header("authorization"), "Bearer k");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_at_once_and_its_key_named() {
    let (address, requests) = serve(&["http/1.1"]).await;
    let other = fixture("server.pem");
    let more = format!("request: {{tls: {{caFile: '{}'}}}},", other.display());
    let config = declared(&format!("https://{address}/v1"), &more);
    let model = catalog(&config, &[]).find("vllm/tiny").await.unwrap();
    let (answer, error) = ask(&client(), hello(&model)).await;
    let error = error.unwrap().to_string();
    assert!(error.contains("TLS failed") && error.contains("request.tls.caFile"), "{error}");
    assert_eq!(answer.notices, [], "nothing that waiting would heal");
    assert!(requests().is_empty());
}
