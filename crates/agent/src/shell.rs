//! What the text of a shell command says about it. Only when to ask rests on this; what a command
//! can do is the sandbox's to limit.

/// Characters that make a command more than one simple command, or its words something else than
/// they look like (POSIX.1-2024, Shell Command Language, 2.2 and 2.3), quoted or not.
const META: &[char] = &[
    ';', '&', '|', '`', '$', '<', '>', '(', ')', '{', '}', '\\', '*', '?', '[', ']', '#', '!', '~', '\n',
    '\r', '\0',
];

/// The words of a command that is one simple command and nothing else; none where there is any
/// doubt.
#[must_use]
pub fn simple(command: &str) -> Option<Vec<String>> {
    if command.contains(META) {
        return None;
    }
    let words = words(command)?;
    // `NAME=value program` changes what the program is or does.
    let first = words.first()?;
    (!first.contains('=') && !first.is_empty()).then_some(words)
}

/// Splits at blanks outside of quotes; none where a quote stays open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Simple commands whose kind is the same whatever follows: a yes to one for the session is a yes
/// to all of its kind. What can run any other program or delete what it is given is not among
/// them.
const KINDS: &[&str] = &[
    "cargo build",
    "cargo check",
    "cargo clippy",
    "cargo doc",
    "cargo fmt",
    "cargo metadata",
    "cargo nextest",
    "cargo test",
    "cargo tree",
    "cat",
    "cut",
    "diff",
    "du",
    "file",
    "git blame",
    "git branch",
    "git diff",
    "git log",
    "git ls-files",
    "git show",
    "git status",
    "go build",
    "go fmt",
    "go list",
    "go test",
    "go vet",
    "grep",
    "head",
    "ls",
    "mypy",
    "npm test",
    "pwd",
    "pytest",
    "rg",
    "ruff",
    "stat",
    "tail",
    "tree",
    "tsc",
    "uniq",
    "wc",
];

/// The kind of a command, as in `git status`; none where only the exact command can be remembered.
#[must_use]
pub fn kind(command: &str) -> Option<&'static str> {
    let words = simple(command)?;
    let is =
        |kind: &&&str| kind.split(' ').eq(words.iter().take(kind.split(' ').count()).map(String::as_str));
    KINDS.iter().find(is).copied()
}

/// Programs that are of no use without a network.
const NETWORK_PROGRAMS: &[&str] = &[
    "aria2c",
    "axel",
    "curl",
    "dig",
    "ftp",
    "gh",
    "glab",
    "host",
    "http",
    "https",
    "lftp",
    "lynx",
    "mosh",
    "nc",
    "ncat",
    "netcat",
    "nmap",
    "nslookup",
    "npx",
    "ping",
    "pipx",
    "rclone",
    "scp",
    "sftp",
    "ssh",
    "telnet",
    "traceroute",
    "uvx",
    "w3m",
    "wget",
    "whois",
    "xh",
    "yt-dlp",
];

