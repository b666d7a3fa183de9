//! Finds what holds up a Tokio runtime, while it happens.
//!
//! A Tokio worker that is stuck in one poll runs nothing else. holdup notices it within milliseconds, while it
//! still lasts, and says which worker, in which task, in which line, why, and what to do.
//!
//! ```
//! use std::time::Duration;
//!
//! let watch = holdup::Watch::builder().threshold(Duration::from_millis(10)).start()?;
//! let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().enable_all())?;
//! runtime.block_on(async { /* the service */ });
//! # Ok::<(), holdup::Error>(())
//! ```
//!
//! Every part of a stall can be had in four ways: as a block of text on the terminal ([`WatchBuilder::print`]), as a
//! [`tracing`] event under the target `holdup::stall`, in a callback ([`WatchBuilder::on_stall`]), and from a bounded
//! history ([`Watch::stalls`], and over HTTP with [`WatchBuilder::listen`]).
//!
//! # What it costs
//! Per poll, a handful of plain stores into one cache line: no clock, no lock, no allocation. A thread of its own
//! looks at every worker once a millisecond while any worker is awake, and sleeps while all are parked.
//!
//! # What it needs
//! - `RUSTFLAGS="--cfg tokio_unstable"` shows every poll of every task. Without it, long polls of other tasks are inferred, and exactly seen are those of futures given to
//!   [`spawn`], [`WatchFutureExt::watched`] and [`Runtime::block_on`].
//! - `debug = 1` in the release profile shows files, lines and inlined calls. Without it, functions.
//! - Linux on `x86_64` for stacks and causes. Elsewhere stalls are noticed and timed, and CPU profiles
//!   are those of the `pprof` crate.
//!
//! [`Watch::self_check`] says which of these hold in this process, and what is missing.
//!
//! # Features
//! - `http` (default): the diagnostics endpoint.
//! - `export` (part of `http`): profiles as flamegraph, folded, speedscope and JSON.
//! - `formats` (default): profiles as pprof, for the Firefox Profiler and Perfetto, and reading profiles back.
//! - `testing`: a guard for tests, `holdup::testing`.
//! - `console`: tokio-console, beside holdup's own diagnostics.
//! - `cli`: the `holdup` command; with `attach`, which lets it observe other processes.
//! - `schedule-latency`: [`Watch::tasks`] tells how long ready tasks waited, on runtimes whose builder was told
//!   `track_task_schedule_latency()`; needs `tokio_unstable`.
//!
//! # Data flow
//! workers → `probe` → `target` → `stalls` → (`symbols`, `diagnose`) → `watch` → (`export`, `http`, `cli`). See
//! `ARCHITECTURE.md`.

#![cfg_attr(
    all(feature = "attach", not(feature = "cli")),
    allow(dead_code, unused_imports, reason = "other processes are observed by the command, and by nobody else")
)]

// Modules in the order of the data flow; blank lines keep them so.

/// What is observed and reported: plain data.
mod model;

/// Talks to the operating system. The only module with `unsafe`.
mod sys;

/// Every undocumented detail of Tokio that other modules rely on.
mod tokio_internals;

/// The hot path: what workers do on every poll.
mod probe;

/// The programs and libraries in our address space.
mod images;

/// Debug information in files of its own.
#[cfg(feature = "attach")]
mod debug_files;

/// From registers and stack bytes to addresses.
mod unwind;

/// The process that is observed.
mod process;

/// How to read another program's runtimes, tasks and futures.
#[cfg(feature = "attach")]
mod dwarf;

/// Every task, and what it awaits.
#[cfg(feature = "attach")]
mod census;

/// Notices stuck workers and gathers evidence.
mod stalls;

/// Where CPU time and time go, by stack.
mod profilers;

/// From addresses to names.
mod symbols;

/// From evidence and stacks to causes and culprits.
mod diagnose;

/// Profiles filtered, grouped, summed by function and compared.
#[cfg(any(feature = "http", all(test, feature = "formats")))]
mod analysis;

/// One format, one file.
mod export;

/// Profiles read back from files.
#[cfg(feature = "formats")]
mod import;

/// What can go wrong at start.
mod error;

/// Threads of holdup's own.
mod threads;

/// A program, by its path.
mod program_path;

/// Durations and numbers in arguments and parameters.
#[cfg(feature = "http")]
mod quantity;

/// Addresses to listen on.
#[cfg(any(feature = "http", feature = "console"))]
mod listen;

/// What happens after a stall is noticed.
mod report;

/// The wiring inside the watched process.
mod inprocess;

#[cfg(feature = "attach")]
pub mod attach;

/// The diagnostics endpoint.
#[cfg(feature = "http")]
mod http;

/// tokio-console.
#[cfg(feature = "console")]
mod console;

/// The public guard and its builder.
mod watch;

#[cfg(feature = "testing")]
pub mod testing;

/// The `holdup` command.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

/// The parts of taking a stack, for the benches.
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench_support;

#[cfg(feature = "console")]
pub use console::Console;
pub use error::Error;
#[cfg(feature = "export")]
pub use export::profile::{Format, ParseFormatError};
#[cfg(feature = "formats")]
pub use import::ReadError;
pub use inprocess::{ProfileError, ProfileMode, ProfileOptions, Runtime};
pub use model::cause::{Cause, CauseClass, ParseCauseError};
pub use model::check::{Check, Coverage, SelfCheck};
pub use model::evidence::{Evidence, SyscallKind, WaitSite, WaitTime};
pub use model::profile::{
    Labels, MAX_VALUES, Mapping, Profile, ProfileBuilder, ProfileFrame, Quality, Sample, Slice, SliceKind, Unit,
    ValueType,
};
pub use model::stack::{CaptureMethod, Frame, Origin, Stack, StackUnavailable};
pub use model::stall::{Counters, Culprit, Detection, Phase, Stall, StallEntry, StallEvent, StallId, Stalls};
pub use model::task::{Task, TaskId};
pub use model::task_stats::{Delay, ParseWordError, TaskColumn, TaskGroup, TaskStats, TaskUse};
pub use model::victims::{Victim, Victims, VictimsUnknown, Waited};
pub use model::waiting::{Driver, Waiting};
pub use model::worker::{Activity, WorkerNow};
pub use probe::{Hooks, WatchFutureExt, Watched, spawn, spawn_named};
pub use watch::{Print, Watch, WatchBuilder};

/// The README's example compiles.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The endpoint's JSON, for programs that read it.
#[cfg(feature = "http")]
pub mod json {
    pub use crate::export::json::*;
    pub use crate::export::task_json::*;
}
