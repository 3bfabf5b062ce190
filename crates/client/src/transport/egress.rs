//! The egress lock: which addresses this process may connect to, decided at the one HTTP client.
//!
//! A URL is checked before a connection is opened, and every address that a name resolves to is
//! checked again in the resolver that the HTTP client is built with, so that neither a redirect
//! nor a rebound name leads around the lock.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};

use url::{Host, Url};

/// How far away an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Locality {
    /// This machine: loopback, a unix socket, or in process.
    Local,
    /// A private, link-local or otherwise unroutable network.
    Private,
    /// Anything else.
    Public,
}

impl Locality {
    /// Locality of an address. Addresses that embed an IPv4 address (mapped, NAT64, 6to4) are
    /// judged by the embedded one.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// Locality of the host of a URL as far as its spelling tells: names under `localhost` are
    /// local; single-label names and the private-use suffixes are private; other names public.
    pub fn of_host(url: &Url) -> Self {
        match url.host() {
            Some(Host::Ipv4(v4)) => of_v4(v4),
            Some(Host::Ipv6(v6)) => of_v6(v6),
            Some(Host::Domain(name)) => of_name(name),
            None => Locality::Public,
        }
    }
}

/// The host agent of Azure: the metadata of a machine behind an address that looks public.
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn of_v4(v4: Ipv4Addr) -> Locality {
    let [a, b, c, _] = v4.octets();
    if v4.is_loopback() {
        return Locality::Local;
    }
    // RFC 6890 and the multicast and reserved blocks: nothing there is a public web server.
    let unroutable = v4.is_private()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || v4 == AZURE_HOST;
    if unroutable { Locality::Private } else { Locality::Public }
}

fn of_v6(v6: Ipv6Addr) -> Locality {
    if v6.is_loopback() {
        return Locality::Local;
    }
    let segments = v6.segments();
    if let Some(v4) = v6.to_ipv4_mapped() {
        return of_v4(v4);
    }
    let embedded = |high: u16, low: u16| of_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0, 0, 0, 0, 0, 0, _, _] => Locality::Private,
        // Outside global unicast (2000::/3): unique local, link-local, multicast, reserved.
        [first, ..] if first & 0xe000 != 0x2000 => Locality::Private,
        [0x2001, 0xdb8, ..] | [0x2001, 0, ..] => Locality::Private,
        _ => Locality::Public,
    }
}

fn of_name(name: &str) -> Locality {
    let name = name.trim_end_matches('.');
    if is_loopback_name(name) {
        return Locality::Local;
    }
    let private = [".local", ".lan", ".internal", ".intranet", ".home.arpa", ".home"];
    if !name.contains('.') || private.iter().any(|suffix| name.ends_with(suffix)) {
        return Locality::Private;
    }
    Locality::Public
}

/// RFC 6761: `localhost` and everything below it is loopback.
fn is_loopback_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Ports of services that are no web servers, and that answer to what a browser can be made to
/// send (Fetch standard, "port blocking").
const BLOCKED_PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// On whose behalf a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Model traffic: only loopback and the endpoints that the user configured, by exact scheme,
    /// host and port.
    Configured,
    /// The open web: public addresses only, and none at all under the lock.
    Public,
}

/// A connection that the egress rules refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// A model request to an address that is neither loopback nor configured.
    #[error("{url} is neither on this machine nor a configured server (configure it under models.providers)")]
    NotConfigured {
        /// The address asked for, without credentials.
        url: String,
    },
    /// Anything else than loopback and configured servers, under the lock.
    #[error(
        "{url} lies outside this machine and the configured servers, and --local-only (network.localOnly) is on"
    )]
    LocalOnly {
        /// The address asked for, without credentials.
        url: String,
    },
    /// A web request to an address that is not public.
    #[error("{host} is not a public address ({address}); the web tools reach public addresses only")]
    NotPublic {
        /// Host as written.
        host: String,
        /// Address it stands for.
        address: String,
    },
    /// A loopback name that resolved to something else.
    #[error("{host} resolved to {address}, which is not loopback")]
    NotLoopback {
        /// Host as written.
        host: String,
        /// Address it resolved to.
        address: IpAddr,
    },
    /// A web request to a port of another service.
    #[error("{url}: port {port} belongs to a service that is no web server")]
    Port {
        /// The address asked for, without credentials.
        url: String,
        /// The port.
        port: u16,
    },
    /// Neither http nor https.
    #[error("{url}: the scheme must be http or https")]
    Scheme {
        /// The address asked for, without credentials.
        url: String,
    },
}

/// The rules, shared by the URL check and the resolver.
#[derive(Debug, Default)]
pub struct Egress {
    local_only: bool,
    trusted: RwLock<Trusted>,
}

