//! Which layers this system has, found by trying each in a helper that then ends.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::thread::{CapabilitySet, UnshareFlags};

use super::helper::{ARGUMENT, Stage, rights, unshare, user_namespace};
use super::{Layer, Word, filter, mounts};

/// A helper that says nothing for so long is taken for one that cannot.
const PATIENCE: Duration = Duration::from_secs(10);

fn layer(name: &str, purpose: &str, needed: bool, found: Result<(), String>) -> Layer {
    Layer { name: name.to_owned(), purpose: purpose.to_owned(), missing: found.err(), needed }
}

/// All layers. Where the helper does not run at all, none holds.
pub(super) fn layers(program: &Path) -> Vec<Layer> {
    let mut layers =
        ask(program).unwrap_or_else(|why| vec![layer("helper", "starts the command", true, Err(why))]);
    let complete = layers.iter().any(|layer| layer.name == "seccomp");
    if !complete {
        let why = Err("the trial broke off".to_owned());
        layers.push(layer("seccomp", "refuses system calls that commands have no use for", true, why));
    }
    layers
}

fn ask(program: &Path) -> Result<Vec<Layer>, String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new(program);
    command.args([ARGUMENT, Stage::Probe.word()]).env_clear();
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
    drop(command);
    let _ = ours.set_read_timeout(Some(PATIENCE));
    let mut layers = Vec::new();
    for line in BufReader::new(ours).lines() {
        match line.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            Some(Word::Layers(more)) => layers.extend(more),
            _ => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    match layers.is_empty() {
        true => Err("the helper did not answer".to_owned()),
        false => Ok(layers),
    }
}

/// What is tried before the process id namespace.
pub(super) fn outside() -> Vec<Layer> {
    let words = |done: std::io::Result<()>| done.map_err(|error| error.to_string());
    let before = std::fs::read_link("/proc/self/ns/user").ok();
    let user = words(user_namespace()).and_then(|()| {
        match before != std::fs::read_link("/proc/self/ns/user").ok() {
            true => Ok(()),
            false => Err("the kernel refuses one; the root user goes on without".to_owned()),
        }
    });
    // A root user can do without.
    let rooted = rights().is_ok_and(|rights| rights.contains(CapabilitySet::SYS_ADMIN));
    let mounts = words(unshare(UnshareFlags::NEWNS)).and_then(|()| mounts::private());
    let network = words(unshare(UnshareFlags::NEWNET));
    let ipc = words(unshare(UnshareFlags::NEWIPC | UnshareFlags::NEWUTS));
    let processes = words(unshare(UnshareFlags::NEWPID));
    vec![
        layer("user namespace", "the rights to make the others, and no more", !rooted, user),
        layer("mount namespace", "hides files, /tmp, /run and the sockets in them", true, mounts),
        layer("network namespace", "no network, no abstract sockets", true, network),
        layer("IPC namespace", "no shared memory with the host", true, ipc),
        layer("process namespace", "hides other processes, and ends with all of its own", true, processes),
    ]
}

/// What is tried as the first process of a process id namespace.
pub(super) fn inside() -> Vec<Layer> {
    let first = std::process::id() == 1;
    let proc_view = match first {
        true => mounts::mount_proc("/proc").map_err(|error| format!("{error}; commands see no /proc")),
        false => Err("no process namespace".to_owned()),
    };
    let landlock = filter::probe_landlock();
    let version = landlock.as_ref().map_or(String::new(), |abi| format!(" (version {abi})"));
    let mut layers = vec![
        layer("/proc", "of the command's own processes", false, proc_view),
        layer(
            &format!("Landlock{version}"),
            "says again what can be written; abstract sockets where there is a network",
            false,
            landlock.map(drop),
        ),
    ];
    layers.push(layer(
        "seccomp",
        "refuses system calls that commands have no use for",
        true,
        filter::probe_seccomp(),
    ));
    layers
}
