//! The CPU quota of a process: `cpu.stat` of its cgroup and of the groups above it, as the kernel's cgroup-v2.rst and
//! sched-bwc.rst describe it. Both versions of cgroups are read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::evidence::Throttling;
use crate::sys::Process;

/// The groups that are read: the process's own and the nearest above it. Each can have a quota.
const MAX_GROUPS: usize = 8;

/// How long a read is used again. The kernel sums up all CPUs for it.
const MAX_AGE: Duration = Duration::from_millis(5);

/// A process without a quota is checked for one again after this long.
const RECHECK: Duration = Duration::from_secs(1);

/// Reads how much a quota has held back a process. The files stay open, so a read costs one `pread` per group.
#[derive(Debug)]
pub(crate) struct CpuQuota {
    groups: Vec<File>,
    read: Option<(Instant, Option<Throttling>)>,
}

impl CpuQuota {
    /// `None` if no group of the process can be read.
    pub(crate) fn open(process: Process) -> Option<Self> {
        // The files are opened by this process, also to watch another one in a container.
        let mounts = std::fs::read_to_string(Process::own().file("mountinfo")).ok()?;
        let memberships = std::fs::read_to_string(process.file("cgroup")).ok()?;
        let folder = group_folder(&mounts, &memberships)?;
        let groups: Vec<File> =
            groups_up_from(&folder).filter_map(|group| File::open(group.join("cpu.stat")).ok()).collect();
        (!groups.is_empty()).then_some(Self { groups, read: None })
    }

    /// What the quotas have held back so far. `None` while no group has a quota.
    pub(crate) fn throttling(&mut self) -> Option<Throttling> {
        if let Some((at, known)) = self.read
            && at.elapsed() < if known.is_some() { MAX_AGE } else { RECHECK }
        {
            return known;
        }
        let now = self.groups.iter().filter_map(read).reduce(sum);
        self.read = Some((Instant::now(), now));
        now
    }
}

fn sum(one: Throttling, other: Throttling) -> Throttling {
    Throttling { time: one.time + other.time, periods: one.periods + other.periods }
}

fn read(stat: &File) -> Option<Throttling> {
    let mut buffer = [0; 1024];
    let length = stat.read_at(&mut buffer, 0).ok()?;
    parse(std::str::from_utf8(&buffer[..length]).ok()?)
}

/// Parses `cpu.stat`. `None` for a group that never had a quota.
fn parse(text: &str) -> Option<Throttling> {
    let value = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    };
    let periods = value("nr_periods").filter(|periods| *periods > 0).and(value("nr_throttled"))?;
    let v2 = value("throttled_usec").map(Duration::from_micros);
    let time = v2.or_else(|| value("throttled_time").map(Duration::from_nanos))?;
    Some(Throttling { time, periods })
}

/// The folder of the group that limits the process's CPU time.
fn group_folder(mounts: &str, memberships: &str) -> Option<PathBuf> {
    let group_of = |is_right: &dyn Fn(&str) -> bool| {
        memberships.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            is_right(controllers).then_some(path)
        })
    };
    let v1 = || {
        let group = group_of(&|controllers| controllers.split(',').any(|name| name == "cpu"))?;
        folder_in(mounts, group, |kind, options| kind == "cgroup" && options.split(',').any(|option| option == "cpu"))
    };
    let v2 = || folder_in(mounts, group_of(&str::is_empty)?, |kind, _| kind == "cgroup2");
    // A machine with both has the CPU controller in the old hierarchy.
    v1().or_else(v2)
}

/// The folder of a group below the mount point of its hierarchy. A container may see a part of the hierarchy only.
fn folder_in(mounts: &str, group: &str, is_right: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        is_right(kind.next()?, kind.nth(1)?).then_some(())?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        Some(Path::new(point).join(if plain { below } else { Path::new("") }))
    })
}

/// The group and those above it.
fn groups_up_from(folder: &Path) -> impl Iterator<Item = &Path> {
    folder.ancestors().take(MAX_GROUPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_counters_are_parsed() {
        let v2 = "usage_usec 9\nuser_usec 5\nnr_periods 40\nnr_throttled 12\nthrottled_usec 700500\nnr_bursts 0\n";
        assert_eq!(parse(v2), Some(Throttling { time: Duration::from_micros(700_500), periods: 12 }));
        let v1 = "nr_periods 40\nnr_throttled 12\nthrottled_time 700500\n";
        assert_eq!(parse(v1), Some(Throttling { time: Duration::from_nanos(700_500), periods: 12 }));
        assert_eq!(parse("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"), None, "it never had a quota");
        assert_eq!(parse("usage_usec 9\n"), None, "the root group has none");
    }

    #[test]
    fn the_group_is_found_in_both_hierarchies_and_in_a_container() {
        let v2 = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let folder = |mounts: &str, memberships: &str| group_folder(mounts, memberships);
        let expected = |path: &str| Some(PathBuf::from(path));
        assert_eq!(folder(v2, "0::/system.slice/api.service\n"), expected("/sys/fs/cgroup/system.slice/api.service"));
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let memberships = "5:memory:/m\n2:cpu,cpuacct:/docker/1f\n0::/docker/1f\n";
        assert_eq!(folder(v1, memberships), expected("/sys/fs/cgroup/cpu,cpuacct/docker/1f"));
        let container = "32 31 0:29 /docker/1f /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!(
            folder(container, "2:cpu:/docker/1f\n"),
            expected("/sys/fs/cgroup/cpu"),
            "its own group is the root"
        );
        assert_eq!(folder(v2, "0::/../../other\n"), expected("/sys/fs/cgroup"), "outside of what is mounted");
        assert_eq!(folder("", "0::/\n"), None);
    }

    #[test]
    fn a_group_and_those_above_it_are_read() {
        let groups: Vec<_> = groups_up_from(Path::new("/sys/fs/cgroup/a/b")).take(3).collect();
        assert_eq!(
            groups,
            [Path::new("/sys/fs/cgroup/a/b"), Path::new("/sys/fs/cgroup/a"), Path::new("/sys/fs/cgroup")]
        );
    }
}
