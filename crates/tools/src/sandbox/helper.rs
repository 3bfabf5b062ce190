//! The helper's side: the program, started again, with one thread.
//!
//! Its standard input is a socket to the agent, on which the plan comes and [`Word`]s go back; its
//! standard output and error are the command's. The outer helper makes the namespaces and stays
//! outside of the new process id namespace; the inner one is its first process, so that with it
//! everything ends that the command started. When the agent goes away, so does all of this.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getegid, geteuid, kill_process,
    pidfd_open, set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal, setsid, wait,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, capabilities, configure_capability_in_ambient_set,
    set_capabilities,
};

use super::{Layer, Plan, Word, filter, mounts, probe};

/// The first argument of the helper.
pub const ARGUMENT: &str = "__sandbox";

/// What the second argument says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not confined.
    Open,
    /// Confined, without network.
    Offline,
    /// Confined, with network.
    Online,
    /// Inside the namespaces.
    Inner,
    /// Find out what this system has.
    Probe,
    /// The same, inside the namespaces.
    ProbeInner,
}

impl Stage {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Open, "open"),
        (Self::Offline, "offline"),
        (Self::Online, "online"),
        (Self::Inner, "inner"),
        (Self::Probe, "probe"),
        (Self::ProbeInner, "probe-inner"),
    ];

    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(stage, _)| *stage == self).map_or("", |(_, word)| word)
    }

    fn of(word: &OsStr) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| word == *name).map(|(stage, _)| *stage)
    }
}

/// Runs the helper where the arguments (the program's name first) ask for it; else none. To be
/// called first in `main`, before any thread exists.
#[must_use]
pub fn helper(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let stage = arguments.next().as_deref().and_then(Stage::of);
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let (Some(stage), Ok(mut control)) = (stage, control) else { return Some(ExitCode::from(2)) };
    close_inherited(control.as_raw_fd());
    let done = match stage {
        Stage::Open => open(&mut control),
        Stage::Offline | Stage::Online => outer(&control, stage),
        Stage::Inner => inner(&mut control),
        Stage::Probe => probe(&mut control),
        Stage::ProbeInner => probe_inner(&mut control),
    };
    if let Err(why) = done {
        let _ = say(&mut control, &Word::Failed(why));
        return Some(ExitCode::FAILURE);
    }
    Some(ExitCode::SUCCESS)
}

/// Closes what whoever started the agent left open in it: a command could read it.
fn close_inherited(control: RawFd) {
    let entries = fs::read_dir("/proc/self/fd").map(|entries| {
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.collect::<Vec<RawFd>>()
    });
    let numbers = entries.unwrap_or_else(|_| (3..4096).collect());
    for number in numbers.into_iter().filter(|number| *number > 2 && *number != control) {
        let _ = nix::unistd::close(number);
    }
}

fn say(control: &mut UnixStream, word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    control.write_all(&line)
}

fn plan(control: &mut UnixStream) -> Result<Plan, String> {
    let mut line = Vec::new();
    let mut byte = [0; 4096];
    while line.last() != Some(&b'\n') {
        match control.read(&mut byte) {
            Ok(0) => return Err("no plan came".to_owned()),
            Ok(read) => line.extend_from_slice(&byte[..read]),
            Err(error) => return Err(format!("the plan cannot be read: {error}")),
        }
    }
    serde_json::from_slice(&line).map_err(|error| format!("the plan cannot be read: {error}"))
}

/// Starts this program again at another stage, with the same socket and output.
fn again(stage: Stage) -> Result<Child, String> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args([ARGUMENT, stage.word()]).env_clear();
    command.spawn().map_err(|error| format!("the helper cannot be started again: {error}"))
}

fn outer(control: &UnixStream, stage: Stage) -> Result<(), String> {
    let _ = setsid();
    namespaces(stage == Stage::Offline)?;
    let mut child = again(Stage::Inner)?;
    watch(control, &mut child);
    Ok(())
}

/// Waits for the end of the child. Where the agent goes away, the child is killed.
fn watch(control: &UnixStream, child: &mut Child) {
    let pidfd = Pid::from_child(child);
    let pidfd = pidfd_open(pidfd, PidfdFlags::empty());
    // Without pidfds (before Linux 5.3) the child is looked at from time to time.
    let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while let Ok(None) = child.try_wait() {
        let mut fds = vec![PollFd::new(control, PollFlags::RDHUP)];
        fds.extend(pidfd.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let waited = poll(&mut fds, if pidfd.is_ok() { None } else { Some(&pause) });
        let gone = fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
        if waited.is_ok() && gone {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
    }
}

/// The namespaces. What needs the rights of the new user namespace outside of the new process id
/// namespace is done here too.
pub(super) fn namespaces(offline: bool) -> Result<(), String> {
    let wrong = |what: &str, error: io::Error| format!("{what}: {error}");
    user_namespace().map_err(|error| wrong("user namespace", error))?;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if offline {
        flags |= UnshareFlags::NEWNET;
    }
    unshare(flags).map_err(|error| wrong("namespaces", error))?;
    if offline {
        loopback_up().map_err(|error| wrong("loopback", error))?;
    }
    keep_rights().map_err(|error| wrong("capabilities", error))
}

/// A user namespace in which the user keeps the own number. A root user of a system that refuses
/// one goes on without.
pub(super) fn user_namespace() -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    match unshare(UnshareFlags::NEWUSER) {
        Ok(()) => {}
        Err(_) if rights()?.contains(CapabilitySet::SYS_ADMIN) => return Ok(()),
        Err(error) => return Err(error),
    }
    // Kernels before 3.19 have no such file, and want none.
    let _ = fs::write("/proc/self/setgroups", "deny");
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

pub(super) fn rights() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

#[expect(
    deprecated,
    reason = "its unsafe successor warns of one thread that unshares open files; here is \
                               one thread, and open files stay shared"
)]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// Rights that the inner helper needs survive its start.
fn keep_rights() -> io::Result<()> {
    let needed = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP, CapabilitySet::SYS_CHROOT];
    let sets = capabilities(None)?;
    let inheritable = needed.iter().fold(sets.inheritable, |all, one| all | (*one & sets.permitted));
    set_capabilities(None, CapabilitySets { inheritable, ..sets })?;
    for right in needed {
        configure_capability_in_ambient_set(right, true)?;
    }
    Ok(())
}

