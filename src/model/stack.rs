//! Addresses, frames and stacks, innermost frame first.

use std::sync::Arc;
use std::time::Duration;

/// A code address to resolve. For a caller it is the last byte of the call instruction: the return address may already
/// belong to the next line or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) u64);

/// How a stack was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaptureMethod {
    /// Read from memory while the thread slept.
    Passive,
    /// Copied by the thread itself, in a signal handler.
    Signal,
    /// Read while the thread was stopped.
    Stop,
    /// Copied by the kernel, at a tick of the thread's CPU clock.
    Tick,
}

impl CaptureMethod {
    /// The method in words, after "stack taken": `by signal`.
    #[must_use]
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
    /// Whether it reaches the thread's first function.
    pub(crate) complete: bool,
}

/// Why there is no stack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackUnavailable {
    /// The poll ended before the capture.
    TooLate,
    /// The thread did not answer the signal in time. It blocks the signal, or the machine did not run it.
    NoAnswer,
    /// Stacks cannot be captured on this platform or in this process. The self-check says why.
    Unavailable,
    /// The thread has ended.
    Gone,
    /// The thread runs and may not be stopped: it belongs to another user, or a debugger holds it already.
    Refused,
    /// The thread runs, and no thread is to be stopped (`--never-stop`).
    NeverStop,
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
            Self::NeverStop => "the thread runs, and --never-stop forbids to stop it",
            Self::Unavailable => "stacks cannot be taken here; see the self-check printed at start",
        })
    }
}

impl std::error::Error for StackUnavailable {}

/// The kind of code that a frame belongs to.
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
    /// libc, other system libraries, or the vDSO.
    System,
    /// Unknown: the frame has neither a name nor a file.
    Unknown,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 6] = [Self::User, Self::Std, Self::Runtime, Self::Dependency, Self::System, Self::Unknown];

    /// The word for it in JSON.
    #[must_use]
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

/// One function call on a stack. Inlined calls are separate frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The function's path as in Rust source; a hexadecimal address if it has no symbol.
    pub function: Arc<str>,
    /// The source file, relative to the project if its root is known. Needs line tables.
    pub file: Option<Arc<str>>,
    /// The line in that file, counted from 1.
    pub line: Option<u32>,
    /// The kind of code it belongs to.
    pub origin: Origin,
    /// Its package or library, such as `tokio` or `libc.so.6`, if known.
    pub package: Option<Arc<str>>,
}

impl Frame {
    /// A frame without file, line and package. They can be set afterwards.
    ///
    /// ```
    /// use holdup::stall::{Frame, Origin};
    ///
    /// let mut frame = Frame::new("shop::price", Origin::User);
    /// (frame.file, frame.line) = (Some("src/price.rs".into()), Some(42));
    /// assert_eq!(frame.location().as_deref(), Some("src/price.rs:42"));
    /// ```
    #[must_use]
    pub fn new(function: impl Into<Arc<str>>, origin: Origin) -> Self {
        Self { function: function.into(), file: None, line: None, origin, package: None }
    }

    /// Its `file:line`, or the file alone if the line is unknown.
    #[must_use]
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
    /// How it was captured.
    pub method: CaptureMethod,
    /// Whether it reaches the thread's first function. Otherwise outer frames are missing.
    pub complete: bool,
    /// How long the stall had lasted at the capture.
    pub taken_after: Duration,
}

impl Stack {
    /// A complete stack, captured at the start of a stall.
    #[must_use]
    pub fn new(frames: Vec<Frame>, method: CaptureMethod) -> Self {
        Self { frames, method, complete: true, taken_after: Duration::ZERO }
    }
}
