//! Attempts to get out of the sandbox, by real commands. Each test puts something on the host that
//! must not be reached, lets a command try, and then looks on the host. Whatever a command could
//! connect to is a listener of the test's own, on loopback or in a folder of its own.
//!
//! What a shell cannot do itself, this test program does when it runs inside ([`inside`]). A test
//! that wants what the kernel does not have is skipped, and says so on stderr.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chela_tools::sandbox::{Command, End, Sandbox, Settings};
use tempfile::TempDir;

/// A home folder with a workspace, Chela's own folder and secrets in it.
struct Jail {
    _folder: TempDir,
    root: PathBuf,
    sandbox: Sandbox,
}

/// The jail for a test; none, with a line that says why, where this system cannot hold one.
fn jail(test: &str) -> Option<Jail> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for (name, text) in [
        ("home/.ssh/id_ed25519", "hunter2"),
        ("home/notes.txt", "hunter2"),
        ("home/.chela/auth.json", "hunter2"),
        ("home/.cargo/credentials.toml", "hunter2"),
        ("home/.cargo/config.toml", "tools"),
        ("home/w/.env", "KEY=hunter2"),
        ("home/w/deploy/.ssh/id_rsa", "hunter2"),
        ("home/w/AGENTS.md", "mine"),
        ("home/w/memory/a.md", "mine"),
        ("home/w/.git/config", "[core]\n"),
        ("home/w/.git/hooks/pre-commit.sample", ""),
        ("home/w/.git/HEAD", "ref: refs/heads/main\n"),
        ("home/w/src/main.rs", "fn main() {}\n"),
        ("outside/notes.txt", "hunter2"),
    ] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let home = root.join("home");
    let sandbox = Sandbox::new(Settings {
        program: env!("CARGO_BIN_EXE_chela").into(),
        home: Some(home.clone()),
        visible: vec![home.join(".cargo"), std::env::current_exe().unwrap()],
        hidden: vec![home.join(".chela")],
        frozen: vec![home.join("w/memory")],
    });
    if let Err(why) = sandbox.holds(&home.join("w")) {
        let _ = writeln!(std::io::stderr(), "skipped {test}: this system has no sandbox: {why}");
        return None;
    }
    Some(Jail { _folder: folder, root, sandbox })
}

/// What a command left.
#[derive(Debug)]
struct Left {
    output: String,
    end: Option<End>,
    aside: Vec<String>,
}

impl Jail {
    fn home(&self, name: &str) -> PathBuf {
        self.root.join("home").join(name)
    }

    fn run(&self, text: &str) -> Left {
        self.run_with(text, false, true)
    }

    fn run_with(&self, text: &str, network: bool, confined: bool) -> Left {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let workspace = self.home("w");
        let scan = self.sandbox.scan(&workspace).unwrap();
        let command = Command {
            text,
            cwd: &workspace,
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("HOME".into(), self.home("").display().to_string()),
            ],
            workspace: &workspace,
            scan: confined.then_some(&scan),
            network,
        };
        let (output, end) = runtime.block_on(async {
            let mut running = self.sandbox.start(command).await.unwrap();
            let (mut output, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let read = tokio::time::timeout(Duration::from_secs(60), running.read(&mut buffer)).await;
                match read.unwrap().unwrap() {
                    0 => break,
                    read => output.extend_from_slice(&buffer[..read]),
                }
            }
            let end = running.end().cloned();
            running.stop().await;
            (output, end)
        });
        let aside = scan.put_aside(&self.sandbox.scan(&workspace).unwrap());
        Left { output: String::from_utf8_lossy(&output).into_owned(), end, aside }
    }

    /// Lets this program try something inside; gives its words.
    fn try_inside(&self, attempt: &str, network: bool) -> String {
        let program = std::env::current_exe().unwrap();
        let text = format!(
            "CHELA_ATTEMPT='{attempt}' {} --ignored --exact sandbox::inside --nocapture --test-threads=1",
            program.display()
        );
        let left = self.run_with(&text, network, true);
        let said = left.output.lines().find_map(|line| line.split("said: ").nth(1));
        said.unwrap_or_else(|| panic!("{attempt}: {left:?}")).to_owned()
    }
}

