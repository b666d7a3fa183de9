//! What one worker adds up about its polls while somebody counts them. Off the hot path: as long as nobody counts,
//! a poll reads one flag in its own slot and goes on (`Slot::counted`).
//!
//! A ledger is written by its worker, twice a poll, under a lock that nobody else takes but to begin and end a window.

use std::collections::HashMap;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::names::NameId;

/// Tasks that one worker keeps apart in one window. Polls of further ones are added up by where they were spawned; with
/// those the table stays below seven eighths of 2^14, beyond which it would grow from about 1.5 MB to twice that.
pub(super) const MAX_TASKS: usize = 14_000;

/// Stands for the tasks that are not kept apart. No task has this number.
pub(super) const NOT_KEPT_APART: u64 = u64::MAX;

/// A task, and where it was spawned. A worker meets the same place under one address, which is quick to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    task: u64,
    place: usize,
}

/// Who is polled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    /// Tokio's id, 0 for a future that is no task.
    pub(super) task: u64,
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) name: NameId,
}

/// The polls of one task on one worker in one window. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) name: NameId,
    pub(super) ended: bool,
    pub(super) polls: u64,
    pub(super) busy: u64,
    pub(super) longest: u64,
    /// The beginning of the last poll. It orders polls on different workers: a task that wakes itself may be polled
    /// by another one before the hook behind its last poll has been called.
    pub(super) last_began: Instant,
    /// The end of the last poll, or the end of the window in a poll that goes on.
    pub(super) last_ended: Instant,
    pub(super) delays: u64,
    pub(super) delay: u64,
    pub(super) longest_delay: u64,
}

/// What a worker adds up for one window.
#[derive(Debug)]
pub(super) struct Table {
    window: u64,
    start: Instant,
    records: HashMap<Key, Record>,
}

/// A poll that goes on, and began when somebody counted already.
#[derive(Clone, Copy, Debug)]
struct OpenPoll {
    sequence: u64,
    since: Instant,
    name: NameId,
    delay: Option<Duration>,
    ended: bool,
}

/// See the module. Polls are told apart by the slot's sequence number.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: Option<OpenPoll>,
    /// The newest poll that is in the tables.
    added: u64,
    tables: Vec<Table>,
}

impl Ledger {
    /// From now on polls count for this window too, also the one that goes on.
    pub(super) fn start(&mut self, window: u64) {
        self.tables.push(Table { window, start: Instant::now(), records: HashMap::new() });
    }

    /// Takes the window's table out. `running` is the poll that goes on, which counts until now.
    pub(super) fn stop(&mut self, window: u64, running: Option<(u64, Polled)>) -> Option<Table> {
        let at = self.tables.iter().position(|table| table.window == window)?;
        let mut table = self.tables.swap_remove(at);
        if let Some((sequence, polled)) = running.filter(|(sequence, _)| *sequence != self.added) {
            table.add(self.poll(sequence), polled, Instant::now());
        }
        Some(table)
    }

    pub(super) fn in_use(&self) -> bool {
        !self.tables.is_empty()
    }

    pub(super) fn begin(&mut self, sequence: u64, name: NameId) {
        self.open = Some(OpenPoll { sequence, since: Instant::now(), name, delay: None, ended: false });
    }

    /// Adds the poll to every window, from where the window starts; only once.
    pub(super) fn end(&mut self, sequence: u64, polled: Polled) {
        if self.added == sequence {
            return;
        }
        let now = Instant::now();
        let poll = self.poll(sequence);
        for table in &mut self.tables {
            table.add(poll, polled, now);
        }
        self.added = sequence;
    }

    /// The outermost name of a poll is the one that counts.
    pub(super) fn name(&mut self, sequence: u64, name: NameId) {
        if let Some(open) = self.open_mut(sequence).filter(|open| open.name == NameId::NONE) {
            open.name = name;
        }
    }

    /// The task comes to its end in this poll.
    pub(super) fn ended(&mut self, sequence: u64, polled: Polled) {
        // It may have begun when nobody counted.
        let began = self.tables.iter().map(|table| table.start).min();
        if self.open_mut(sequence).is_none()
            && let Some(since) = began
        {
            self.open = Some(OpenPoll { sequence, since, name: polled.name, delay: None, ended: false });
        }
        if let Some(open) = self.open_mut(sequence) {
            open.ended = true;
        }
    }

    /// How long the poll was put off.
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    pub(super) fn delayed(&mut self, sequence: u64, delay: Duration) {
        if let Some(open) = self.open_mut(sequence) {
            open.delay = Some(delay);
        }
    }

    fn open_mut(&mut self, sequence: u64) -> Option<&mut OpenPoll> {
        self.open.as_mut().filter(|open| open.sequence == sequence)
    }

    /// `None` for a poll that began when nobody counted.
    fn poll(&self, sequence: u64) -> Option<OpenPoll> {
        self.open.filter(|open| open.sequence == sequence)
    }
}

