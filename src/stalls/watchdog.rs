//! The thread that looks at every worker about once a millisecond, or as often as it may cost, and sleeps while all of them
//! are parked.
//!
//! Workers only count; the watchdog has the clock. It sees a poll at the first look after the poll began, so its
//! times are late by up to one look at either end, and it takes the middle.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use super::backlog::{all_stuck_since, behind};
use super::evidence::Gathering;
use super::inferred_poll::{LookedAt, Stretch, UNSURE};
use super::interval::Pace;
use super::observation::{Life, Noticed, Observation, Update};
use super::pending_ends::{Ended, Ending, Endings};
use super::queue_history::Queues;
use crate::model::stall::{Detection, StallId};
use crate::model::victims::VictimsUnknown;
use crate::model::worker::{Activity, Progress};
use crate::process::{self, WorkerSource};

/// Looks this long after the last activity before sleeping: waking the watchdog costs the worker a system call.
const GRACE: Duration = Duration::from_millis(20);

/// The longest sleep, after which the watchdog looks whether it is still wanted.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A look that comes later than this many of the shortest intervals, or two of the present ones, is a gap: the machine
/// did not run the watchdog.
const GAP: u32 = 5;

/// As long as a stall is no older, its end is looked for as often as can be, however dear looks are.
const YOUNG: Duration = Duration::from_millis(100);

/// When the stack of a lasting stall is taken again, in thresholds.
const RETAKE_AT: [u32; 2] = [4, 16];

/// Counts that others read while the watchdog runs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Every stall that was noticed.
    pub(crate) noticed: AtomicU64,
    /// Stalls whose observation found no place in the queue.
    pub(crate) lost: AtomicU64,
}

/// Watches one target.
pub(crate) struct Watchdog<T> {
    target: T,
    threshold: Duration,
    /// The time between looks, where that costs little.
    fastest: Duration,
    /// The time between looks.
    interval: Duration,
    totals: Arc<Totals>,
    observations: SyncSender<Observation>,
    stop: Arc<AtomicBool>,
    /// Workers that are stuck now, and since when.
    stuck: HashMap<u64, Instant>,
    /// Stalls that are over, and will be told once it is known who waited.
    endings: Endings,
}

/// One worker's present state, as long as it does not move.
struct Watched {
    progress: Progress,
    /// About when it began.
    began: Instant,
    /// From when on it counts towards the threshold.
    counted_from: Instant,
    gathering: Option<Gathering>,
    stall: Option<Ongoing>,
    /// Of a worker whose polls do not tell.
    stretch: Option<Stretch>,
    /// When the next breakpoint may be set, by the stretch before.
    next_watch: Option<Instant>,
    /// Of a poll that told when it began.
    queues: Queues,
}

struct Ongoing {
    id: StallId,
    life: Arc<Life>,
    /// The stacks taken since the first.
    retaken: usize,
    /// Whether it will be told who waited, or why not.
    victims: Result<(), VictimsUnknown>,
}

impl Watched {
    fn begin(progress: Progress, last_look: Instant, now: Instant) -> Self {
        let began = last_look + now.duration_since(last_look) / 2;
        Self {
            progress,
            began,
            counted_from: LookedAt::after(last_look, now).between,
            gathering: None,
            stall: None,
            stretch: None,
            next_watch: None,
            queues: Queues::new(began),
        }
    }

    fn next_watch(&self) -> Option<Instant> {
        self.stretch.as_ref().map(Stretch::next_watch).or(self.next_watch)
    }
}

impl<T: WorkerSource> Watchdog<T> {
    /// Looks once a millisecond, or four times per threshold; less often where that costs too much, see [`Pace`].
    pub(crate) fn new(
        target: T,
        threshold: Duration,
        totals: Arc<Totals>,
        observations: SyncSender<Observation>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let fastest = (threshold / 4).min(Duration::from_millis(1));
        Self {
            target,
            threshold,
            fastest,
            interval: fastest,
            totals,
            observations,
            stop,
            stuck: HashMap::new(),
            endings: Endings::default(),
        }
    }

