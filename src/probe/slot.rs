//! The slot of a worker: its progress and its current task, in one pair of cache lines.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::names::{self, NameId};
use super::poll_stats::{PollStats, Polled, WindowStats};
use super::post_stall_recorder::PostStallRecorder;
use crate::model::post_stall::Followed;
use crate::model::task::{Task, TaskId};
use crate::model::worker::{Activity, Progress};
use crate::sys::{self, BlockedSignals, PollNow, PollWords};

/// The runtime number of a slot without a runtime.
pub(crate) const NO_RUNTIME: u32 = 0;

/// The state that a worker publishes about itself.
///
/// Slots are never freed, and other threads reuse them. The sequence number is never reset, so it never repeats.
///
/// A slot has 128 bytes, because processors prefetch cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot {
    words: PollWords,
    /// The number of the worker's runtime, or `NO_RUNTIME` after the slot was detached.
    runtime: AtomicU32,
    /// Incremented when the worker parks and when it unparks. Odd while it is parked.
    parks: AtomicU32,
    /// The number of observers that are about to send this worker a signal, or wait for its answer.
    signals: AtomicU32,
    /// The signals that the thread blocks while it is parked. Only this thread uses it.
    held: AtomicU64,
    /// Whether polls are recorded, for an open window or after a stall.
    is_recording: AtomicBool,
    /// Boxed, so that the fields used by every poll fit into the slot.
    recording: Box<Mutex<Recording>>,
}

/// Polls recorded on demand.
#[derive(Debug, Default)]
struct Recording {
    stats: PollStats,
    post_stall: Option<PostStallRecorder>,
}

impl Recording {
    fn is_needed(&self) -> bool {
        self.stats.has_windows() || self.post_stall.as_ref().is_some_and(|recorder| !recorder.is_done())
    }
}

const _: () = assert!(size_of::<Slot>() == 128, "a slot is one pair of cache lines");

/// The worker does not park while this exists, so that the signal cannot interrupt its wait for events.
#[derive(Debug)]
pub(crate) struct Announced(&'static Slot);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.signals.fetch_sub(1, Ordering::Release);
    }
}

