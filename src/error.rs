//! What can go wrong when a watch starts, builds a runtime or counts polls.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a watch could not start, a runtime could not be built, or polls could not be counted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The threshold is too small for a watchdog that looks once a millisecond.
    Threshold {
        /// What was asked for.
        asked: Duration,
        /// The smallest one that works.
        smallest: Duration,
    },
    /// The endpoint's address cannot be listened on.
    Listen {
        /// What was asked for.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// tokio-console's address cannot be listened on.
    Console {
        /// What was asked for.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Tokio traces tasks, which tokio-console shows, under `tokio_unstable` only.
    NoTaskTracing,
    /// The program has a global `tracing` subscriber already.
    SubscriberTaken,
    /// The signal asked for cannot be used.
    Signal {
        /// What was asked for.
        signal: i32,
        /// Why not.
        source: io::Error,
    },
    /// A thread of holdup's own could not be started.
    Thread(io::Error),
    /// Tokio's builder already has a hook that holdup needs, and would lose it.
    HookTaken {
        /// The method that set it.
        hook: &'static str,
    },
    /// Tokio could not build the runtime.
    Runtime(io::Error),
    /// Polls are counted for as many others as can be at a time.
    TooManyWindows {
        /// How many can be.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { asked, smallest } => {
                write!(f, "a stall threshold of {asked:?} is too small; choose {smallest:?} or more")
            }
            Self::Listen { address, source } => write!(
                f,
                "the diagnostics endpoint cannot listen on {address}: {source}; choose another address with listen(…), port 0 picks a free one"
            ),
            Self::Console { address, source } => write!(
                f,
                "tokio-console cannot be served on {address}: {source}; choose another address, port 0 picks a free one"
            ),
            Self::NoTaskTracing => write!(
                f,
                "tokio-console needs what Tokio traces about tasks, which this build leaves out; build with RUSTFLAGS=\"--cfg tokio_unstable\""
            ),
            Self::SubscriberTaken => write!(
                f,
                "the program has a global tracing subscriber already, so init() cannot set one; add Console::layer() to it instead"
            ),
            Self::Signal { signal, source } => {
                write!(
                    f,
                    "signal {signal} cannot be used for taking stacks: {source}; choose another with signal(…), or let holdup choose"
                )
            }
            Self::Thread(source) => write!(f, "a thread of holdup's own could not be started: {source}"),
            Self::HookTaken { hook } => write!(
                f,
                "the runtime builder already has a hook set with {hook}, which holdup would replace; give it to runtime_with(builder, Hooks::new().{hook}(…)) instead"
            ),
            Self::Runtime(source) => write!(f, "Tokio could not build the runtime: {source}"),
            Self::TooManyWindows { limit } => write!(
                f,
                "polls are counted for {limit} others already, which is the most at a time; ask again when one of them is done"
            ),
        }
    }
}

/// The causes are part of the messages.
impl std::error::Error for Error {}
