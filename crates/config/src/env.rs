//! The environment as a value, and the names of all variables that Chela reads.

use std::collections::BTreeMap;

/// A copy of the environment, handed in by the program; this crate never reads the real one.
///
/// Collected from pairs: `std::env::vars_os()` is filtered to UTF-8 by the caller.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The value of `name`, if it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether `name` is set, be it to the empty string.
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Shows names only: values may be keys.
impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Env(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

macro_rules! variables {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {
        $($(#[doc = $doc])+ pub const $name: &str = stringify!($name);)*

        /// Every variable that Chela reads, with what it does; besides these, whatever `${NAME}`
        /// and `{source: "env"}` in the config name.
        pub const VARIABLES: &[(&str, &str)] = &[$(($name, concat!($($doc),+))),*];
    };
}

variables! {
    /// The folder of Chela's files, in place of `~/.chela`.
    CHELA_HOME;
    /// The config file, in place of `$CHELA_HOME/chela.json5`; `--config` wins.
    CHELA_CONFIG;
    /// What is logged, as a filter such as `debug` or `chela_client=trace`.
    CHELA_LOG;
    /// The instruction set of the engine's kernels, in place of the best that the CPU has.
    CHELA_ISA;
    /// The key of the provider `vllm`; set to anything, it opts in to the implicit one.
    VLLM_API_KEY;
    /// The address of the implicit provider `vllm`; opts in by itself.
    VLLM_BASE_URL;
    /// The address of an implicit provider `openai`.
    OPENAI_BASE_URL;
    /// The key of the provider `openai`; alone it configures nothing.
    OPENAI_API_KEY;
    /// The proxy for http addresses; loopback, private and configured hosts go past it.
    HTTP_PROXY;
    /// The proxy for https addresses; loopback, private and configured hosts go past it.
    HTTPS_PROXY;
    /// The proxy for all other addresses.
    ALL_PROXY;
    /// Hosts that never go through a proxy.
    NO_PROXY;
    /// A file of certificate authorities, in place of the system's.
    SSL_CERT_FILE;
    /// The folder of Hugging Face's files, in which models are looked up by name.
    HF_HOME;
    /// The folder of Hugging Face's model cache, in place of `$HF_HOME/hub`.
    HF_HUB_CACHE;
    /// The folder of Ollama's models, in place of `~/.ollama/models`.
    OLLAMA_MODELS;
    /// Set to anything: output without colour.
    NO_COLOR;
    /// The kind of terminal; `dumb` or nothing: no line editing, no styles, no line written over.
    TERM;
    /// The user's home folder, for `~/` in paths and for `~/.chela`.
    HOME;
}