/// What runs in the sandbox: `KIND ARGUMENT`, and the answer is printed.
#[test]
#[ignore = "runs inside the sandbox, started by the other tests"]
fn inside() {
    let Ok(attempt) = std::env::var("CHELA_ATTEMPT") else { return };
    let (kind, argument) = attempt.split_once(' ').unwrap_or((&attempt, ""));
    let words = |done: std::io::Result<()>| {
        done.map_or_else(|error| format!("refused: {error}"), |()| "reached".into())
    };
    let said = match kind {
        "unix" => words(UnixStream::connect(argument).map(drop)),
        "abstract" => {
            use std::os::linux::net::SocketAddrExt;
            let address = SocketAddr::from_abstract_name(argument).unwrap();
            words(UnixStream::connect_addr(&address).map(drop))
        }
        "tcp" => {
            words(TcpStream::connect_timeout(&argument.parse().unwrap(), Duration::from_secs(5)).map(drop))
        }
        "udp" => words(
            UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"hunter2", argument)).map(drop),
        ),
        "loopback" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            words(TcpStream::connect(listener.local_addr().unwrap()).map(drop))
        }
        other => panic!("{other}"),
    };
    println!("said: {said}");
}

#[test]
fn secrets_outside_and_inside_the_workspace_are_not_there() {
    let Some(jail) = jail("secrets_outside_and_inside_the_workspace_are_not_there") else { return };
    let root = jail.root.display();
    let left = jail.run(&format!(
        "cat {root}/home/.ssh/id_ed25519 {root}/home/notes.txt {root}/home/.chela/auth.json {root}/outside/notes.txt \
         {root}/home/.cargo/credentials.toml .env deploy/.ssh/id_rsa ./.env deploy/../.env /etc/shadow; \
         cp -r . /tmp/copy; mv deploy moved; cat moved/.ssh/id_rsa; mv .env open; cat open; \
         cat {root}/home/.cargo/config.toml; grep -rls hunter2 {root} /tmp /run /etc; ls -a {root} {root}/home"
    ));
    assert!(!left.output.contains("hunter2"), "{left:?}");
    assert!(!left.output.contains("root:"), "{left:?}");
    assert!(left.output.contains("tools"), "toolchains are seen: {left:?}");
    assert!(!left.output.contains("notes.txt\n"), "{left:?}");
    assert_eq!(std::fs::read_to_string(jail.home("w/.env")).unwrap(), "KEY=hunter2");
}

#[test]
fn links_lead_nowhere() {
    let Some(jail) = jail("links_lead_nowhere") else { return };
    std::os::unix::fs::symlink(jail.root.join("outside/notes.txt"), jail.home("w/link")).unwrap();
    std::fs::hard_link(jail.home("w/.env"), jail.home("w/src/innocent.txt")).unwrap();
    let root = jail.root.display();
    let left = jail.run(&format!(
        "cat link src/innocent.txt; ln .env mine; cat mine; ln -s {root}/home/.ssh/id_ed25519 soft; cat soft; \
         ln -s {root}/outside out; echo evil > out/new.txt; ln {root}/home/notes.txt hard; cat hard"
    ));
    assert!(!left.output.contains("hunter2"), "{left:?}");
    assert!(!jail.root.join("outside/new.txt").exists());
}

