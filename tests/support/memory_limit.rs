//! A limit on the memory of a process.

use std::path::{Path, PathBuf};

/// A group with a limit, which goes when it is dropped. The processes in it must have ended by then.
pub(crate) struct MemoryLimit(PathBuf);

impl MemoryLimit {
    /// Limits what a process allocates from now on. `None` where groups cannot be made, as for an ordinary user.
    pub(crate) fn of(pid: u32, bytes: u64) -> Option<Self> {
        let old = Path::new("/sys/fs/cgroup/memory");
        let (top, file) = match old.exists() {
            true => (old, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = top.join(format!("holdup-test-{pid}"));
        std::fs::create_dir(&group).ok()?;
        // A group that cannot hold the process is removed at once.
        let this = Self(group);
        std::fs::write(this.0.join(file), bytes.to_string()).ok()?;
        // The old groups count swapped memory elsewhere.
        let _no_swap = std::fs::write(this.0.join("memory.swap.max"), "0");
        std::fs::write(this.0.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(this)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _may_be_gone = std::fs::remove_dir(&self.0);
    }
}
