//! Looking for servers on the well-known loopback ports.

use std::sync::Arc;

use futures_util::future::join_all;
use http::HeaderMap;
use url::Url;

use super::discovery::{self, Cause, Discovered, DiscoveryError};
use super::model::Endpoint;
use super::provider::SILENCE;
use super::providers;
use crate::transport::{Transport, Via};

/// An address to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Provider id that the address is the default of.
    pub provider: String,
    /// Base URL.
    pub base_url: Url,
}

/// A server that answered, with or without its models.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Where.
    pub target: Target,
    /// What it said, or why it is not usable as it is.
    pub found: Result<Discovered, DiscoveryError>,
}

/// The default addresses of all known servers.
pub fn targets() -> Vec<Target> {
    providers::rows()
        .iter()
        .filter_map(|row| {
            let base_url = Url::parse(row.base_url.as_deref()?).ok()?;
            Some(Target { provider: row.id.clone(), base_url })
        })
        .collect()
}

/// Look at all targets at once. Where nothing listens, nothing is reported. No key is sent, and
/// only a list is asked for.
pub async fn scan(targets: &[Target], transport: Arc<dyn Transport>) -> Vec<Scanned> {
    let each = targets.iter().map(|target| {
        let endpoint = Endpoint {
            id: target.provider.clone(),
            base_url: target.base_url.clone(),
            key: None,
            headers: HeaderMap::new(),
            silence: SILENCE,
            via: Via::configured(),
            transport: Arc::clone(&transport),
            row: providers::row(&target.provider).unwrap_or_else(providers::generic),
        };
        async move { Scanned { target: target.clone(), found: discovery::ask(&endpoint).await } }
    });
    let mut scanned = join_all(each).await;
    scanned.retain(|one| !matches!(&one.found, Err(error) if error.cause == Cause::Refused));
    scanned
}
