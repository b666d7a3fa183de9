//! Statistics of one worker's polls, recorded while a window is open. Off the hot path: while no window is open, a poll
//! only reads one flag in its own slot (`Slot::is_recording`).
//!
//! The worker writes its statistics twice per poll, under a lock. Other threads take that lock only to open or close a window.

use std::collections::HashMap;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::names::NameId;

/// The limit of tasks with their own record, per worker and window. Polls of further tasks are summed by spawn location.
///
/// The hash map then stays below seven eighths of 2^14 entries, where it would grow from about 1.5 MB to 3 MB.
pub(super) const MAX_TASKS: usize = 14_000;

/// The limit of records of further tasks that keep the poll's name. It is within the room of the hash map.
const MAX_NAMED_OTHERS: usize = 256;

/// The number of the record that sums up further tasks. No task has this number.
pub(super) const OTHER_TASKS: u64 = u64::MAX;

/// A task, its spawn location, and the name of its polls: a connection's task serves requests of several names. One worker always sees a location at the same address, which is quick to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    task: u64,
    location: usize,
    name: NameId,
}

/// The task or future of a poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    /// Tokio's id, 0 for a future that is no task.
    pub(super) task: u64,
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) name: NameId,
}

/// The polls of one task with one name on one worker in one window. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskRecord {
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) name: NameId,
    pub(super) ended: bool,
    pub(super) polls: u64,
    pub(super) busy: u64,
    pub(super) longest: u64,
    /// The start of the last poll, which orders polls on different workers. A task that wakes itself can be polled by
    /// another worker before the hook after its previous poll has run.
    pub(super) last_start: Instant,
    /// The end of the last poll, or the end of the window if the poll is still running.
    pub(super) last_end: Instant,
    pub(super) delays: u64,
    pub(super) delay: u64,
    pub(super) longest_delay: u64,
}

/// The statistics of one worker in one window.
#[derive(Debug)]
pub(super) struct WindowStats {
    window: u64,
    start: Instant,
    records: HashMap<Key, TaskRecord>,
}

/// A running poll that began while a window was open.
#[derive(Clone, Copy, Debug)]
struct OpenPoll {
    sequence: u64,
    start: Instant,
    name: NameId,
    delay: Option<Duration>,
    is_last: bool,
}

/// The statistics of one worker in all open windows. The slot's sequence number identifies a poll.
#[derive(Debug, Default)]
pub(super) struct PollStats {
    open: Option<OpenPoll>,
    /// The newest poll that was added to the windows.
    last_added: u64,
    windows: Vec<WindowStats>,
}

impl PollStats {
    /// Records polls for this window from now on, including the running one.
    pub(super) fn open_window(&mut self, window: u64) {
        self.windows.push(WindowStats { window, start: Instant::now(), records: HashMap::new() });
    }

    /// The statistics of the window, which is closed. The `running` poll is added with its time until now.
    pub(super) fn close_window(&mut self, window: u64, running: Option<(u64, Polled)>) -> Option<WindowStats> {
        let at = self.windows.iter().position(|stats| stats.window == window)?;
        let mut stats = self.windows.swap_remove(at);
        if let Some((sequence, polled)) = running.filter(|(sequence, _)| *sequence != self.last_added) {
            stats.add(self.open_poll(sequence), polled, Instant::now());
        }
        Some(stats)
    }

    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    pub(super) fn begin_poll(&mut self, sequence: u64, name: NameId) {
        self.open = Some(OpenPoll { sequence, start: Instant::now(), name, delay: None, is_last: false });
    }

    /// Adds the poll once to every window. Only the part inside the window counts.
    pub(super) fn end_poll(&mut self, sequence: u64, polled: Polled) {
        if self.last_added == sequence {
            return;
        }
        let now = Instant::now();
        let poll = self.open_poll(sequence);
        for window in &mut self.windows {
            window.add(poll, polled, now);
        }
        self.last_added = sequence;
    }