/// Programs that need a network for some of what they do: the words that say so.
const NETWORK_WORDS: &[(&str, &[&str])] = &[
    ("apk", &["add", "update", "upgrade"]),
    ("apt", &["install", "update", "upgrade", "full-upgrade", "dist-upgrade", "download", "source"]),
    ("apt-get", &["install", "update", "upgrade", "dist-upgrade", "download", "source"]),
    ("brew", &["install", "update", "upgrade", "fetch"]),
    ("bun", &["install", "add", "update", "x", "create"]),
    ("bundle", &["install", "update"]),
    ("cargo", &["install", "fetch", "update", "add", "search", "publish", "binstall", "login"]),
    ("composer", &["install", "update", "require", "create-project"]),
    ("conda", &["install", "create", "update"]),
    ("deno", &["install", "add", "cache"]),
    ("dnf", &["install", "update", "upgrade", "download"]),
    ("docker", &["pull", "push", "login", "build"]),
    ("gem", &["install", "update", "push"]),
    ("git", &["clone", "pull", "push", "fetch", "ls-remote", "submodule"]),
    ("go", &["get", "install", "download"]),
    ("hf", &["download", "upload"]),
    ("huggingface-cli", &["download", "upload"]),
    ("npm", &["install", "i", "ci", "add", "update", "publish", "view", "audit", "create", "init", "exec"]),
    ("ollama", &["pull", "push"]),
    ("pacman", &["-S", "-Sy", "-Syu"]),
    ("pip", &["install", "download", "wheel", "index"]),
    ("pip3", &["install", "download", "wheel", "index"]),
    ("pnpm", &["install", "i", "add", "update", "dlx", "create", "publish"]),
    ("poetry", &["install", "add", "update", "lock", "publish"]),
    ("rsync", &["rsync"]),
    ("rustup", &["install", "update", "target", "component", "toolchain"]),
    ("uv", &["add", "sync", "lock", "install", "run", "tool", "publish"]),
    ("yarn", &["install", "add", "upgrade", "dlx", "create", "publish"]),
    ("yum", &["install", "update"]),
];

/// Programs that start the program that follows them.
const PREFIXES: &[&str] = &[
    "sudo", "doas", "env", "nohup", "time", "timeout", "nice", "ionice", "stdbuf", "exec", "command",
    "xargs", "then", "do", "else", "if", "while", "until", "!", "{", "builtin", "setsid",
];

/// True for a command that plainly needs a network. It may err on either side: without a network a
/// command fails, with one it is asked about.
#[must_use]
pub fn wants_network(command: &str) -> bool {
    wants_network_at(command, 0)
}

fn wants_network_at(command: &str, depth: usize) -> bool {
    /// `sh -c "sh -c …"` is looked into this deep.
    const DEPTH: usize = 4;
    let parts = command.split([';', '&', '|', '\n', '(', ')', '`']);
    // What stands in quotes may be a command of its own, as behind `sh -c`.
    let inner = || quoted(command).any(|text| depth < DEPTH && wants_network_at(text, depth + 1));
    parts.into_iter().any(part_wants_network) || (depth < DEPTH && inner())
}

fn part_wants_network(part: &str) -> bool {
    let words: Vec<&str> =
        part.split_whitespace().map(|word| word.trim_matches(['\'', '"', '\\', '$', '{', '}'])).collect();
    let starts = |at: &usize| {
        words[..*at].iter().all(|word| {
            let plain = word.rsplit('/').next().unwrap_or_default();
            let value = word.starts_with('-') || word.contains('=') || word.parse::<f64>().is_ok();
            value
                || PREFIXES.contains(&plain)
                || word.strip_suffix(['s', 'm']).is_some_and(|n| n.parse::<u32>().is_ok())
        })
    };
    (0..words.len()).take_while(|at| starts(at)).any(|at| {
        let program = words[at].rsplit('/').next().unwrap_or_default();
        let rest = &words[at + 1..];
        NETWORK_PROGRAMS.contains(&program) || names_network(program, rest)
    })
}

fn names_network(program: &str, rest: &[&str]) -> bool {
    let remote = |word: &&&str| word.contains(':') && !word.starts_with(['/', '.', '-']);
    match program {
        "rsync" => rest.iter().any(|word| remote(&word)),
        // `git -C folder pull`, `npm --prefix x install`: the first word that is one of these.
        _ if program.starts_with("python") => {
            rest.windows(2).any(|pair| pair == ["-m", "pip"])
                && rest.iter().any(|word| ["install", "download"].contains(word))
        }
        "yarn" if rest.is_empty() => true,
        _ => {
            let words = NETWORK_WORDS.iter().find(|(name, _)| *name == program);
            words.is_some_and(|(_, words)| rest.iter().any(|word| words.contains(word)))
        }
    }
}

