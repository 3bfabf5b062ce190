//! How much memory the process may take.

use std::fs;
use std::path::Path;

/// Memory that could be allocated now, and what limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// `the machine` or `the cgroup`.
    pub limited_by: &'static str,
}

/// What the system says: the smaller of the machine's available memory and of what each cgroup above
/// this process has left. `None` where the system does not say it.
#[must_use]
pub fn available() -> Option<Available> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut least = Available { bytes: field(&meminfo, "MemAvailable:")? * 1024, limited_by: "the machine" };
    for folder in folders(&own) {
        if let Some(left) = left_in(Path::new(&folder))
            && left < least.bytes
        {
            least = Available { bytes: left, limited_by: "the cgroup" };
        }
    }
    Some(least)
}

/// The folders of the process's cgroup and of all above it, in both layouts.
fn folders(own: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            c if c.split(',').any(|c| c == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        while !path.is_empty() {
            all.push(format!("{root}{path}"));
            path = &path[..path.rfind('/').unwrap_or(0)];
        }
        all.push(root.to_owned());
    }
    all
}

/// The limit of a cgroup less what it uses; file pages that can be dropped do not count as used.
fn left_in(folder: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = read("memory.stat").unwrap_or_default();
    let droppable = field(&stat, "total_inactive_file").or_else(|| field(&stat, "inactive_file"));
    Some(limit.saturating_sub(used.saturating_sub(droppable.unwrap_or(0))))
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| if words.next()? == name { words.next()?.parse().ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_layouts_lead_to_all_folders_above() {
        let v2 = folders("0::/user.slice/a.scope\n");
        assert_eq!(v2, ["/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]);
        let v1 = folders("4:cpu:/x\n5:memory:/docker/7\n");
        assert_eq!(
            v1,
            ["/sys/fs/cgroup/memory/docker/7", "/sys/fs/cgroup/memory/docker", "/sys/fs/cgroup/memory"]
        );
    }

    #[test]
    fn a_cgroup_limit_counts_without_droppable_pages() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(left_in(folder.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(left_in(folder.path()), None);
        write("memory.max", "1000\n");
        write("memory.stat", "anon 500\ninactive_file 200\n");
        assert_eq!(left_in(folder.path()), Some(500));
    }

    #[test]
    fn meminfo_is_read_by_name() {
        assert_eq!(field("MemTotal: 9 kB\nMemAvailable:   123 kB\n", "MemAvailable:"), Some(123));
        assert_eq!(field("MemTotal: 9 kB\n", "MemAvailable:"), None);
    }
}