/// How long a worker delays parking for an announced signal. The signal usually arrives within microseconds. If it does not,
/// the worker blocks that signal while it is parked.
const MAX_SIGNAL_WAIT: Duration = Duration::from_millis(2);

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            words: PollWords::new(),
            runtime: AtomicU32::new(NO_RUNTIME),
            parks: AtomicU32::new(0),
            signals: AtomicU32::new(0),
            held: AtomicU64::new(0),
            is_recording: AtomicBool::new(false),
            recording: Box::default(),
        }
    }

    #[inline]
    pub(crate) fn runtime(&self) -> u32 {
        self.runtime.load(Ordering::Relaxed)
    }

    /// Whether the worker is in a poll.
    #[inline]
    pub(super) fn polls(&self) -> bool {
        self.words.sequence.load(Ordering::Relaxed) & 1 == 1
    }

    /// Begins a poll. Called by the slot's thread, and never inside another poll.
    #[inline]
    pub(super) fn begin(&self, task: u64, spawned_at: &'static Location<'static>) {
        self.words.task.store(task, Ordering::Relaxed);
        self.words.spawned_at.set(Some(spawned_at));
        if self.is_recording() {
            self.record_begin(task, spawned_at);
        }
        self.increment_sequence();
    }

    /// Ends the poll. Does nothing if the slot was attached to another runtime during the poll (`block_in_place`, then
    /// `block_on`), because that has already ended it.
    #[inline]
    pub(super) fn end(&self) {
        if self.polls() {
            if self.is_recording() {
                self.record_end();
            }
            self.increment_sequence();
        }
    }

    /// A load and a store suffice, because only one thread writes. The release ordering publishes the earlier stores;
    /// on x86_64 it is a plain store.
    #[inline]
    fn increment_sequence(&self) {
        self.words.sequence.store(self.words.sequence.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Names the next poll and those after it. The task hooks name nothing. On their runtimes only wrapped futures inside a
    /// poll do, and they restore the previous name. So each poll begins unnamed.
    #[inline]
    pub(super) fn name(&self, name: NameId) {
        self.words.name.store(name.0, Ordering::Relaxed);
    }

    /// Names the present poll; returns the name to restore.
    #[inline]
    pub(super) fn rename(&self, name: NameId) -> NameId {
        let before = NameId(self.words.name.load(Ordering::Relaxed));
        self.name(name);
        if self.is_recording() {
            let sequence = self.words.sequence.load(Ordering::Relaxed);
            self.record(|recording| {
                recording.stats.name_poll(sequence, name);
                if let Some(recorder) = &mut recording.post_stall {
                    recorder.name_poll(sequence, name);
                }
            });
        }
        before
    }

    /// Whether polls are recorded. A worker may see the change one poll late; a poll at the edge of a window counts anyway.
    #[inline]
    pub(super) fn is_recording(&self) -> bool {
        self.is_recording.load(Ordering::Relaxed)
    }

    /// Changes the recording, and updates the flag under the same lock so that both always agree.
    fn record<T>(&self, change: impl FnOnce(&mut Recording) -> T) -> T {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut recording);
        self.is_recording.store(recording.is_needed(), Ordering::Relaxed);
        outcome
    }

    #[cold]
    fn record_begin(&self, task: u64, spawned_at: &'static Location<'static>) {
        let name = NameId(self.words.name.load(Ordering::Relaxed));
        let sequence = self.words.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.record(|recording| {
            recording.stats.begin_poll(sequence, name);
            if let Some(recorder) = &mut recording.post_stall {
                recorder.begin_poll(sequence, task, spawned_at, name);
            }
        });
    }

    #[cold]
    fn record_end(&self) {
        let Some((sequence, polled)) = self.present_poll() else { return };
        self.record(|recording| {
            recording.stats.end_poll(sequence, polled);
            if let Some(recorder) = &mut recording.post_stall {
                recorder.end_poll(sequence);
            }
        });
    }

    /// Records that the present poll is the last one of its task. Called by the slot's thread.
    #[cold]
    pub(super) fn record_last_poll(&self, task: u64) {
        if let Some((sequence, polled)) = self.present_poll().filter(|(_, polled)| polled.task == task) {
            self.record(|recording| recording.stats.mark_last_poll(sequence, polled));
        }
    }

    /// Records the schedule latency of the poll that has just begun. Called by the slot's thread.
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    #[cold]
    pub(super) fn record_delay(&self, delay: Duration) {
        let sequence = self.words.sequence.load(Ordering::Relaxed);
        self.record(|recording| {
            recording.stats.set_delay(sequence, delay);
            if let Some(recorder) = &mut recording.post_stall {
                recorder.set_delay(sequence, delay);
            }
        });
    }

    /// Records polls for this window from now on.
    pub(super) fn open_window(&self, window: u64) {
        self.record(|recording| recording.stats.open_window(window));
    }

    /// The statistics of this window, which is closed. A running poll counts with its time until now.
    pub(super) fn close_window(&self, window: u64) -> Option<WindowStats> {
        // The present poll is read under the lock: a poll that ends meanwhile waits for it, and is not added twice.
        self.record(|recording| recording.stats.close_window(window, self.present_poll()))
    }

    /// Records the polls after the poll of a stall. Misses the end of the stall if it happens during this call.
    pub(crate) fn start_post_stall_recorder(&self, stall: u64) {
        self.record(|recording| recording.post_stall = Some(PostStallRecorder::new(stall)));
    }

    /// The polls after this stall, once the recorder is done. With `now`, the polls so far.
    pub(crate) fn take_post_stall_polls(&self, stall: u64, now: bool) -> Followed {
        let recorder = self.record(|recording| {
            let ours = recording.post_stall.as_ref().filter(|recorder| recorder.stall() == stall);
            let Some(recorder) = ours else { return Err(Followed::Missed) };
            if !now && !recorder.is_done() {
                return Err(Followed::NotYet);
            }
            recording.post_stall.take().ok_or(Followed::Missed)
        });
        match recorder.map(PostStallRecorder::finish) {
            Ok(Some(polls)) => Followed::Seen(polls),
            Ok(None) => Followed::Missed,
            Err(none) => none,
        }
    }

    #[cold]
    fn stop_post_stall_recorder(&self) {
        self.record(|recording| {
            if let Some(recorder) = &mut recording.post_stall {
                recorder.stop();
            }
        });
    }

    /// Ends the present poll in the statistics: its thread has lost the worker to another one.
    pub(super) fn record_poll_so_far(&self) {
        if let Some((sequence, polled)) = self.present_poll().filter(|_| self.is_recording()) {
            self.record(|recording| recording.stats.end_poll(sequence, polled));
        }
    }

    /// The sequence number and the task of the present poll.
    fn present_poll(&self) -> Option<(u64, Polled)> {
        let sequence = self.words.sequence.load(Ordering::Acquire);
        if sequence & 1 == 0 {
            return None;
        }
        let now = self.words.read(sequence)?;
        Some((sequence, Polled { task: now.task, spawned_at: now.spawned_at?, name: NameId(now.name) }))
    }

    /// Called by the worker's thread before it waits for events. Returns once no announced signal can interrupt the wait.
    ///
    /// While CPU time is sampled, the sampling signal is blocked until the worker unparks. The fence ensures that either
    /// this worker sees the announcement or the announcer sees the worker parked.
    #[inline]
    pub(super) fn park(&self) {
        if self.is_recording() {
            self.stop_post_stall_recorder();
        }
        self.set_parked(true, Ordering::Release);
        fence(Ordering::SeqCst);
        let mut held = sys::block_sample_signal();
        if self.signals.load(Ordering::Acquire) != 0 {
            held = held.and(self.await_signal());
        }
        self.held.store(held.bits(), Ordering::Relaxed);
    }

    /// Called by the slot's thread. The thread may have registered after a park or before an unpark.
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
            if start.elapsed() >= MAX_SIGNAL_WAIT {
                return sys::block_stack_signal();
            }
            std::thread::yield_now();
        }
        BlockedSignals::NONE
    }

    /// Announces a signal to the worker. `None` if the worker is parked, or has moved on from `progress`: then no signal
    /// may be sent.
    pub(crate) fn announce_signal(&'static self, progress: Progress) -> Option<Announced> {
        self.signals.fetch_add(1, Ordering::Relaxed);
        let announced = Announced(self);
        fence(Ordering::SeqCst);
        (self.progress() == progress && progress.activity != Activity::Parked).then_some(announced)
    }

    /// The caller must check afterwards whether the watchdog sleeps. The fence ensures that either the watchdog sees this
    /// worker awake or this worker sees the watchdog asleep.
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

    /// Gives the slot to a new worker, which is awake and between polls.
    pub(super) fn attach(&self, runtime: u32) {
        if self.polls() {
            self.increment_sequence();
        }
        self.words.name.store(NameId::NONE.0, Ordering::Relaxed);
        self.set_parked(false, Ordering::Relaxed);
        self.runtime.store(runtime, Ordering::Release);
    }

    /// Takes the slot from its worker. The thread must register again before it can begin a poll.
    pub(super) fn detach(&self) {
        if self.is_recording() {
            self.stop_post_stall_recorder();
        }
        self.runtime.store(NO_RUNTIME, Ordering::Release);
    }

    /// The worker's progress.
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

    /// The words that describe the present poll, for a signal handler on the slot's thread.
    pub(crate) fn words(&'static self) -> &'static PollWords {
        &self.words
    }

    /// The task of the poll with this sequence number, while that poll runs.
    pub(crate) fn task(&self, sequence: u64) -> Option<Task> {
        self.words.read(sequence).map(task_of)
    }
}

