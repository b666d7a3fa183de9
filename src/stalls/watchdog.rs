//! The thread that samples every worker about once a millisecond, and sleeps while all of them are parked.
//!
//! Workers only count their polls; the watchdog has the clock. It sees a poll in the first sample after the poll began. So it
//! dates the start and the end of a poll to the midpoint between two samples.
//!
//! Five points in time have names:
//!
//! | name | meaning |
//! |---|---|
//! | [`SampleContext::midpoint`] | the middle between two samples |
//! | [`SampleContext::event_time`] | the time of an event first seen in a sample: the midpoint, but at most 2 ms ago |
//! | [`PossiblePoll::start`](super::inferred_poll::PossiblePoll::start) | since when no poll of an uninstrumented worker has ended |
//! | `WatchedWorker::poll_start` | the estimated start of the poll, from which its duration is reported |
//! | `WatchedWorker::counting_start` | from when the poll counts towards the threshold; later than its start after a gap |

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use super::backlog::{all_stuck_since, runtime_backlog};
use super::evidence::EvidenceCollector;
use super::inferred_poll::PollInference;
use super::interval::SamplingInterval;
#[cfg(feature = "http")]
use super::lane_recorder::LaneRecorder;
use super::local_polls::LocalPolls;
use super::observation::{Change, EndedStall, Life, Noticed, Observation, Update};
use super::ongoing_stall::OngoingStall;
use super::pending_ends::{PendingEnd, PendingEnds};
use super::queue_history::QueueHistory;
use super::sample::SampleContext;
use super::totals::Totals;
use super::watched_worker::WatchedWorker;
use crate::model::holds::Holds;
use crate::model::stall::{Detection, StallId};
use crate::model::task::Task;
use crate::model::victims::VictimsUnknown;
use crate::model::worker::{Activity, Progress};
use crate::process::{self, WorkerSource};

/// The time after a stop in which stalls may still end.
const LAST_SAMPLES: Duration = Duration::from_millis(10);

/// The watchdog sleeps only after this time without activity, because waking it costs a worker a system call.
const GRACE: Duration = Duration::from_millis(20);

/// The longest sleep. Then the watchdog checks whether it must stop.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A sample is late if it comes after more than this many of the shortest intervals, and after two of the present ones.
/// The operating system did not run the watchdog in that time.
const LATE_INTERVALS: u32 = 5;

/// In thresholds: the time after a change of the workers in which the watchdog samples at the shortest interval.
const FIRST_POLLS: u32 = 2;

/// Watches the workers of one source.
pub(crate) struct Watchdog<T> {
    source: T,
    threshold: Duration,
    shortest_interval: Duration,
    /// The present time between samples.
    interval: Duration,
    totals: Arc<Totals>,
    observations: SyncSender<Observation>,
    stop: Arc<AtomicBool>,
    /// The start of the stall of each stuck worker, by the worker's key.
    stuck: HashMap<u64, Instant>,
    /// When workers last came or went.
    workers_changed: Option<Instant>,
    /// This sample has watched a worker that has parked and unparked since the previous one. Most such workers park again soon,
    /// and a breakpoint has its cost, so there is one of them per sample.
    has_guessed: bool,
    /// Ended stalls whose victims are not known yet.
    pending_ends: PendingEnds,
    #[cfg(feature = "http")]
    lanes: Option<LaneRecorder>,
}

impl<T: WorkerSource> Watchdog<T> {
    /// The shortest interval is one millisecond, or a quarter of a shorter threshold. See [`SamplingInterval`].
    pub(crate) fn new(
        source: T,
        threshold: Duration,
        totals: Arc<Totals>,
        observations: SyncSender<Observation>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let shortest_interval = (threshold / 4).min(Duration::from_millis(1));
        Self {
            source,
            threshold,
            shortest_interval,
            interval: shortest_interval,
            totals,
            observations,
            stop,
            stuck: HashMap::new(),
            workers_changed: None,
            has_guessed: false,
            pending_ends: PendingEnds::default(),
            #[cfg(feature = "http")]
            lanes: None,
        }
    }

    /// Records what each worker does, in [`Totals::lanes`].
    #[cfg(feature = "http")]
    pub(crate) fn with_lanes(mut self) -> Self {
        self.lanes = Some(LaneRecorder::new(Arc::clone(&self.totals.lanes)));
        self
    }

