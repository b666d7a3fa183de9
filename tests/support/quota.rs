//! A CPU quota on the processes of this test.

use std::path::{Path, PathBuf};

/// The period of the quota in microseconds, which is the kernel's default.
const PERIOD: u64 = 100_000;

/// A group with a quota, which holds this process until it is dropped.
pub(crate) struct Quota {
    group: PathBuf,
    back: PathBuf,
}

impl Quota {
    /// Limits this process to a share of one CPU. `None` where groups cannot be made, as for an ordinary user.
    pub(crate) fn of_one_cpu(share: f64) -> Option<Self> {
        let quota = (PERIOD as f64 * share) as u64;
        let name = format!("holdup-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/cpu");
        let (top, file, limit) = match old.exists() {
            true => (old, "cpu.cfs_quota_us", quota.to_string()),
            false => (Path::new("/sys/fs/cgroup"), "cpu.max", format!("{quota} {PERIOD}")),
        };
        let group = top.join(name);
        std::fs::create_dir(&group).ok()?;
        // A group that cannot hold this process is removed at once.
        let this = Self { group, back: top.join("cgroup.procs") };
        std::fs::write(this.group.join(file), limit).ok()?;
        std::fs::write(this.group.join("cgroup.procs"), std::process::id().to_string()).ok()?;
        Some(this)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _may_be_gone = std::fs::write(&self.back, std::process::id().to_string());
        let _may_be_gone = std::fs::remove_dir(&self.group);
    }
}