/// The texts between pairs of quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    ['\'', '"'].into_iter().flat_map(|quote| text.split(quote).skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_simple_command_is_split_into_words() {
        let table: &[(&str, &[&str])] = &[
            ("make", &["make"]),
            ("  cargo   test --lib ", &["cargo", "test", "--lib"]),
            ("grep -n 'two words' \"a b\".txt", &["grep", "-n", "two words", "a b.txt"]),
            ("printf '' ''", &["printf", "", ""]),
        ];
        for (command, words) in table {
            assert_eq!(
                simple(command).as_deref(),
                Some(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]),
                "{command}"
            );
        }
        let refused = [
            "", "  ", "a; b", "a & b", "a && b", "a | b", "a || b", "a `b`", "a $(b)", "a $b", "a > b",
            "a < b", "a 2>&1", "(a)", "{ a; }", "a\nb", "a \\; b", "a 'b", "a \"b", "X=1 a", "a *", "a ?",
            "! a", "a # b", "a 'b;c'", "~/a", "a \r b", "''",
        ];
        for command in refused {
            assert_eq!(simple(command), None, "{command:?}");
        }
    }

    #[test]
    fn a_kind_is_remembered_only_where_what_follows_does_not_matter() {
        let table = [
            ("cargo test", Some("cargo test")),
            ("cargo test --lib -- x", Some("cargo test")),
            ("git status", Some("git status")),
            ("git -c core.pager=x status", None),
            ("git push", None),
            ("cargo", None),
            ("cargo run", None),
            ("ls -la src", Some("ls")),
            ("lsx", None),
            ("ls; rm x", None),
            ("rm -rf x", None),
            ("sh -c ls", None),
            ("find . -delete", None),
            ("/tmp/ls", None),
        ];
        for (command, expected) in table {
            assert_eq!(kind(command), expected, "{command}");
        }
    }

    #[test]
    fn what_plainly_needs_a_network() {
        let networked = [
            "curl http://x",
            "/usr/bin/curl x",
            "cd a && wget x",
            "git clone u",
            "git -C a pull",
            "git push origin main",
            "git fetch",
            "pip install x",
            "python3 -m pip install x",
            "npm install",
            "npm ci",
            "npx create-x",
            "cargo install x",
            "cargo fetch",
            "sudo apt-get install -y x",
            "FOO=1 curl x",
            "timeout 5 curl x",
            "timeout 5s curl x",
            "env A=b curl x",
            "sh -c 'curl x'",
            "bash -c \"cd a; git pull\"",
            "echo $(curl x)",
            "echo `curl x`",
            "x | curl -d @- y",
            "ssh host",
            "scp a h:b",
            "rsync -a a h:b",
            "rsync a rsync://h/b",
            "yarn",
            "yarn add x",
            "go get x",
            "go mod download",
            "(curl x)",
            "if curl x; then y; fi",
            "nohup curl x &",
            "xargs curl",
            "uv pip install x",
            "poetry add x",
            "exec curl x",
            "true\ncurl x",
        ];
        for command in networked {
            assert!(wants_network(command), "{command}");
        }
        let not = [
            "ls",
            "make",
            "cargo build",
            "cargo test",
            "git status",
            "git commit -m x",
            "git log",
            "npm test",
            "npm run build",
            "rsync -a a b",
            "python3 x.py",
            "grep curl README.md",
            "cat curl.txt",
            "echo pip",
            "pytest",
            "go build ./...",
            "go test",
            "cargo run",
            "man curl",
            "which curl",
        ];
        for command in not {
            assert!(!wants_network(command), "{command}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn nothing_with_a_metacharacter_is_simple(
            before in "[a-z '\"-]{0,12}",
            meta in proptest::sample::select(META.to_vec()),
            after in "[a-z '\"-]{0,12}",
        ) {
            let command = format!("{before}{meta}{after}");
            prop_assert_eq!(simple(&command), None);
            prop_assert_eq!(kind(&command), None);
        }

        #[test]
        fn any_text_is_looked_at(command in any::<String>()) {
            let _ = (simple(&command), kind(&command), wants_network(&command));
        }
    }
}
