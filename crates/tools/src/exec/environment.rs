//! The environment of a command: what programs need, without what opens doors.

use std::path::Path;

/// Words between the underscores of a name that tell of a secret.
const SECRET_WORDS: &[&str] = &[
    "KEY",
    "KEYS",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASS",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "COOKIES",
    "DSN",
    "PAT",
    "SAS",
    "SIGNING",
    "WEBHOOK",
    "SOCK",
    "SOCKET",
    "ASKPASS",
];

/// The same, within a word.
const SECRET_PARTS: &[&str] =
    &["APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATEKEY"];

/// Beginnings of names of agents, desktops and accounts.
const SECRET_PREFIXES: &[&str] = &[
    "AWS_",
    "AZURE_",
    "ARM_",
    "GCP_",
    "GOOGLE_",
    "CHELA_",
    "DBUS_",
    "SSH_",
    "GPG_",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION",
    "DISPLAY",
    "WAYLAND_",
    "XAUTHORITY",
    "DOCKER_",
    "KUBE",
    "VAULT_",
    "OP_",
    "SESSION_MANAGER",
    "ICEAUTHORITY",
    "TMUX",
    "STY",
    "LISTEN_",
    "NOTIFY_",
    "BASH_FUNC_",
    "BASH_ENV",
    "ENV",
    "LD_PRELOAD",
    "PGPASS",
    "CONTAINERD_",
    "PULSE_",
    "PIPEWIRE_",
    "NIRI_",
    "SWAYSOCK",
    "I3SOCK",
    "KITTY_",
    "VSCODE_",
    "GIT_ASKPASS",
];

/// Beginnings of values that are keys, whatever they are called.
const SECRET_VALUES: &[&str] = &[
    "sk-",
    "sk_",
    "pk_live",
    "rk_live",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "hf_",
    "nvapi-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "npm_",
    "pypi-",
    "dop_v1_",
    "SG.",
    "-----BEGIN",
];

/// An environment without keys, tokens and the sockets of agents.
#[must_use]
pub fn scrub(env: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    env.into_iter().filter(|(name, value)| !is_secret(name, value)).collect()
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = || name.split(['_', '-', '.']);
    let prefixed = |prefix: &&str| match *prefix {
        // A whole name.
        "ENV" | "DISPLAY" | "STY" => name == **prefix,
        prefix => name.starts_with(prefix),
    };
    words().any(|word| SECRET_WORDS.contains(&word))
        || SECRET_PARTS.iter().any(|part| name.contains(part))
        || SECRET_PREFIXES.iter().any(prefixed)
        || SECRET_VALUES.iter().any(|start| value.starts_with(start))
        || has_login(value)
}

/// True for an address with a password in it, as in `postgres://me:secret@host/db`.
fn has_login(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit_once('@').is_some_and(|(login, _)| login.contains(':') || login.len() > 20)
}

/// The environment of one command: `env`, with what fits a place where nobody can answer.
pub(super) fn for_command(env: &[(String, String)], cwd: &Path, confined: bool) -> Vec<(String, String)> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut all: std::collections::BTreeMap<String, String> = env.iter().cloned().collect();
    all.entry("PATH".into()).or_insert_with(|| PATH.into());
    all.entry("LANG".into()).or_insert_with(|| "C.UTF-8".into());
    let mut set = vec![
        ("PWD", cwd.to_string_lossy().into_owned()),
        ("TERM", "dumb".into()),
        ("PAGER", "cat".into()),
        ("GIT_PAGER", "cat".into()),
        ("GIT_TERMINAL_PROMPT", "0".into()),
    ];
    if confined {
        set.push(("TMPDIR", "/tmp".into()));
    }
    all.extend(set.into_iter().map(|(name, value)| (name.to_owned(), value)));
    all.remove("OLDPWD");
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tokens_and_agent_sockets_are_scrubbed_and_the_rest_stays() {
        let gone = [
            ("OPENAI_API_KEY", "x"),
            ("VLLM_API_KEY", "x"),
            ("GITHUB_TOKEN", "x"),
            ("GH_TOKEN", "x"),
            ("MYTOKEN", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_PROFILE", "x"),
            ("DB_PASSWORD", "x"),
            ("PGPASSWORD", "x"),
            ("mysql_pass", "x"),
            ("SSH_AUTH_SOCK", "/run/x"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("GPG_AGENT_INFO", "x"),
            ("DOCKER_HOST", "unix:///x"),
            ("KUBECONFIG", "x"),
            ("DISPLAY", ":0"),
            ("WAYLAND_DISPLAY", "x"),
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("HTTPS_PROXY", "http://u:p@h:1"),
            ("FOO", "sk-abc"),
            ("BAR", "ghp_abc"),
            ("CHELA_HOME", "/x"),
            ("SENTRY_DSN", "x"),
            ("JWT", "eyJhbGciOi"),
            ("LD_PRELOAD", "x"),
            ("BASH_ENV", "x"),
            ("npm_config_authToken", "x"),
        ];
        for (name, value) in gone {
            assert!(scrub([(name.to_owned(), value.to_owned())]).is_empty(), "{name}={value}");
        }
        let stays = [
            ("PATH", "/bin"),
            ("HOME", "/home/u"),
            ("LANG", "de_DE.UTF-8"),
            ("CARGO_HOME", "/x"),
            ("RUSTFLAGS", "-C x"),
            ("VIRTUAL_ENV", "/v"),
            ("KEYBOARD", "de"),
            ("HTTPS_PROXY", "http://h:1"),
            ("NODE_ENV", "test"),
            ("DISPLAYED", "1"),
            ("PASSES", "3"),
            ("MONKEY", "x"),
            ("DJANGO_SETTINGS_MODULE", "a.b"),
            ("EDITOR", "vi"),
        ];
        for (name, value) in stays {
            assert_eq!(scrub([(name.to_owned(), value.to_owned())]).len(), 1, "{name}={value}");
        }
    }
}