    /// Samples the workers until it is stopped.
    pub(crate) fn run(mut self) {
        process::run_soon_after_waking();
        let mut watched: HashMap<u64, WatchedWorker> = HashMap::new();
        let mut previous = Instant::now();
        let mut last_active = previous;
        let mut intervals = SamplingInterval::new(self.shortest_interval, self.threshold, previous);
        let mut stopped_at = None;
        loop {
            self.totals.sampling_now.begin();
            stopped_at = stopped_at.or_else(|| self.stop.load(Ordering::Relaxed).then(Instant::now));
            if self.source.refresh() {
                self.remove_departed_workers(&mut watched);
                self.workers_changed = Some(Instant::now());
            }
            let now = Instant::now();
            if self.sample_workers(&mut watched, previous, now) {
                last_active = now;
            }
            previous = now;
            for ended in self.pending_ends.take_completed(&mut self.source, now) {
                self.send(Observation::Ended(Box::new(ended)));
            }
            if stopped_at.is_some_and(|at: Instant| self.is_over(&watched, at)) {
                break;
            }
            self.totals.sampling_now.end();
            let idle = now.duration_since(last_active) > GRACE && self.pending_ends.is_empty();
            if idle && self.source.sleep_until_active(LONGEST_SLEEP) {
                previous = Instant::now();
                last_active = previous;
            } else {
                intervals.sampled(now, process::cpu_of_this_thread);
                self.interval = if idle { intervals.idle_interval() } else { intervals.interval() };
                std::thread::sleep(self.pause(&watched, now));
            }
        }
        for ended in self.pending_ends.take_all(&mut self.source) {
            self.send(Observation::Ended(Box::new(ended)));
        }
        watched.values().filter_map(|state| state.stall.as_ref()).for_each(|stall| stall.life.leave(previous));
    }

    /// Whether the last sample after a stop was taken. A poll that returns now is given a moment, so that its stall ends.
    fn is_over(&self, watched: &HashMap<u64, WatchedWorker>, stopped_at: Instant) -> bool {
        watched.values().all(|state| state.stall.is_none()) || stopped_at.elapsed() >= LAST_SAMPLES
    }

    /// The time until the next sample. It is shorter where a poll will cross the threshold, or a stall is young.
    fn pause(&self, watched: &HashMap<u64, WatchedWorker>, now: Instant) -> Duration {
        let wanted =
            watched.values().filter_map(|state| state.next_sample(now, self.threshold, self.shortest_interval));
        // The first poll of a new worker begins without a park before it, so only samples date it.
        let are_new = self.workers_changed.is_some_and(|at| now.duration_since(at) < self.threshold * FIRST_POLLS);
        let interval = if are_new { self.shortest_interval } else { self.interval };
        wanted.min().map_or(interval, |wanted| wanted.min(interval))
    }

    /// A worker that no longer exists has ended its poll.
    fn remove_departed_workers(&mut self, watched: &mut HashMap<u64, WatchedWorker>) {
        let now = Instant::now();
        watched.retain(|key, state| {
            let is_present = self.source.workers().iter().any(|worker| worker.key == *key);
            if !is_present {
                self.stuck.remove(key);
                self.end_stall(*key, state, now);
            }
            is_present
        });
    }

    /// Samples every worker, and returns whether any is active.
    fn sample_workers(&mut self, watched: &mut HashMap<u64, WatchedWorker>, previous: Instant, now: Instant) -> bool {
        let mut any_active = false;
        self.has_guessed = false;
        for index in 0..self.source.workers().len() {
            self.totals.sampling_now.look_at(self.source.workers()[index].thread.tid);
            let progress = self.source.progress(index);
            let sample = SampleContext { worker: index, progress, previous, now };
            let worker = &self.source.workers()[index];
            let key = worker.key;
            any_active |= match progress.activity {
                Activity::Polling => true,
                // The thread inside `block_on` of a multi-thread runtime does not report its parks.
                Activity::Between => worker.polls_tasks(),
                Activity::Parked => false,
            };
            if let Some(state) = watched.get_mut(&key).filter(|state| state.progress == progress) {
                self.sample_unchanged(state, sample);
                continue;
            }
            let before = watched.remove(&key);
            let state = self.start_watching(before.as_ref(), sample);
            watched.insert(key, state);
            if let Some(mut before) = before {
                self.worker_moved_on(&mut before, sample);
            }
        }
        #[cfg(feature = "http")]
        if let Some(lanes) = &mut self.lanes {
            lanes.record(&self.source, watched, previous, now);
        }
        any_active
    }

