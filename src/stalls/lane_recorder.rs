//! Records what each worker did in the last minutes, from the samples that the watchdog takes anyway.
//!
//! The time between two samples counts as what the later one shows. Readers hold a lock for as long as a copy takes; the
//! watchdog never waits for it, and hands over finished bins later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::watched_worker::WatchedWorker;
use crate::model::lanes::{BIN, Lane, LaneBin, Lanes, MAX_BINS, MAX_LANES};
use crate::model::task::Task;
use crate::model::worker::{Activity, Worker};
use crate::process::WorkerSource;

/// Tasks that have a number. Bins of further ones have none.
const MAX_TASKS: usize = 255;

/// The limit of a task's name, in characters.
const MAX_NAME: usize = 200;

/// Bins that wait while a reader copies. More are dropped: a reader that holds the lock for so long is stuck.
const MAX_WAITING: usize = 16;

/// The lanes of every worker, which the watchdog writes and others read.
#[derive(Debug)]
pub(crate) struct LaneHistory {
    origin: Instant,
    lanes: Mutex<Lanes>,
}

impl Default for LaneHistory {
    fn default() -> Self {
        Self { origin: Instant::now(), lanes: Lanes::new(SystemTime::now()).into() }
    }
}

impl LaneHistory {
    /// The lanes from a bin on.
    pub(crate) fn since(&self, bin: u64) -> Lanes {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let first = lanes.first.max(bin).min(lanes.next);
        Lanes {
            first,
            lanes: lanes.lanes.iter().filter_map(|lane| lane.since(first)).collect(),
            tasks: lanes.tasks.clone(),
            ..*lanes
        }
    }

    /// Adds a bin of each worker, unless a reader holds the lock.
    fn try_add(&self, finished: &Finished, names: &TaskNumbers) -> bool {
        let mut lanes = match self.lanes.try_lock() {
            Ok(lanes) => lanes,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return false,
        };
        let known = lanes.tasks.len();
        lanes.tasks.extend(names.names[known..].iter().cloned());
        add(&mut lanes, finished);
        true
    }
}

/// A finished bin of every worker.
struct Finished {
    bin: u64,
    workers: Vec<(Arc<Worker>, LaneBin)>,
}

fn add(lanes: &mut Lanes, finished: &Finished) {
    lanes.next = finished.bin + 1;
    lanes.first = lanes.first.max(lanes.next.saturating_sub(MAX_BINS));
    let first = lanes.first;
    lanes.lanes.retain_mut(|lane| {
        while lane.first < first && lane.bins.pop_front().is_some() {
            lane.first += 1;
        }
        !lane.bins.is_empty()
    });
    let positions: HashMap<u64, usize> =
        lanes.lanes.iter().enumerate().map(|(position, lane)| (lane.worker.key, position)).collect();
    for (worker, bin) in &finished.workers {
        match positions.get(&worker.key) {
            Some(position) => {
                let lane = &mut lanes.lanes[*position];
                // Dropped bins: nothing is known of them.
                while lane.first + (lane.bins.len() as u64) < finished.bin {
                    lane.bins.push_back(LaneBin::default());
                }
                lane.worker = Arc::clone(worker);
                lane.bins.push_back(*bin);
            }
            None if lanes.lanes.len() < MAX_LANES => {
                lanes.lanes.push(Lane { worker: Arc::clone(worker), first: finished.bin, bins: [*bin].into() });
            }
            None => {}
        }
    }
    lanes.left_out = (finished.workers.len() as u64).saturating_sub(MAX_LANES as u64);
}

/// The numbers of tasks, by name or by place of the spawn.
#[derive(Debug, Default)]
struct TaskNumbers {
    numbers: HashMap<Arc<str>, u8>,
    names: Vec<Arc<str>>,
}

impl TaskNumbers {
    fn number(&mut self, task: &Task) -> Option<u8> {
        let name: Arc<str> = match &task.name {
            Some(name) => name.chars().take(MAX_NAME).collect::<String>().into(),
            None => task.place()?.into(),
        };
        if let Some(number) = self.numbers.get(&name) {
            return Some(*number);
        }
        let number = u8::try_from(self.names.len()).ok().filter(|number| usize::from(*number) < MAX_TASKS)?;
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        Some(number)
    }
}

/// What one sample shows of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LaneSample {
    polling: bool,
    /// It runs between two polls.
    between: bool,
    /// Its poll has crossed the threshold.
    stalled: bool,
    /// How long the poll has run so far.
    poll: Duration,
}

/// The unfinished bin of a worker.
#[derive(Clone, Copy, Debug, Default)]
struct OpenBin {
    polling: Duration,
    between: Duration,
    stalled: Duration,
    longest_poll: Duration,
    task: Option<u8>,
}

impl OpenBin {
    fn add(&mut self, sample: LaneSample, time: Duration) {
        self.polling += if sample.polling { time } else { Duration::ZERO };
        self.between += if sample.between { time } else { Duration::ZERO };
        self.stalled += if sample.stalled { time } else { Duration::ZERO };
        self.longest_poll = self.longest_poll.max(sample.poll);
    }