    /// Sets the name of the poll. The first and outermost name is kept.
    pub(super) fn name_poll(&mut self, sequence: u64, name: NameId) {
        if let Some(open) = self.open_poll_mut(sequence).filter(|open| open.name == NameId::NONE) {
            open.name = name;
        }
    }

    /// Marks the poll as the last one of its task.
    pub(super) fn mark_last_poll(&mut self, sequence: u64, polled: Polled) {
        // The poll may have begun before the first window was opened.
        let first_window = self.windows.iter().map(|window| window.start).min();
        if self.open_poll_mut(sequence).is_none()
            && let Some(start) = first_window
        {
            self.open = Some(OpenPoll { sequence, start, name: polled.name, delay: None, is_last: false });
        }
        if let Some(open) = self.open_poll_mut(sequence) {
            open.is_last = true;
        }
    }

    /// Sets the schedule latency of the poll: the time from wake to poll.
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    pub(super) fn set_delay(&mut self, sequence: u64, delay: Duration) {
        if let Some(open) = self.open_poll_mut(sequence) {
            open.delay = Some(delay);
        }
    }

    fn open_poll_mut(&mut self, sequence: u64) -> Option<&mut OpenPoll> {
        self.open.as_mut().filter(|open| open.sequence == sequence)
    }

    /// `None` for a poll that began while no window was open.
    fn open_poll(&self, sequence: u64) -> Option<OpenPoll> {
        self.open.filter(|open| open.sequence == sequence)
    }
}

impl WindowStats {
    fn add(&mut self, poll: Option<OpenPoll>, polled: Polled, now: Instant) {
        let start = poll.map_or(self.start, |poll| poll.start.max(self.start));
        let busy = nanoseconds(now.saturating_duration_since(start));
        let location = std::ptr::from_ref(polled.spawned_at).addr();
        let name = poll.map_or(NameId::NONE, |poll| poll.name);
        let name = if name == NameId::NONE { polled.name } else { name };
        let mut key = Key { task: polled.task, location, name };
        if self.records.len() >= MAX_TASKS && !self.records.contains_key(&key) {
            key.task = OTHER_TASKS;
            if self.records.len() >= MAX_TASKS + MAX_NAMED_OTHERS && !self.records.contains_key(&key) {
                key.name = NameId::NONE;
            }
        }
        let record = self.records.entry(key).or_insert_with(|| TaskRecord::new(polled.spawned_at, key.name, now));
        record.polls += 1;
        record.busy = record.busy.saturating_add(busy);
        record.longest = record.longest.max(busy);
        record.last_start = start;
        record.last_end = now;
        record.ended = poll.is_some_and(|poll| poll.is_last);
        if let Some(delay) = poll.and_then(|poll| poll.delay).map(nanoseconds) {
            record.delays += 1;
            record.delay = record.delay.saturating_add(delay);
            record.longest_delay = record.longest_delay.max(delay);
        }
    }

    /// Each task number with its record. A task has one for each name of its polls.
    pub(super) fn into_records(self) -> impl Iterator<Item = (u64, TaskRecord)> {
        self.records.into_iter().map(|(key, record)| (key.task, record))
    }
}

