//! Finds what holds up a Tokio runtime, while it happens.
//!
//! A Tokio worker that is stuck in one poll runs nothing else. holdup notices the stall within milliseconds, while it
//! still lasts. The report names the worker, the task, the line, the cause and the remedy.
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
//! A stall is reported as a [`tracing`] event with the target `holdup::stall`. Where no subscriber takes that event, it is a
//! block of text on standard error ([`WatchBuilder::print`]). A callback gets it ([`WatchBuilder::on_stall`]), and a bounded
//! history keeps it ([`Watch::stalls`]; over HTTP with `WatchBuilder::listen`).
//!
//! # Modules
//! - The root: [`Watch`] and its [`WatchBuilder`], the watched [`Runtime`] and its [`Handle`], and [`spawn`].
//! - [`stall`]: stalls, their causes, stacks and victims.
//! - [`profile`]: profiles of CPU time, wall time and stalled time, and their file formats.
//! - [`tasks`]: what each task did in a window of time.
//! - [`workers`]: what each worker does now.
//! - [`check`]: what holdup can observe in this process.
//! - `requests`: a tower layer that names requests by method and route.
//! - `attach`: stalls, task dumps and profiles of another process.
//! - `heap`: an allocator that samples what the program allocates.
//! - `json`: the endpoint's JSON. `testing`: a guard for tests.
//!
//! # Cost
//! Per poll, a handful of plain stores into one cache line: no clock, no lock, no allocation. A separate thread samples
//! every worker once a millisecond while any worker is awake. It sleeps while all workers are parked.
//!
//! # Requirements
//! - `RUSTFLAGS="--cfg tokio_unstable"` instruments every poll of every task. Without it, holdup instruments the futures
//!   given to [`spawn`], [`WatchFutureExt::watched`], [`Runtime::spawn`] and [`Runtime::block_on`]. Long polls of other
//!   tasks are inferred.
//! - `debug = 1` in the release profile adds files, lines and inlined calls to stacks. Without it, stacks have function
//!   names only.
//! - Linux on `x86_64` is needed for stacks and causes. On other platforms stalls are noticed and timed, and CPU
//!   profiles come from the `pprof` crate.
//!
//! [`Watch::self_check`] lists which of these hold in this process, and what to change.
//!
//! # Features
//! - `http` (default): the diagnostics endpoint.
//! - `export` (part of `http`): profiles as flamegraph, folded, speedscope and JSON.
//! - `formats` (default): profiles as pprof, for the Firefox Profiler and Perfetto, and reading profiles back.
//! - `axum` (default): names requests by method and matched route, with `tower`.
//! - `tower`: names requests of other services, `holdup::requests`.
//! - `heap`: profiles of the heap, `holdup::heap`.
//! - `testing`: a guard for tests, `holdup::testing`.
//! - `console`: tokio-console beside holdup's own diagnostics.
//! - `attach`: observes other processes. `cli`: the `holdup` command.
//! - `schedule-latency`: [`Watch::count_tasks`] also reports how long ready tasks waited. It needs `tokio_unstable`, and
//!   `track_task_schedule_latency()` on the runtime's builder.
//!
//! # Data flow
//! workers → `probe` → `process` → `stalls` → (`symbols`, `diagnose`) → `report` → (`export`, `http`, `cli`). See
//! `ARCHITECTURE.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    all(feature = "attach", not(feature = "cli")),
    allow(dead_code, reason = "only the command shows the list of processes and their activity")
)]

// Modules in the order of the data flow; blank lines keep them so.

/// Observations and reports as plain data.
mod model;

/// The operating system. The only module with `unsafe`.
mod sys;

/// Every undocumented detail of Tokio that other modules rely on.
mod tokio_internals;

/// The hot path: hooks that run on every poll.
mod probe;

/// The program and its libraries in the address space.
mod images;

/// Separate files of debug information.
#[cfg(feature = "attach")]
mod debug_files;

/// Turns registers and stack bytes into addresses.
mod unwind;

/// The process that is observed.
mod process;

/// Debug information of another program: the layout of its runtimes, tasks and futures.
#[cfg(feature = "attach")]
mod dwarf;

/// The census: every task and its await path.
#[cfg(feature = "attach")]
mod census;

/// The watchdog: notices stalls and collects evidence.
mod stalls;

/// Collects CPU time and wall time by stack.
mod profilers;

#[cfg(feature = "heap")]
pub mod heap;

/// Turns addresses into names.
mod symbols;

/// Turns evidence and stacks into causes and culprits.
mod diagnose;

/// Filters, groups, sums and compares profiles.
#[cfg(feature = "export")]
mod analysis;

/// Output formats, one per file.
mod export;

/// Reads profiles from files.
#[cfg(feature = "formats")]
mod import;

/// Errors of a watch.
mod error;

/// Threads that holdup starts.
mod threads;

/// A program's path.
mod program_path;

/// Durations and numbers in arguments and parameters.
#[cfg(feature = "http")]
mod quantity;

/// Addresses and sockets to listen on.
#[cfg(any(feature = "http", feature = "console"))]
mod listen;

/// The endpoint's token.
#[cfg(feature = "http")]
mod token;

/// Reports of stalls, their history and limits.
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

#[cfg(feature = "tower")]
pub mod requests;

#[cfg(feature = "testing")]
pub mod testing;

/// The `holdup` command.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

/// The steps of a stack capture, for the benches.
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench_support;

