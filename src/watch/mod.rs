//! The one place that wires the parts together.
//!
//! ```text
//! workers ── slots ──▶ watchdog ── observations ──▶ reporter ──▶ history ──▶ endpoint, Watch::stalls
//!            probe      stalls       (bounded)      symbols,        │
//!                         │                         diagnose        └──▶ terminal, tracing, callback
//!                       target
//! ```

/// What the user asks for, and how it is started.
mod builder;

pub use builder::{Print, WatchBuilder};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::inprocess::{ProfileError, ProfileOptions, Runtime, Stop, WatchState};
use crate::model::check::SelfCheck;
use crate::model::profile::Profile;
use crate::model::stall::{Counters, Stalls};
use crate::model::task_stats::TaskStats;
use crate::model::worker::WorkerNow;
use crate::probe::{self, Hooks, RuntimeProbe};
use crate::sys::StackSignal;
use crate::threads::join_until;
use crate::tokio_internals;
use crate::unwind::PollFrames;

/// How long dropping a watch waits for a callback or a client that does not return.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Watches the Tokio runtimes that it builds, until it is dropped.
///
/// Dropping it stops its threads, frees its endpoint's address and restores the signal's disposition. Tokio cannot
/// remove hooks from a runtime: those stay, as a few plain stores per poll that nobody reads.
#[derive(Debug)]
pub struct Watch {
    state: Arc<WatchState>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    #[cfg(feature = "http")]
    endpoint: Option<crate::http::Endpoint>,
    /// Dropped last: nobody asks for stacks any more.
    _signal: Option<Arc<StackSignal>>,
}

impl Watch {
    /// Describes what to watch and how to tell.
    #[must_use]
    pub fn builder() -> WatchBuilder {
        WatchBuilder::default()
    }

    /// Builds a runtime and watches it. Any number of runtimes of either flavour can be watched at a time.
    ///
    /// Name it with [`tokio::runtime::Builder::name`], or reports call it `runtime-1`, `runtime-2` and so on.
    ///
    /// # Errors
    /// [`Error::HookTaken`] when the builder has a thread hook that this would replace, otherwise what
    /// [`tokio::runtime::Builder::build`] says. Task hooks cannot be asked for: give yours to
    /// [`runtime_with`](Self::runtime_with), or Tokio drops them without a word.
    pub fn runtime(&self, builder: &mut tokio::runtime::Builder) -> Result<Runtime, Error> {
        self.runtime_with(builder, Hooks::new())
    }

    /// Builds a runtime, watches it, and calls the given hooks beside holdup's own.
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

    /// What can be seen in this process, by which means, and which setting would let holdup see more.
    #[must_use]
    pub fn self_check(&self) -> &SelfCheck {
        &self.state.self_check
    }

    /// The stalls so far: those that last, then equal ones counted together, the newest first.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.state.log.stalls()
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.log.counters()
    }

    /// What each worker does now.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerNow> {
        self.state.workers()
    }

    /// Collects a profile, and returns when its window is over.
    ///
    /// ```no_run
    /// use holdup::{ProfileMode, ProfileOptions};
    ///
    /// let watch = holdup::Watch::builder().start()?;
    /// let profile = watch.profile(&ProfileOptions::new(ProfileMode::Cpu))?;
    /// println!("{} samples", profile.sample_count());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn profile(&self, options: &ProfileOptions) -> Result<Profile, ProfileError> {
        self.state.profile(options, &Stop::default())
    }

    /// Counts every poll for so long, and says what each task did. It waits: in a task, call it through
    /// [`tokio::task::spawn_blocking`].
    ///
    /// Only while somebody counts, workers read the clock before and after each poll. Several windows may overlap.
    /// Where task hooks are missing, what is counted are polls of wrapped futures, by where they were given to holdup.
    ///
    /// # Errors
    /// [`Error::TooManyWindows`] when polls are counted for four others already.
    pub fn tasks(&self, window: Duration) -> Result<TaskStats, Error> {
        let counting = self.state.count_tasks()?;
        std::thread::sleep(window);
        Ok(counting.finish())
    }

    /// The address of the diagnostics endpoint, if one was asked for.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn endpoint(&self) -> Option<std::net::SocketAddr> {
        self.endpoint.as_ref().map(crate::http::Endpoint::address)
    }
}

#[cfg(feature = "testing")]
impl Watch {
    /// The number by which `probe::current_watch` knows it.
    pub(crate) fn registry_key(&self) -> usize {
        Arc::as_ptr(&self.state.registry).addr()
    }

    /// A runtime that somebody else built, of which only wrapped futures can be seen.
    pub(crate) fn foreign_runtime(&self, current_thread: bool, name: Option<&str>) -> Arc<RuntimeProbe> {
        let probe = RuntimeProbe::new(self.state.next_runtime_name(), Arc::clone(&self.state.registry));
        probe.set_built(current_thread, name);
        probe
    }

    /// Stops, and waits that long at most until everything that was noticed is told.
    pub(crate) fn finish(mut self, limit: Duration) {
        self.stop_within(limit);
    }
}

impl Watch {
    fn stop_within(&mut self, limit: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.state.profiles.stop_all();
        self.state.registry.wake_watchdog_to_stop();
        let limit = Instant::now() + limit;
        for thread in self.threads.drain(..) {
            join_until(thread, limit);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop_within(STOP_LIMIT);
    }
}
