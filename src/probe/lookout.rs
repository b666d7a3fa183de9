//! Workers look out for one another while the watchdog sleeps.
//!
//! Waking the watchdog is dear where every CPU is busy: it takes one from a worker. A worker that is awake anyway can see as
//! well as the watchdog that every other has moved on since the last look, and then it puts the waking off. It never decides
//! more than that: where one worker has not moved on, the watchdog wakes when it would have, and looks itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::registry::Entry;
use super::slot::Slot;
use crate::model::worker::{Activity, LookedOut, Progress};
use crate::sys::Alarm;

/// The watchdog is put off no longer than this, so that it sees what else it has to see.
const LONGEST: Duration = Duration::from_secs(1);

/// While nobody is to look out.
const NEVER: u64 = u64::MAX;

/// One poll in so many looks out: a power of two.
const EVERY: u64 = 16;

/// Whether it is the turn of this poll to look out, by its number. Those of polls are odd.
#[inline]
pub(super) fn is_to_look_out(poll: u64) -> bool {
    poll & (2 * EVERY - 1) == 1
}

/// Looks that workers took for the watchdog.
#[derive(Debug)]
pub(crate) struct Lookout {
    /// Where there is none, the watchdog wakes for every look.
    alarm: Option<Alarm>,
    base: Instant,
    /// From when on the next worker that comes by is to look, in nanoseconds since `base`. Changed under the lock.
    due: AtomicU64,
    watch: Mutex<Watch>,
}

/// What the last look saw.
#[derive(Debug, Default)]
struct Watch {
    workers: Vec<(&'static Slot, Progress)>,
    /// Of the registry that the workers are from.
    version: u64,
    /// So long after a look the watchdog wakes.
    interval: u64,
    ends: u64,
    before: u64,
    last: u64,
    looks: u64,
}

impl Default for Lookout {
    fn default() -> Self {
        Self { alarm: Alarm::new(), base: Instant::now(), due: AtomicU64::new(NEVER), watch: Mutex::default() }
    }
}

impl Watch {
    /// Whether every worker has moved on since the last look, or does not poll; then this was one.
    fn look(&mut self, now: u64, version: u64) -> bool {
        let still =
            |(slot, last): &(&'static Slot, Progress)| last.activity == Activity::Polling && slot.progress() == *last;
        if version != self.version || now.saturating_add(self.interval) > self.ends || self.workers.iter().any(still) {
            return false;
        }
        for (slot, last) in &mut self.workers {
            *last = slot.progress();
        }
        (self.before, self.last) = (self.last, now);
        self.looks += 1;
        true
    }
}

impl Lookout {
    /// A worker comes by, inside a poll that it has just begun.
    #[cold]
    pub(super) fn come_by(&self, version: &AtomicU64) {
        let due = self.due.load(Ordering::Relaxed);
        if due == NEVER || self.now() < due {
            return;
        }
        // Another worker looks already, or the watchdog is awake.
        let Ok(mut watch) = self.watch.try_lock() else { return };
        if self.due.load(Ordering::Relaxed) != due {
            return;
        }
        let now = self.now();
        let put_off = watch.look(now, version.load(Ordering::Acquire))
            && self.alarm.as_ref().is_some_and(|alarm| alarm.set(Duration::from_nanos(watch.interval)));
        let next = if put_off { now + watch.interval / 2 } else { NEVER };
        self.due.store(next, Ordering::Relaxed);
    }

    /// Sleeps for `first`; longer while workers see that all move on, at least every `interval`.
    pub(crate) fn sleep(
        &self,
        entries: &[Entry],
        version: u64,
        first: Duration,
        interval: Duration,
    ) -> Option<LookedOut> {
        let Some(alarm) = self.alarm.as_ref().filter(|alarm| alarm.set(first)) else {
            std::thread::sleep(first);
            return None;
        };
        self.begin(entries, version, first, interval);
        alarm.wait();
        self.end()
    }

    fn begin(&self, entries: &[Entry], version: u64, first: Duration, interval: Duration) {
        let mut watch = self.lock();
        let now = self.now();
        let interval = nanoseconds(interval);
        let mut workers = std::mem::take(&mut watch.workers);
        workers.clear();
        workers.extend(entries.iter().map(|entry| (entry.slot, entry.slot.progress())));
        let ends = now + nanoseconds(LONGEST);
        *watch = Watch { workers, version, interval, ends, before: now, last: now, looks: 0 };
        self.due.store(now + nanoseconds(first).min(interval) / 2, Ordering::Relaxed);
    }

