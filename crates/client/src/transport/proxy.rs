//! Which requests go through a proxy, from the values of the usual environment variables.

use chela_config::Env;
use url::{Host, Url};

use super::egress::Locality;

/// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` as values.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    http: Option<Url>,
    https: Option<Url>,
    bypass: Vec<String>,
}

impl ProxyRules {
    /// Read the rules from the environment; lower case wins, as in curl.
    pub fn from_environment(environment: &Env) -> Self {
        let get = |name: &str| environment.get(&name.to_ascii_lowercase()).or_else(|| environment.get(name));
        let url = |name: &str| {
            let text = get(name)?.trim();
            let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
            Url::parse(&with_scheme).ok()
        };
        let all = url("ALL_PROXY");
        Self {
            http: url("HTTP_PROXY").or_else(|| all.clone()),
            https: url("HTTPS_PROXY").or(all),
            bypass: get("NO_PROXY")
                .map(|list| list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).collect())
                .unwrap_or_default(),
        }
    }

    /// The proxies in use.
    pub fn proxies(&self) -> impl Iterator<Item = &Url> {
        self.http.iter().chain(self.https.iter())
    }

    /// The proxy for a URL: none for loopback and private hosts and what `NO_PROXY` lists.
    pub fn proxy_for(&self, url: &Url) -> Option<&Url> {
        if Locality::of_host(url) != Locality::Public { None } else { self.for_web(url) }
    }

    /// The proxy for a fetch from the open web: none only for what `NO_PROXY` lists.
    pub(super) fn for_web(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        if self.is_bypassed(url) { None } else { Some(proxy) }
    }

    fn is_bypassed(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let host = match host {
            Host::Domain(name) => name.to_ascii_lowercase(),
            Host::Ipv4(v4) => v4.to_string(),
            Host::Ipv6(v6) => v6.to_string(),
        };
        self.bypass.iter().any(|entry| {
            let suffix = entry.trim_start_matches("*.").trim_start_matches('.');
            entry == "*"
                || (!suffix.is_empty()
                    && (host == suffix || host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pairs: &[(&str, &str)]) -> ProxyRules {
        ProxyRules::from_environment(&pairs.iter().copied().collect())
    }

    #[test]
    fn loopback_private_and_listed_hosts_bypass() {
        let rules = rules(&[("HTTP_PROXY", "proxy.corp:3128"), ("NO_PROXY", "example.org,.corp, 8.8.8.8")]);
        let goes = |text: &str| rules.proxy_for(&Url::parse(text).unwrap()).is_some();
        assert!(goes("http://example.com/"));
        assert!(!goes("https://example.com/"), "no HTTPS_PROXY is set");
        for direct in [
            "http://127.0.0.1:8000/v1",
            "http://localhost:8000/v1",
            "http://192.168.1.4/",
            "http://[fd00::1]/",
            "http://gpu:8000/",
            "http://gpu.lan/",
            "http://example.org/",
            "http://a.example.org/",
            "http://x.corp/",
            "http://8.8.8.8/",
        ] {
            assert!(!goes(direct), "{direct}");
        }
        assert!(goes("http://badexample.org/"));
    }

    #[test]
    fn lower_case_wins_and_empty_means_unset() {
        let both = rules(&[("HTTP_PROXY", "http://upper:1"), ("http_proxy", "http://lower:1")]);
        assert_eq!(both.proxies().next().unwrap().host_str(), Some("lower"));
        assert_eq!(rules(&[("ALL_PROXY", "")]).proxies().count(), 0);
    }
}
