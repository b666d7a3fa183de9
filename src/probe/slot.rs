//! One cache line per worker: how far it has come, and in which task.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::names::{self, NameId};
use super::poll_stats::{Ledger, Polled, Table};
use super::post_stall_recorder::Follower;
use crate::model::post_stall::Followed;
use crate::model::task::{Task, TaskId};
use crate::model::worker::{Activity, Progress};
use crate::sys::{self, BlockedSignals, PollNow, PollWords};

/// The runtime number of a slot that belongs to none.
pub(crate) const NO_RUNTIME: u32 = 0;

/// What a worker tells about itself.
///
/// Slots live forever and are used again by other threads; the sequence number goes on, so it never repeats.
///
/// 128 bytes: adjacent-line prefetch makes pairs of cache lines travel together.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot {
    words: PollWords,
    /// Which runtime this slot's worker works for; `NO_RUNTIME` once it was detached.
    runtime: AtomicU32,
    /// Grows when the worker parks and when it unparks: odd while it is parked.
    parks: AtomicU32,
    /// How many observers are about to send this worker a signal, or wait for its answer.
    signals: AtomicU32,
    /// The signals that its thread holds back while it is parked. Its thread's alone.
    held: AtomicU64,
    /// Whether somebody counts this worker's polls, or follows it: then each one is noted.
    noted: AtomicBool,
    /// Elsewhere, so that what every poll needs stays in one line.
    notes: Box<Mutex<Notes>>,
}

/// What is noted of polls while somebody wants it.
#[derive(Debug, Default)]
struct Notes {
    ledger: Ledger,
    follower: Option<Follower>,
}

impl Notes {
    fn wanted(&self) -> bool {
        self.ledger.in_use() || self.follower.as_ref().is_some_and(|follower| !follower.is_over())
    }
}

/// What every poll needs is in the one pair of lines.
const _: () = assert!(size_of::<Slot>() == 128);

/// A worker does not park while this lives, so that the signal cannot interrupt its waiting for events.
#[derive(Debug)]
pub(crate) struct Announced(&'static Slot);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.signals.fetch_sub(1, Ordering::Release);
    }
}