    /// Nobody looks out from now on. What the last look saw, if there was one.
    fn end(&self) -> Option<LookedOut> {
        let watch = self.lock();
        self.due.store(NEVER, Ordering::Relaxed);
        let at = |nanoseconds| self.base + Duration::from_nanos(nanoseconds);
        (watch.looks > 0).then(|| LookedOut {
            before: at(watch.before),
            at: at(watch.last),
            progress: watch.workers.iter().map(|(_, progress)| *progress).collect(),
        })
    }

    /// The watchdog is to wake as soon as it would if nobody looked out.
    pub(super) fn put_off_no_more(&self) {
        let _what_was_seen = self.end();
    }

    fn now(&self) -> u64 {
        nanoseconds(self.base.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;

    use super::*;
    use crate::model::worker::{Thread, Worker};

    /// Any time later is due.
    const AT_ONCE: Duration = Duration::from_nanos(2);

    fn entry(key: u64) -> Entry {
        let slot: &'static Slot = Box::leak(Box::new(Slot::new()));
        slot.attach(1);
        let thread = Thread { tid: 1, name: "w".into(), stack: None };
        let worker = Worker { key, runtime: Arc::from("test"), index: Some(0), thread, silent_polls: false };
        Entry { slot, first_sequence: 0, worker: Arc::new(worker) }
    }

    fn poll(entry: &Entry) {
        entry.slot.end();
        entry.slot.begin(7, Location::caller());
    }

    /// A moment passes, and then a worker comes by.
    fn come_by(lookout: &Lookout, version: u64) {
        let now = lookout.now();
        while lookout.now() < now + 10 {}
        lookout.come_by(&AtomicU64::new(version));
    }

    #[test]
    fn the_watchdog_is_put_off_while_everybody_moves_on() {
        let (lookout, entries) = (Lookout::default(), [entry(1), entry(2)]);
        poll(&entries[0]);
        lookout.begin(&entries, 3, AT_ONCE, AT_ONCE);
        poll(&entries[0]);
        come_by(&lookout, 3);
        // The other one does not poll, and need not move.
        poll(&entries[0]);
        come_by(&lookout, 3);
        let seen = entries[0].slot.progress();
        // The same poll as at the last look.
        come_by(&lookout, 3);
        poll(&entries[0]);
        come_by(&lookout, 3);
        let looked = lookout.end().expect("they looked");
        assert_eq!(
            looked.progress,
            [seen, entries[1].slot.progress()],
            "whoever comes by later leaves it to the watchdog"
        );
        assert!(looked.before < looked.at && lookout.base <= looked.before);
    }

    #[test]
    fn nobody_is_put_off_by_a_poll_that_lasts_or_where_workers_come_and_go() {
        let (lookout, entries) = (Lookout::default(), [entry(1), entry(2)]);
        poll(&entries[1]);
        lookout.begin(&entries, 3, AT_ONCE, AT_ONCE);
        poll(&entries[0]);
        come_by(&lookout, 3);
        assert_eq!(lookout.end(), None, "the second one is still in its poll");
        lookout.begin(&entries, 3, AT_ONCE, AT_ONCE);
        poll(&entries[1]);
        come_by(&lookout, 4);
        assert_eq!(lookout.end(), None, "there may be another worker");
    }

    #[test]
    fn nobody_looks_before_the_time_nor_for_a_watchdog_that_is_awake() {
        let (lookout, entries) = (Lookout::default(), [entry(1)]);
        lookout.begin(&entries, 3, LONGEST / 2, LONGEST / 2);
        come_by(&lookout, 3);
        assert_eq!(lookout.end(), None);
        poll(&entries[0]);
        come_by(&lookout, 3);
        lookout.begin(&entries, 3, AT_ONCE, AT_ONCE);
        lookout.put_off_no_more();
        poll(&entries[0]);
        come_by(&lookout, 3);
        assert_eq!(lookout.end(), None);
    }

    #[test]
    fn the_watchdog_wakes_now_and_then_whatever_the_workers_see() {
        let (lookout, entries) = (Lookout::default(), [entry(1)]);
        lookout.begin(&entries, 3, AT_ONCE, LONGEST * 2);
        come_by(&lookout, 3);
        assert_eq!(lookout.end(), None);
    }

    #[test]
    fn the_watchdog_sleeps_as_long_as_it_wants_where_nobody_comes_by() {
        let (lookout, begun) = (Lookout::default(), Instant::now());
        let asked = Duration::from_millis(20);
        assert_eq!(lookout.sleep(&[entry(1)], 3, asked, asked), None);
        assert!(begun.elapsed() >= asked);
    }
}