    /// The first sample of a worker with this progress.
    fn start_watching(&mut self, before: Option<&WatchedWorker>, sample: SampleContext) -> WatchedWorker {
        let mut state = WatchedWorker::new(sample);
        state.next_breakpoint = before.and_then(WatchedWorker::next_breakpoint);
        let activity = sample.progress.activity;
        if activity == Activity::Polling {
            self.source.note_progress(sample.worker, sample.progress, state.poll_start);
        }
        if activity == Activity::Between && self.source.workers()[sample.worker].uninstrumented {
            let was_parked = before.is_some_and(|before| before.progress.activity == Activity::Parked);
            (state.poll_start, state.counting_start) = (sample.event_time(), sample.event_time());
            state.inference = Some(if was_parked || !std::mem::replace(&mut self.has_guessed, true) {
                PollInference::start_with_poll(&mut self.source, sample, state.next_breakpoint, self.threshold)
            } else {
                PollInference::start(&mut self.source, sample, self.threshold)
            });
        }
        state
    }

    /// A worker whose progress has not changed since the previous sample.
    fn sample_unchanged(&mut self, state: &mut WatchedWorker, sample: SampleContext) {
        match sample.progress.activity {
            Activity::Polling if self.has_moved_on_in_local_set(state, sample) => {}
            Activity::Polling => self.sample_poll(state, sample, Some(Detection::Instrumented)),
            Activity::Between if self.source.workers()[sample.worker].uninstrumented => {
                self.sample_uninstrumented(state, sample);
            }
            Activity::Between | Activity::Parked => {}
        }
    }

    /// Whether a poll by a `LocalSet` has returned within the present poll, so that another one is to be sampled. Only the future
    /// given to `block_on` can hold such a set, because tasks of a runtime are `Send`.
    fn has_moved_on_in_local_set(&mut self, state: &mut WatchedWorker, sample: SampleContext) -> bool {
        let Some(local_polls) = &mut state.local_polls else {
            let is_task = |task: Task| task.id.is_some();
            let holds_worker = self.source.workers()[sample.worker].holds == Holds::Worker;
            if !holds_worker && !self.source.task(sample.worker, state.progress).is_none_or(is_task) {
                state.local_polls = Some(LocalPolls::watch(&mut self.source, sample));
            }
            return false;
        };
        let has_returned = local_polls.returned(&mut self.source, sample);
        if has_returned {
            self.worker_moved_on(state, sample);
            let local_polls = LocalPolls::watch(&mut self.source, sample);
            *state = WatchedWorker::in_next_local_poll(sample, local_polls);
        }
        has_returned
    }

    /// The state of the previous sample has ended, and with it its stall.
    fn worker_moved_on(&mut self, state: &mut WatchedWorker, sample: SampleContext) {
        if state.stall.is_none() {
            return;
        }
        let end = if state.inference.is_some() { sample.inferred_end() } else { sample.midpoint() };
        // The newest evidence has seen the poll, perhaps long after its sample began.
        let end = state.evidence.as_ref().map_or(end, |evidence| end.max(evidence.until()));
        let key = self.source.workers()[sample.worker].key;
        self.stuck.remove(&key);
        if let Some(evidence) = &mut state.evidence {
            let thread = self.source.sample_thread(sample.worker);
            evidence.add_throttling(self.source.throttling());
            evidence.finish(end, sample.taken(), thread);
        }
        self.end_stall(key, state, end);
    }

    /// An uninstrumented worker that has not parked since the previous sample, and may be in a long poll.
    fn sample_uninstrumented(&mut self, state: &mut WatchedWorker, sample: SampleContext) {
        let inference = state.inference.get_or_insert_with(|| PollInference::new(self.threshold, sample.now));
        if state.stall.is_some() {
            if inference.is_still_in_poll(&mut self.source, sample.worker) {
                self.sample_poll(state, sample, Some(Detection::Instrumented));
            } else {
                let next = state.next_breakpoint();
                self.worker_moved_on(state, sample);
                let inference = PollInference::start_with_poll(&mut self.source, sample, next, self.threshold);
                *state = WatchedWorker::inferred(sample, inference);
            }
            return;
        }
        let Some(poll) = inference.update(&mut self.source, sample) else {
            state.evidence = None;
            return;
        };
        if poll.start != state.poll_start {
            (state.poll_start, state.counting_start) = (poll.start, poll.start);
            // Evidence from before the poll says nothing about it.
            state.evidence.take_if(|evidence| evidence.start() < poll.start);
            // Most polls without a proof end soon, and evidence has its cost.
            if poll.detection.is_none() {
                return;
            }
        }
        self.sample_poll(state, sample, poll.detection);
    }