impl TaskRecord {
    fn new(spawned_at: &'static Location<'static>, name: NameId, now: Instant) -> Self {
        Self {
            spawned_at,
            name,
            ended: false,
            polls: 0,
            busy: 0,
            longest: 0,
            last_start: now,
            last_end: now,
            delays: 0,
            delay: 0,
            longest_delay: 0,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polled(task: u64) -> Polled {
        Polled { task, spawned_at: Location::caller(), name: NameId::NONE }
    }

    fn poll(stats: &mut PollStats, sequence: u64, task: u64) {
        stats.begin_poll(sequence, NameId::NONE);
        stats.end_poll(sequence, polled(task));
    }

    fn polls(window: WindowStats) -> Vec<(u64, u64)> {
        let mut polls: Vec<_> = window.into_records().map(|(task, record)| (task, record.polls)).collect();
        polls.sort_unstable();
        polls
    }

    #[test]
    fn overlapping_windows_are_independent() {
        let mut stats = PollStats::default();
        stats.open_window(1);
        poll(&mut stats, 1, 7);
        stats.open_window(2);
        poll(&mut stats, 3, 7);
        assert_eq!(stats.close_window(1, None).map(polls), Some(vec![(7, 2)]));
        assert!(stats.has_windows());
        poll(&mut stats, 5, 8);
        assert_eq!(stats.close_window(2, None).map(polls), Some(vec![(7, 1), (8, 1)]));
        assert!(!stats.has_windows() && stats.close_window(2, None).is_none());
    }

    #[test]
    fn a_poll_that_began_before_the_window_counts_from_the_start_of_the_window() {
        let mut stats = PollStats::default();
        stats.open_window(1);
        std::thread::sleep(Duration::from_millis(2));
        stats.end_poll(1, polled(7));
        let (_, record) = stats.close_window(1, None).expect("it is open").into_records().next().expect("one task");
        assert!(record.polls == 1 && record.busy >= 2_000_000, "{record:?}");
    }

    #[test]
    fn a_running_poll_counts_once_with_its_time_until_the_window_closes() {
        let mut stats = PollStats::default();
        stats.open_window(1);
        stats.open_window(2);
        stats.begin_poll(1, NameId::NONE);
        std::thread::sleep(Duration::from_millis(2));
        let (_, record) =
            stats.close_window(1, Some((1, polled(7)))).expect("it is open").into_records().next().expect("one task");
        assert!(record.polls == 1 && record.busy >= 2_000_000, "{record:?}");
        stats.end_poll(1, polled(7));
        // The worker has added the poll, and its sequence number is still odd.
        assert_eq!(stats.close_window(2, Some((1, polled(7)))).map(polls), Some(vec![(7, 1)]));
    }

    #[test]
    fn tasks_beyond_the_limit_are_summed_by_spawn_location() {
        let mut stats = PollStats::default();
        stats.open_window(1);
        let many = MAX_TASKS as u64 + 10;
        for task in 1..=many {
            poll(&mut stats, task * 2 - 1, task);
        }
        let polls = polls(stats.close_window(1, None).expect("it is open"));
        assert_eq!(polls.len(), MAX_TASKS + 1);
        assert_eq!(polls.last(), Some(&(OTHER_TASKS, 10)));
    }

    #[test]
    fn polls_of_one_task_are_kept_apart_by_name() {
        let mut stats = PollStats::default();
        stats.open_window(1);
        for (sequence, name) in [(1, NameId(1)), (3, NameId::NONE), (5, NameId(2)), (7, NameId(1))] {
            stats.begin_poll(sequence, name);
            stats.end_poll(sequence, polled(7));
        }
        let window = stats.close_window(1, None).expect("it is open");
        let mut polls: Vec<_> =
            window.into_records().map(|(task, record)| (task, record.name.0, record.polls)).collect();
        polls.sort_unstable();
        assert_eq!(polls, [(7, 0, 1), (7, 1, 2), (7, 2, 1)]);
    }

    #[test]
    fn a_poll_keeps_its_outermost_name_and_ends_its_task() {
        let (outer, inner) = (NameId(1), NameId(2));
        let mut stats = PollStats::default();
        stats.open_window(1);
        stats.begin_poll(1, NameId::NONE);
        stats.name_poll(1, outer);
        stats.name_poll(1, inner);
        stats.mark_last_poll(1, polled(7));
        stats.end_poll(1, polled(7));
        let (_, record) = stats.close_window(1, None).expect("it is open").into_records().next().expect("one task");
        assert_eq!((record.name, record.ended), (outer, true));
    }
}