    /// Looks until told to stop.
    pub(crate) fn run(mut self) {
        let mut watched: HashMap<u64, Watched> = HashMap::new();
        let mut last_look = Instant::now();
        let mut last_active = last_look;
        let mut pace = Pace::new(self.fastest, self.threshold, last_look);
        while !self.stop.load(Ordering::Relaxed) {
            if self.target.refresh() {
                self.forget_departed(&mut watched);
            }
            let now = Instant::now();
            if self.look_at_all(&mut watched, last_look, now) {
                last_active = now;
            }
            last_look = now;
            for ended in self.endings.known(&mut self.target, now) {
                self.tell_end(ended);
            }
            let idle = now.duration_since(last_active) > GRACE && self.endings.is_empty();
            if idle && self.target.sleep_until_active(LONGEST_SLEEP) {
                last_look = Instant::now();
                last_active = last_look;
            } else {
                pace.looked(now, process::cpu_of_this_thread);
                self.interval = if idle { pace.idle_interval() } else { pace.interval() };
                std::thread::sleep(self.pause(&watched, now));
            }
        }
        for ended in self.endings.all(&mut self.target) {
            self.tell_end(ended);
        }
    }

    /// How long to the next look: shorter where a poll crosses the threshold before, or a stall is about to end.
    fn pause(&self, watched: &HashMap<u64, Watched>, now: Instant) -> Duration {
        let wanted = watched.values().filter_map(|state| {
            let next = match (&state.stall, &state.stretch) {
                (Some(_), _) => return (now.duration_since(state.began) < YOUNG).then_some(self.fastest),
                (None, Some(stretch)) => stretch.crossing(self.threshold)?,
                (None, None) if state.progress.activity == Activity::Polling => state.counted_from + self.threshold,
                (None, None) => return None,
            };
            let wanted = next.saturating_duration_since(now);
            (!wanted.is_zero()).then_some(wanted)
        });
        wanted.min().map_or(self.interval, |wanted| wanted.min(self.interval))
    }

    /// Workers that are gone have ended whatever they were in.
    fn forget_departed(&mut self, watched: &mut HashMap<u64, Watched>) {
        let now = Instant::now();
        watched.retain(|key, state| {
            let present = self.target.workers().iter().any(|worker| worker.key == *key);
            if !present {
                self.stuck.remove(key);
                self.end(*key, state, now);
            }
            present
        });
    }

    /// Returns whether any worker is active.
    fn look_at_all(&mut self, watched: &mut HashMap<u64, Watched>, last_look: Instant, now: Instant) -> bool {
        let mut active = false;
        for index in 0..self.target.workers().len() {
            let worker = &self.target.workers()[index];
            let key = worker.key;
            let idle_between = worker.index.is_none();
            let silent = worker.uninstrumented;
            let progress = self.target.progress(index);
            active |= match progress.activity {
                Activity::Polling => true,
                Activity::Between => !idle_between,
                Activity::Parked => false,
            };
            let known = watched.get_mut(&key).filter(|state| state.progress == progress);
            if let Some(state) = known {
                match progress.activity {
                    Activity::Polling => self.look_at_poll(index, state, last_look, now, Some(Detection::Instrumented)),
                    Activity::Between if silent => self.look_at_stretch(index, state, last_look, now),
                    Activity::Between | Activity::Parked => {}
                }
                continue;
            }
            let before = watched.remove(&key);
            let mut state = Watched::begin(progress, last_look, now);
            state.next_watch = before.as_ref().and_then(Watched::next_watch);
            if silent && progress.activity == Activity::Between {
                let at = LookedAt::after(last_look, now);
                let was_parked = before.as_ref().is_some_and(|before| before.progress.activity == Activity::Parked);
                (state.began, state.counted_from) = (at.between, at.between);
                state.stretch = Some(if was_parked {
                    Stretch::begin_polling(&mut self.target, (index, progress), at, state.next_watch, self.threshold)
                } else {
                    Stretch::begin_awake(&mut self.target, index, at)
                });
            }
            if progress.activity == Activity::Polling {
                self.target.note_progress(index, progress, state.began);
            }
            watched.insert(key, state);
            if let Some(mut before) = before {
                self.moved_on(index, &mut before, last_look, now);
            }
        }
        active
    }