impl Table {
    fn add(&mut self, poll: Option<OpenPoll>, polled: Polled, now: Instant) {
        let since = poll.map_or(self.start, |poll| poll.since.max(self.start));
        let busy = nanoseconds(now.saturating_duration_since(since));
        let place = std::ptr::from_ref(polled.spawned_at).addr();
        let mut key = Key { task: polled.task, place };
        if self.records.len() >= MAX_TASKS && !self.records.contains_key(&key) {
            key.task = NOT_KEPT_APART;
        }
        let record = self.records.entry(key).or_insert_with(|| Record::new(polled, now));
        record.polls += 1;
        record.busy = record.busy.saturating_add(busy);
        record.longest = record.longest.max(busy);
        record.last_began = since;
        record.last_ended = now;
        record.ended = poll.is_some_and(|poll| poll.ended);
        let name = poll.map_or(NameId::NONE, |poll| poll.name);
        let name = if name == NameId::NONE { polled.name } else { name };
        if name != NameId::NONE {
            record.name = name;
        }
        if let Some(delay) = poll.and_then(|poll| poll.delay).map(nanoseconds) {
            record.delays += 1;
            record.delay = record.delay.saturating_add(delay);
            record.longest_delay = record.longest_delay.max(delay);
        }
    }

    /// Each task with its record.
    pub(super) fn into_records(self) -> impl Iterator<Item = (u64, Record)> {
        self.records.into_iter().map(|(key, record)| (key.task, record))
    }
}

impl Record {
    fn new(polled: Polled, now: Instant) -> Self {
        Self {
            spawned_at: polled.spawned_at,
            name: polled.name,
            ended: false,
            polls: 0,
            busy: 0,
            longest: 0,
            last_began: now,
            last_ended: now,
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

    fn poll(ledger: &mut Ledger, sequence: u64, task: u64) {
        ledger.begin(sequence, NameId::NONE);
        ledger.end(sequence, polled(task));
    }

    fn polls(table: Table) -> Vec<(u64, u64)> {
        let mut polls: Vec<_> = table.into_records().map(|(task, record)| (task, record.polls)).collect();
        polls.sort_unstable();
        polls
    }

    #[test]
    fn windows_that_overlap_count_each_its_own() {
        let mut ledger = Ledger::default();
        ledger.start(1);
        poll(&mut ledger, 1, 7);
        ledger.start(2);
        poll(&mut ledger, 3, 7);
        assert_eq!(ledger.stop(1, None).map(polls), Some(vec![(7, 2)]));
        assert!(ledger.in_use());
        poll(&mut ledger, 5, 8);
        assert_eq!(ledger.stop(2, None).map(polls), Some(vec![(7, 1), (8, 1)]));
        assert!(!ledger.in_use() && ledger.stop(2, None).is_none());
    }

    #[test]
    fn a_poll_that_began_before_the_window_counts_from_its_start() {
        let mut ledger = Ledger::default();
        ledger.start(1);
        std::thread::sleep(Duration::from_millis(2));
        ledger.end(1, polled(7));
        let (_, record) = ledger.stop(1, None).expect("it runs").into_records().next().expect("one task");
        assert!(record.polls == 1 && record.busy >= 2_000_000, "{record:?}");
    }

    #[test]
    fn a_poll_that_goes_on_counts_once_with_its_time_so_far() {
        let mut ledger = Ledger::default();
        ledger.start(1);
        ledger.start(2);
        ledger.begin(1, NameId::NONE);
        std::thread::sleep(Duration::from_millis(2));
        let (_, record) =
            ledger.stop(1, Some((1, polled(7)))).expect("it runs").into_records().next().expect("one task");
        assert!(record.polls == 1 && record.busy >= 2_000_000, "{record:?}");
        ledger.end(1, polled(7));
        // The worker has added it, and is about to say that the poll is over.
        assert_eq!(ledger.stop(2, Some((1, polled(7)))).map(polls), Some(vec![(7, 1)]));
    }

    #[test]
    fn tasks_beyond_the_limit_are_added_up_by_place() {
        let mut ledger = Ledger::default();
        ledger.start(1);
        let many = MAX_TASKS as u64 + 10;
        for task in 1..=many {
            poll(&mut ledger, task * 2 - 1, task);
        }
        let polls = polls(ledger.stop(1, None).expect("it runs"));
        assert_eq!(polls.len(), MAX_TASKS + 1);
        assert_eq!(polls.last(), Some(&(NOT_KEPT_APART, 10)));
    }

    #[test]
    fn the_outermost_name_counts_and_the_newest_end() {
        let (outer, inner) = (NameId(1), NameId(2));
        let mut ledger = Ledger::default();
        ledger.start(1);
        ledger.begin(1, NameId::NONE);
        ledger.name(1, outer);
        ledger.name(1, inner);
        ledger.ended(1, polled(7));
        ledger.end(1, polled(7));
        let (_, record) = ledger.stop(1, None).expect("it runs").into_records().next().expect("one task");
        assert_eq!((record.name, record.ended), (outer, true));
    }
}
