//! Why another process cannot be observed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::remedies;
use crate::error::Error;
use crate::inprocess::ProfileError;
use crate::model::process::DebugTier;
use crate::sys::{Permissions, Process};

/// Why another process cannot be observed. The message names the process and the remedy.
///
/// # Examples
/// ```
/// use holdup::attach::{AttachError, Process};
///
/// let error = Process::open(u32::MAX).expect_err("no process has this number");
/// # #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
/// assert!(matches!(error, AttachError::NoProcess { pid: u32::MAX }));
/// ```
#[non_exhaustive]
pub enum AttachError {
    /// There is no such process.
    NoProcess {
        /// The requested process.
        pid: u32,
    },
    /// The process has ended, and its parent has not read its status yet.
    Ended {
        /// The requested process.
        pid: u32,
    },
    /// The process is a thread of the kernel.
    Kernel {
        /// The requested process.
        pid: u32,
    },
    /// The process belongs to another user.
    OtherUser {
        /// The requested process.
        pid: u32,
        /// The user id that it runs as.
        user: u32,
    },
    /// The process belongs to our user, but may not be read.
    Closed {
        /// The requested process.
        pid: u32,
        /// Why not, with the remedy.
        reason: String,
    },
    /// No Tokio runtime is known in the process.
    NoTokio {
        /// The requested process.
        pid: u32,
        /// The file name of its program.
        program: String,
    },
    /// The program uses Tokio, but its debug information does not describe where its workers are.
    NoTypes {
        /// The file name of the program.
        program: String,
        /// Whether the program has no symbols either.
        stripped: bool,
        /// Debug information that could not be read, with the reason.
        missing: Vec<String>,
    },
    /// The given symbol file cannot be used.
    Symbols {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The requested threshold is too small.
    Watch(Error),
    /// The process went away, or changed, while it was read.
    Unreadable {
        /// The requested process.
        pid: u32,
        /// What the operating system said.
        error: io::Error,
    },
    /// The process can be read, but the kernel refuses to sample its CPU time.
    NoSampling {
        /// Why not, with the remedy.
        reason: String,
    },
    /// The requested profile cannot be collected.
    Profile(ProfileError),
    /// The profile would stop running threads, which the options forbid.
    NeverStop,
    /// Other processes cannot be observed on this platform.
    Unsupported,
}

/// The message, because a `main` that returns an error prints its `Debug` form.
impl fmt::Debug for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverStop => f.write_str(
                "a profile of wall-clock time stops running threads, which --never-stop forbids; use --mode cpu or --mode tasks",
            ),
            Self::NoProcess { pid } => {
                write!(f, "there is no process {pid}; `holdup ps` lists those that run Tokio")
            }
            Self::Ended { pid } => write!(f, "process {pid} has ended; its parent has not read its status yet"),
            Self::Kernel { pid } => write!(f, "process {pid} is a thread of the kernel, which runs no Tokio"),
            Self::OtherUser { pid, user: 0 } => write!(f, "process {pid} belongs to root; run holdup as root"),
            Self::OtherUser { pid, user } => write!(
                f,
                "process {pid} belongs to the user with id {user}; run holdup as that user (`sudo -u '#{user}' holdup …`) or as root"
            ),
            Self::Closed { pid, reason } => write!(f, "process {pid} cannot be observed: {reason}"),
            Self::NoTokio { pid, program } => write!(
                f,
                "no Tokio runtime is known in process {pid} ({program}): it does not use Tokio, or its file is stripped of \
                 all names"
            ),
            Self::NoTypes { program, stripped, missing } => {
                let tier = if *stripped { DebugTier::None } else { DebugTier::Symbols };
                write!(f, "its tasks and workers cannot be seen: {}", remedies::without_types(program, tier))?;
                missing.iter().try_for_each(|missing| write!(f, "; {missing}"))
            }
            Self::Symbols { file, reason } => write!(
                f,
                "the symbol file {} cannot be used: {reason}; write it again with `holdup symbols extract` from the unstripped \
                 program of this build",
                file.display()
            ),
            Self::Watch(error) => write!(f, "{error}"),
            Self::Unreadable { pid, error } => write!(f, "process {pid} cannot be read: {error}"),
            Self::NoSampling { reason } => write!(f, "CPU time cannot be sampled: {reason}"),
            Self::Profile(error) => write!(f, "{error}"),
            Self::Unsupported => f.write_str("other processes can be observed on Linux on x86_64 only"),
        }
    }
}

/// The causes are part of the messages.
impl std::error::Error for AttachError {}

impl AttachError {
    /// The error of a read that failed: the process may have ended.
    pub(crate) fn of_read(process: Process, error: io::Error) -> Self {
        let pid = process.id();
        match process.file("maps").exists() {
            true => Self::Unreadable { pid, error },
            false => Self::NoProcess { pid },
        }
    }

    /// The error of a refused perf event of a process that can be read.
    pub(crate) fn of_sampling(process: Process, error: &io::Error) -> Self {
        let (pid, rights) = (process.id(), Permissions::own());
        let Some(status) = process.status() else { return Self::NoProcess { pid } };
        let is_other_user = status.user != rights.user && !rights.samples_all;
        match error.kind() {
            io::ErrorKind::PermissionDenied if is_other_user && rights.perf_paranoid < Some(3) => {
                Self::OtherUser { pid, user: status.user }
            }
            _ => Self::NoSampling { reason: remedies::no_sampling(error, &rights) },
        }
    }
}
