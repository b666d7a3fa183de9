//! The public guard: it wires the parts together.
//!
//! ```text
//! workers ── slots ──▶ watchdog ── observations ──▶ reporter ──▶ history ──▶ endpoint, Watch::stalls
//!            probe      stalls       (bounded)      symbols,        │
//!                         │                         diagnose        └──▶ terminal, tracing, callback
//!                       process
//! ```
//!
//! Terminal, tracing and callback have a thread each, because they run the program's code (`report/sinks.rs`).

/// The builder, which starts a watch.
mod builder;

/// The settings of the endpoint.
#[cfg(feature = "http")]
mod endpoint;

pub use builder::{Print, WatchBuilder};

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::inprocess::{ProfileError, ProfileOptions, Runtime, Stop, WatchState, on_own_thread};
use crate::model::check::SelfCheck;
use crate::model::counters::Counters;
use crate::model::plural::plural;
use crate::model::profile::Profile;
use crate::model::stall::Stalls;
use crate::model::task_stats::TaskStats;
use crate::model::worker::WorkerNow;
use crate::probe::{self, Hooks, RuntimeProbe};
use crate::report::News;
use crate::sys::StackSignal;
use crate::threads::{Ended, join_until};
use crate::tokio_internals;
use crate::unwind::PollFrames;

/// The time that dropping a watch waits for reports, and for a subscriber, a callback or a reader that takes none.
const WATCH_STOP_LIMIT: Duration = Duration::from_secs(2);

/// A guard that watches the Tokio runtimes it builds, until it is dropped.
///
/// Dropping it stops its threads, frees its endpoint's address and restores the signal's disposition. It waits for reports
/// for two seconds at most, and says how many stalls it could not report; [`shutdown_timeout`](Self::shutdown_timeout)
/// waits longer. The last reports are one line for each function. Tokio cannot
/// remove hooks from a runtime: they remain, and cost a few plain stores per poll.
///
/// ```
/// let watch = holdup::Watch::builder().start()?;
/// let runtime = watch.runtime(&mut tokio::runtime::Builder::new_multi_thread())?;
/// runtime.block_on(async { /* the service */ });
/// assert_eq!(watch.counters().stalls, 0);
/// # Ok::<(), holdup::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    state: Arc<WatchState>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    #[cfg(feature = "http")]
    endpoint: Option<crate::http::Endpoint>,
    /// Dropped last, when no thread captures stacks any more.
    _signal: Option<Arc<StackSignal>>,
}

/// Said when a thread of holdup's panicked.
const PANICKED: &str = "a thread of holdup panicked; please report this";

/// Why a future of a watch has no result.
const NO_THREAD: &str = "its thread could not be started, or panicked";

impl Watch {
    /// A builder, which sets what to watch and how to report.
    #[must_use]
    pub fn builder() -> WatchBuilder {
        WatchBuilder::default()
    }

