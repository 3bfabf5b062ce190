//! Which files hold secrets, by their path. Reading one asks, wherever it lies.

use std::path::Path;

/// Folders whose content is secret.
const FOLDERS: &[(&str, &str)] = &[
    (".ssh", "SSH keys"),
    (".aws", "AWS credentials"),
    (".azure", "Azure credentials"),
    (".gnupg", "GnuPG keys"),
    (".kube", "Kubernetes credentials"),
    (".docker", "Docker credentials"),
    (".password-store", "passwords"),
    (".mozilla", "a browser profile"),
    ("google-chrome", "a browser profile"),
    ("chromium", "a browser profile"),
    ("bravesoftware", "a browser profile"),
    ("microsoft-edge", "a browser profile"),
    ("firefox", "a browser profile"),
    ("thunderbird", "a mail profile"),
    (".thunderbird", "a mail profile"),
    ("gcloud", "Google Cloud credentials"),
    ("keyrings", "a key ring"),
    ("gh", "GitHub credentials"),
    ("rclone", "storage credentials"),
    ("hub", "GitHub credentials"),
    ("op", "passwords"),
    ("1password", "passwords"),
    ("bitwarden", "passwords"),
    ("doctl", "cloud credentials"),
    ("vivaldi", "a browser profile"),
    ("opera", "a browser profile"),
    ("librewolf", "a browser profile"),
    (".librewolf", "a browser profile"),
    (".terraform.d", "cloud credentials"),
    (".oci", "cloud credentials"),
];

/// Folders of [`FOLDERS`] that are secret only directly below one of these, since the names
/// are common elsewhere.
const PARENTS: &[&str] = &[".config", "share", ".cache", "application support", "snap"];
const ONLY_BELOW_PARENTS: &[&str] = &[
    "google-chrome",
    "chromium",
    "bravesoftware",
    "microsoft-edge",
    "firefox",
    "thunderbird",
    "gcloud",
    "keyrings",
    "gh",
    "rclone",
    "hub",
    "op",
    "1password",
    "bitwarden",
    "doctl",
    "vivaldi",
    "opera",
    "librewolf",
];

const FILES: &[&str] = &[
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".htpasswd",
    ".vault-token",
    ".envrc",
    "credentials",
    "credentials.json",
    "credentials.toml",
    "service-account.json",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "shadow",
    "gshadow",
    "environ",
    "logins.json",
    "key4.db",
    "wallet.dat",
    "login data",
    "cookies.sqlite",
    "kubeconfig",
    "terraform.tfstate",
    ".dockercfg",
    ".s3cfg",
    ".boto",
    ".databrickscfg",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".psql_history",
    ".mysql_history",
    "mem",
];

/// Files of [`FILES`] that are secret only below `/proc`.
const ONLY_IN_PROC: &[&str] = &["environ", "mem"];

const ENDINGS: &[&str] = &[
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
    ".asc.key",
    ".agekey",
    ".p8",
    ".ovpn",
];

/// What a path holds that must not be read without asking, or none.
#[must_use]
pub fn secret(path: &Path) -> Option<&'static str> {
    let names: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.to_string_lossy().to_lowercase()),
            _ => None,
        })
        .collect();
    for (at, name) in names.iter().enumerate() {
        let Some((_, what)) = FOLDERS.iter().find(|(folder, _)| folder == name) else {
            continue;
        };
        let parent = at.checked_sub(1).map_or("", |at| names[at].as_str());
        if !ONLY_BELOW_PARENTS.contains(&name.as_str()) || PARENTS.contains(&parent) {
            return Some(what);
        }
    }
    let name = names.last()?.as_str();
    if is_dotenv(name) {
        return Some("environment secrets");
    }
    if name.starts_with("id_") && !name.ends_with(".pub") && is_ssh_key(name) {
        return Some("an SSH key");
    }
    if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Some("a key");
    }
    let proc = names.first().is_some_and(|first| first == "proc");
    match FILES.contains(&name) && (proc || !ONLY_IN_PROC.contains(&name)) {
        true => Some("credentials"),
        false => None,
    }
}

fn is_dotenv(name: &str) -> bool {
    let example = ["example", "sample", "template", "dist"];
    match name.strip_prefix(".env") {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('.').is_some_and(|rest| !example.iter().any(|word| rest.ends_with(word)))
        }
        None => name.ends_with(".env") && name.len() > 4,
    }
}

fn is_ssh_key(name: &str) -> bool {
    ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"].iter().any(|kind| name.starts_with(kind))
}