    /// A poll that the previous sample has seen too. It becomes a stall only if `detection` proves that it is one poll.
    fn sample_poll(&mut self, state: &mut WatchedWorker, sample: SampleContext, detection: Option<Detection>) {
        if !self.collect_evidence(state, sample) {
            return;
        }
        if detection == Some(Detection::Instrumented) && state.inference.is_none() {
            self.sample_queues(state, sample);
        }
        let lasted = sample.now.duration_since(state.counting_start);
        match (&state.stall, detection) {
            (None, Some(detection)) if lasted >= self.threshold => self.notice_stall(state, sample, detection),
            (Some(stall), _) => {
                if stall.is_capture_due(state.evidence.as_ref(), lasted) {
                    self.update_stall(state, sample, lasted);
                }
            }
            (None, _) => {}
        }
    }

    /// Adds this sample to the evidence on the poll. Returns false where the poll counts only from now on.
    fn collect_evidence(&mut self, state: &mut WatchedWorker, sample: SampleContext) -> bool {
        let (now, interval) = (sample.now, sample.interval());
        let is_late = interval > (self.shortest_interval * LATE_INTERVALS).max(self.interval * 2);
        let Some(evidence) = &mut state.evidence else {
            let thread = self.source.sample_thread(sample.worker);
            let throttling = self.source.throttling();
            state.evidence = Some(EvidenceCollector::begin(sample.taken(), thread, throttling));
            if is_late {
                // There is no evidence on the poll before the gap, so nothing says whether the thread ran in it. From now on
                // there is, even if the next samples are late too.
                state.counting_start = now;
                state.inference = None;
            }
            return !is_late;
        };
        evidence.add_watchdog_delay(interval.saturating_sub(self.interval * 2));
        if is_late || evidence.is_due(now) {
            let thread = self.source.sample_thread(sample.worker);
            // A sample from after the poll would mislead. The next sample sees the end.
            if self.source.progress(sample.worker) == state.progress {
                evidence.add(sample.taken(), thread);
            }
        }
        true
    }

    /// Adds the present queue lengths to the history of the poll.
    fn sample_queues(&mut self, state: &mut WatchedWorker, sample: SampleContext) {
        let stuck_since = all_stuck_since(&self.source, sample.worker, state.poll_start, &self.stuck);
        let lengths = self.source.queue_lengths(sample.worker);
        // After the poll the worker empties its queues.
        if self.source.progress(sample.worker) == state.progress {
            state.queues.add_sample(sample.now, lengths, stuck_since);
        }
    }

    fn notice_stall(&mut self, state: &mut WatchedWorker, sample: SampleContext, detection: Detection) {
        // Read before anything slower: the poll may end at any moment.
        let at = SystemTime::now();
        let task = self.source.task(sample.worker, state.progress).unwrap_or_default();
        let Some(first) = self.capture(state, sample) else { return };
        let Some(detection) = state.confirmed(&mut self.source, sample, &first, detection, self.threshold) else {
            // The next sample may confirm the poll of an instrumented worker.
            state.evidence.take_if(|_| detection.is_inferred());
            return;
        };
        let id = StallId(self.totals.noticed.fetch_add(1, Ordering::Relaxed) + 1);
        let life = Arc::new(Life::begun(state.poll_start));
        let worker = Arc::clone(&self.source.workers()[sample.worker]);
        let victims = match worker.holds {
            Holds::BlockOn => Err(VictimsUnknown::NoWorker),
            _ => self.record_post_stall(sample.worker, state.progress),
        };
        let lasted = sample.now.duration_since(state.counting_start);
        state.stall = Some(OngoingStall::new(id, Arc::clone(&life), victims, self.threshold, lasted));
        self.stuck.insert(worker.key, state.poll_start);
        let after = sample.now.duration_since(state.poll_start);
        let noticed = Noticed { id, worker, task, at, after, detection, life, first };
        self.send(Observation::Noticed(Box::new(noticed)));
    }

    fn update_stall(&mut self, state: &mut WatchedWorker, sample: SampleContext, lasted: Duration) {
        let update = self.capture(state, sample);
        if let Some(inference) = &mut state.inference {
            let _asleep = inference.is_still_asleep(&mut self.source, sample.worker);
        }
        let Some(stall) = &mut state.stall else { return };
        stall.capture(lasted);
        let id = stall.id;
        if let Some(update) = update {
            self.send(Observation::Updated(id, Box::new(update)));
        }
    }

