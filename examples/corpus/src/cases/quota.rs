//! A CPU quota, as in containers: the kernel stops the whole process after it has used its share of a period.
//!
//! The case moves its own process into a control group with a quota, and back. This needs permissions and a hierarchy
//! with the CPU controller. Without them the case prints `skipped` with the reason, and counts as not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::healthy::{MOMENT, honest_polls};
use super::{Case, prepared};

/// The quota of each period of 100 ms, in microseconds.
const SHARE: u32 = 20_000;
const PERIOD: u32 = 100_000;

/// Number of stops by the kernel to wait for.
const STOPS: u64 = 5;

/// Time limit. One stop per period is expected.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] =
    &[Case::healthy("cpu-quota", "honest polls in a cgroup that may use a fifth of a CPU", |_| {
        Box::pin(async {
            let quota = prepared(Quota::impose).await?;
            let limit = Instant::now() + PATIENCE;
            while quota.stops()? < STOPS {
                anyhow::ensure!(Instant::now() < limit, "the kernel has not stopped us {STOPS} times in {PATIENCE:?}");
                honest_polls(10, MOMENT * 3).await;
            }
            prepared(move || quota.lift()).await
        })
    })];

/// A control group with a quota that contains this process.
#[derive(Debug)]
struct Quota {
    folder: PathBuf,
    /// The previous group of the process.
    home: PathBuf,
}

impl Quota {
    /// Creates it below the group of this process, or below one of that group's parents. Version 2 of control groups
    /// forbids a group with both processes and child groups with a quota.
    fn impose() -> anyhow::Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").context("skipped: this system has no control groups")?;
        let mut refused = Vec::new();
        for (root, home) in groups.lines().filter_map(hierarchy) {
            for parent in home.ancestors().take_while(|folder| folder.starts_with(root)) {
                match Self::impose_below(parent, &home) {
                    Ok(quota) => return Ok(quota),
                    Err(error) => refused.push(format!("{}: {error:#}", parent.display())),
                }
            }
        }
        bail!("skipped: no CPU quota can be set here, which mostly needs root ({})", refused.join("; "))
    }

    fn impose_below(parent: &Path, home: &Path) -> anyhow::Result<Self> {
        let folder = parent.join(format!("corpus-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // Dropping it undoes this if one of the next steps fails.
        let quota = Self { folder, home: home.to_owned() };
        let [first_version, second_version] = ["cpu.cfs_quota_us", "cpu.max"].map(|file| quota.folder.join(file));
        if first_version.exists() {
            fs::write(quota.folder.join("cpu.cfs_period_us"), PERIOD.to_string())?;
            fs::write(first_version, SHARE.to_string())?;
        } else if second_version.exists() {
            fs::write(second_version, format!("{SHARE} {PERIOD}"))?;
        } else {
            bail!("CPU time is not controlled there");
        }
        enter(&quota.folder)?;
        Ok(quota)
    }

    /// Number of stops of the group so far.
    fn stops(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let stops = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(stops.context("cpu.stat has no number of stops")?.parse()?)
    }

    fn lift(self) -> anyhow::Result<()> {
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
    let processes = folder.join("cgroup.procs");
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
