//! The policy, as tables.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use chela_agent::policy::{Call, Grant, Mode, Policy, Verdict, acts_later};
use chela_agent::secrets::secret;
use chela_protocol::ApproveMode::{self, All, Ask, Edits, None};
use chela_protocol::{Right, Taint};

const CLEAN: Taint = Taint { untrusted: false, private: false };
const PRIVATE: Taint = Taint { untrusted: false, private: true };
const UNTRUSTED: Taint = Taint { untrusted: true, private: false };

fn policy() -> Policy {
    Policy {
        workspace: "/home/u/w".into(),
        protected: vec!["/home/u/.chela".into(), "/home/u/w/chela.json5".into()],
        instructions: vec!["/home/u/w/memory".into()],
        readable: vec!["/home/u/.chela/outputs/w".into()],
    }
}

fn mode(approve: ApproveMode) -> Mode {
    Mode { approve, can_ask: approve != None, grants: vec![] }
}

fn decide(rights: &[Right], taint: Taint, mode: &Mode) -> Verdict {
    policy().decide(&Call { tool: "t", rights }, &taint, mode)
}

fn read(path: &str) -> Right {
    Right::Read { path: path.into() }
}

fn write(path: &str) -> Right {
    Right::Write { path: path.into() }
}

fn exec(sandboxed: bool, network: bool) -> Right {
    Right::Exec { command: "make".into(), cwd: "/home/u/w".into(), sandboxed, network }
}

fn net() -> Right {
    Right::Net { host: "example.org".into() }
}

fn short(verdict: &Verdict) -> char {
    match verdict {
        Verdict::Allow => 'y',
        Verdict::Ask { .. } => '?',
        Verdict::Deny { for_want_of_approval: true, .. } => 'n',
        Verdict::Deny { for_want_of_approval: false, .. } => '!',
    }
}

/// One row: the right, what came before, and the verdict for none, ask, edits and all.
/// y: allowed; ?: asks; n: refused because nobody can be asked; !: refused whatever anyone says.
#[test]
fn verdicts() {
    let rows = [
        (read("/home/u/w/a.rs"), CLEAN, "yyyy"),
        (read("/home/u/w"), UNTRUSTED, "yyyy"),
        (read("/home/u/w/.env"), CLEAN, "n???"),
        (read("/home/u/w/deploy/id_ed25519"), CLEAN, "n???"),
        (read("/home/u/w/chela.json5"), CLEAN, "n???"),
        (read("/home/u/.chela/auth.json"), CLEAN, "n???"),
        (read("/home/u/.chela/outputs/w/1.txt"), CLEAN, "yyyy"),
        (read("/home/u/.chela/outputs/other/1.txt"), CLEAN, "n???"),
        (read("/home/u/.ssh/config"), CLEAN, "n???"),
        (read("/home/u/other/a.rs"), CLEAN, "n??y"),
        (read("/home/u/workshop"), CLEAN, "n??y"),
        (read("/proc/self/environ"), CLEAN, "n???"),
        (write("/home/u/w/a.rs"), CLEAN, "n?yy"),
        (write("/home/u/w/a.rs"), UNTRUSTED, "n?yy"),
        (write("/home/u/w/.env"), CLEAN, "n???"),
        (write("/home/u/w/AGENTS.md"), CLEAN, "n???"),
        (write("/home/u/w/sub/agents.md"), CLEAN, "n???"),
        (write("/home/u/w/SOUL.md"), UNTRUSTED, "n???"),
        (write("/home/u/w/memory/a.md"), CLEAN, "n???"),
        (write("/home/u/w/.git/hooks/pre-commit"), CLEAN, "n???"),
        (write("/home/u/w/.vscode/tasks.json"), CLEAN, "n???"),
        (write("/home/u/w/CLAUDE.md"), CLEAN, "n???"),
        (write("/home/u/w/.bashrc"), CLEAN, "n???"),
        (write("/home/u/w/.Cargo/config.toml"), CLEAN, "n???"),
        (write("/home/u/w/.config/autostart/x.desktop"), CLEAN, "n???"),
        (write("/home/u/.config/systemd/user/x.service"), CLEAN, "n???"),
        (write("/home/u/w/src/autostart/mod.rs"), CLEAN, "n?yy"),
        (write("/home/u/w/docs/systemd/unit.md"), CLEAN, "n?yy"),
        (write("/home/u/other/a.rs"), CLEAN, "n??y"),
        (write("/home/u/.ssh/authorized_keys"), CLEAN, "n???"),
        (write("/home/u/.chela/chela.json5"), CLEAN, "!!!!"),
        (write("/home/u/w/chela.json5"), CLEAN, "!!!!"),
        (exec(true, false), CLEAN, "n?yy"),
        (exec(true, false), UNTRUSTED, "n?yy"),
        (exec(true, true), CLEAN, "n??y"),
        (exec(true, true), PRIVATE, "n???"),
        (exec(false, false), CLEAN, "n???"),
        (net(), CLEAN, "yyyy"),
        (net(), PRIVATE, "n???"),
        (net(), UNTRUSTED, "n???"),
        (Right::Remember, CLEAN, "n?yy"),
        (Right::Remember, PRIVATE, "n???"),
        (Right::Remember, UNTRUSTED, "n???"),
        (Right::Use { tool: "x".into() }, CLEAN, "n??y"),
        (Right::Use { tool: "x".into() }, UNTRUSTED, "n???"),
    ];
    for (right, taint, expected) in rows {
        let got: String = [None, Ask, Edits, All]
            .map(|approve| short(&decide(std::slice::from_ref(&right), taint, &mode(approve))))
            .iter()
            .collect();
        assert_eq!(got, expected, "{right:?} after {taint:?}");
    }
}

