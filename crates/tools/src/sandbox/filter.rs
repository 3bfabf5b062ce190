//! What a confined command may ask of the kernel: no capabilities, Landlock, seccomp.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Confined;

/// Restricts this process and all that it starts, for good.
pub(super) fn restrict(confined: &Confined) -> Result<(), String> {
    give_up_capabilities()?;
    let abstract_sockets_held = landlock(confined)?;
    // A network namespace of its own has abstract sockets of its own; in the host's, only
    // Landlock keeps a command from those of the desktop.
    seccomp(confined.network && !abstract_sockets_held)
}

fn give_up_capabilities() -> Result<(), String> {
    let wrong = |error: rustix::io::Errno| format!("capabilities: {error}");
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The kernel knows fewer; without the right to drop them from the bounding set, the
        // promise never to gain any still holds (no_new_privs).
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    clear_ambient_capability_set().map_err(wrong)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(wrong)?;
    rustix::thread::set_no_new_privs(true).map_err(wrong)
}

/// Folders that a confined command may change, besides the workspace.
const CHANGED: &[&str] = &["/tmp", "/var/tmp", "/run", "/dev", "/proc"];

/// Says again what the mounts say: read everything that is there, change little. Gives whether
/// abstract sockets of the host cannot be reached; true too where they need not be.
fn landlock(confined: &Confined) -> Result<bool, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("Landlock: {error}");
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let rule = |path: &Path, access| PathFd::new(path).map(|fd| PathBeneath::new(fd, access));
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|ruleset| ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(|error| wrong(&error))?;
    let root = rule(Path::new("/"), AccessFs::from_read(abi)).map_err(|error| wrong(&error))?;
    let mut ruleset = ruleset.add_rule(root).map_err(|error| wrong(&error))?;
    let home = confined.home.as_deref();
    let changed = CHANGED.iter().map(Path::new).chain([confined.workspace.as_path()]).chain(home);
    for path in changed.filter(|path| path.is_dir()) {
        let rule = rule(path, all).map_err(|error| wrong(&error))?;
        ruleset = ruleset.add_rule(rule).map_err(|error| wrong(&error))?;
    }
    let status = ruleset.restrict_self().map_err(|error| wrong(&error))?;
    Ok(abi_of(status.landlock) >= 6 && status.ruleset != RulesetStatus::NotEnforced)
}

fn abi_of(status: LandlockStatus) -> i32 {
    match status {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        _ => 0,
    }
}

/// Why Landlock does not hold here, or the version of its interface.
pub(super) fn probe_landlock() -> Result<i32, String> {
    let read = AccessFs::from_read(ABI::V1);
    let root = PathFd::new("/").map_err(|error| error.to_string())?;
    let status = Ruleset::default()
        .handle_access(read)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(root, read)))
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(|error| error.to_string())?;
    match status.landlock {
        LandlockStatus::NotEnabled => Err("the kernel has it, and it is not enabled".to_owned()),
        LandlockStatus::NotImplemented => Err("the kernel has none".to_owned()),
        status => Ok(abi_of(status)),
    }
}

/// System calls that no command gets.
const REFUSED: &[libc::c_long] = &[
    // Looking into other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_perf_event_open,
    // What runs past this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys of the kernel.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS__sysctl,
    // The same ones of the x32 interface, where they have numbers of their own: ptrace,
    // process_vm_readv, process_vm_writev.
    0x4000_0000 + 521,
    0x4000_0000 + 539,
    0x4000_0000 + 540,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Numbers with this bit are calls of the x32 interface, which a filter sees as the same
/// architecture.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;

/// TIOCSTI and TIOCLINUX (ioctl_tty(2)).
const TYPING: &[u64] = &[0x5412, 0x541c];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A condition on the low half of an argument, which is all that the kernel reads of an `int`.
fn low(argument: u8, op: Op, value: i32) -> Result<SeccompCondition, String> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, Len::Dword, op, value).map_err(|error| error.to_string())
}

fn bits(argument: u8, mask: i32) -> Result<SeccompCondition, String> {
    low(argument, Op::MaskedEq(u64::from(mask.cast_unsigned())), mask)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions).map_err(|error| error.to_string())
}