fn is_odd(parks: u32) -> bool {
    parks & 1 == 1
}

/// The task that a worker's words describe.
pub(crate) fn task_of(now: PollNow) -> Task {
    let id = (now.task != 0).then_some(TaskId(now.task));
    Task { id, name: names::get(NameId(now.name)), spawned_at: now.spawned_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_number_identifies_a_poll() {
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
    fn a_reused_slot_starts_between_polls() {
        let slot = Slot::new();
        slot.attach(1);
        slot.begin(7, Location::caller());
        slot.detach();
        slot.attach(2);
        assert_eq!(slot.progress().activity, Activity::Between);
        slot.end();
        assert_eq!(slot.progress().activity, Activity::Between, "the poll has already ended");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
    fn an_announced_signal_that_does_not_arrive_is_blocked_while_the_worker_is_parked() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc is mounted");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("it is there").trim();
            u64::from_str_radix(mask, 16).expect("it is a number")
        };
        let signal = sys::StackSignal::install(None).expect("one is free");
        let slot: &'static Slot = Box::leak(Box::new(Slot::new()));
        slot.attach(1);
        slot.begin(7, Location::caller());
        let announced = slot.announce_signal(slot.progress()).expect("the poll is running");
        slot.end();
        let before = blocked();
        slot.park();
        assert_eq!(blocked(), before | 1 << (signal.number() - 1));
        slot.unpark();
        assert_eq!(blocked(), before);
        drop(announced);
        slot.park();
        assert_eq!(blocked(), before, "no signal is announced");
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
                // In a poll or between two polls.
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
        assert!(announced > 0, "the worker was never seen awake");
        assert_eq!(violations, 0, "of {announced} announcements");
    }
}