#[test]
fn what_would_ask_is_refused_where_nobody_can_answer() {
    for approve in [None, Ask, Edits, All] {
        let mode = Mode { can_ask: false, ..mode(approve) };
        let verdict = decide(&[read("/home/u/w/.env")], CLEAN, &mode);
        assert_eq!(short(&verdict), 'n', "{approve}");
    }
}

#[test]
fn a_refusal_names_the_option_that_allows_it() {
    let words = |right: Right, taint| match decide(&[right], taint, &mode(None)) {
        Verdict::Deny { why, .. } => why.join("; "),
        other => panic!("{other:?}"),
    };
    assert_eq!(words(write("/home/u/w/a"), CLEAN), "writes ask; --approve edits allows it");
    assert_eq!(words(write("/tmp/a"), CLEAN), "/tmp/a lies outside the workspace; --approve all allows it");
    let secret = words(read("/home/u/w/.env"), CLEAN);
    assert!(secret.ends_with("only a human's yes allows it: run `chela chat` on a terminal"), "{secret}");
}

#[test]
fn one_bad_right_decides() {
    let rights = [read("/home/u/w/a"), write("/home/u/.chela/x"), net()];
    assert_eq!(short(&decide(&rights, CLEAN, &mode(All))), '!');
}

#[test]
fn a_grant_covers_what_it_says_and_nothing_more() {
    let (grants, words) = policy().grants(&[read("/home/u/w/a"), write("/home/u/w/a")]);
    assert_eq!(grants[1], Grant::WorkspaceWrites);
    assert_eq!(words, "reading /home/u/w/a, all ordinary writes in the workspace");
    let granted = Mode { grants, ..mode(Ask) };
    assert_eq!(short(&decide(&[write("/home/u/w/b")], CLEAN, &granted)), 'y');
    for still in ["/home/u/w/AGENTS.md", "/home/u/w/.env", "/home/u/w/.git/config", "/tmp/x"] {
        assert_eq!(short(&decide(&[write(still)], CLEAN, &granted)), '?', "{still}");
    }
    assert_eq!(short(&decide(&[write("/home/u/.chela/x")], CLEAN, &granted)), '!');

    let (grants, words) = policy().grants(&[write("/home/u/w/AGENTS.md")]);
    assert_eq!(words, "writing /home/u/w/AGENTS.md");
    let granted = Mode { grants, ..mode(Ask) };
    let own =
        ["/home/u/w/AGENTS.md", "/home/u/w/b"].map(|path| short(&decide(&[write(path)], CLEAN, &granted)));
    assert_eq!(own, ['y', '?'], "what was asked for, and no more");

    let (grants, words) = policy().grants(&[exec(true, false)]);
    assert_eq!(words, "exactly this command in this folder");
    let granted = Mode { grants, ..mode(Ask) };
    assert_eq!(short(&decide(&[exec(true, false)], UNTRUSTED, &granted)), 'y');
    assert_eq!(short(&decide(&[exec(true, true)], CLEAN, &granted)), '?');
    let other = Right::Exec {
        command: "make; rm -rf .".into(),
        cwd: "/home/u/w".into(),
        sandboxed: true,
        network: false,
    };
    assert_eq!(short(&decide(&[other], CLEAN, &granted)), '?');
}