fn seccomp(no_unix_sockets: bool) -> Result<(), String> {
    let mut refused: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    namespaces(&mut refused)?;
    set_user_id(&mut refused)?;
    // Typing into the terminal of somebody else.
    let typing = TYPING.iter().map(|request| {
        let condition = SeccompCondition::new(1, Len::Dword, Op::Eq, *request);
        condition.map_err(|error| error.to_string()).and_then(|condition| rule(vec![condition]))
    });
    refused.insert(libc::SYS_ioctl, typing.collect::<Result<_, _>>()?);
    apply(with_x32(refused), libc::EPERM)?;
    // Its flags lie in memory, where no filter can look; the C library falls back on clone.
    let unseen = [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new()));
    apply(with_x32(unseen.into()), libc::ENOSYS)?;
    apply(with_x32(families(no_unix_sockets)?), libc::EAFNOSUPPORT)
}

/// Clone and unshare make no namespaces.
fn namespaces(rules: &mut Rules) -> Result<(), String> {
    const NEW: &[i32] = &[
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        let each = NEW.iter().map(|flag| rule(vec![bits(0, *flag)?]));
        rules.insert(call, each.collect::<Result<_, String>>()?);
    }
    Ok(())
}

/// Nothing in the workspace becomes a program that runs as its owner, whoever starts it.
fn set_user_id(rules: &mut Rules) -> Result<(), String> {
    const MODES: &[i32] = &[libc::S_ISUID.cast_signed(), libc::S_ISGID.cast_signed()];
    let mut calls: Vec<(libc::c_long, u8, Option<u8>)> = vec![
        (libc::SYS_fchmod, 1, None),
        (libc::SYS_fchmodat, 2, None),
        (FCHMODAT2, 2, None),
        (libc::SYS_mknodat, 2, None),
        (libc::SYS_openat, 3, Some(2)),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        (libc::SYS_chmod, 1, None),
        (libc::SYS_mknod, 1, None),
        (libc::SYS_creat, 1, None),
        (libc::SYS_open, 2, Some(1)),
    ]);
    for (call, mode, flags) in calls {
        let each = MODES.iter().map(|bit| {
            let mut conditions = vec![bits(mode, *bit)?];
            if let Some(flags) = flags {
                // Without this flag there is no mode, only what the register held.
                conditions.push(bits(flags, libc::O_CREAT)?);
            }
            rule(conditions)
        });
        rules.insert(call, each.collect::<Result<_, String>>()?);
    }
    Ok(())
}

/// `fchmodat2` (Linux 6.6) has this number everywhere but on alpha.
const FCHMODAT2: libc::c_long = 452;

/// Sockets of other families than these are refused: those of virtual machines, packets, the
/// kernel's cryptography, Bluetooth and the like have no namespaces.
fn families(no_unix_sockets: bool) -> Result<Rules, String> {
    let mut allowed = vec![libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    if !no_unix_sockets {
        allowed.push(libc::AF_UNIX);
    }
    let other = allowed.iter().map(|family| low(0, Op::Ne, *family)).collect::<Result<Vec<_>, _>>()?;
    // Of netlink, only what lists addresses and routes.
    let netlink = vec![low(0, Op::Eq, libc::AF_NETLINK)?, low(2, Op::Ne, libc::NETLINK_ROUTE)?];
    let not_unix = rule(vec![low(0, Op::Ne, libc::AF_UNIX)?])?;
    Ok([(libc::SYS_socket, vec![rule(other)?, rule(netlink)?]), (libc::SYS_socketpair, vec![not_unix])]
        .into())
}

/// The same rules for the calls of the x32 interface.
fn with_x32(rules: Rules) -> Rules {
    #[cfg(target_arch = "x86_64")]
    let rules = {
        let mut both = rules.clone();
        both.extend(rules.into_iter().map(|(call, rules)| (call | X32, rules)));
        both
    };
    rules
}

fn apply(rules: Rules, error: i32) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("seccomp: {error}");
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| wrong(&error))?;
    let refuse = SeccompAction::Errno(error.cast_unsigned());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine).map_err(|error| wrong(&error))?;
    let program = BpfProgram::try_from(filter).map_err(|error| wrong(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| wrong(&error))
}

/// Why seccomp does not hold here.
pub(super) fn probe_seccomp() -> Result<(), String> {
    seccomp(false)
}
