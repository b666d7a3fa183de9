//! Another process, observed from outside: whether it may be, and what to do where not.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::debug_info::Sources;
use crate::error::Error;
use crate::inprocess::ProfileError;
use crate::model::process::DebugTier;
use crate::program_path::Program;
use crate::symbols::Symbolizer;
use crate::sys::{self, Permissions, Process};

/// A process that exists and may be looked at.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) process: Process,
    pub(crate) program: Arc<str>,
    pub(crate) symbolizer: Symbolizer,
    pub(crate) sources: Sources,
    /// Types from a file of symbols.
    pub(crate) types: Option<Vec<u8>>,
}

/// Why another process cannot be observed.
#[derive(Debug)]
pub(crate) enum AttachError {
    /// There is no such process.
    NoProcess { pid: u32 },
    /// It has ended, and its parent has not asked how.
    Ended { pid: u32 },
    /// It is a part of the kernel.
    Kernel { pid: u32 },
    /// It belongs to another user.
    OtherUser { pid: u32, user: u32 },
    /// It has our user, but may not be looked at.
    Closed { pid: u32, reason: String },
    /// It is a program, but none that is known to use Tokio.
    NoTokio { pid: u32, program: String },
    /// It uses Tokio, but its file does not tell where its workers are.
    NoTypes { program: String, tier: DebugTier, missing: Vec<String> },
    /// The file of symbols that was given cannot be used.
    Symbols { file: PathBuf, why: String },
    /// It cannot be watched as was asked.
    Watch(Error),
    /// It went away, or changed, while it was looked at.
    Unreadable { pid: u32, error: io::Error },
    /// It can be looked at, but the kernel refuses to sample it.
    NoSampling { reason: String },
    /// The profile cannot be collected for another reason.
    Profile(ProfileError),
    /// This platform has none of what is needed.
    Unsupported,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess { pid } => {
                write!(f, "there is no process {pid}; `holdup ps` lists those that run Tokio")
            }
            Self::Ended { pid } => write!(f, "process {pid} has ended; its parent has not asked for its status yet"),
            Self::Kernel { pid } => write!(f, "process {pid} is a part of the kernel, and runs no Tokio"),
            Self::OtherUser { pid, user: 0 } => write!(f, "process {pid} belongs to root; run holdup as root"),
            Self::OtherUser { pid, user } => write!(
                f,
                "process {pid} belongs to the user with id {user}; run holdup as that user (`sudo -u '#{user}' holdup …`) or as root"
            ),
            Self::Closed { pid, reason } => write!(f, "process {pid} may not be looked at: {reason}"),
            Self::NoTokio { pid, program } => write!(
                f,
                "no Tokio runtime is known in process {pid} ({program}): it does not use Tokio, or its file is stripped of \
                 all names"
            ),
            Self::NoTypes { program, tier, missing } => {
                write!(f, "what its tasks and workers do cannot be seen: {}", without_types(program, *tier))?;
                missing.iter().try_for_each(|missing| write!(f, "; {missing}"))
            }
            Self::Symbols { file, why } => write!(
                f,
                "{} is not used: {why}; write it anew with `holdup symbols extract` of the unstripped program of this build",
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

impl std::error::Error for AttachError {}

impl Attached {
    /// Checks that it can be looked at.
    ///
    /// # Errors
    /// Each says what to do.
    pub(crate) fn open(pid: u32) -> Result<Self, AttachError> {
        if !sys::SUPPORTED {
            return Err(AttachError::Unsupported);
        }
        let process = Process::with_id(pid);
        check(process, &Permissions::own())?;
        sys::raise_file_limit();
        let program = Program::of(process);
        Ok(Self {
            process,
            program: program.name(),
            symbolizer: Symbolizer::of(process, program.origins(Vec::new())),
            sources: Sources::default(),
            types: None,
        })
    }
}

/// What a program lacks whose tasks and workers cannot be read, and how to build it.
pub(crate) fn without_types(program: &str, tier: DebugTier) -> String {
    let (is, besides) = match tier {
        DebugTier::None => ("was stripped", ", and without `strip`, or keep what is stripped beside it as FILE.debug"),
        _ => ("was built without descriptions of types", ""),
    };
    format!(
        "{program} {is}. Build it with `debug = 2` in `[profile.release]`, or with CARGO_PROFILE_RELEASE_DEBUG=2{besides}"
    )
}

/// Why the kernel does not sample a process that can be looked at.
pub(crate) fn no_sampling(process: Process, error: &io::Error) -> AttachError {
    let rights = Permissions::own();
    let pid = process.id();
    let Some(status) = process.status() else { return AttachError::NoProcess { pid } };
    let reason = match (error.kind(), rights.perf_paranoid) {
        (io::ErrorKind::PermissionDenied, Some(paranoid @ 3..)) if !rights.samples_all => format!(
            "perf events are forbidden on this machine (kernel.perf_event_paranoid is {paranoid}); allow them with \
             `sudo sysctl kernel.perf_event_paranoid=2`, or run holdup as root"
        ),
        (io::ErrorKind::PermissionDenied, _) if status.user == rights.user || rights.samples_all => {
            "a filter of system calls forbids perf_event_open, as containers have; start holdup's container with \
             `--cap-add PERFMON` or `--security-opt seccomp=unconfined`, or run holdup outside of it"
                .to_owned()
        }
        (io::ErrorKind::PermissionDenied, _) => {
            return AttachError::OtherUser { pid, user: status.user };
        }
        (io::ErrorKind::OutOfMemory, _) => {
            "samples wait in memory that is locked, and no more may be; raise `ulimit -l`, or run holdup as root"
                .to_owned()
        }
        (io::ErrorKind::Unsupported, _) => "this kernel has no perf events (CONFIG_PERF_EVENTS)".to_owned(),
        _ => error.to_string(),
    };
    AttachError::NoSampling { reason }
}

/// Whether the memory map of a process can be read, which is what everything begins with.
pub(crate) fn check(process: Process, rights: &Permissions) -> Result<(), AttachError> {
    let pid = process.id();
    let Some(status) = process.status() else { return Err(AttachError::NoProcess { pid }) };
    if sys::has_ended(status.state) {
        return Err(AttachError::Ended { pid });
    }
    if status.of_kernel {
        return Err(AttachError::Kernel { pid });
    }
    match process.mappings() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(AttachError::NoProcess { pid }),
        Err(_) if status.user != rights.user => Err(AttachError::OtherUser { pid, user: status.user }),
        Err(_) => {
            let reason = if rights.user == 0 {
                "holdup runs as root, but without the capability CAP_SYS_PTRACE, or a security module forbids it"
            } else if status.one_user {
                "it made itself unreadable (not dumpable), or has capabilities that holdup has not; run holdup as root"
            } else {
                "it changed its user while it ran; run holdup as root"
            };
            Err(AttachError::Closed { pid, reason: reason.to_owned() })
        }
    }
}
