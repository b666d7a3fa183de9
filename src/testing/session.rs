//! One guarded test: its watch, and the stalls of its runtime.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::allowed;
use super::verdict::{HeldUp, RecordedStalls, Rules, Verdict, judge};
use crate::error::Error;
use crate::watch::{Print, Watch};

/// The default threshold. Tests are not optimized, and many run at a time.
const DEFAULT_THRESHOLD: Duration = Duration::from_millis(50);

/// How long the end of a test waits for reports on stalls that have just ended.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// How long it waits for symbols. The first symbol of a large test program can take seconds.
const SYMBOL_LIMIT: Duration = Duration::from_secs(20);

/// The settings of a guard.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) warn_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let rules = Rules { threshold: DEFAULT_THRESHOLD, budget: None, functions: Vec::new() };
        Self { rules, warn_only: false }
    }
}

/// A test that is being watched.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) watch: Watch,
    stalls: Arc<Mutex<RecordedStalls>>,
    settings: Settings,
}

impl Session {
    /// Starts to watch, without a self-test.
    pub(super) fn start(settings: Settings) -> Result<Self, Error> {
        let stalls = Arc::new(Mutex::new(RecordedStalls::default()));
        let recorded = Arc::clone(&stalls);
        let rules = &settings.rules;
        let threshold = rules.budget.map_or(rules.threshold, |(_, shortest)| shortest.min(rules.threshold));
        let watch = Watch::builder()
            .threshold(threshold)
            .print(Print::Never)
            .on_stall(move |event| lock(&recorded).record(event))
            .start()?;
        Ok(Self { watch, stalls, settings })
    }

    /// Ends the test, and fails it if its runtime was stalled.
    #[track_caller]
    pub(super) fn end(self) {
        let warn_only = self.settings.warn_only;
        let verdict = self.judge();
        for warning in &verdict.warnings {
            eprintln!("holdup: {warning}");
        }
        match verdict.held_up {
            Some(held_up) if warn_only => eprintln!("holdup: {held_up}"),
            Some(held_up) => fail(&held_up),
            None => {}
        }
    }

    /// Waits until all stalls are reported, and judges them.
    pub(super) fn judge(self) -> Verdict {
        let Self { watch, stalls, settings } = self;
        let limit = Instant::now() + SETTLE_LIMIT;
        // The watchdog sees the end of the last poll in its next sample.
        std::thread::sleep(Duration::from_millis(3));
        let noticed = || {
            let counters = watch.counters();
            counters.noticed.saturating_sub(counters.dismissed)
        };
        while Instant::now() < limit && (noticed() > lock(&stalls).len() || !lock(&stalls).all_ended()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let registry = watch.registry_key();
        let reported = watch.shutdown_timeout(SYMBOL_LIMIT);
        let mut verdict = judge(&lock(&stalls), &settings.rules, &allowed::take(registry));
        verdict.warnings.extend(reported.err().map(|error| error.to_string()));
        verdict
    }
}

fn lock(stalls: &Mutex<RecordedStalls>) -> MutexGuard<'_, RecordedStalls> {
    stalls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn fail(held_up: &HeldUp) -> ! {
    panic!("{held_up}")
}
