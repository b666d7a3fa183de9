//! Addresses, frames and stacks, innermost frame first.

use std::sync::Arc;
use std::time::Duration;

/// A code address to look up: for a caller, the last byte of its call instruction, not the return address,
/// which may already belong to the next line or the next function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) u64);

/// How a stack was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaptureMethod {
    /// Read while the thread slept, without touching it.
    Passive,
    /// Copied by the thread itself in a signal handler.
    Signal,
    /// Read while the thread was made to stand still.
    Stop,
    /// Copied by the kernel at a tick of the thread's CPU time.
    Tick,
}

impl CaptureMethod {
    /// How the stack was taken, as the end of a sentence that begins with "stack taken".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passive => "without touching the thread",
            Self::Signal => "by signal",
            Self::Stop => "by stopping the thread for a moment",
            Self::Tick => "by the kernel",
        }
    }
}

/// A stack of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawStack {
    pub(crate) addresses: Vec<Address>,
    pub(crate) method: CaptureMethod,
    /// Unwound to the thread's first function.
    pub(crate) complete: bool,
}

/// Why there is no stack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackUnavailable {
    /// The poll ended before its stack could be taken.
    TooLate,
    /// The thread did not answer the signal in time; it may block that signal or not get to run.
    NoAnswer,
    /// Stacks cannot be taken on this platform or in this process; the self-check says why.
    Unavailable,
    /// The thread has ended.
    Gone,
    /// The thread runs, and may not be stopped: it belongs to somebody else, or a debugger holds it already.
    Refused,
}

impl std::fmt::Display for StackUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLate => "the poll ended before its stack could be taken",
            Self::NoAnswer => {
                "the thread did not answer holdup's signal in time: it blocks the signal or was not run by the machine"
            }
            Self::Gone => "the thread has ended",
            Self::Refused => {
                "the thread runs and may not be stopped: it belongs to another user, or a debugger holds it already"
            }
            Self::Unavailable => "stacks cannot be taken here; see the self-check printed at start",
        })
    }
}

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The user's own code.
    User,
    /// Rust's standard library.
    Std,
    /// Tokio or holdup.
    Runtime,
    /// Any other crate.
    Dependency,
    /// libc and other system libraries, the vDSO.
    System,
    /// No name, no file: nothing tells.
    Unknown,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 6] = [Self::User, Self::Std, Self::Runtime, Self::Dependency, Self::System, Self::Unknown];

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Std => "std",
            Self::Runtime => "runtime",
            Self::Dependency => "dependency",
            Self::System => "system",
            Self::Unknown => "unknown",
        }
    }
}

/// One function call on a stack. Inlined calls are frames of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The function as a Rust developer writes it; an address in hexadecimal where nothing names it.
    pub function: Arc<str>,
    /// The source file, relative to the project where that can be told. Needs line tables.
    pub file: Option<Arc<str>>,
    /// The line in that file, counted from 1.
    pub line: Option<u32>,
    /// Whose code it is.
    pub origin: Origin,
    /// The package or library it belongs to, such as `tokio` or `libc.so.6`, where that can be told.
    pub package: Option<Arc<str>>,
}

impl Frame {
    /// A frame of which nothing is known but its name and whose it is.
    pub fn new(function: impl Into<Arc<str>>, origin: Origin) -> Self {
        Self { function: function.into(), file: None, line: None, origin, package: None }
    }

    /// `file:line`, as far as known.
    pub fn location(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(match self.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        })
    }
}

/// A stack with names, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stack {
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// How it was taken.
    pub method: CaptureMethod,
    /// Reaches the thread's first function; otherwise outer frames are missing.
    pub complete: bool,
    /// How long the stall had lasted when it was taken.
    pub taken_after: Duration,
}
