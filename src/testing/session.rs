//! One guarded test: its watch, and the stalls of its runtime.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::allowed;
use super::exceptions::Exceptions;
#[cfg(feature = "heap")]
use super::memory::{self, MemoryRules, OverLimit};
use super::verdict::{HeldUp, RecordedStalls, Rules, judge};
use crate::error::Error;
#[cfg(feature = "heap")]
use crate::heap::{OtherThreads, Recorder};
#[cfg(feature = "heap")]
use crate::inprocess::TestHeap;
#[cfg(feature = "heap")]
use crate::sys::current_tid;
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
    #[cfg(feature = "heap")]
    pub(super) memory: MemoryRules,
    pub(super) warn_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let rules = Rules { threshold: DEFAULT_THRESHOLD, budget: None, functions: Vec::new() };
        Self {
            rules,
            #[cfg(feature = "heap")]
            memory: MemoryRules::default(),
            warn_only: false,
        }
    }
}

/// A test that is being watched.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) watch: Watch,
    stalls: Arc<Mutex<RecordedStalls>>,
    /// Memory is recorded if there are rules for it.
    #[cfg(feature = "heap")]
    recorder: Option<Recorder>,
    settings: Settings,
}

/// The outcome of a test.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) held_up: Option<HeldUp>,
    #[cfg(feature = "heap")]
    over_limits: Vec<OverLimit>,
    /// A sentence for each exception that never applied, and for what is missing.
    pub(super) warnings: Vec<String>,
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
        Ok(Self {
            watch,
            stalls,
            #[cfg(feature = "heap")]
            recorder: None,
            settings,
        })
    }

    /// Records the memory of the test from now on, if there are rules for it: what this thread, the watch's workers, and the
    /// other threads allocate.
    #[cfg(feature = "heap")]
    #[track_caller]
    pub(super) fn recording_memory(mut self, others: impl Fn() -> Vec<i32> + Send + 'static) -> Self {
        let Settings { memory, warn_only, .. } = self.settings;
        if !memory.are_any() {
            return self;
        }
        let this = current_tid();
        let threads: OtherThreads = Box::new(move || others().into_iter().chain([this]).collect());
        match self.watch.record_heap(memory.sampling(), threads, memory.limits) {
            Ok(recorder) => self.recorder = Some(recorder),
            Err(error) => {
                let text = format!("holdup cannot guard the memory of this test: {error}");
                assert!(warn_only, "{text}");
                eprintln!("{text}");
            }
        }
        self
    }

    /// Ends the recording of memory. What is freed later still counts.
    #[cfg(feature = "heap")]
    pub(super) fn end_recording(&self) {
        self.recorder.iter().for_each(Recorder::end);
    }

    /// Ends the test, and fails it if its runtime was stalled.
    #[track_caller]
    pub(super) fn end(self) {
        let warn_only = self.settings.warn_only;
        let verdict = self.judge();
        for warning in &verdict.warnings {
            eprintln!("holdup: {warning}");
        }
        let failures = verdict.failures();
        if warn_only {
            failures.iter().for_each(|failure| eprintln!("holdup: {failure}"));
        } else if !failures.is_empty() {
            fail(&failures.join("\n"));
        }
    }

    /// Waits until all stalls are reported, and judges them.
    pub(super) fn judge(self) -> Verdict {
        #[cfg(feature = "heap")]
        let heap = self.heap();
        let Self { watch, stalls, settings, .. } = self;
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
        let blocks = allowed::take(registry);
        let mut exceptions = Exceptions::new(&settings.rules.functions, &blocks);
        let mut verdict =
            Verdict { held_up: judge(&lock(&stalls), &settings.rules, &mut exceptions), ..Verdict::default() };
        #[cfg(feature = "heap")]
        if let Some(heap) = &heap {
            verdict.over_limits = memory::judge(heap, &settings.memory, &mut exceptions);
            verdict.warnings.extend(memory::lost(heap));
        }
        verdict.warnings.extend(exceptions.unused_exceptions());
        verdict.warnings.extend(reported.err().map(|error| error.to_string()));
        verdict
    }

    /// The memory of the test. Threads of its runtime may free some of it when they end.
    #[cfg(feature = "heap")]
    fn heap(&self) -> Option<TestHeap> {
        let recorder = self.recorder.as_ref()?;
        let limit = Instant::now() + SETTLE_LIMIT;
        loop {
            let heap = self.watch.recorded_heap(recorder)?;
            let mut exceptions = Exceptions::new(&self.settings.rules.functions, &[]);
            if Instant::now() >= limit || !memory::keeps_too_much(&heap, &self.settings.memory, &mut exceptions) {
                return Some(heap);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Verdict {
    /// The messages of a failed test, with the whole reports.
    fn failures(&self) -> Vec<String> {
        let failures = self.held_up.iter().map(ToString::to_string);
        #[cfg(feature = "heap")]
        let failures = failures.chain(self.over_limits.iter().map(ToString::to_string));
        failures.collect()
    }
}

fn lock(stalls: &Mutex<RecordedStalls>) -> MutexGuard<'_, RecordedStalls> {
    stalls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn fail(message: &str) -> ! {
    panic!("{message}")
}