/// Switches the loopback device of a new network namespace on: one RTM_NEWLINK message for the
/// device with index 1 (rtnetlink(7)).
fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};
    const NEWLINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]);
    // ifinfomsg: family, type, index, flags, the flags that change.
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 256];
    let (read, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // nlmsgerr: behind the header of 16 bytes an errno, negative.
    let code = answer.get(16..20).filter(|_| read >= 20).and_then(|code| code.try_into().ok());
    match i32::from_ne_bytes(code.unwrap_or_default()) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

fn inner(control: &mut UnixStream) -> Result<(), String> {
    let wrong = |error: rustix::io::Errno| error.to_string();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(wrong)?;
    let plan = plan(control)?;
    let confined = plan.confined.as_ref().ok_or("the plan is for a command that is not confined")?;
    mounts::build(confined)?;
    filter::restrict(confined)?;
    // The command runs as the same user; it shall not look into this process.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(wrong)?;
    let child = start(control, &plan)?;
    let (_, status) = reap(&child);
    report(control, status);
    Ok(())
}

/// Starts the command. Where the agent is gone already, it does not start.
fn start(control: &mut UnixStream, plan: &Plan) -> Result<Pid, String> {
    say(control, &Word::Started).map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg(&plan.command).current_dir(&plan.cwd).env_clear();
    command.envs(plan.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let child = command.spawn();
    let child =
        child.map_err(|error| format!("/bin/sh cannot be started in {}: {error}", plan.cwd.display()))?;
    Ok(Pid::from_child(&child))
}

/// Waits for the command, and for whatever was left to this process meanwhile.
fn reap(child: &Pid) -> (Pid, Option<WaitStatus>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == *child => return (pid, Some(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return (*child, None),
        }
    }
}

fn report(control: &mut UnixStream, status: Option<WaitStatus>) {
    let signal = status.and_then(WaitStatus::terminating_signal);
    let code = status.and_then(WaitStatus::exit_status).unwrap_or(-1);
    let _ = say(control, &signal.map_or(Word::Exited(code), Word::Killed));
}

/// A command that is not confined. What it started is found and ended all the same.
fn open(control: &mut UnixStream) -> Result<(), String> {
    let _ = setsid();
    // What loses its parent becomes a child of this process.
    set_child_subreaper(Some(Pid::INIT)).map_err(|error| error.to_string())?;
    let plan = plan(control)?;
    let child = start(control, &plan)?;
    let status = wait_watching(control, child);
    report(control, status);
    end_all();
    Ok(())
}

fn wait_watching(control: &UnixStream, child: Pid) -> Option<WaitStatus> {
    let pidfd = pidfd_open(child, PidfdFlags::empty());
    let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => return Some(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let mut fds = vec![PollFd::new(control, PollFlags::RDHUP)];
        fds.extend(pidfd.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let waited = poll(&mut fds, if pidfd.is_ok() { None } else { Some(&pause) });
        let gone = fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
        if waited.is_ok() && gone {
            return None;
        }
    }
}

/// Kills all descendants, the nearest first; those of a killed one become children of this process
/// and are next.
fn end_all() {
    loop {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The children of this process, from /proc (proc_pid_stat(5): the fourth field is the parent).
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the program, in parentheses, may hold anything.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        rest.split_whitespace().nth(1) == Some(own.as_str())
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}

fn probe(control: &mut UnixStream) -> Result<(), String> {
    let mut layers = probe::outside();
    if layers.iter().all(|layer| layer.missing.is_none() || !layer.needed) {
        keep_rights().map_err(|error| error.to_string())?;
    }
    say(control, &Word::Layers(std::mem::take(&mut layers))).map_err(|error| error.to_string())?;
    let mut child = again(Stage::ProbeInner)?;
    child.wait().map(drop).map_err(|error| error.to_string())
}

fn probe_inner(control: &mut UnixStream) -> Result<(), String> {
    let layers: Vec<Layer> = probe::inside();
    say(control, &Word::Layers(layers)).map_err(|error| error.to_string())
}