    /// Captures the stack, and everything else that a report shows of the poll.
    fn capture(&mut self, state: &mut WatchedWorker, sample: SampleContext) -> Option<Update> {
        // Read before anything slower: at the end of the poll, a task may come. A worker polls nothing but tasks.
        let is_worker = self.source.workers()[sample.worker].holds == Holds::Worker;
        let had_tasks = is_worker || self.source.has_had_tasks(sample.worker);
        let stack = self.source.capture_stack(sample.worker, state.progress);
        let evidence = state.evidence.as_mut()?;
        let change = evidence.change().map(|(since, before)| Change {
            after: since.saturating_duration_since(state.poll_start),
            evidence: before.clone(),
        });
        evidence.stack_captured();
        let thread = self.source.sample_thread(sample.worker);
        if self.source.progress(sample.worker) == state.progress {
            evidence.add_throttling(self.source.throttling());
            evidence.add(sample.taken(), thread);
        }
        // The capture takes time, which the evidence covers.
        let after = evidence.until().max(sample.now).duration_since(state.poll_start);
        let evidence = evidence.evidence();
        let waiting = runtime_backlog(&mut self.source, sample.worker, &self.stuck);
        Some(Update { after, stack, evidence, change, waiting, had_tasks })
    }

    /// Makes the worker record its polls from the end of the stall on.
    fn record_post_stall(&mut self, index: usize, progress: Progress) -> Result<(), VictimsUnknown> {
        let worker = self.source.workers()[index].key;
        // A worker records for one stall at a time: the previous one ends with the polls recorded so far.
        if let Some(before) = self.pending_ends.take_of_worker(&mut self.source, worker) {
            self.send(Observation::Ended(Box::new(before)));
        }
        self.source.record_post_stall(index, progress)
    }

    fn end_stall(&mut self, worker: u64, state: &mut WatchedWorker, at: Instant) {
        let Some(stall) = state.stall.take() else { return };
        stall.life.end(at);
        let Some(evidence) = &state.evidence else { return };
        let (id, evidence) = (stall.id, evidence.evidence());
        if let Err(reason) = stall.victims {
            let ended = EndedStall { id, evidence, victims: Err(reason) };
            self.send(Observation::Ended(Box::new(ended)));
            return;
        }
        let queues = std::mem::replace(&mut state.queues, QueueHistory::new(at));
        let pending = PendingEnd { id, worker, progress: state.progress, at, evidence, queues };
        if let Some(before) = self.pending_ends.add(&mut self.source, pending) {
            self.send(Observation::Ended(Box::new(before)));
        }
    }

