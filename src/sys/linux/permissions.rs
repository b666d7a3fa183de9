//! Permissions to read another process: users, capabilities and the machine's settings, as described in ptrace(2), proc(5)
//! and perf_event_open(2).

use crate::sys::{Permissions, Process, ProcessStatus};

/// Bits of capability sets, as numbered in `linux/capability.h`.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;

impl Permissions {
    /// The permissions of our own process.
    pub(crate) fn own() -> Self {
        let status = Process::own().status().unwrap_or_default();
        let has = |capability: u32| status.capabilities & (1 << capability) != 0;
        Self {
            user: status.user,
            traces_all: has(CAP_SYS_PTRACE),
            samples_all: has(CAP_PERFMON) || has(CAP_SYS_ADMIN),
            locks_memory: has(CAP_IPC_LOCK),
            ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            perf_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        }
    }
}

fn number(file: &str) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Raises the limit of open files (`RLIMIT_NOFILE`) to its maximum, because each observed thread needs a few files.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limits go into a live struct.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the limits are read from a live struct. After a failure fewer threads can be observed, which is reported.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// The ids of all visible processes.
///
/// # Errors
/// When `/proc` cannot be listed.
pub(crate) fn process_ids() -> std::io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

impl Process {
    /// Values that change when another process gets the same id and when the process runs another program: its start time,
    /// and the start addresses of its code and its main stack. Fields 22, 26 and 28 of `stat` in proc(5).
    pub(crate) fn incarnation(self) -> Option<[u64; 3]> {
        let text = std::fs::read(self.file("stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The name in field 2 may contain spaces and brackets. The last bracket ends it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some([field(22)?, field(26)?, field(28)?])
    }

    /// Its status; `None` if the process does not exist.
    pub(crate) fn status(self) -> Option<ProcessStatus> {
        let text = std::fs::read(self.file("status")).ok()?;
        let text = String::from_utf8_lossy(&text);
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map_or("", str::trim)
        };
        let first = |name: &str| field(name).split_ascii_whitespace().next().unwrap_or_default();
        // The order is real, effective, saved, file system. A user may read the process if the first three are that user.
        let users: Vec<u32> = field("Uid").split_ascii_whitespace().filter_map(|user| user.parse().ok()).collect();
        Some(ProcessStatus {
            name: field("Name").to_owned(),
            state: first("State").chars().next().unwrap_or('?'),
            user: users.get(1).copied()?,
            one_user: users.iter().take(3).all(|user| Some(user) == users.get(1)),
            threads: first("Threads").parse().unwrap_or_default(),
            tracer: first("TracerPid").parse().unwrap_or_default(),
            capabilities: u64::from_str_radix(field("CapEff"), 16).unwrap_or_default(),
            // Kernel threads have no address space.
            of_kernel: field("VmSize").is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_this_process_is_read() {
        let status = Process::own().status().expect("/proc is mounted");
        assert!(status.threads >= 1 && status.one_user && !status.of_kernel, "{status:?}");
        assert_eq!(Permissions::own().user, status.user);
        assert_eq!(Process::with_id(u32::MAX).status(), None);
    }
}
