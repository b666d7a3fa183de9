//! Control groups with a CPU quota. They need permissions and a hierarchy with the CPU controller.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The period of a quota, in microseconds.
pub(crate) const PERIOD: u32 = 100_000;

/// A group's file with the ids of its processes.
const PROCESSES: &str = "cgroup.procs";

/// A control group with a quota. It ends on drop.
#[derive(Debug)]
pub(crate) struct Quota {
    folder: PathBuf,
    /// The previous group of the process.
    home: PathBuf,
}

impl Quota {
    /// Moves this process into a group that may use so many microseconds of a CPU in each [`PERIOD`].
    pub(crate) fn impose(share: u32) -> anyhow::Result<Self> {
        let quota = Self::make(share)?;
        enter(&quota.folder)?;
        Ok(quota)
    }

    /// Makes a group without processes below the group of this process, or below one of that group's parents. Version 2 of
    /// control groups forbids a group with both processes and child groups with a quota.
    pub(crate) fn make(share: u32) -> anyhow::Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").context("skipped: this system has no control groups")?;
        let mut refused = Vec::new();
        for (root, home) in groups.lines().filter_map(hierarchy) {
            for parent in home.ancestors().take_while(|folder| folder.starts_with(root)) {
                match Self::make_below(parent, &home, share) {
                    Ok(quota) => return Ok(quota),
                    Err(error) => refused.push(format!("{}: {error:#}", parent.display())),
                }
            }
        }
        bail!("skipped: no CPU quota can be set here, which mostly needs root ({})", refused.join("; "))
    }

    fn make_below(parent: &Path, home: &Path, share: u32) -> anyhow::Result<Self> {
        let folder = parent.join(format!("corpus-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // Dropping it undoes this if one of the next steps fails.
        let quota = Self { folder, home: home.to_owned() };
        let [first_version, second_version] = ["cpu.cfs_quota_us", "cpu.max"].map(|file| quota.folder.join(file));
        if first_version.exists() {
            fs::write(quota.folder.join("cpu.cfs_period_us"), PERIOD.to_string())?;
            fs::write(first_version, share.to_string())?;
        } else if second_version.exists() {
            fs::write(second_version, format!("{share} {PERIOD}"))?;
        } else {
            bail!("CPU time is not controlled there");
        }
        Ok(quota)
    }

    /// A process that writes its id into this file moves into the group.
    pub(crate) fn processes_file(&self) -> PathBuf {
        self.folder.join(PROCESSES)
    }

    /// Number of stops of the group so far.
    pub(crate) fn stops(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let stops = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(stops.context("cpu.stat has no number of stops")?.parse()?)
    }

    pub(crate) fn lift(self) -> anyhow::Result<()> {
        enter(&self.home)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A group with a process cannot be removed. It ends with the process.
        let _stays = enter(&self.home).and_then(|()| Ok(fs::remove_dir(&self.folder)?));
    }
}

/// Moves this process into a group.
fn enter(folder: &Path) -> anyhow::Result<()> {
    let processes = folder.join(PROCESSES);
    fs::write(&processes, std::process::id().to_string())
        .with_context(|| format!("this process cannot be put into {}", processes.display()))
}

/// The usual mount point of a hierarchy with the CPU controller, and this process's group in it. The source is a line of
/// `/proc/self/cgroup`, `NUMBER:CONTROLLERS:PATH`. Version 2 has no controllers there.
fn hierarchy(line: &str) -> Option<(&'static str, PathBuf)> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let root = match controllers {
        "" => "/sys/fs/cgroup",
        _ if controllers.split(',').any(|name| name == "cpu") => "/sys/fs/cgroup/cpu",
        _ => return None,
    };
    Some((root, Path::new(root).join(path.trim_start_matches('/'))))
}
