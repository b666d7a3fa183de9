//! Errors of a watch.

use std::fmt;
use std::io;
use std::time::Duration;

/// The error of starting a watch, of building a runtime, or of counting polls.
///
/// The message contains the cause and the remedy, so [`source`](std::error::Error::source) returns `None`: a chain of
/// messages would repeat the cause.
///
/// ```
/// use std::time::Duration;
///
/// let error = holdup::Watch::builder().threshold(Duration::from_micros(1)).start().unwrap_err();
/// assert!(error.to_string().contains("choose 1ms or more"));
/// ```
#[non_exhaustive]
pub enum Error {
    /// The threshold is too small for a watchdog that samples once a millisecond.
    Threshold {
        /// The requested threshold.
        asked: Duration,
        /// The smallest valid threshold.
        smallest: Duration,
    },
    /// The endpoint cannot listen on the address.
    Listen {
        /// The requested address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The endpoint does not serve, because it could let in the wrong ones.
    EndpointAccess {
        /// The requested address.
        address: String,
        /// The reason.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The server of tokio-console cannot listen on the address.
    Console {
        /// The requested address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// tokio-console needs Tokio's traces of tasks, which exist under `tokio_unstable` only.
    NoTaskTracing,
    /// The program already has a global `tracing` subscriber.
    SubscriberTaken,
    /// The requested signal cannot be used.
    Signal {
        /// The requested signal's number.
        signal: i32,
        /// The cause.
        source: io::Error,
    },
    /// A thread could not be started.
    Thread(io::Error),
    /// Tokio's builder already has a hook, which holdup would replace.
    HookTaken {
        /// The builder method that set it.
        hook: &'static str,
    },
    /// Tokio could not build the runtime.
    Runtime(io::Error),
    /// Too many windows of task statistics are open.
    TooManyWindows {
        /// The maximum number of windows.
        limit: usize,
    },
    /// The watch was stopped before every stall was reported.
    ReportsPending {
        /// The time that the call waited.
        limit: Duration,
    },
}

/// The message, because a `main` that returns an error prints its `Debug` form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { asked, smallest } => {
                write!(f, "a stall threshold of {asked:?} is too small; choose {smallest:?} or more")
            }
            Self::Listen { address, source } => write!(
                f,
                "the diagnostics endpoint cannot listen on {address}: {source}; choose another address with listen(…), or port 0 for a free one"
            ),
            Self::EndpointAccess { address, problem, remedy } => {
                write!(f, "the diagnostics endpoint does not serve {address}: {problem}; {remedy}")
            }
            Self::Console { address, source } => write!(
                f,
                "the tokio-console server cannot listen on {address}: {source}; choose another address, or port 0 for a free one"
            ),
            Self::NoTaskTracing => write!(
                f,
                "tokio-console needs Tokio's traces of tasks, which this build lacks; build with RUSTFLAGS=\"--cfg tokio_unstable\""
            ),
            Self::SubscriberTaken => write!(
                f,
                "init() cannot set a global tracing subscriber, because the program already has one; add Console::layer() to it instead"
            ),
            Self::Signal { signal, source } => write!(
                f,
                "signal {signal} cannot be used to capture stacks: {source}; choose another with signal(…), or let holdup choose"
            ),
            Self::Thread(source) => write!(f, "holdup could not start a thread: {source}"),
            Self::HookTaken { hook } => write!(
                f,
                "the runtime builder already has a hook set with {hook}, which holdup would replace; give it to runtime_with(builder, Hooks::new().{hook}(…)) instead"
            ),
            Self::Runtime(source) => write!(f, "Tokio could not build the runtime: {source}"),
            Self::TooManyWindows { limit } => {
                write!(
                    f,
                    "too many concurrent windows of task statistics (limit {limit}); ask again when one has ended"
                )
            }
            Self::ReportsPending { limit } => write!(
                f,
                "the watch stopped after {limit:?} with stalls that are not reported yet; wait longer, or check that the stall callback, the tracing subscriber and standard error take them"
            ),
        }
    }
}

impl std::error::Error for Error {}