    fn finish(self) -> LaneBin {
        let percent = |time: Duration| (time.as_micros() * 100 / BIN.as_micros()).min(100) as u8;
        LaneBin {
            polling: percent(self.polling),
            between: percent(self.between),
            stalled: percent(self.stalled),
            task: self.task,
            longest_poll_ms: u32::try_from(self.longest_poll.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// The watchdog's side.
pub(super) struct LaneRecorder {
    history: Arc<LaneHistory>,
    names: TaskNumbers,
    /// The number of the bin that is not finished.
    bin: u64,
    /// By the position of the worker.
    open: Vec<OpenBin>,
    keys: Vec<u64>,
    samples: Vec<LaneSample>,
    waiting: VecDeque<Finished>,
}

impl LaneRecorder {
    pub(super) fn new(history: Arc<LaneHistory>) -> Self {
        Self {
            history,
            names: TaskNumbers::default(),
            bin: 0,
            open: Vec::new(),
            keys: Vec::new(),
            samples: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Adds a sample of every worker.
    pub(super) fn record<S: WorkerSource>(
        &mut self,
        source: &S,
        watched: &HashMap<u64, WatchedWorker>,
        previous: Instant,
        now: Instant,
    ) {
        let workers = source.workers();
        if !workers.iter().map(|worker| worker.key).eq(self.keys.iter().copied()) {
            self.set_workers(workers);
        }
        for (index, worker) in workers.iter().enumerate() {
            let Some(state) = watched.get(&worker.key) else { continue };
            let stalled = state.stall.is_some();
            // The stall of an uninstrumented worker proves that it is in a poll.
            let polling = stalled || state.progress.activity == Activity::Polling;
            let sample = LaneSample {
                polling,
                between: !polling && state.progress.activity == Activity::Between && worker.polls_tasks(),
                stalled,
                poll: if polling { now.saturating_duration_since(state.poll_start) } else { Duration::ZERO },
            };
            self.sample(index, sample, || source.task(index, state.progress));
        }
        self.count(workers, previous, now);
    }

    fn set_workers(&mut self, workers: &[Arc<Worker>]) {
        let before: HashMap<u64, OpenBin> = self.keys.iter().copied().zip(self.open.iter().copied()).collect();
        self.keys = workers.iter().map(|worker| worker.key).collect();
        self.open = self.keys.iter().map(|key| before.get(key).copied().unwrap_or_default()).collect();
        self.samples = vec![LaneSample::default(); workers.len()];
    }

    /// What this sample shows of a worker. The task is asked for once a bin, because that has its cost.
    fn sample(&mut self, worker: usize, sample: LaneSample, task: impl FnOnce() -> Option<Task>) {
        self.samples[worker] = sample;
        let open = &mut self.open[worker];
        if sample.polling && open.task.is_none() {
            open.task = task().and_then(|task| self.names.number(&task));
        }
    }

    /// Counts the time since the previous sample as what this one shows. All workers have been sampled.
    fn count(&mut self, workers: &[Arc<Worker>], previous: Instant, now: Instant) {
        // Before `previous`, every worker was parked.
        self.finish_until(self.bin_of(previous), workers);
        let mut from = previous;
        loop {
            let to = self.end_of_bin().min(now);
            let time = to.saturating_duration_since(from);
            for (open, sample) in self.open.iter_mut().zip(&self.samples) {
                open.add(*sample, time);
            }
            if to >= now {
                break;
            }
            from = to;
            self.finish_until(self.bin + 1, workers);
        }
        while self.waiting.front().is_some_and(|finished| self.history.try_add(finished, &self.names)) {
            self.waiting.pop_front();
        }
    }

    fn bin_of(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.history.origin).as_nanos() / BIN.as_nanos()) as u64
    }

    fn end_of_bin(&self) -> Instant {
        self.history.origin + BIN.saturating_mul(u32::try_from(self.bin + 1).unwrap_or(u32::MAX))
    }

    fn finish_until(&mut self, bin: u64, workers: &[Arc<Worker>]) {
        // After a stop of the machine there may be many, and no more of them can wait.
        self.bin = self.bin.max(bin.saturating_sub(MAX_WAITING as u64));
        while self.bin < bin {
            let open = self.open.iter_mut().map(std::mem::take).map(OpenBin::finish);
            let workers = workers.iter().cloned().zip(open).collect();
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back(Finished { bin: self.bin, workers });
            self.bin += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::holds::Holds;
    use crate::model::worker::Thread;

    const MS: Duration = Duration::from_millis(1);

    fn worker(key: u64) -> Arc<Worker> {
        Arc::new(Worker {
            key,
            runtime: "main".into(),
            index: Some(key as usize),
            thread: Thread { tid: key as i32, name: "worker".into(), stack: None },
            holds: Holds::Worker,
            uninstrumented: false,
        })
    }

    fn recorder(workers: &[Arc<Worker>]) -> (Arc<LaneHistory>, LaneRecorder) {
        let history = Arc::new(LaneHistory::default());
        let mut recorder = LaneRecorder::new(Arc::clone(&history));
        recorder.set_workers(workers);
        (history, recorder)
    }

    fn polling(poll: Duration) -> LaneSample {
        LaneSample { polling: true, stalled: poll >= MS * 10, poll, ..LaneSample::default() }
    }

    fn named(name: &str) -> Option<Task> {
        Some(Task { name: Some(name.into()), ..Task::default() })
    }

    #[test]
    fn time_counts_as_what_the_later_sample_shows() {
        let workers = [worker(1)];
        let (history, mut recorder) = recorder(&workers);
        let at = |ms: u32| history.origin + MS * ms;
        recorder.sample(0, polling(MS), || named("poller"));
        recorder.count(&workers, at(0), at(50));
        recorder.sample(0, LaneSample { between: true, ..LaneSample::default() }, || named("another"));
        recorder.count(&workers, at(50), at(75));
        recorder.sample(0, LaneSample::default(), || None);
        recorder.count(&workers, at(75), at(260));
        let lanes = history.since(0);
        assert_eq!((lanes.first, lanes.next, lanes.tasks.len()), (0, 1, 1));
        let expected = LaneBin { polling: 20, between: 10, stalled: 0, task: Some(0), longest_poll_ms: 1 };
        assert_eq!(lanes.lanes[0].bins, [expected]);
    }

    #[test]
    fn a_gap_between_two_samples_is_spread_over_its_bins() {
        let workers = [worker(1)];
        let (history, mut recorder) = recorder(&workers);
        let at = |ms: u32| history.origin + MS * ms;
        recorder.sample(0, polling(MS * 600), || None);
        recorder.count(&workers, at(125), at(800));
        let bins = &history.since(0).lanes[0].bins;
        assert_eq!(
            bins.iter().map(|bin| (bin.polling, bin.stalled)).collect::<Vec<_>>(),
            [(50, 50), (100, 100), (100, 100)]
        );
        // The watchdog slept from 800 to 1300 ms, because every worker was parked.
        recorder.sample(0, LaneSample::default(), || None);
        recorder.count(&workers, at(1300), at(1301));
        let bins = &history.since(3).lanes[0].bins;
        assert_eq!(bins.iter().map(|bin| bin.polling).collect::<Vec<_>>(), [20, 0]);
    }

    #[test]
    fn bins_lanes_and_tasks_are_bounded() {
        let mut workers = vec![worker(0)];
        let (history, mut recorder) = recorder(&workers);
        let at = |bin: u64| history.origin + BIN * bin as u32 + MS;
        for bin in 0..MAX_BINS + 50 {
            recorder.sample(0, polling(MS), || named(&format!("task {bin}")));
            recorder.count(&workers, at(bin), at(bin + 1));
        }
        let lanes = history.since(0);
        assert_eq!((lanes.lanes[0].bins.len() as u64, lanes.lanes[0].first), (MAX_BINS, 50));
        assert_eq!(lanes.tasks.len(), MAX_TASKS);
        assert_eq!(lanes.lanes[0].bins.back().and_then(|bin| bin.task), None, "it has no number");
        workers.extend((1..300).map(worker));
        recorder.set_workers(&workers);
        let now = MAX_BINS + 50;
        recorder.count(&workers, at(now), at(now + 1));
        let lanes = history.since(0);
        assert_eq!((lanes.lanes.len(), lanes.left_out), (MAX_LANES, 300 - MAX_LANES as u64));
    }

    #[test]
    fn a_worker_that_is_gone_keeps_its_bins_for_a_while() {
        let workers = [worker(1), worker(2)];
        let (history, mut recorder) = recorder(&workers);
        let at = |bin: u64| history.origin + BIN * bin as u32 + MS;
        recorder.count(&workers, at(0), at(2));
        recorder.set_workers(&workers[1..]);
        recorder.count(&workers[1..], at(2), at(4));
        let lanes = history.since(0);
        assert_eq!(lanes.lanes.iter().map(|lane| lane.bins.len()).collect::<Vec<_>>(), [2, 4]);
        for bin in 4..MAX_BINS + 10 {
            recorder.count(&workers[1..], at(bin), at(bin + 1));
        }
        assert_eq!(history.since(0).lanes.len(), 1);
    }

    #[test]
    fn a_reader_never_makes_the_watchdog_wait() {
        let workers = [worker(1)];
        let (history, mut recorder) = recorder(&workers);
        let at = |bin: u64| history.origin + BIN * bin as u32 + MS;
        let reader = history.lanes.lock().expect("no thread panicked");
        for bin in 0..40 {
            recorder.count(&workers, at(bin), at(bin + 1));
        }
        drop(reader);
        recorder.count(&workers, at(40), at(41));
        let lanes = history.since(0);
        assert_eq!((lanes.next, lanes.lanes[0].first), (41, 41 - MAX_WAITING as u64));
    }
}