    /// Whatever held the worker at the last look is over.
    fn moved_on(&mut self, index: usize, state: &mut Watched, last_look: Instant, now: Instant) {
        if state.stall.is_none() {
            return;
        }
        let unsure = now.duration_since(last_look) / 2;
        // What is inferred is known to have lasted until the last look.
        let end = last_look + if state.stretch.is_some() { unsure.min(UNSURE) } else { unsure };
        let key = self.target.workers()[index].key;
        self.stuck.remove(&key);
        if let Some(gathering) = &mut state.gathering {
            gathering.finish(now, self.target.sample_thread(index));
        }
        self.end(key, state, end);
    }

    /// A worker that has been running on since the last look, and may be in a poll that does not tell.
    fn look_at_stretch(&mut self, index: usize, state: &mut Watched, last_look: Instant, now: Instant) {
        let stretch = state.stretch.get_or_insert_with(|| Stretch::begin(now));
        let detection = if state.stall.is_some() {
            if !stretch.lasts(&mut self.target, index) {
                let next_watch = state.next_watch();
                self.moved_on(index, state, last_look, now);
                let at = LookedAt::after(last_look, now);
                let worker = (index, state.progress);
                *state = Watched::begin(state.progress, at.between, at.between);
                state.stretch = Some(Stretch::begin_polling(&mut self.target, worker, at, next_watch, self.threshold));
                return;
            }
            Some(Detection::Instrumented)
        } else {
            let at = LookedAt::after(last_look, now);
            let still = stretch.look(&mut self.target, (index, state.progress), at, self.threshold);
            let Some(still) = still else {
                state.gathering = None;
                return;
            };
            if still.since != state.began {
                state.gathering = None;
                (state.began, state.counted_from) = (still.since, still.since);
                return;
            }
            still.detection
        };
        self.look_at_poll(index, state, last_look, now, detection);
    }

    /// A poll that was there at the last look too. It becomes a stall only where it is known to be one poll.
    fn look_at_poll(
        &mut self,
        index: usize,
        state: &mut Watched,
        last_look: Instant,
        now: Instant,
        detection: Option<Detection>,
    ) {
        let interval = now.duration_since(last_look);
        let gap = interval > (self.fastest * GAP).max(self.interval * 2);
        match &mut state.gathering {
            None if gap => {
                // Nothing was known of this poll before the gap, so nothing tells whether it ran in it. From here on it
                // is, however late the next looks come.
                state.counted_from = now;
                state.stretch = None;
                state.gathering = Some(Gathering::begin(now, self.target.sample_thread(index)));
                return;
            }
            None => state.gathering = Some(Gathering::begin(now, self.target.sample_thread(index))),
            Some(gathering) => {
                gathering.late(interval.saturating_sub(self.interval * 2));
                if gap || gathering.due(now) {
                    let look = self.target.sample_thread(index);
                    // A look at what the thread does after the poll would mislead; the end is seen at the next one.
                    if self.target.progress(index) == state.progress {
                        gathering.add(now, look);
                    }
                }
            }
        }
        if detection == Some(Detection::Instrumented) && state.stretch.is_none() {
            let stuck_since = all_stuck_since(&self.target, index, state.began, &self.stuck);
            let depths = self.target.queue_lengths(index);
            // After the poll the worker has emptied them.
            if self.target.progress(index) == state.progress {
                state.queues.look(now, depths, stuck_since);
            }
        }
        let lasted = now.duration_since(state.counted_from);
        match (&state.stall, detection) {
            (None, Some(detection)) if lasted >= self.threshold => self.notice(index, state, now, detection),
            (Some(stall), _) => {
                let next = RETAKE_AT.get(stall.retaken);
                if next.is_some_and(|thresholds| lasted >= self.threshold * *thresholds) {
                    self.update(index, state, now);
                }
            }
            (None, _) => {}
        }
    }