#[cfg(feature = "console")]
pub use console::Console;
pub use error::Error;
pub use inprocess::{Handle, Runtime};
#[cfg(feature = "http")]
pub use listen::EndpointAddress;
pub use probe::{Hooks, WatchFutureExt, Watched, spawn, spawn_named};
#[doc(inline)]
pub use profile::{Profile, ProfileMode, ProfileOptions};
#[doc(inline)]
pub use stall::{Stall, StallEvent};
pub use watch::{Print, Watch, WatchBuilder};

/// Stalls: polls that hold a worker longer than the threshold.
///
/// A [`Stall`] has a [`Cause`](stall::Cause) with its [`Evidence`](stall::Evidence), a
/// [`Culprit`](stall::Culprit), a [`Stack`](stall::Stack) and the [`Victims`](stall::Victims) that waited for it.
///
/// ```
/// use std::time::Duration;
/// use holdup::stall::{CauseClass, Phase, Stall, StallEvent};
///
/// // A callback for `WatchBuilder::on_stall`, and a stall to test it with.
/// fn line(event: &StallEvent<'_>) -> String {
///     let culprit = event.stall.culprit.as_ref().map_or("unknown", |culprit| &culprit.frame.function);
///     format!("{} {culprit}: {}", event.phase, event.stall.cause.class)
/// }
///
/// let stall = Stall::example("shop::price", Duration::from_millis(25), CauseClass::Sleeping);
/// assert_eq!(line(&StallEvent::new(Phase::Noticed, &stall)), "noticed shop::price: sleeping");
/// ```
pub mod stall {
    pub use crate::model::cause::{Cause, CauseClass, ParseCauseError};
    pub use crate::model::cause_object::{CauseObject, ParseObjectError};
    pub use crate::model::counters::Counters;
    pub use crate::model::evidence::{Evidence, StandardStream, SyscallKind, WaitSite, WaitTime};
    pub use crate::model::holds::{Counted, Holds};
    pub use crate::model::stack::{CaptureMethod, Frame, Origin, Stack, StackUnavailable};
    pub use crate::model::stall::{
        Culprit, Detection, Phase, Stall, StallEntry, StallEvent, StallId, StallPart, Stalls,
    };
    pub use crate::model::stall_group::{GroupPart, StallGroup};
    pub use crate::model::victims::{Victim, Victims, VictimsUnknown, Waited};
    pub use crate::model::waiting::{Driver, Waiting};
}

/// Profiles: weighted stacks over a window of time, and their file formats.
///
/// ```no_run
/// use holdup::profile::{ProfileMode, ProfileOptions};
///
/// let watch = holdup::Watch::builder().start()?;
/// let profile = watch.profile_blocking(&ProfileOptions::new(ProfileMode::Wall))?;
/// println!("{} samples, {} lost", profile.sample_count(), profile.quality.lost);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod profile {
    #[cfg(feature = "export")]
    pub use crate::export::profile::{Format, Frames, ParseFormatError};
    #[cfg(feature = "formats")]
    pub use crate::import::ReadError;
    pub use crate::inprocess::{ProfileError, ProfileMode, ProfileOptions};
    pub use crate::model::profile::{
        Labels, MAX_VALUES, Mapping, Profile, ProfileBuilder, ProfileFrame, Quality, Sample, Slice, SliceKind, Unit,
        ValueType,
    };
    #[doc(no_inline)]
    pub use crate::stall::{Frame, Origin};
}

/// Tasks, and what each of them did in a window of time.
///
/// ```
/// use std::time::Duration;
///
/// let watch = holdup::Watch::builder().start()?;
/// let stats = watch.count_tasks_blocking(Duration::from_millis(10))?;
/// for task in &stats.tasks {
///     println!("{:?}: {} polls, {:?} busy", task.name, task.polls, task.busy);
/// }
/// # Ok::<(), holdup::Error>(())
/// ```
pub mod tasks {
    pub use crate::model::task::{Task, TaskId};
    pub use crate::model::task_stats::{Delay, ParseWordError, TaskColumn, TaskGroup, TaskStats, TaskUse};
}

/// The self-check: what holdup can observe in this process, and what would let it observe more.
///
/// ```
/// use holdup::check::Coverage;
///
/// let watch = holdup::Watch::builder().start()?;
/// for check in &watch.self_check().checks {
///     if check.coverage != Coverage::Full {
///         println!("{check}");
///     }
/// }
/// # Ok::<(), holdup::Error>(())
/// ```
pub mod check {
    pub use crate::model::check::{Check, Coverage, SelfCheck};
}

/// Workers, and what each of them does now.
///
/// ```
/// use holdup::workers::Activity;
///
/// let watch = holdup::Watch::builder().start()?;
/// let polling = watch.workers().iter().filter(|worker| worker.activity == Activity::Polling).count();
/// # assert_eq!(polling, 0, "no runtime was built");
/// # Ok::<(), holdup::Error>(())
/// ```
pub mod workers {
    pub use crate::model::worker::{Activity, WorkerNow};
}

/// The endpoint's JSON, for programs that read it. Fields are only added.
///
/// ```
/// use holdup::json::StallsAnswer;
///
/// fn longest_ms(body: &str) -> serde_json::Result<f64> {
///     let answer: StallsAnswer = serde_json::from_str(body)?;
///     Ok(answer.stalls.iter().map(|stall| stall.longest_ms).fold(0.0, f64::max))
/// }
/// ```
#[cfg(feature = "http")]
pub mod json {
    pub use crate::export::cause_json::{CauseJson, CulpritJson, EvidenceJson, StallPartJson, WaitJson};
    pub use crate::export::group_json::{GroupPartJson, StallGroupJson};
    pub use crate::export::json::*;
    pub use crate::export::live_json::*;
    pub use crate::export::task_json::*;
}

/// The README's examples compile.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