    /// Never waits: an observation is lost if the queue is full. A lost first one is counted, because that stall stays
    /// unexplained. A lost end is still known from its [`Life`].
    fn send(&self, observation: Observation) {
        let is_first = matches!(observation, Observation::Noticed(_));
        if self.observations.try_send(observation).is_err() && is_first {
            self.totals.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use std::cell::Cell;

    use super::super::inferred_poll::PossiblePoll;
    use super::*;
    use crate::model::evidence::{SyscallKind, WaitSite};
    use crate::model::post_stall::{PolledAfter, PostStallPolls, Queued};
    use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
    use crate::model::worker::{Thread, Worker};
    use crate::process::{BreakpointError, PollInStack, Sleep, ThreadSample, WorkerSample};

    const MS: Duration = Duration::from_millis(1);

    /// One worker that sleeps in one poll, until its queue lengths are read for the last time.
    struct Asleep {
        workers: Vec<Arc<Worker>>,
        /// The lengths of the shared queue in the last samples.
        queued: Cell<&'static [usize]>,
        stack_shows: PollInStack,
        /// The return address of its poll is known.
        has_address: bool,
        sleep: Option<Sleep>,
        /// Its polls are of a future given to `block_on`, and its stack shows this poll by a `LocalSet`.
        in_local_set: Option<PollInStack>,
        returned: Cell<bool>,
    }

    impl WorkerSource for Asleep {
        fn refresh(&mut self) -> bool {
            false
        }

        fn workers(&self) -> &[Arc<Worker>] {
            &self.workers
        }

        fn progress(&self, _worker: usize) -> Progress {
            let activity = if self.queued.get() == [0] { Activity::Between } else { Activity::Polling };
            Progress { sequence: 1, parks: 0, activity }
        }

        fn task(&self, _worker: usize, _progress: Progress) -> Option<Task> {
            self.in_local_set.map(|_| Task::default())
        }

        fn sample_thread(&mut self, _worker: usize) -> ThreadSample {
            let sleep = WaitSite::Syscall {
                name: "clock_nanosleep".into(),
                kind: SyscallKind::Sleep,
                file: None,
                stream: None,
            };
            ThreadSample {
                cpu: Some(Duration::ZERO),
                sleeps_in: Some(sleep),
                state: Some('S'),
                ..ThreadSample::default()
            }
        }

        fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
            match self.in_local_set {
                Some(_) => self.try_capture_stack(worker, progress),
                None => Err(StackUnavailable::Unavailable),
            }
        }

        fn queue_lengths(&self, _worker: usize) -> (Option<usize>, Option<usize>) {
            let queued = self.queued.get();
            if let Some((_, rest @ [_, ..])) = queued.split_first() {
                self.queued.set(rest);
            }
            (Some(0), self.queued.get().first().copied())
        }

        fn sample_worker(&mut self, worker: usize) -> WorkerSample {
            WorkerSample { progress: self.progress(worker), task: None, asleep: true, stack: None }
        }

        fn note_progress(&mut self, _worker: usize, _progress: Progress, _since: Instant) {}

        fn try_capture_stack(&mut self, _worker: usize, _progress: Progress) -> Result<RawStack, StackUnavailable> {
            Ok(RawStack { addresses: Vec::new(), method: CaptureMethod::Passive, complete: true })
        }

        fn poll_in_stack(&mut self, _worker: usize, _stack: &RawStack) -> PollInStack {
            self.has_address |= self.stack_shows == PollInStack::Unwatched;
            self.stack_shows
        }

        fn watch_poll_returns(&mut self, _worker: usize) -> Result<(), BreakpointError> {
            if self.has_address { Ok(()) } else { Err(BreakpointError::NoReturnAddress) }
        }

        fn poll_returned(&self, _worker: usize) -> Option<bool> {
            Some(self.returned.get())
        }

        fn watch_local_polls(&mut self, _worker: usize) -> Result<(), BreakpointError> {
            self.returned.set(false);
            if self.in_local_set == Some(PollInStack::Unwatched) { Err(BreakpointError::Refused) } else { Ok(()) }
        }

        fn local_poll_in_stack(&mut self, _worker: usize, _stack: &RawStack) -> PollInStack {
            self.in_local_set.unwrap_or(PollInStack::None)
        }

        fn current_sleep(&mut self, _worker: usize) -> Option<Sleep> {
            self.sleep
        }

        fn sleeps_outside_parks(&self, _worker: usize) -> bool {
            self.sleep.is_some()
        }
    }

    /// A sample of an uninstrumented worker that is awake.
    fn sample(previous: Instant, now: Instant) -> SampleContext {
        let progress = Progress { sequence: 1, parks: 0, activity: Activity::Between };
        SampleContext { worker: 0, progress, previous, now }
    }

    /// The inference on a worker that was parked in one sample, and awake in the next one 4 ms later.
    fn woken(source: &mut Asleep, parked: Instant) -> PollInference {
        PollInference::start_with_poll(source, sample(parked, parked + MS * 4), None, MS * 10)
    }

    /// A sample 4 ms after the previous one.
    fn update(inference: &mut PollInference, source: &mut Asleep, at: Instant) -> Option<PossiblePoll> {
        inference.update(source, sample(at - MS * 4, at))
    }

    fn watchdog(threshold: Duration) -> (Watchdog<Asleep>, Receiver<Observation>) {
        let (observations, receiver) = sync_channel(16);
        let thread = Thread { tid: 7, name: Arc::from("worker"), stack: None };
        let worker = Worker {
            key: 1,
            runtime: Arc::from("test"),
            index: Some(0),
            thread,
            holds: Holds::Worker,
            uninstrumented: false,
        };
        let source = Asleep {
            workers: vec![Arc::new(worker)],
            queued: Cell::new(&[]),
            stack_shows: PollInStack::Watched,
            has_address: true,
            sleep: None,
            in_local_set: None,
            returned: Cell::new(false),
        };
        (Watchdog::new(source, threshold, Arc::default(), observations, Arc::default()), receiver)
    }

    /// How a stall in a future given to `block_on` is noticed, and when. At `returns`, a poll by a `LocalSet` in it ends.
    fn noticed_in_root(shows: PollInStack, returns: Duration) -> Option<(Duration, Duration, Detection)> {
        let (mut watchdog, receiver) = watchdog(MS * 10);
        watchdog.source.in_local_set = Some(shows);
        watchdog.source.workers =
            vec![Arc::new(Worker { holds: Holds::BlockOn, ..(*watchdog.source.workers[0]).clone() })];
        let (start, mut watched) = (Instant::now(), HashMap::new());
        (1..60).map(|number| MS * number).find_map(|at| {
            if at == returns {
                watchdog.source.returned.set(true);
            }
            watchdog.sample_workers(&mut watched, start + at - MS, start + at);
            let Ok(Observation::Noticed(noticed)) = receiver.try_recv() else { return None };
            Some((at, noticed.after, noticed.detection))
        })
    }

    #[test]
    fn a_poll_by_a_local_set_counts_from_the_end_of_the_one_before() {
        let half = MS / 2;
        let noticed = noticed_in_root(PollInStack::Watched, MS * 8);
        assert_eq!(noticed, Some((MS * 18, MS * 10 + half, Detection::NoReturn)));
        let noticed = noticed_in_root(PollInStack::Watched, MS * 50);
        assert_eq!(noticed, Some((MS * 11, MS * 10 + half, Detection::NoReturn)), "the first one");
        let noticed = noticed_in_root(PollInStack::None, MS * 50);
        assert_eq!(noticed, Some((MS * 11, MS * 10 + half, Detection::Instrumented)), "there is no set");
        let noticed = noticed_in_root(PollInStack::Unwatched, MS * 50);
        assert_eq!(noticed, Some((MS * 11, MS * 10 + half, Detection::LocalSet)), "nothing tells its polls apart");
    }

    /// When a stall is noticed with this time between samples, and the delay of the watchdog in its evidence.
    fn noticed(every: Duration, threshold: Duration) -> Option<(Duration, Duration)> {
        let (mut watchdog, receiver) = watchdog(threshold);
        let (start, mut watched) = (Instant::now(), HashMap::new());
        (1..100).map(|number| every * number).find_map(|at| {
            watchdog.sample_workers(&mut watched, start + at - every, start + at);
            let Ok(Observation::Noticed(noticed)) = receiver.try_recv() else { return None };
            Some((at, noticed.first.evidence.watchdog_late))
        })
    }

    #[test]
    fn a_stall_is_noticed_even_if_every_sample_is_late() {
        assert_eq!(noticed(MS, MS * 10), Some((MS * 11, Duration::ZERO)));
        // The first sample finds the poll, the second one finds the same poll after a gap, and its time counts from there.
        assert_eq!(noticed(MS * 8, MS * 10), Some((MS * 32, MS * 12)));
        assert_eq!(noticed(MS * 20, MS * 10), Some((MS * 60, MS * 18)));
    }

    #[test]
    fn a_stall_lasts_at_least_as_long_as_its_evidence() {
        let (mut watchdog, receiver) = watchdog(MS * 10);
        let (start, mut watched) = (Instant::now(), HashMap::new());
        watchdog.sample_workers(&mut watched, start, start);
        watchdog.sample_workers(&mut watched, start, start + MS);
        // The operating system interrupts the watchdog in this sample, and the worker is still in the poll afterwards.
        std::thread::sleep(MS * 20);
        watchdog.sample_workers(&mut watched, start + MS * 11, start + MS * 12);
        watchdog.source.queued.set(&[0]);
        watchdog.sample_workers(&mut watched, start + MS * 12, start + MS * 13);
        let Ok(Observation::Noticed(noticed)) = receiver.try_recv() else { panic!("a stall is noticed") };
        let Ok(Observation::Ended(ended)) = receiver.try_recv() else { panic!("it has ended") };
        let (lasted, window) = (noticed.life.duration(), ended.evidence.window);
        assert!(lasted >= window && window >= MS * 19, "{lasted:?}, {window:?}");
    }

    #[test]
    fn new_workers_are_sampled_at_the_shortest_interval() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        watchdog.interval = MS * 4;
        let now = Instant::now();
        assert_eq!(watchdog.pause(&HashMap::new(), now), MS * 4);
        watchdog.workers_changed = Some(now);
        assert_eq!(watchdog.pause(&HashMap::new(), now + MS), MS);
        assert_eq!(watchdog.pause(&HashMap::new(), now + MS * 20), MS * 4);
    }

