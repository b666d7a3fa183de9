//! A process: our own or another.

use std::path::PathBuf;

/// Our own process, or another by its id. Both can be read in the same way, given permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// `None` for our own process: `/proc/self` is also right if `/proc` belongs to another PID namespace.
    pid: Option<u32>,
}

impl Process {
    /// Our own process.
    pub(crate) const fn own() -> Self {
        Self { pid: None }
    }

    /// The process with this id, which need not exist.
    #[cfg(feature = "attach")]
    pub(crate) fn with_id(pid: u32) -> Self {
        Self { pid: Some(pid).filter(|pid| *pid != std::process::id()) }
    }

    /// A process that has ended. Nothing of it can be read: the kernel has no process with the id 0.
    #[cfg(feature = "cli")]
    pub(crate) const fn ended() -> Self {
        Self { pid: Some(0) }
    }

    /// Its id.
    pub(crate) fn id(self) -> u32 {
        self.pid.unwrap_or_else(std::process::id)
    }

    /// Whether it is our own process.
    pub(crate) fn is_own(self) -> bool {
        self.pid.is_none()
    }

    /// The path of a file in its folder of `/proc`.
    pub(crate) fn file(self, name: &str) -> PathBuf {
        match self.pid {
            None => format!("/proc/self/{name}").into(),
            Some(pid) => format!("/proc/{pid}/{name}").into(),
        }
    }
}