    fn notice(&mut self, index: usize, state: &mut Watched, now: Instant, detection: Detection) {
        // All before anything slower: the poll may end at any moment, and the time belongs to `now`.
        let at = SystemTime::now();
        let task = self.target.task(index, state.progress).unwrap_or_default();
        let Some(first) = self.take(index, state, now) else { return };
        if detection.is_inferred() && !self.is_in_poll(index, state, &first, detection) {
            state.gathering = None;
            return;
        }
        let id = StallId(self.totals.noticed.fetch_add(1, Ordering::Relaxed) + 1);
        let life = Arc::new(Life::begun(state.began));
        let worker = Arc::clone(&self.target.workers()[index]);
        let victims = match worker.index {
            None => Err(VictimsUnknown::NoWorker),
            Some(_) => self.follow(index, state.progress),
        };
        state.stall = Some(Ongoing { id, life: Arc::clone(&life), retaken: 0, victims });
        self.stuck.insert(worker.key, state.began);
        let noticed = Noticed { id, worker, task, at, detection, life, first };
        self.tell(Observation::Noticed(Box::new(noticed)));
    }

    fn is_in_poll(&mut self, index: usize, state: &mut Watched, taken: &Update, detection: Detection) -> bool {
        match (&mut state.stretch, &taken.stack) {
            (Some(stretch), Ok(stack)) => stretch.confirm(&mut self.target, index, stack, detection),
            _ => false,
        }
    }

    fn update(&mut self, index: usize, state: &mut Watched, now: Instant) {
        let update = self.take(index, state, now);
        if let Some(stretch) = &mut state.stretch {
            let _asleep = stretch.still_sleeps(&mut self.target, index);
        }
        let Some(stall) = &mut state.stall else { return };
        stall.retaken += 1;
        let id = stall.id;
        if let Some(update) = update {
            self.tell(Observation::Updated(id, update));
        }
    }

    fn take(&mut self, index: usize, state: &mut Watched, now: Instant) -> Option<Update> {
        let stack = self.target.capture_stack(index, state.progress);
        let gathering = state.gathering.as_mut()?;
        let look = self.target.sample_thread(index);
        if self.target.progress(index) == state.progress {
            gathering.add(Instant::now(), look);
        }
        let evidence = gathering.evidence();
        let waiting = behind(&mut self.target, index, &self.stuck);
        Some(Update { after: now.duration_since(state.began), stack, evidence, waiting })
    }

    /// From its end on, the worker tells what it polls.
    fn follow(&mut self, index: usize, progress: Progress) -> Result<(), VictimsUnknown> {
        let worker = self.target.workers()[index].key;
        // It is the turn of the next one: of the stall before, whatever is known is told.
        if let Some(before) = self.endings.of(&mut self.target, worker) {
            self.tell_end(before);
        }
        self.target.record_post_stall(index, progress)
    }

    fn end(&mut self, worker: u64, state: &mut Watched, at: Instant) {
        let Some(stall) = state.stall.take() else { return };
        stall.life.end(at);
        let Some(gathering) = &state.gathering else { return };
        let (id, evidence) = (stall.id, gathering.evidence());
        if let Err(reason) = stall.victims {
            self.tell_end(Ended { id, evidence, victims: Err(reason) });
            return;
        }
        let queues = std::mem::replace(&mut state.queues, Queues::new(at));
        let ending = Ending { id, worker, progress: state.progress, at, evidence, queues };
        if let Some(before) = self.endings.add(&mut self.target, ending) {
            self.tell_end(before);
        }
    }

    fn tell_end(&self, Ended { id, evidence, victims }: Ended) {
        self.tell(Observation::Ended(id, evidence, victims));
    }