/// How long a worker puts off parking for an announced signal, which comes within microseconds while the machine runs both
/// threads. Where it does not, the worker holds that signal back while it is parked.
const ANNOUNCED_AT_MOST: Duration = Duration::from_millis(2);

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            words: PollWords::new(),
            runtime: AtomicU32::new(NO_RUNTIME),
            parks: AtomicU32::new(0),
            signals: AtomicU32::new(0),
            held: AtomicU64::new(0),
            noted: AtomicBool::new(false),
            notes: Box::default(),
        }
    }

    #[inline]
    pub(crate) fn runtime(&self) -> u32 {
        self.runtime.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn polls(&self) -> bool {
        self.words.sequence.load(Ordering::Relaxed) & 1 == 1
    }

    /// A poll starts. By the thread that holds the slot, and not inside another poll.
    #[inline]
    pub(super) fn begin(&self, task: u64, spawned_at: &'static Location<'static>) {
        self.words.task.store(task, Ordering::Relaxed);
        self.words.spawned_at.set(Some(spawned_at));
        if self.noted() {
            self.note_begin(task, spawned_at);
        }
        self.step();
    }

    /// The poll is over, unless the slot was attached to another runtime in the middle of it (`block_in_place`, then
    /// `block_on`), which has ended it already.
    #[inline]
    pub(super) fn end(&self) {
        if self.polls() {
            if self.noted() {
                self.note_end();
            }
            self.step();
        }
    }

    /// Only one thread writes, so load and store suffice. Release, a plain store on x86_64, keeps what was stored
    /// before on this side of it.
    #[inline]
    fn step(&self) {
        self.words.sequence.store(self.words.sequence.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Names the poll that is about to begin, and those that follow. The task hooks name nothing: on their runtimes
    /// only wrapped futures inside a poll do, which restore what was there, so that each poll begins unnamed.
    #[inline]
    pub(super) fn name(&self, name: NameId) {
        self.words.name.store(name.0, Ordering::Relaxed);
    }

    /// Names what is polled from here on; returns the name to restore.
    #[inline]
    pub(super) fn rename(&self, name: NameId) -> NameId {
        let before = NameId(self.words.name.load(Ordering::Relaxed));
        self.name(name);
        if self.noted() {
            let sequence = self.words.sequence.load(Ordering::Relaxed);
            self.note(|notes| {
                notes.ledger.name(sequence, name);
                if let Some(follower) = &mut notes.follower {
                    follower.name(sequence, name);
                }
            });
        }
        before
    }

    /// Whether somebody wants to know of polls. A poll at the edge of a window may be told late, and is counted all the
    /// same.
    #[inline]
    pub(super) fn noted(&self) -> bool {
        self.noted.load(Ordering::Relaxed)
    }

    /// The flag is only changed under the lock, so that it tells what is wanted.
    fn note<T>(&self, note: impl FnOnce(&mut Notes) -> T) -> T {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = note(&mut notes);
        self.noted.store(notes.wanted(), Ordering::Relaxed);
        outcome
    }

    #[cold]
    fn note_begin(&self, task: u64, spawned_at: &'static Location<'static>) {
        let name = NameId(self.words.name.load(Ordering::Relaxed));
        let sequence = self.words.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.note(|notes| {
            notes.ledger.begin(sequence, name);
            if let Some(follower) = &mut notes.follower {
                follower.begin(sequence, task, spawned_at, name);
            }
        });
    }

    #[cold]
    fn note_end(&self) {
        let Some((sequence, polled)) = self.polled() else { return };
        self.note(|notes| {
            notes.ledger.end(sequence, polled);
            if let Some(follower) = &mut notes.follower {
                follower.end(sequence);
            }
        });
    }

    /// The task that is polled comes to its end in this poll. By the thread that holds the slot.
    #[cold]
    pub(super) fn note_last(&self, task: u64) {
        if let Some((sequence, polled)) = self.polled().filter(|(_, polled)| polled.task == task) {
            self.note(|notes| notes.ledger.ended(sequence, polled));
        }
    }

    /// The poll that has just begun was put off for so long. By the thread that holds the slot.
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    #[cold]
    pub(super) fn note_delay(&self, delay: Duration) {
        let sequence = self.words.sequence.load(Ordering::Relaxed);
        self.note(|notes| {
            notes.ledger.delayed(sequence, delay);
            if let Some(follower) = &mut notes.follower {
                follower.delayed(sequence, delay);
            }
        });
    }

    /// From now on polls count for this window.
    pub(super) fn start_counting(&self, window: u64) {
        self.note(|notes| notes.ledger.start(window));
    }

    /// What was counted for this window. A poll that goes on counts until now.
    pub(super) fn stop_counting(&self, window: u64) -> Option<Table> {
        // Looked at while polls are still counted: a poll that ends meanwhile waits for the ledger, and finds it done.
        self.note(|notes| notes.ledger.stop(window, self.polled()))
    }

    /// Follows the worker from the end of this poll on. A poll that ends at this very moment is missed.
    pub(crate) fn follow(&self, sequence: u64) {
        self.note(|notes| notes.follower = Some(Follower::new(sequence)));
    }

    /// What the worker did after this poll, once it has done everything of interest, or `now` as far as it has.
    pub(crate) fn followed(&self, sequence: u64, now: bool) -> Followed {
        let follower = self.note(|notes| {
            let ours = notes.follower.as_ref().filter(|follower| follower.stall() == sequence);
            let Some(follower) = ours else { return Err(Followed::Missed) };
            if !now && !follower.is_over() {
                return Err(Followed::NotYet);
            }
            notes.follower.take().ok_or(Followed::Missed)
        });
        match follower.map(Follower::finish) {
            Ok(Some(polls)) => Followed::Seen(polls),
            Ok(None) => Followed::Missed,
            Err(none) => none,
        }
    }

    #[cold]
    fn stop_following(&self) {
        self.note(|notes| {
            if let Some(follower) = &mut notes.follower {
                follower.stop();
            }
        });
    }

    /// The worker was handed on: a poll that goes on held it until now.
    pub(super) fn count_so_far(&self) {
        if let Some((sequence, polled)) = self.polled().filter(|_| self.noted()) {
            self.note(|notes| notes.ledger.end(sequence, polled));
        }
    }

    /// The number of the present poll, and who is polled.
    fn polled(&self) -> Option<(u64, Polled)> {
        let sequence = self.words.sequence.load(Ordering::Acquire);
        if sequence & 1 == 0 {
            return None;
        }
        let now = self.words.read(sequence)?;
        Some((sequence, Polled { task: now.task, spawned_at: now.spawned_at?, name: NameId(now.name) }))
    }

    /// The worker is about to wait for events: by its thread, after the last poll. Returns once no signal is on its
    /// way that could interrupt it. While CPU time is sampled, that signal is held back until the worker wakes. The fence
    /// makes sure that either this worker sees the announcement or the announcer sees the poll over.
    #[inline]
    pub(super) fn park(&self) {
        if self.noted() {
            self.stop_following();
        }
        self.set_parked(true, Ordering::Release);
        fence(Ordering::SeqCst);
        let mut held = sys::hold_samples();
        if self.signals.load(Ordering::Acquire) != 0 {
            held = held.and(self.await_signal());
        }
        self.held.store(held.bits(), Ordering::Relaxed);
    }

    /// By the thread that holds the slot. It may hear of the one without having heard of the other.
    #[inline]
    fn set_parked(&self, parked: bool, ordering: Ordering) {
        let parks = self.parks.load(Ordering::Relaxed);
        if is_odd(parks) != parked {
            self.parks.store(parks.wrapping_add(1), ordering);
        }
    }

    #[cold]
    fn await_signal(&self) -> BlockedSignals {
        let start = Instant::now();
        while self.signals.load(Ordering::Acquire) != 0 {
            if start.elapsed() >= ANNOUNCED_AT_MOST {
                return sys::hold_stack_signal();
            }
            std::thread::yield_now();
        }
        BlockedSignals::NONE
    }

    /// Tells the worker, before a signal is sent, that one will come. `None` once it has moved on from `progress`, or
    /// where it is parked: then none may be sent.
    pub(crate) fn announce_signal(&'static self, progress: Progress) -> Option<Announced> {
        self.signals.fetch_add(1, Ordering::Relaxed);
        let announced = Announced(self);
        fence(Ordering::SeqCst);
        (self.progress() == progress && progress.activity != Activity::Parked).then_some(announced)
    }

    /// The caller must look afterwards whether the watchdog sleeps; the fence makes sure that either it sees this
    /// worker awake or this worker sees it asleep.
    #[inline]
    pub(super) fn unpark(&self) {
        self.set_parked(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let held = self.held.load(Ordering::Relaxed);
        if held != 0 {
            self.held.store(0, Ordering::Relaxed);
            BlockedSignals::from_bits(held).release();
        }
    }

    /// Makes the slot a fresh worker's, awake and between polls.
    pub(super) fn attach(&self, runtime: u32) {
        if self.polls() {
            self.step();
        }
        self.words.name.store(NameId::NONE.0, Ordering::Relaxed);
        self.set_parked(false, Ordering::Relaxed);
        self.runtime.store(runtime, Ordering::Release);
    }

    /// From now on the thread that holds the slot has to register anew before it can begin a poll.
    pub(super) fn detach(&self) {
        if self.noted() {
            self.stop_following();
        }
        self.runtime.store(NO_RUNTIME, Ordering::Release);
    }

    /// How far the worker has come.
    pub(crate) fn progress(&self) -> Progress {
        let sequence = self.words.sequence.load(Ordering::Acquire);
        let parks = self.parks.load(Ordering::Acquire);
        let activity = if sequence & 1 == 1 {
            Activity::Polling
        } else if is_odd(parks) {
            Activity::Parked
        } else {
            Activity::Between
        };
        Progress { sequence, parks, activity }
    }

    /// What it polls, for a signal handler on its thread.
    pub(crate) fn words(&'static self) -> &'static PollWords {
        &self.words
    }

    /// The task of the poll that `sequence` stands for, if that poll still lasts.
    pub(crate) fn task(&self, sequence: u64) -> Option<Task> {
        self.words.read(sequence).map(task_of)
    }
}

fn is_odd(parks: u32) -> bool {
    parks & 1 == 1
}

/// A task from the words that a worker told.
pub(crate) fn task_of(now: PollNow) -> Task {
    let id = (now.task != 0).then_some(TaskId(now.task));
    Task { id, name: names::get(NameId(now.name)), spawned_at: now.spawned_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_tells_polls_apart() {
        let slot = Slot::new();
        slot.attach(1);
        let between = slot.progress();
        assert_eq!(between.activity, Activity::Between);
        slot.begin(7, Location::caller());
        let polling = slot.progress();
        assert_eq!(polling.activity, Activity::Polling);
        assert_eq!(slot.task(polling.sequence).and_then(|task| task.id), Some(TaskId(7)));
        slot.end();
        assert_eq!(slot.task(polling.sequence), None, "that poll is over");
        slot.park();
        assert_eq!(slot.progress().activity, Activity::Parked);
        assert_ne!(slot.progress().sequence, between.sequence);
    }

    #[test]
    fn a_used_slot_starts_between_polls() {
        let slot = Slot::new();
        slot.attach(1);
        slot.begin(7, Location::caller());
        slot.detach();
        slot.attach(2);
        assert_eq!(slot.progress().activity, Activity::Between);
        slot.end();
        assert_eq!(slot.progress().activity, Activity::Between, "the poll was over before");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
    fn a_signal_that_does_not_come_is_held_back_while_the_worker_is_parked() {
        let held_back = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("the kernel tells");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("it is there").trim();
            u64::from_str_radix(mask, 16).expect("it is a number")
        };
        let signal = sys::StackSignal::install(None).expect("one is free");
        let slot: &'static Slot = Box::leak(Box::new(Slot::new()));
        slot.attach(1);
        slot.begin(7, Location::caller());
        let announced = slot.announce_signal(slot.progress()).expect("the poll lasts");
        slot.end();
        let before = held_back();
        slot.park();
        assert_eq!(held_back(), before | 1 << (signal.number() - 1));
        slot.unpark();
        assert_eq!(held_back(), before);
        drop(announced);
        slot.park();
        assert_eq!(held_back(), before, "no signal is on its way");
    }

    #[test]
    fn a_worker_never_waits_for_events_while_a_signal_is_announced() {
        let slot: &'static Slot = Box::leak(Box::new(Slot::new()));
        slot.attach(1);
        let waits = AtomicBool::new(false);
        let stop = AtomicBool::new(false);
        let (mut announced, mut violations) = (0_u32, 0_u32);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    slot.begin(7, Location::caller());
                    slot.end();
                    slot.park();
                    waits.store(true, Ordering::SeqCst);
                    std::hint::spin_loop();
                    waits.store(false, Ordering::SeqCst);
                    slot.unpark();
                }
            });
            let start = Instant::now();
            while announced < 10_000 && start.elapsed() < Duration::from_secs(20) {
                // Inside a poll and between two.
                let progress = slot.progress();
                if let Some(_signal) = slot.announce_signal(progress) {
                    announced += 1;
                    for _ in 0..50 {
                        violations += u32::from(waits.load(Ordering::SeqCst));
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(announced > 0, "it was never seen awake");
        assert_eq!(violations, 0, "of {announced} announcements");
    }
}
