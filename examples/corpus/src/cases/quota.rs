//! A CPU quota, as containers have it: the kernel stops the whole process once it has used its share of a period.
//!
//! The case puts its own process into a control group with a quota, and back. That needs the rights to do so, and a
//! hierarchy where CPU time is controlled; without them the case says `skipped` and why, and counts as not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::healthy::{MOMENT, honest_polls};
use super::{Case, prepared};

/// Of each period of 100 ms, in microseconds.
const SHARE: u32 = 20_000;
const PERIOD: u32 = 100_000;

/// How often the kernel has to stop us.
const STOPS: u64 = 5;

/// One stop a period is to be expected.
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

/// A control group with a quota, in which this process is.
#[derive(Debug)]
struct Quota {
    folder: PathBuf,
    /// Where the process was before.
    home: PathBuf,
}

impl Quota {
    /// Below the group that this process is in, or below one of that group's parents: the second version of control
    /// groups allows no group that has both processes and groups with a quota below it.
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
        // Taken back if one of the next steps fails.
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

    /// How often the kernel has stopped the group so far.
    fn stops(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let stops = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(stops.context("cpu.stat does not tell how often the group was stopped")?.parse()?)
    }

    fn lift(self) -> anyhow::Result<()> {
        enter(&self.home)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A process that stays in the group keeps it; both end together.
        let _stays = enter(&self.home).and_then(|()| Ok(fs::remove_dir(&self.folder)?));
    }
}

/// Moves this process into a group.
fn enter(folder: &Path) -> anyhow::Result<()> {
    let processes = folder.join("cgroup.procs");
    fs::write(&processes, std::process::id().to_string())
        .with_context(|| format!("this process cannot be put into {}", processes.display()))
}

/// Where a hierarchy that may control CPU time is mounted by custom, and this process's group in it: from a line of
/// `/proc/self/cgroup`, `NUMBER:CONTROLLERS:PATH`; the second version has no controllers there.
fn hierarchy(line: &str) -> Option<(&'static str, PathBuf)> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let root = match controllers {
        "" => "/sys/fs/cgroup",
        _ if controllers.split(',').any(|name| name == "cpu") => "/sys/fs/cgroup/cpu",
        _ => return None,
    };
    Some((root, Path::new(root).join(path.trim_start_matches('/'))))
}