    #[test]
    fn one_worker_per_sample_is_watched_without_a_park_before() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        watchdog.source.queued.set(&[0]);
        let instrumented = Arc::clone(&watchdog.source.workers[0]);
        let worker = |key| Arc::new(Worker { key, uninstrumented: true, ..(*instrumented).clone() });
        watchdog.source.workers = vec![worker(1), worker(2)];
        let (start, mut watched) = (Instant::now(), HashMap::new());
        watchdog.sample_workers(&mut watched, start, start + MS);
        let is_watched =
            |state: &WatchedWorker| state.inference.as_ref().is_some_and(|one| one.next_sample().is_some());
        assert_eq!(watched.values().filter(|state| is_watched(state)).count(), 1);
    }

    #[test]
    fn an_inferred_poll_counts_from_the_midpoint_between_samples() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        let source = &mut watchdog.source;
        let parked = Instant::now();
        let mut inference = woken(source, parked);
        let mut update = |at| update(&mut inference, source, at);
        let poll = |detection| Some(PossiblePoll { start: parked + MS * 2, detection });
        assert_eq!(update(parked + MS * 8), poll(None), "it is on the stack, but not for long enough");
        assert_eq!(update(parked + MS * 12), poll(Some(Detection::NoReturn)));
        assert_eq!(inference.next_sample(), Some(parked + MS * 12));
        // The previous sample was taken long ago.
        let late = sample(parked, parked + MS * 50);
        assert_eq!(late.event_time(), parked + MS * 48);
    }

    #[test]
    fn the_very_first_poll_counts_from_its_start_too() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        let source = &mut watchdog.source;
        (source.stack_shows, source.has_address) = (PollInStack::Unwatched, false);
        let parked = Instant::now();
        let mut inference = woken(source, parked);
        source.stack_shows = PollInStack::Watched;
        let poll = PossiblePoll { start: parked + MS * 2, detection: Some(Detection::NoReturn) };
        assert_eq!(update(&mut inference, source, parked + MS * 12), Some(poll));
        // As long as no stack shows a return address, a stack is not captured in every sample.
        (source.stack_shows, source.has_address) = (PollInStack::None, false);
        let parked = parked + MS * 8;
        assert_eq!(woken(source, parked).next_breakpoint(), parked + MS * 9);
    }

    #[test]
    fn a_truncated_stack_neither_proves_nor_disproves_a_poll() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        let source = &mut watchdog.source;
        let parked = Instant::now();
        let mut inference = woken(source, parked);
        let update =
            |inference: &mut PollInference, source: &mut Asleep, ms| update(inference, source, parked + MS * ms);
        let poll = |detection| Some(PossiblePoll { start: parked + MS * 2, detection });
        let stack = RawStack { addresses: Vec::new(), method: CaptureMethod::Passive, complete: false };
        source.stack_shows = PollInStack::Unknown;
        assert_eq!(update(&mut inference, source, 12), poll(None));
        assert!(!inference.confirm(source, 0, &stack, Detection::NoReturn), "no stack has shown a poll");
        source.stack_shows = PollInStack::Watched;
        assert_eq!(update(&mut inference, source, 60), poll(Some(Detection::NoReturn)), "it never returned");
        source.stack_shows = PollInStack::Unknown;
        assert!(
            inference.confirm(source, 0, &stack, Detection::NoReturn),
            "a stack has shown a poll, and it has not returned since"
        );
        source.stack_shows = PollInStack::None;
        assert!(!inference.confirm(source, 0, &stack, Detection::NoReturn));
        assert_eq!(update(&mut inference, source, 64).map(|poll| poll.detection), Some(None), "it counts again");
    }

    #[test]
    fn a_watched_sleep_outside_of_parks_is_a_poll_whatever_its_stack_shows() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        let source = &mut watchdog.source;
        source.stack_shows = PollInStack::Unknown;
        let parked = Instant::now();
        let mut inference = woken(source, parked);
        // It runs first, so the sleep alone is not long enough.
        source.sleep = Some(Sleep::for_test(1, 7));
        let poll = PossiblePoll { start: parked + MS * 2, detection: Some(Detection::NoReturn) };
        assert_eq!(update(&mut inference, source, parked + MS * 12), Some(poll));
        let stack = RawStack { addresses: Vec::new(), method: CaptureMethod::Passive, complete: false };
        assert!(inference.confirm(source, 0, &stack, Detection::NoReturn));
        assert!(inference.is_still_in_poll(source, 0), "it still sleeps");
        source.sleep = Some(Sleep::for_test(1, 8));
        assert!(!inference.is_still_in_poll(source, 0), "it has run");
    }

    #[test]
    fn queue_lengths_read_after_the_poll_do_not_count() {
        let (mut watchdog, _receiver) = watchdog(MS * 10);
        // The poll has ended when the last lengths are read.
        watchdog.source.queued.set(&[4, 4, 0]);
        let (start, mut watched) = (Instant::now(), HashMap::new());
        for sample in 1..=3 {
            watchdog.sample_workers(&mut watched, start + MS * (sample - 1), start + MS * sample);
        }
        let end = start + MS * 8;
        let task = Task::default();
        let polls = vec![PolledAfter { task, at: end, queued: Queued::Shared(0), delay: None }];
        let (own_left, shared_left) = ((0, 0), (4, 0));
        let after = PostStallPolls { ended: end, own: 0, shared: 4, polls, dropped: 0, own_left, shared_left };
        let state = watched.remove(&1).expect("the worker was seen");
        assert_eq!(state.queues.victims(&after).count(), 1);
    }
}
