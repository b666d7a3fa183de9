//! Everything that is known of the stalls of one watch. The reporter writes it; the public guard, the endpoint and
//! profiles read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::history::History;
use super::sinks::Sinks;
use super::stalled_time::StalledTime;
use crate::model::counters::Counters;
use crate::model::plural::plural;
use crate::model::profile::Profile;
#[cfg(feature = "http")]
use crate::model::stall::Stall;
use crate::model::stall::Stalls;
use crate::stalls::Totals;
use crate::symbols::Symbolizer;

/// The stalls of one watch, with what is needed to explain them.
#[derive(Debug)]
pub(crate) struct StallLog {
    /// The shortest poll that counts as a stall.
    pub(crate) threshold: Duration,
    /// The name of the watched program.
    pub(crate) program: Arc<str>,
    /// Counted by the watchdog.
    pub(crate) totals: Arc<Totals>,
    /// Stacks that could not be captured, counted by the watched process.
    pub(crate) stacks_missed: Arc<AtomicU64>,
    /// Stalls that the reporter has explained and reported.
    pub(crate) handled: AtomicU64,
    /// Where reports go.
    pub(crate) sinks: Sinks,
    history: Mutex<History>,
    /// One symbolizer for all users, so that each address is named once. The reporter waits for the lock: hold it for
    /// one stack at a time.
    symbolizer: Mutex<Symbolizer>,
    /// Presumed crates of the user. Apart from the symbolizer, so that adding one never waits.
    presumed_crates: Mutex<Vec<String>>,
}

impl StallLog {
    /// An empty log.
    pub(crate) fn new(threshold: Duration, symbolizer: Symbolizer, program: Arc<str>, sinks: Sinks) -> Self {
        Self {
            threshold,
            program,
            totals: Arc::default(),
            stacks_missed: Arc::default(),
            handled: AtomicU64::new(0),
            sinks,
            history: Mutex::default(),
            symbolizer: symbolizer.into(),
            presumed_crates: Mutex::default(),
        }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The symbolizer, with every crate that is presumed to be the user's.
    pub(crate) fn symbolizer(&self) -> MutexGuard<'_, Symbolizer> {
        let crates = self.presumed_crates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut symbolizer = self.current_symbolizer();
        for name in &crates {
            symbolizer.presume_user_crate(name);
        }
        symbolizer
    }

    /// The symbolizer without a check for new crates, for callers that have just used [`symbolizer`](Self::symbolizer).
    pub(crate) fn current_symbolizer(&self) -> MutexGuard<'_, Symbolizer> {
        self.symbolizer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Presumes from now on that a crate is the user's.
    pub(crate) fn presume_user_crate(&self, name: &str) {
        let mut known = self.presumed_crates.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|other| other == name) {
            known.push(name.to_owned());
        }
    }

    /// See [`Watch::stalls`](crate::Watch::stalls).
    pub(crate) fn stalls(&self) -> Stalls {
        let entries = self.history().entries();
        Stalls { entries, counters: self.counters(), notes: self.sinks.notes() }
    }

    /// A number that changes with every change of the stalls, and whether any is running.
    #[cfg(feature = "http")]
    pub(crate) fn version(&self) -> (u64, bool) {
        let history = self.history();
        (history.version(), history.any_open())
    }

    /// The stalls that still run.
    #[cfg(feature = "http")]
    pub(crate) fn running(&self) -> Vec<Stall> {
        self.history().running()
    }

    /// See [`Watch::counters`](crate::Watch::counters).
    pub(crate) fn counters(&self) -> Counters {
        let reported = self.history().counters();
        let undelivered = &self.sinks.undelivered;
        let unexplained = self.totals.lost.load(Ordering::Relaxed);
        Counters {
            noticed: self.totals.noticed.load(Ordering::Relaxed),
            pending: self.pending(),
            stalls: reported.stalls + unexplained,
            unexplained,
            stacks_missed: self.stacks_missed.load(Ordering::Relaxed),
            unprinted: undelivered.unprinted.load(Ordering::Relaxed),
            callbacks_missed: undelivered.callbacks_missed.load(Ordering::Relaxed),
            callback_panics: undelivered.callback_panics.load(Ordering::Relaxed),
            ..reported
        }
    }

    /// Stalls that were noticed and wait for the reporter.
    pub(crate) fn pending(&self) -> u64 {
        let done = self.totals.lost.load(Ordering::Relaxed) + self.handled.load(Ordering::Relaxed);
        self.totals.noticed.load(Ordering::Relaxed).saturating_sub(done)
    }

    /// A profile of stalled time in process `pid`.
    pub(crate) fn stalled_profile(
        &self,
        pid: u32,
        stalled: &StalledTime,
        started_at: SystemTime,
        duration: Duration,
    ) -> Profile {
        let mut profile = stalled.profile(started_at, duration);
        profile.program = Arc::clone(&self.program);
        profile.pid = pid;
        let counters = self.counters();
        profile.quality.lost = counters.unexplained;
        if counters.stacks_missed > 0 {
            let missed = counters.stacks_missed;
            profile.quality.notes.push(format!("{} of stalls not captured since the start", plural(missed, "stack")));
        }
        profile
    }
}