#[test]
fn only_the_workspace_can_be_written() {
    let Some(jail) = jail("only_the_workspace_can_be_written") else { return };
    let root = jail.root.display();
    let left = jail.run(&format!(
        "echo ok > src/new.txt && echo written; for f in {root}/outside/x {root}/home/x {root}/home/.cargo/x {root}/home/.chela/x \
         /usr/bin/chela-x /etc/chela-x /chela-x /tmp/chela-x /var/tmp/chela-x /run/chela-x /dev/shm/chela-x; do \
         (echo evil > $f) 2>/dev/null; done; chmod u+s src/new.txt; echo 1 > /proc/sys/kernel/panic; mknod src/disk b 254 0"
    ));
    assert!(left.output.contains("written"), "{left:?}");
    assert_eq!(std::fs::read_to_string(jail.home("w/src/new.txt")).unwrap(), "ok\n");
    for gone in ["outside/x", "home/x", "home/.cargo/x", "home/.chela/x", "home/w/src/disk"] {
        assert!(!jail.root.join(gone).exists(), "{gone}: {left:?}");
    }
    for gone in ["/usr/bin", "/etc", "/", "/tmp", "/var/tmp", "/run", "/dev/shm"] {
        assert!(!Path::new(gone).join("chela-x").exists(), "{gone}: {left:?}");
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(jail.home("w/src/new.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o6000, 0, "{left:?}");
}

#[test]
fn what_acts_later_cannot_be_changed_or_planted() {
    let Some(jail) = jail("what_acts_later_cannot_be_changed_or_planted") else { return };
    let left = jail.run(
        "echo evil >> AGENTS.md; rm -f AGENTS.md; mv AGENTS.md x; echo evil > memory/b.md; mv memory m; echo evil >> .git/config; \
         echo evil > .git/hooks/pre-commit; mv .git g; rm -rf .git/hooks; echo evil > SOUL.md; mkdir -p .vscode; echo evil > .vscode/tasks.json; \
         echo evil > src/CLAUDE.md; echo fine > .git/x",
    );
    let text = |name: &str| std::fs::read_to_string(jail.home("w").join(name)).ok();
    assert_eq!(text("AGENTS.md").as_deref(), Some("mine"), "{left:?}");
    assert_eq!(text(".git/config").as_deref(), Some("[core]\n"), "{left:?}");
    assert_eq!(text(".git/x").as_deref(), Some("fine\n"), "a repository can be used: {left:?}");
    for gone in ["memory/b.md", ".git/hooks/pre-commit", "SOUL.md", ".vscode", "src/CLAUDE.md"] {
        assert!(!jail.home("w").join(gone).exists(), "{gone}: {left:?}");
    }
    assert_eq!(left.aside.len(), 3, "{left:?}");
    assert_eq!(text("SOUL.md.not-allowed").as_deref(), Some("evil\n"), "nothing is lost");
}

/// A listener that stands for docker.sock, the socket of an SSH agent, or D-Bus's.
fn nobody_came(listener: &UnixListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_err()
}

#[test]
fn sockets_of_the_host_cannot_be_reached() {
    let Some(jail) = jail("sockets_of_the_host_cannot_be_reached") else { return };
    std::fs::create_dir(jail.root.join("run")).unwrap();
    std::os::unix::fs::symlink(jail.root.join("run"), jail.home("w/run")).unwrap();
    let places = [
        "run/docker.sock",
        "run/ssh-agent",
        "home/bus",
        "home/w/docker.sock",
        "home/.cargo/s",
        "home/w/run/docker.sock",
    ];
    let listeners: Vec<UnixListener> =
        places[..5].iter().map(|place| UnixListener::bind(jail.root.join(place)).unwrap()).collect();
    for network in [false, true] {
        for place in places {
            let said = jail.try_inside(&format!("unix {}", jail.root.join(place).display()), network);
            assert!(said.starts_with("refused"), "{place}: {said}");
        }
    }
    assert!(listeners.iter().all(nobody_came));
}

#[test]
fn abstract_sockets_of_the_host_cannot_be_reached() {
    let Some(jail) = jail("abstract_sockets_of_the_host_cannot_be_reached") else { return };
    use std::os::linux::net::SocketAddrExt;
    let name = format!("chela-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for network in [false, true] {
        let said = jail.try_inside(&format!("abstract {name}"), network);
        assert!(said.starts_with("refused"), "network {network}: {said}");
    }
    assert!(nobody_came(&listener));
}

#[test]
fn without_network_nothing_is_reached_and_with_it_something_is() {
    let Some(jail) = jail("without_network_nothing_is_reached_and_with_it_something_is") else { return };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    // What a resolver on this machine would get: the question goes by UDP.
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let address = tcp.local_addr().unwrap();
    let said = jail.try_inside(&format!("tcp {address}"), false);
    assert!(said.starts_with("refused"), "{said}");
    jail.try_inside(&format!("udp {}", udp.local_addr().unwrap()), false);
    std::thread::sleep(Duration::from_millis(50));
    assert!(udp.recv(&mut [0; 16]).is_err(), "a datagram left the sandbox");
    assert_eq!(jail.try_inside("loopback", false), "reached", "a test server and its client run inside");
    assert_eq!(jail.try_inside(&format!("tcp {address}"), true), "reached");
}

#[test]
fn other_processes_are_not_there() {
    let Some(jail) = jail("other_processes_are_not_there") else { return };
    let host = std::process::id();
    let left = jail.run(&format!(
        "kill -9 {host}; kill -9 -1; echo alive; ls /proc | grep -c '^[0-9]'; ls -l /proc/self/fd /proc/1/fd; cat /proc/1/environ; \
         cat /proc/1/root{root}/outside/notes.txt /proc/self/root{root}/outside/notes.txt /proc/self/cwd/../notes.txt; \
         grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status",
        root = jail.root.display()
    ));
    assert!(!left.output.contains("hunter2"), "{left:?}");
    assert!(!left.output.contains("CHELA") && !left.output.contains("/fd/1 ->"), "{left:?}");
    if left.output.contains("NoNewPrivs") {
        let fields: Vec<&str> = left.output.lines().filter(|line| line.starts_with("Cap")).collect();
        assert!(fields.iter().all(|line| line.ends_with("0000000000000000")), "{left:?}");
        assert!(left.output.contains("NoNewPrivs:\t1") && left.output.contains("Seccomp:\t2"), "{left:?}");
    }
}

/// A file that was open in the agent when it was started was open in its commands too.
#[test]
fn files_that_the_agent_was_started_with_are_closed() {
    let Some(mut jail) = jail("files_that_the_agent_was_started_with_are_closed") else { return };
    let (secret, program) = (jail.home("notes.txt"), jail.root.join("chela"));
    let script =
        format!("#!/bin/sh\nexec 9< {}\nexec {} \"$@\"\n", secret.display(), env!("CARGO_BIN_EXE_chela"));
    std::fs::write(&program, script).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    jail.sandbox = Sandbox::new(Settings { program, ..Settings::default() });
    for confined in [true, false] {
        let left = jail.run_with("cat <&9; cat /proc/self/fd/9; echo end", false, confined);
        assert!(left.output.contains("end") && !left.output.contains("hunter2"), "{left:?}");
    }
}

#[test]
fn system_calls_without_use_are_refused() {
    let Some(jail) = jail("system_calls_without_use_are_refused") else { return };
    let script = "import ctypes, socket, platform\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         assert platform.machine() == 'x86_64'\n\
         for name, *call in [('ptrace', 101, 0, 0, 0, 0), ('keyctl', 250, 0, -3, 0), ('add_key', 248, 0, 0, 0, 0, 0), ('io_uring', 425, 1, 0), \
         ('unshare', 272, 0x10000000), ('setns', 308, 0, 0), ('mount', 165, 0, 0, 0, 0, 0), ('bpf', 321, 0, 0, 0), ('process_vm_readv', 310, 1, 0, 0, 0, 0, 0), \
         ('x32 ptrace', 0x40000000 + 521, 0, 0, 0, 0), ('chroot', 161, 0), ('pidfd_getfd', 438, 0, 0, 0), ('userfaultfd', 323, 0)]:\n\
         \x20   print(name, libc.syscall(*call), ctypes.get_errno())\n\
         for family in [40, 38, 17, 31, 16]:\n\
         \x20   try: socket.socket(family, socket.SOCK_RAW if family in (16, 17) else socket.SOCK_STREAM, 15 if family == 16 else 0); print('family', family, 0, 0)\n\
         \x20   except OSError as error: print('family', family, -1, error.errno)\n";
    std::fs::write(jail.home("w/try.py"), script).unwrap();
    let left = jail.run("command -v python3 >/dev/null && python3 try.py");
    if left.end != Some(End::Exited(0)) {
        let why = left.output.lines().last().unwrap_or("no python3");
        let _ = writeln!(std::io::stderr(), "skipped system_calls_without_use_are_refused: {why}");
        return;
    }
    for line in left.output.lines() {
        // EPERM, EAFNOSUPPORT; ENOSYS where the kernel has no such call at all.
        assert!([" -1 1", " -1 97", " -1 38"].iter().any(|end| line.ends_with(end)), "{line}");
    }
    assert_eq!(left.output.lines().count(), 18, "{left:?}");
}

#[test]
fn everything_ends_with_the_command() {
    let Some(jail) = jail("everything_ends_with_the_command") else { return };
    for confined in [true, false] {
        let mark = format!("7{}{}", std::process::id(), u8::from(confined));
        let begun = Instant::now();
        let left = jail.run_with(
            &format!("sleep {mark} & (setsid sleep {mark} &) ; echo done; exit 3"),
            false,
            confined,
        );
        assert_eq!((left.output.as_str(), &left.end), ("done\n", &Some(End::Exited(3))), "{left:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "a pipe that stays open holds nothing up");
        assert!(!runs(&mark), "confined {confined}: a process is left");
    }
    assert_eq!(jail.run("kill -9 $$").end, Some(End::Killed(9)));
}

/// True where a process has this among its arguments.
pub fn runs(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let has = |path: PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    processes.map(|process| process.path()).any(has)
}
