//! A process that is looked at: our own or another.

use std::path::PathBuf;

/// Our own process, or another by its number. What can be read of one can be read of the other, if we may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// `None` for our own: `/proc/self` is right also where `/proc` belongs to another namespace of processes.
    pid: Option<u32>,
}

impl Process {
    /// The one we live in.
    pub(crate) const fn own() -> Self {
        Self { pid: None }
    }

    /// The process of that number, which need not exist.
    #[cfg(feature = "attach")]
    pub(crate) fn with_id(pid: u32) -> Self {
        Self { pid: Some(pid).filter(|pid| *pid != std::process::id()) }
    }

    /// Its number.
    pub(crate) fn id(self) -> u32 {
        self.pid.unwrap_or_else(std::process::id)
    }

    /// Whether it is the one we live in.
    pub(crate) fn is_own(self) -> bool {
        self.pid.is_none()
    }

    /// Something in its folder of `/proc`.
    pub(crate) fn file(self, name: &str) -> PathBuf {
        match self.pid {
            None => format!("/proc/self/{name}").into(),
            Some(pid) => format!("/proc/{pid}/{name}").into(),
        }
    }
}