    /// Builds a runtime and watches it. A watch can have any number of runtimes, of either flavor.
    ///
    /// Reports use the name set with [`tokio::runtime::Builder::name`], otherwise `runtime-1`, `runtime-2` and so on.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().start()?;
    /// let api = watch.runtime(tokio::runtime::Builder::new_multi_thread().name("api").enable_all())?;
    /// let jobs = watch.runtime(tokio::runtime::Builder::new_current_thread().name("jobs"))?;
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::HookTaken`] if the builder has a thread hook that this would replace. Give it to
    ///   [`runtime_with`](Self::runtime_with) instead. Task hooks of the builder cannot be detected: Tokio replaces them
    ///   silently, so give them to `runtime_with` too.
    /// - [`Error::Runtime`] if [`tokio::runtime::Builder::build`] fails.
    pub fn runtime(&self, builder: &mut tokio::runtime::Builder) -> Result<Runtime, Error> {
        self.runtime_with(builder, Hooks::new())
    }

    /// Builds a runtime and watches it. The given hooks are called in addition to holdup's own.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().start()?;
    /// let hooks = holdup::Hooks::new().on_thread_start(|| println!("a worker starts"));
    /// let runtime = watch.runtime_with(&mut tokio::runtime::Builder::new_multi_thread(), hooks)?;
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`runtime`](Self::runtime).
    pub fn runtime_with(&self, builder: &mut tokio::runtime::Builder, hooks: Hooks) -> Result<Runtime, Error> {
        if let Some(hook) = tokio_internals::thread_hooks_of(builder).first() {
            return Err(Error::HookTaken { hook });
        }
        let named = self.state.next_runtime_name();
        let probe = RuntimeProbe::new(named, Arc::clone(&self.state.registry));
        probe::install(builder, &probe, hooks);
        if probe.is_uninstrumented() {
            PollFrames::prepare();
        }
        let inner = builder.build().map_err(Error::Runtime)?;
        let handle = inner.handle();
        let flavor = handle.runtime_flavor();
        probe.set_built(flavor == tokio::runtime::RuntimeFlavor::CurrentThread, handle.name());
        Ok(Runtime::new(inner, probe, Arc::clone(&self.state)))
    }

    /// What holdup can observe in this process, by which means, and which setting would let it observe more.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().start()?;
    /// println!("{}", watch.self_check());
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn self_check(&self) -> &SelfCheck {
        &self.state.self_check
    }

    /// The stalls so far: those that still run, and equal stalls counted together. Functions that took most time come
    /// first; [`Stalls::groups`] sums them up.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().start()?;
    /// for entry in watch.stalls().entries {
    ///     println!("{} × {}, the longest {:?}", entry.count, entry.stall.cause.class, entry.longest);
    /// }
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.state.log.stalls()
    }

    /// Counts since the start of the watch. They are cheap to read, for instance for metrics.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.log.counters()
    }

    /// What each worker does now. The order of workers is stable.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerNow> {
        self.state.workers()
    }

    /// Collects a profile. The future completes at the end of its window; dropping it ends the window early.
    ///
    /// The work runs on a separate thread, so no worker is blocked. The future may be awaited on any executor.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use holdup::{ProfileMode, ProfileOptions};
    ///
    /// # let watch = holdup::Watch::builder().start()?;
    /// # let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread())?;
    /// # runtime.block_on(async {
    /// let options = ProfileOptions::new(ProfileMode::Stalled).duration(Duration::from_millis(20));
    /// let profile = watch.profile(&options).await?;
    /// println!("{} stalls", profile.sample_count());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).expect("it is collected");
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn profile(
        &self,
        options: &ProfileOptions,
    ) -> impl Future<Output = Result<Profile, ProfileError>> + Send + use<> {
        let (state, options) = (Arc::clone(&self.state), *options);
        async move {
            let collect = move |state: &WatchState, stop: &Stop| state.profile(&options, stop);
            let collected = on_own_thread(&state, Stop::default(), collect).await;
            collected.unwrap_or_else(|| Err(ProfileError::Failed(io::Error::other(NO_THREAD))))
        }
    }

    /// Collects a profile on the calling thread, and blocks it for the length of the window. The async twin is
    /// [`profile`](Self::profile).
    ///
    /// ```
    /// # use std::time::Duration;
    /// use holdup::{ProfileMode, ProfileOptions};
    ///
    /// let watch = holdup::Watch::builder().start()?;
    /// let options = ProfileOptions::new(ProfileMode::Stalled).duration(Duration::from_millis(20));
    /// println!("{} stalls", watch.profile_blocking(&options)?.sample_count());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn profile_blocking(&self, options: &ProfileOptions) -> Result<Profile, ProfileError> {
        self.state.profile(options, &Stop::default())
    }

    /// Counts every poll in a window, and returns the statistics of each task. Dropping the future ends the window early.
    ///
    /// Workers read the clock before and after each poll while a window is open. Windows may overlap, up to four. Without
    /// task hooks, only wrapped futures are counted, by the location where they were given to holdup.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let watch = holdup::Watch::builder().start()?;
    /// # let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread())?;
    /// # runtime.block_on(async {
    /// let stats = watch.count_tasks(Duration::from_millis(20)).await?;
    /// println!("{} tasks were polled", stats.tasks.len());
    /// # Ok::<(), holdup::Error>(())
    /// # })?;
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManyWindows`] if four windows are open already, and [`Error::Thread`] if no thread can be started.
    pub fn count_tasks(&self, window: Duration) -> impl Future<Output = Result<TaskStats, Error>> + Send + use<> {
        let state = Arc::clone(&self.state);
        async move {
            let count = move |state: &WatchState, stop: &Stop| Ok(state.count_tasks()?.finish_after(window, stop));
            let counted = on_own_thread(&state, Stop::default(), count).await;
            counted.unwrap_or_else(|| Err(Error::Thread(io::Error::other(NO_THREAD))))
        }
    }

    /// Counts every poll in a window on the calling thread, and blocks it for the length of the window. The async twin is
    /// [`count_tasks`](Self::count_tasks).
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdup::tasks::{TaskColumn, TaskGroup};
    ///
    /// let watch = holdup::Watch::builder().start()?;
    /// let stats = watch.count_tasks_blocking(Duration::from_millis(20))?;
    /// for row in stats.rows(TaskGroup::Spawn, TaskColumn::Busy) {
    ///     println!("{} tasks of {}: {:?} busy", row.tasks, row.spawned_at, row.busy);
    /// }
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManyWindows`] if four windows are open already.
    pub fn count_tasks_blocking(&self, window: Duration) -> Result<TaskStats, Error> {
        Ok(self.state.count_tasks()?.finish_after(window, &Stop::default()))
    }

    /// Stops the watch, and waits until every noticed stall is reported, up to a limit.
    ///
    /// Short programs and tests need it. The first report waits until holdup has read the program's debug information, which
    /// takes seconds for a large program. Dropping the watch waits for two seconds at most.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let watch = holdup::Watch::builder().start()?;
    /// let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread())?;
    /// runtime.block_on(async { /* a job */ });
    /// watch.shutdown_timeout(Duration::from_secs(30))?;
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReportsPending`] if reports were still in preparation at the limit, or if the callback, the `tracing`
    /// subscriber or standard error had not taken them.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Result<(), Error> {
        match self.stop_within(limit) {
            true => Ok(()),
            false => Err(Error::ReportsPending { limit }),
        }
    }

    /// Begins to sample the heap, or changes how often. See [`WatchBuilder::heap`].
    ///
    /// # Errors
    /// [`ProfileError::Heap`] if the program has another global allocator, or the platform has no sampler.
    #[cfg(feature = "heap")]
    pub fn sample_heap(&self, sampling: crate::heap::Sampling) -> Result<(), ProfileError> {
        self.state.sample_heap(sampling)
    }

    /// Ends the sampling of the heap, unless another watch of the process asked for it too. What was sampled is kept.
    #[cfg(feature = "heap")]
    pub fn stop_sampling_heap(&self) {
        self.state.stop_sampling_heap();
    }

    /// Where the diagnostics endpoint listens. `None` unless the builder was given an address, and if the endpoint cannot be
    /// served there; the line `endpoint` of the [self-check](Self::self_check) says why.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().listen("127.0.0.1:0").start()?;
    /// assert!(watch.endpoint().expect("it listens").to_string().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[cfg(feature = "http")]
    #[must_use]
    pub fn endpoint(&self) -> Option<&crate::listen::EndpointAddress> {
        self.endpoint.as_ref().map(crate::http::Endpoint::address)
    }
}

#[cfg(feature = "testing")]
impl Watch {
    /// Its number in `probe::current_watch`.
    pub(crate) fn registry_key(&self) -> usize {
        Arc::as_ptr(&self.state.registry).addr()
    }

    /// Records what the threads of this watch allocate, and the others.
    #[cfg(feature = "heap")]
    pub(crate) fn record_heap(
        &self,
        sampling: crate::heap::Sampling,
        others: crate::heap::OtherThreads,
        limits: crate::heap::MemoryLimits,
    ) -> Result<crate::heap::Recorder, ProfileError> {
        self.state.record_heap(sampling, others, limits)
    }

    /// What was recorded.
    #[cfg(feature = "heap")]
    pub(crate) fn recorded_heap(&self, recorder: &crate::heap::Recorder) -> Option<crate::inprocess::TestHeap> {
        self.state.recorded_heap(recorder)
    }

    /// A runtime built without holdup. Only its wrapped futures are watched.
    pub(crate) fn foreign_runtime(&self, current_thread: bool, name: Option<&str>) -> Arc<RuntimeProbe> {
        let probe = RuntimeProbe::new(self.state.next_runtime_name(), Arc::clone(&self.state.registry));
        probe.set_built(current_thread, name);
        probe
    }
}

impl Watch {
    /// Whether every thread has ended within the limit.
    fn stop_within(&mut self, limit: Duration) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        #[cfg(feature = "heap")]
        self.state.stop_sampling_heap();
        self.state.profiles.stop_all();
        self.state.registry.wake_watchdog_to_stop();
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        let limit = Instant::now() + limit;
        let reported = self.threads.drain(..).fold(Ended::Yes, |all, thread| all.and(join_until(thread, limit)));
        #[cfg(feature = "http")]
        drop(self.endpoint.take());
        let news = self.unreported().into_iter().chain((reported == Ended::Panicked).then_some(PANICKED.to_owned()));
        news.for_each(|news| self.state.log.sinks.say(News::Notice(news)));
        let delivered = self.state.log.sinks.end_by(limit);
        reported.and(delivered) == Ended::Yes
    }

    /// A sentence about stalls that nobody will report any more.
    fn unreported(&self) -> Option<String> {
        let pending = self.state.log.pending();
        let stalls = plural(pending, "stall");
        (pending > 0).then(|| {
            format!(
                "the watch ended before {stalls} could be reported; Watch::shutdown_timeout waits longer for reports"
            )
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A drop cannot return an error, so unfinished reports are said and lost here. Callers use `shutdown_timeout` instead.
        let _ended = self.stop_within(WATCH_STOP_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tracing::dispatcher::{self, Dispatch};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_dropped_watch_says_how_many_stalls_it_could_not_report() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = Dispatch::new(tracing_subscriber::fmt().with_writer(move || writer.clone()).finish());
        let watch = dispatcher::with_default(&subscriber, || Watch::builder().start()).expect("starts");
        let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread()).expect("builds");
        let log = Arc::clone(&watch.state.log);
        // The reporter needs it to explain a stall.
        let held = log.current_symbolizer();
        runtime.block_on(async { std::thread::sleep(Duration::from_millis(60)) });
        let limit = Instant::now() + Duration::from_secs(20);
        while log.pending() == 0 {
            assert!(Instant::now() < limit, "the stall is noticed");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(watch);
        let said = String::from_utf8_lossy(&lines.0.lock().expect("no panic")).into_owned();
        assert!(said.contains("the watch ended before 1 stall could be reported"), "{said}");
        drop(held);
    }
}