#[derive(Debug, Default)]
struct Trusted {
    /// `scheme://host:port` of every configured endpoint.
    origins: BTreeSet<String>,
    /// Host names of configured endpoints; for model traffic they may resolve to anything.
    names: BTreeSet<String>,
    /// Host names of proxies, which every client may look up; no request is for them.
    proxies: BTreeSet<String>,
}

impl Egress {
    /// Rules with nothing configured yet.
    pub fn new(local_only: bool) -> Self {
        Self { local_only, trusted: RwLock::default() }
    }

    /// Whether the lock is on.
    pub fn local_only(&self) -> bool {
        self.local_only
    }

    /// Trust the origin of an endpoint that the user configured.
    pub fn trust(&self, endpoint: &Url) {
        let mut trusted = self.trusted.write().unwrap_or_else(PoisonError::into_inner);
        trusted.origins.insert(endpoint.origin().ascii_serialization());
        if let Some(Host::Domain(name)) = endpoint.host() {
            trusted.names.insert(name.to_owned());
        }
    }

    /// Let the name of a proxy resolve to any address.
    pub(crate) fn trust_name(&self, proxy: &Url) {
        if let Some(Host::Domain(name)) = proxy.host() {
            let mut trusted = self.trusted.write().unwrap_or_else(PoisonError::into_inner);
            trusted.proxies.insert(name.to_owned());
        }
    }

    /// Whether the URL's exact scheme, host and port are configured.
    pub fn is_trusted(&self, url: &Url) -> bool {
        let trusted = self.trusted.read().unwrap_or_else(PoisonError::into_inner);
        trusted.origins.contains(&url.origin().ascii_serialization())
    }

    fn is_trusted_name(&self, name: &str) -> bool {
        let trusted = self.trusted.read().unwrap_or_else(PoisonError::into_inner);
        trusted.names.contains(name)
    }

    fn is_proxy(&self, name: &str) -> bool {
        let trusted = self.trusted.read().unwrap_or_else(PoisonError::into_inner);
        trusted.proxies.contains(name.trim_end_matches('.'))
    }

    /// Check a URL before anything is resolved or connected.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn check_url(&self, url: &Url, reach: Reach) -> Result<(), EgressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Scheme { url: show(url) });
        }
        match reach {
            Reach::Configured => {
                if Locality::of_host(url) == Locality::Local || self.is_trusted(url) {
                    Ok(())
                } else if self.local_only {
                    Err(EgressError::LocalOnly { url: show(url) })
                } else {
                    Err(EgressError::NotConfigured { url: show(url) })
                }
            }
            Reach::Public if self.local_only => Err(EgressError::LocalOnly { url: show(url) }),
            Reach::Public => self.check_web(url),
        }
    }

    fn check_web(&self, url: &Url) -> Result<(), EgressError> {
        match url.host() {
            Some(Host::Domain(name)) if Locality::of_host(url) != Locality::Public || self.is_proxy(name) => {
                let address = "a name of this machine or its network".to_owned();
                return Err(EgressError::NotPublic { host: name.to_owned(), address });
            }
            Some(Host::Ipv4(v4)) => check_public(&v4.to_string(), IpAddr::V4(v4))?,
            Some(Host::Ipv6(v6)) => check_public(&v6.to_string(), IpAddr::V6(v6))?,
            _ => {}
        }
        match url.port() {
            Some(port) if BLOCKED_PORTS.contains(&port) => Err(EgressError::Port { url: show(url), port }),
            _ => Ok(()),
        }
    }

    /// Check one address that a name resolved to.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn check_address(&self, name: &str, address: IpAddr, reach: Reach) -> Result<(), EgressError> {
        if is_loopback_name(name) && Locality::of(address) != Locality::Local {
            return Err(EgressError::NotLoopback { host: name.to_owned(), address });
        }
        if self.is_proxy(name) || (reach == Reach::Configured && self.is_trusted_name(name)) {
            return Ok(());
        }
        match reach {
            Reach::Configured if Locality::of(address) == Locality::Local => Ok(()),
            Reach::Configured if self.local_only => {
                Err(EgressError::LocalOnly { url: format!("{name} ({address})") })
            }
            Reach::Configured => Err(EgressError::NotConfigured { url: format!("{name} ({address})") }),
            Reach::Public => check_public(name, address),
        }
    }
}

fn check_public(host: &str, address: IpAddr) -> Result<(), EgressError> {
    if Locality::of(address) == Locality::Public {
        return Ok(());
    }
    Err(EgressError::NotPublic { host: host.to_owned(), address: address.to_string() })
}