/// Following links on a site asks once, not for every page; what was read of the user's own closes
/// that door again, and what a human allowed stays allowed.
#[test]
fn a_host_that_was_reached_is_new_again_once_something_private_was_read() {
    let both = UNTRUSTED.union(PRIVATE);
    let reached = Mode { grants: vec![Grant::Reached("example.org".into())], ..mode(Edits) };
    let other = Right::Net { host: "other.example".into() };
    let rows = [(net(), CLEAN, 'y'), (net(), UNTRUSTED, 'y'), (net(), PRIVATE, '?'), (net(), both, '?')];
    for (right, taint, expected) in rows {
        assert_eq!(short(&decide(&[right], taint, &reached)), expected, "{taint:?}");
    }
    assert_eq!(short(&decide(&[other], UNTRUSTED, &reached)), '?');
    assert_eq!(short(&decide(&[Right::Remember], UNTRUSTED, &reached)), '?');
    let (grants, words) = policy().grants(&[net()]);
    assert_eq!(words, "requests to example.org");
    let granted = Mode { grants, ..mode(Ask) };
    assert_eq!(short(&decide(&[net()], both, &granted)), 'y');
    let port = Right::Net { host: "example.org:8443".into() };
    assert_eq!(short(&decide(&[port], both, &granted)), '?');
}

#[test]
fn a_remembered_command_covers_its_kind_where_it_is_plain_and_sandboxed() {
    let run = |command: &str, cwd: &str, sandboxed, network| Right::Exec {
        command: command.into(),
        cwd: cwd.into(),
        sandboxed,
        network,
    };
    let here = "/home/u/w";
    let (grants, words) = policy().grants(&[run("cargo test --lib", here, true, false)]);
    assert_eq!(words, "every plain `cargo test …` in this folder");
    let granted = Mode { grants, ..mode(Ask) };
    let rows = [
        (run("cargo test -p x", here, true, false), 'y'),
        (run("cargo test; rm -rf x", here, true, false), '?'),
        (run("cargo test > x", here, true, false), '?'),
        (run("cargo test $(x)", here, true, false), '?'),
        (run("A=b cargo test", here, true, false), '?'),
        (run("cargo run", here, true, false), '?'),
        (run("cargo test", "/home/u/w/sub", true, false), '?'),
        (run("cargo test", here, true, true), '?'),
        (run("cargo test", here, false, true), '?'),
    ];
    for (right, expected) in rows {
        assert_eq!(short(&decide(std::slice::from_ref(&right), UNTRUSTED, &granted)), expected, "{right:?}");
    }
}

/// What the sandbox keeps commands from changing, whatever was approved.
#[test]
fn what_acts_later_is_told_by_its_path() {
    let later = ["AGENTS.md", "sub/soul.MD", "CLAUDE.md", ".git/hooks/x", ".envrc", "a/.config/systemd/x"];
    for path in later {
        assert!(acts_later(Path::new(path)), "{path}");
    }
    for path in ["agents.rs", "AGENTS.md.bak", "git/hooks/x", "src/systemd/x", "autostart"] {
        assert!(!acts_later(Path::new(path)), "{path}");
    }
}

#[test]
fn nobody_is_asked_where_the_user_wants_no_questions() {
    let mode = Mode { can_ask: true, ..mode(None) };
    assert_eq!(short(&decide(&[write("/home/u/w/a")], CLEAN, &mode)), 'n');
}

#[test]
fn secrets_by_path() {
    let secrets = [
        "/h/.ssh/known_hosts",
        "/h/.aws/credentials",
        "/h/.gnupg/pubring.kbx",
        "/h/.config/google-chrome/Default/Cookies",
        "/h/.mozilla/firefox/x/cookies.sqlite",
        "/h/snap/firefox/common/x",
        "/w/.env",
        "/w/.ENV",
        "/w/.env.production",
        "/w/prod.env",
        "/w/server.pem",
        "/w/tls/private.key",
        "/w/id_rsa",
        "/w/id_ed25519_work",
        "/w/credentials.json",
        "/h/.netrc",
        "/h/.git-credentials",
        "/h/.config/gh/hosts.yml",
        "/etc/shadow",
        "/proc/1/environ",
        "/proc/self/mem",
        "/h/.config/op/config",
        "/h/.config/google-chrome/Default/Login Data",
        "/h/.bash_history",
        "/w/terraform.tfstate",
        "/w/vpn.ovpn",
    ];
    for path in secrets {
        assert!(secret(Path::new(path)).is_some(), "{path}");
    }
    let open = [
        "/w/src/main.rs",
        "/w/.env.example",
        "/w/.env.sample",
        "/w/id_rsa.pub",
        "/w/id_card.txt",
        "/w/environ",
        "/w/gh/readme.md",
        "/w/firefox/notes.md",
        "/w/keyboard.rs",
        "/w/docs/env.md",
        "/w/environment.ts",
        "/w/monkey.txt",
        "/w/mem",
        "/w/op/main.rs",
        "/w/hub/readme.md",
    ];
    for path in open {
        assert_eq!(secret(Path::new(path)), Option::None, "{path}");
    }
}
