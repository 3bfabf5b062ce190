//! The file system of a confined command: parts of the host's, read-only, with folders of its own
//! and the workspace among them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::Confined;

/// What of the host is seen, read-only: programs, libraries, settings of the system.
const SYSTEM: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr",
    "/etc",
    "/opt",
    "/nix",
    "/gnu",
    "/snap",
    "/home/linuxbrew/.linuxbrew",
    "/sys/devices/system/cpu",
];

/// What is hidden of it: keys and passwords, which a root user could read.
const SYSTEM_SECRETS: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/security/opasswd",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/wireguard",
    "/etc/openvpn",
    "/etc/ipsec.secrets",
    "/etc/ipsec.d",
    "/etc/ppp",
    "/etc/krb5.keytab",
    "/etc/docker",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/NetworkManager/system-connections",
    "/etc/samba",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_dsa_key",
    "/etc/boto.cfg",
    "/etc/machine-id.key",
];

/// Where the new file system is put together: any folder that every system has.
const BASE: &str = "/tmp";
const OLD: &str = "/old";
const NEW: &str = "/new";
const NOTHING: (&str, &str) = ("/empty-file", "/empty-folder");

/// What stands at a place. Places are filled from the outside in.
enum Place<'a> {
    /// The host's, as it is there; nothing where the host has nothing.
    Seen(&'a Path),
    /// The host's, and it may be changed.
    Changed(&'a Path),
    /// A folder of the command's own, gone when it ends.
    Scratch(&'a Path),
    /// Seen, but it cannot be changed.
    Frozen(&'a Path),
    /// It cannot be moved.
    Pinned(&'a Path),
    /// An empty file or folder in its place.
    Hidden(&'a Path),
}

impl Place<'_> {
    fn path(&self) -> &Path {
        match self {
            Self::Seen(path)
            | Self::Changed(path)
            | Self::Scratch(path)
            | Self::Frozen(path)
            | Self::Pinned(path)
            | Self::Hidden(path) => path,
        }
    }
}

/// An error with what was being done.
fn doing<T>(what: impl std::fmt::Display, done: io::Result<T>) -> Result<T, String> {
    done.map_err(|error| format!("{what}: {error}"))
}

/// Builds the file system and moves into it. Wants a mount namespace of its own, and the process
/// to be the first one of its process id namespace.
pub(super) fn build(confined: &Confined) -> Result<(), String> {
    private()?;
    doing("file system of its own", mount_tmpfs(BASE, "0755"))?;
    let below = |name: &str| format!("{BASE}{name}");
    for folder in [OLD, NEW, NOTHING.1] {
        doing(folder, fs::create_dir(below(folder)))?;
    }
    doing(NOTHING.0, File::create(below(NOTHING.0)).map(drop))?;
    doing("file system of its own", mount_bind_recursive(below(NEW), below(NEW)).map_err(io::Error::from))?;
    doing("pivot_root", pivot_root(BASE, below(OLD)).map_err(io::Error::from))?;
    doing("pivot_root", chdir("/").map_err(io::Error::from))?;

    for place in places(confined) {
        let path = place.path();
        doing(path.display(), fill(&place))?;
    }
    devices()?;
    processes();
    read_only(Path::new(NEW), false).map_err(|error| format!("read-only root: {error}"))?;

    doing("leaving the old root", unmount(OLD, UnmountFlags::DETACH).map_err(io::Error::from))?;
    let leave = || {
        chdir(NEW)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")
    };
    doing("leaving the old root", leave().map_err(io::Error::from))
}

/// Nothing that is mounted from now on is seen outside.
pub(super) fn private() -> Result<(), String> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    doing("private mounts", mount_change("/", flags).map_err(io::Error::from))
}

fn places(confined: &Confined) -> Vec<Place<'_>> {
    let mut places: Vec<Place<'_>> = SYSTEM.iter().map(|path| Place::Seen(Path::new(path))).collect();
    places.extend(["/tmp", "/var/tmp", "/run"].map(|path| Place::Scratch(Path::new(path))));
    // A home folder that is the workspace is seen; one below or beside it is hidden.
    let home = confined.home.as_deref().filter(|home| *home != confined.workspace);
    let plain = |home: &&Path| SYSTEM.iter().all(|system| !Path::new(system).starts_with(home));
    places.extend(home.filter(plain).map(Place::Scratch));
    places.extend(confined.visible.iter().map(|path| Place::Seen(path)));
    places.push(Place::Changed(&confined.workspace));
    places.extend(confined.pinned.iter().map(|path| Place::Pinned(path)));
    places.extend(confined.frozen.iter().map(|path| Place::Frozen(path)));
    places.extend(SYSTEM_SECRETS.iter().map(|path| Place::Hidden(Path::new(path))));
    places.extend(confined.hidden.iter().map(|path| Place::Hidden(path)));
    places.sort_by_key(|place| place.path().components().count());
    places
}

/// The place in the file system that is being built.
fn new(path: &Path) -> PathBuf {
    Path::new(NEW).join(path.strip_prefix("/").unwrap_or(path))
}

fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

fn fill(place: &Place<'_>) -> io::Result<()> {
    let target = new(place.path());
    match place {
        Place::Seen(path) => match seen(path, &target) {
            // Where the place is on something that cannot be written, it is left out.
            Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(()),
            done => done,
        },
        Place::Changed(path) => {
            mount_point(&target, true)?;
            mount_bind_recursive(old(path), &target)?;
            Ok(())
        }
        Place::Scratch(_) => {
            fs::create_dir_all(&target)?;
            let mode = if place.path().ends_with("tmp") { "1777" } else { "0700" };
            mount_tmpfs(&target, mode)
        }
        Place::Frozen(_) | Place::Pinned(_) if target.symlink_metadata().is_err() => Ok(()),
        Place::Pinned(_) => Ok(mount_bind_recursive(&target, &target)?),
        Place::Frozen(_) => {
            mount_bind_recursive(&target, &target)?;
            read_only(&target, true)
        }
        Place::Hidden(_) => match target.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => Ok(()),
            Ok(meta) => {
                mount_bind_recursive(if meta.is_dir() { NOTHING.1 } else { NOTHING.0 }, &target)?;
                read_only(&target, true)
            }
            Err(_) => Ok(()),
        },
    }
}

fn seen(path: &Path, target: &Path) -> io::Result<()> {
    let source = old(path);
    let Ok(meta) = source.symlink_metadata() else { return Ok(()) };
    if meta.is_symlink() {
        fs::create_dir_all(target.parent().unwrap_or(target))?;
        return symlink(fs::read_link(&source)?, target);
    }
    mount_point(target, meta.is_dir())?;
    mount_bind_recursive(&source, target)?;
    read_only(target, true)
}

/// Makes something that can be mounted on.
fn mount_point(target: &Path, folder: bool) -> io::Result<()> {
    if target.symlink_metadata().is_ok() {
        return Ok(());
    }
    if folder {
        return fs::create_dir_all(target);
    }
    fs::create_dir_all(target.parent().unwrap_or(target))?;
    File::create(target).map(drop)
}

fn mount_tmpfs(target: impl AsRef<Path>, mode: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let mode = std::ffi::CString::new(format!("mode={mode}")).unwrap_or_default();
    Ok(mount("tmpfs", target.as_ref(), "tmpfs", flags, mode.as_c_str())?)
}

/// Makes what is mounted at `target`, and with `below` everything mounted below it, read-only and
/// without set-user-id programs and devices.
fn read_only(target: &Path, below: bool) -> io::Result<()> {
    let table = fs::read_to_string(old(Path::new("/proc/self/mountinfo")))?;
    for line in table.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else { continue };
        let point = PathBuf::from(unescape(point));
        if !(point == target || below && point.starts_with(target)) {
            continue;
        }
        // Flags that a mount came with cannot be taken from it.
        let mut flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        for option in options.split(',') {
            flags |= match option {
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            };
        }
        match mount_remount(&point, flags, c"") {
            // Another mount covers it: what cannot be reached cannot be changed.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Octal escapes of blanks and the like, as in `\040` (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 4).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()).filter(|_| bytes[at] == b'\\') {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(plain)
}

/// The devices that programs expect, and terminals of its own.
fn devices() -> Result<(), String> {
    let folder = Path::new("/new/dev");
    let fill = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        mount_tmpfs(folder, "0755")?;
        for name in ["null", "zero", "full", "random", "urandom"] {
            let source = Path::new("/old/dev").join(name);
            if source.exists() {
                File::create(folder.join(name))?;
                mount_bind_recursive(&source, folder.join(name))?;
            }
        }
        for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
            symlink(format!("/proc/self/fd/{number}"), folder.join(name))?;
        }
        symlink("/proc/self/fd", folder.join("fd"))?;
        symlink("pts/ptmx", folder.join("ptmx"))?;
        fs::create_dir(folder.join("pts"))?;
        fs::create_dir(folder.join("shm"))?;
        mount_tmpfs(folder.join("shm"), "1777")?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        // Without it there are no terminals, which few commands need.
        let _ = mount("devpts", folder.join("pts"), "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620");
        read_only(folder, false)
    };
    doing("/dev", fill())
}

/// A view of the command's own processes. Where the kernel refuses it (as in some containers),
/// there is none: the host's must not be seen.
fn processes() {
    let _ = fs::create_dir_all("/new/proc");
    let _ = mount_proc("/new/proc");
}

pub(super) fn mount_proc(target: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    Ok(mount("proc", target, "proc", flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn blanks_in_mount_points_are_read() {
        for (text, plain) in [("/a\\040b", "/a b"), ("/a\\134b", "/a\\b"), ("/a\\9", "/a\\9"), ("/é", "/é")]
        {
            assert_eq!(unescape(text), plain);
        }
    }
}