/// A URL as it may be shown: without user name and password, which would be secrets.
pub fn show(url: &Url) -> String {
    if url.username().is_empty() && url.password().is_none() {
        return url.to_string();
    }
    let mut shown = url.clone();
    // Both fail only for URLs that cannot carry credentials, and those carry none.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn localities_of_addresses() {
        let table = [
            ("127.0.0.1", Locality::Local),
            ("127.8.9.1", Locality::Local),
            ("::1", Locality::Local),
            ("::ffff:127.0.0.1", Locality::Local),
            ("10.1.2.3", Locality::Private),
            ("172.16.0.1", Locality::Private),
            ("192.168.1.1", Locality::Private),
            ("169.254.169.254", Locality::Private),
            ("100.64.0.1", Locality::Private),
            ("0.0.0.0", Locality::Private),
            ("255.255.255.255", Locality::Private),
            ("224.0.0.1", Locality::Private),
            ("::", Locality::Private),
            ("fe80::1", Locality::Private),
            ("fd00::1", Locality::Private),
            ("ff02::1", Locality::Private),
            ("64:ff9b::a9fe:a9fe", Locality::Private),
            ("2002:7f00:1::", Locality::Local),
            ("2002:a9fe:a9fe::", Locality::Private),
            ("64:ff9b:1::a9fe:a9fe", Locality::Private),
            ("::ffff:0:a9fe:a9fe", Locality::Private),
            ("::a9fe:a9fe", Locality::Private),
            ("2001:0:a9fe:a9fe::1", Locality::Private),
            ("fd00:ec2::254", Locality::Private),
            ("fec0::1", Locality::Private),
            ("168.63.129.16", Locality::Private),
            ("100.100.100.200", Locality::Private),
            ("192.0.0.192", Locality::Private),
            ("240.0.0.1", Locality::Private),
            ("64:ff9b::808:808", Locality::Public),
            ("8.8.8.8", Locality::Public),
            ("2606:4700::1111", Locality::Public),
        ];
        for (text, want) in table {
            assert_eq!(Locality::of(text.parse().unwrap()), want, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_private_address_is_refused_for_the_web() {
        let egress = Egress::new(false);
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::]/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://169.16689662/",
            "http://169.254.169.254./",
            "http://%31%36%39.254.169.254/",
            "http://１６９.２５４.１６９.２５４/",
            "http://169。254。169。254/",
            "http://①②⑦.0.0.1/",
            "http:\\\\127.0.0.1/",
            "http:/127.0.0.1/",
            "http://example.org@127.0.0.1/",
            "http://127.0.0.1#@example.org/",
            "http://metadata.google.internal/computeMetadata/v1/",
            "http://metadata/",
            "http://printer.local/",
            "http://router.lan./",
            "https://example.org:22/",
            "http://example.org:25/",
            "http://169.254.169.254/latest/meta-data",
            "http://192.168.0.1:8080/",
            "http://0/",
        ] {
            assert!(egress.check_url(&url(text), Reach::Public).is_err(), "{text}");
        }
        assert_eq!(egress.check_url(&url("https://example.org/"), Reach::Public), Ok(()));
    }

    #[test]
    fn model_traffic_goes_to_configured_origins_only() {
        let egress = Egress::new(false);
        egress.trust(&url("https://models.example.org/v1"));
        let allowed = |text| egress.check_url(&url(text), Reach::Configured).is_ok();
        assert!(allowed("https://models.example.org/v1/models"));
        assert!(!allowed("http://models.example.org/v1/models"));
        assert!(!allowed("https://models.example.org:8443/v1/models"));
        assert!(!allowed("https://other.example.org/v1/models"));
        assert!(allowed("http://127.0.0.1:8000/v1/models"));
        assert!(!allowed("file:///etc/passwd"));
    }

    #[test]
    fn the_lock_refuses_the_web_and_names_its_switch() {
        let egress = Egress::new(true);
        egress.trust(&url("http://10.0.0.7:8000/v1"));
        let error = egress.check_url(&url("https://example.org/"), Reach::Public).unwrap_err();
        assert!(error.to_string().contains("--local-only"), "{error}");
        assert!(egress.check_url(&url("http://10.0.0.7:8000/v1/models"), Reach::Configured).is_ok());
        let other = egress.check_url(&url("http://10.0.0.8:8000/v1"), Reach::Configured);
        assert!(matches!(other, Err(EgressError::LocalOnly { .. })));
    }

    #[test]
    fn resolved_addresses_are_checked_again() {
        let egress = Egress::new(false);
        egress.trust(&url("http://gpu.lan:8000/v1"));
        let lan = "10.0.0.7".parse().unwrap();
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(egress.check_address("gpu.lan", lan, Reach::Configured).is_ok());
        assert!(egress.check_address("other.lan", lan, Reach::Configured).is_err());
        assert!(egress.check_address("rebound.example", loopback, Reach::Public).is_err());
        assert!(egress.check_address("localhost", lan, Reach::Configured).is_err());
    }

    #[test]
    fn credentials_in_a_url_are_not_shown() {
        assert_eq!(show(&url("http://me:secret@h:1/v1")), "http://h:1/v1");
    }
}