    /// Never waits. A full queue loses the observation: a stall without its first one stays unexplained, and is
    /// counted; an end that is lost can still be told from its [`Life`].
    fn tell(&self, observation: Observation) {
        let first = matches!(observation, Observation::Noticed(_));
        if self.observations.try_send(observation).is_err() && first {
            self.totals.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use std::cell::Cell;

    use super::super::inferred_poll::Standstill;
    use super::*;
    use crate::model::evidence::{SyscallKind, WaitSite};
    use crate::model::post_stall::{PolledAfter, PostStallPolls, Queued};
    use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
    use crate::model::task::Task;
    use crate::model::worker::{Thread, Worker};
    use crate::process::{BreakpointError, PollInStack, ThreadSample, WorkerSample};

    const MS: Duration = Duration::from_millis(1);

    /// One worker that sleeps in the same poll, until its queues are looked at for the last time.
    struct Asleep {
        workers: Vec<Arc<Worker>>,
        /// How many tasks any worker may take, at each look from the first of the last ones on.
        queued: Cell<&'static [usize]>,
        /// What its stack shows.
        on: PollInStack,
        /// Where its poll returns to is known.
        warm: bool,
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
            None
        }

        fn sample_thread(&mut self, _worker: usize) -> ThreadSample {
            let sleep = WaitSite::Syscall { name: "clock_nanosleep".into(), kind: SyscallKind::Sleep, file: None };
            ThreadSample {
                cpu: Some(Duration::ZERO),
                sleeps_in: Some(sleep),
                state: Some('S'),
                ..ThreadSample::default()
            }
        }

        fn capture_stack(&mut self, _worker: usize, _progress: Progress) -> Result<RawStack, StackUnavailable> {
            Err(StackUnavailable::Unavailable)
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
            self.warm |= self.on == PollInStack::Unwatched;
            self.on
        }

        fn watch_poll_returns(&mut self, _worker: usize) -> Result<(), BreakpointError> {
            if self.warm { Ok(()) } else { Err(BreakpointError::NoReturnAddress) }
        }

        fn poll_returned(&self, _worker: usize) -> Option<bool> {
            Some(false)
        }
    }

    /// What a worker does whose polls do not tell.
    const AWAKE: Progress = Progress { sequence: 1, parks: 0, activity: Activity::Between };

    /// A stretch of a worker that was seen parked, and awake 4 ms later.
    fn woken(target: &mut Asleep, parked: Instant) -> Stretch {
        Stretch::begin_polling(target, (0, AWAKE), LookedAt::after(parked, parked + MS * 4), None, MS * 10)
    }

    /// A look at it 4 ms after another.
    fn look(stretch: &mut Stretch, target: &mut Asleep, at: Instant) -> Option<Standstill> {
        stretch.look(target, (0, AWAKE), LookedAt::after(at - MS * 4, at), MS * 10)
    }

    fn watchdog(threshold: Duration) -> (Watchdog<Asleep>, Receiver<Observation>) {
        let (observations, told) = sync_channel(16);
        let thread = Thread { tid: 7, name: Arc::from("worker"), stack: None };
        let worker = Worker { key: 1, runtime: Arc::from("test"), index: Some(0), thread, uninstrumented: false };
        let target =
            Asleep { workers: vec![Arc::new(worker)], queued: Cell::new(&[]), on: PollInStack::Watched, warm: true };
        (Watchdog::new(target, threshold, Arc::default(), observations, Arc::default()), told)
    }

    /// When the stall is noticed where every look comes so long after the one before, and how late that is said to be.
    fn noticed(every: Duration, threshold: Duration) -> Option<(Duration, Duration)> {
        let (mut watchdog, told) = watchdog(threshold);
        let (start, mut watched) = (Instant::now(), HashMap::new());
        (1..100).map(|number| every * number).find_map(|at| {
            watchdog.look_at_all(&mut watched, start + at - every, start + at);
            let Ok(Observation::Noticed(noticed)) = told.try_recv() else { return None };
            Some((at, noticed.first.evidence.watchdog_late))
        })
    }

    #[test]
    fn a_stall_is_noticed_also_where_every_look_comes_late() {
        assert_eq!(noticed(MS, MS * 10), Some((MS * 11, Duration::ZERO)));
        // The first look finds the poll, the second that it is the same one after a gap, and the time counts from there.
        assert_eq!(noticed(MS * 8, MS * 10), Some((MS * 32, MS * 12)));
        assert_eq!(noticed(MS * 20, MS * 10), Some((MS * 60, MS * 18)));
    }

    #[test]
    fn what_is_inferred_counts_from_the_middle_between_looks() {
        let (mut watchdog, _told) = watchdog(MS * 10);
        let target = &mut watchdog.target;
        let parked = Instant::now();
        let mut stretch = woken(target, parked);
        let mut look = |at| look(&mut stretch, target, at);
        let standstill = |detection| Some(Standstill { since: parked + MS * 2, detection });
        assert_eq!(look(parked + MS * 8), standstill(None), "it is on the stack, but not for long enough");
        assert_eq!(look(parked + MS * 12), standstill(Some(Detection::NoReturn)));
        assert_eq!(stretch.crossing(MS * 10), Some(parked + MS * 12));
        // The look before came long ago.
        let late = LookedAt::after(parked, parked + MS * 50);
        assert_eq!(late.between, parked + MS * 48);
    }

    #[test]
    fn the_first_poll_of_all_counts_from_its_beginning_too() {
        let (mut watchdog, _told) = watchdog(MS * 10);
        let target = &mut watchdog.target;
        (target.on, target.warm) = (PollInStack::Unwatched, false);
        let parked = Instant::now();
        let mut stretch = woken(target, parked);
        target.on = PollInStack::Watched;
        let standstill = Standstill { since: parked + MS * 2, detection: Some(Detection::NoReturn) };
        assert_eq!(look(&mut stretch, target, parked + MS * 12), Some(standstill));
        // As long as no stack tells, it is not asked for at every look.
        (target.on, target.warm) = (PollInStack::None, false);
        let parked = parked + MS * 8;
        assert_eq!(woken(target, parked).next_watch(), parked + MS * 9);
    }

    #[test]
    fn a_stack_that_ends_too_early_proves_no_poll_and_hides_none() {
        let (mut watchdog, _told) = watchdog(MS * 10);
        let target = &mut watchdog.target;
        let parked = Instant::now();
        let mut stretch = woken(target, parked);
        let look = |stretch: &mut Stretch, target: &mut Asleep, ms| look(stretch, target, parked + MS * ms);
        let standstill = |detection| Some(Standstill { since: parked + MS * 2, detection });
        let stack = RawStack { addresses: Vec::new(), method: CaptureMethod::Passive, complete: false };
        target.on = PollInStack::Unknown;
        assert_eq!(look(&mut stretch, target, 12), standstill(None));
        assert!(!stretch.confirm(target, 0, &stack, Detection::NoReturn), "no stack has shown a poll");
        target.on = PollInStack::Watched;
        assert_eq!(look(&mut stretch, target, 60), standstill(Some(Detection::NoReturn)), "as it was all the while");
        target.on = PollInStack::Unknown;
        assert!(stretch.confirm(target, 0, &stack, Detection::NoReturn), "one has, and it has not returned since");
        target.on = PollInStack::None;
        assert!(!stretch.confirm(target, 0, &stack, Detection::NoReturn));
        assert_eq!(look(&mut stretch, target, 64).map(|still| still.detection), Some(None), "it counts anew");
    }

    #[test]
    fn a_look_at_queues_that_the_worker_empties_meanwhile_does_not_count() {
        let (mut watchdog, _told) = watchdog(MS * 10);
        // The poll is over when the last look at them comes back.
        watchdog.target.queued.set(&[4, 4, 0]);
        let (start, mut watched) = (Instant::now(), HashMap::new());
        for look in 1..=3 {
            watchdog.look_at_all(&mut watched, start + MS * (look - 1), start + MS * look);
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
