//! Notices a runtime whose shutdown waits. Tokio cannot cancel a blocking function, a poll or the drop of a task, so it waits for
//! their end.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::state::WatchState;
use crate::model::own_thread;
use crate::model::worker::Activity;
use crate::probe::RuntimeProbe;
use crate::process::{ThreadNow, look_at_thread};
use crate::report::{KnownWork, ShutdownReport, Sinks, WaitedFor};
use crate::sys::{self, Process};
use crate::unwind::Unwinder;

/// A shorter shutdown is normal. Each further report comes after ten times as long.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// A report that a stuck subscriber has not taken is printed within this time.
const CHECK: Duration = Duration::from_millis(500);

/// The limit of threads whose stacks are taken. Further ones are counted.
const MAX_THREADS: usize = 64;

/// The shutdown of a runtime begins when this is dropped. So it stands before Tokio's runtime.
#[derive(Debug)]
pub(super) struct Begin(Mutex<Option<ShutdownWatch>>);

/// The shutdown has ended when this is dropped. So it stands after Tokio's runtime.
#[derive(Debug)]
pub(super) struct End(Sender<Instant>);

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens after a shutdown that was not watched.
        let _unheard = self.0.send(Instant::now());
    }
}

/// What watches the shutdown, on a thread that exists meanwhile.
#[derive(Debug)]
struct ShutdownWatch {
    probe: Arc<RuntimeProbe>,
    state: Arc<WatchState>,
    ended: Receiver<Instant>,
    /// The thread that shuts the runtime down.
    caller: i32,
}

/// Both ends of the shutdown of a runtime.
pub(super) fn watch_shutdown(probe: &Arc<RuntimeProbe>, state: &Arc<WatchState>) -> (Begin, End) {
    let (end, ended) = mpsc::channel();
    let watch = ShutdownWatch { probe: Arc::clone(probe), state: Arc::clone(state), ended, caller: 0 };
    (Begin(Mutex::new(Some(watch))), End(end))
}

impl Begin {
    /// The shutdown does not wait, or is not ours to see.
    pub(super) fn cancel(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<ShutdownWatch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Begin {
    fn drop(&mut self) {
        // A thread of the pool that Tokio has just started is not known yet, so the pool is not asked.
        let Some(mut watch) = self.take() else { return };
        watch.caller = sys::current_tid();
        // Without it, the shutdown is not watched, and goes on.
        let _refused = std::thread::Builder::new().name(own_thread::SHUTDOWN.to_owned()).spawn(move || watch.run());
    }
}

/// Where reports go: to the sinks of the watch, and after its end to new ones.
struct OpenSinks<'a> {
    of_watch: &'a Sinks,
    again: Option<Sinks>,
}

impl OpenSinks<'_> {
    fn get(&mut self) -> &Sinks {
        if self.again.is_none() && self.of_watch.is_ending() {
            self.again = self.of_watch.start_again().ok();
        }
        self.again.as_ref().unwrap_or(self.of_watch)
    }
}

impl ShutdownWatch {
    /// Runs until the shutdown has ended. Nothing waits for this thread.
    fn run(self) {
        let mut sinks = OpenSinks { of_watch: &self.state.log.sinks, again: None };
        let (began, mut next) = (Instant::now(), FIRST_REPORT);
        let ended = loop {
            match self.ended.recv_timeout(next.saturating_sub(began.elapsed()).min(CHECK)) {
                Ok(ended) => break ended,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if began.elapsed() < next => sinks.get().check(),
                Err(RecvTimeoutError::Timeout) => {
                    let report = self.report(began.elapsed());
                    sinks.get().say(report.news());
                    next = next.saturating_mul(10);
                }
            }
        };
        if next > FIRST_REPORT {
            // A report takes a while, and the shutdown may have ended meanwhile.
            let waited = ended.saturating_duration_since(began);
            sinks.get().say(ShutdownReport::ended(self.probe.name(), waited));
        }
        // They are delivered on a thread that nothing waits for, unless the program has ended.
        let _ended = sinks.again.map(|sinks| sinks.end_by(Instant::now()));
    }

    fn report(&self, waited: Duration) -> ShutdownReport {
        let (threads, more) = self.threads();
        ShutdownReport::new(self.probe.name(), waited, threads, more, &self.state.log)
    }

    /// The threads that are left, and the number of further ones.
    fn threads(&self) -> (Vec<WaitedFor>, usize) {
        let in_polls: BTreeSet<i32> = self.threads_in_polls();
        let ids = self.probe.pool().ids();
        let more = ids.len().saturating_sub(MAX_THREADS);
        let signal = self.state.signal.upgrade();
        let mut unwinder = Unwinder::of(Process::own()).ok();
        let pool = ids.into_iter().take(MAX_THREADS);
        let known = pool.map(|tid| (tid, if in_polls.contains(&tid) { KnownWork::Poll } else { KnownWork::Pool }));
        let threads = known.chain([(self.caller, KnownWork::Caller)]).map(|(tid, work)| {
            let signal = signal.as_deref().filter(|_| work != KnownWork::Poll);
            let look = |unwinder| look_at_thread(tid, unwinder, signal);
            let ThreadNow { sleeps_in, stack } = unwinder.as_mut().map(look).unwrap_or_default();
            WaitedFor { tid, work, sleeps_in, stack }
        });
        (threads.collect(), more)
    }

    fn threads_in_polls(&self) -> BTreeSet<i32> {
        let workers = self.state.registry.snapshot().into_iter();
        let polling = workers.filter(|entry| entry.slot.progress().activity == Activity::Polling);
        polling.map(|entry| entry.worker.thread.tid).collect()
    }
}
