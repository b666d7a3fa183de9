//! What one watch allocates between two moments: for the guard of a test.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::ledger::{Added, Sums};
use crate::probe::Registry;
use crate::sys::heap::{Allocated, PollNumber};

/// Polls that are kept because they allocated more than they may. Further ones are counted.
const MAX_POLLS: usize = 100;

/// The threads of a watch that its registry does not list, such as those of `spawn_blocking`.
pub(crate) type OtherThreads = Box<dyn Fn() -> Vec<i32> + Send>;

/// What the threads of one watch allocate.
pub(super) struct Recording {
    pub(super) number: u64,
    registry: Arc<Registry>,
    others: OtherThreads,
    /// Threads that belong to the watch or did.
    threads: HashSet<i32>,
    /// A poll that allocates more bytes is kept.
    poll_limit: Option<f64>,
    is_over: bool,
    allocated: HashMap<usize, Sums>,
    living: HashMap<u32, (usize, Sums)>,
    /// The last poll of each slot. Polls of a slot do not overlap.
    last: HashMap<usize, PollSums>,
    polls: Vec<PollSums>,
    further_polls: u64,
    /// Lost samples of the process when it began.
    pub(super) lost_before: u64,
}

/// What one poll allocated.
#[derive(Clone, Debug)]
pub(super) struct PollSums {
    sequence: u64,
    bytes: f64,
    pub(super) sites: HashMap<usize, Sums>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Recording {
    pub(super) fn new(number: u64, registry: Arc<Registry>, others: OtherThreads, poll_limit: Option<u64>) -> Self {
        Self {
            number,
            registry,
            others,
            threads: HashSet::new(),
            poll_limit: poll_limit.map(|limit| limit as f64),
            is_over: false,
            allocated: HashMap::new(),
            living: HashMap::new(),
            last: HashMap::new(),
            polls: Vec::new(),
            further_polls: 0,
            lost_before: crate::sys::heap::lost(),
        }
    }

    /// Learns which threads belong to the watch.
    pub(super) fn refresh(&mut self) {
        if !self.is_over {
            self.threads.extend(self.registry.snapshot().iter().map(|entry| entry.worker.thread.tid));
            self.threads.extend((self.others)());
        }
    }

    /// Adds an event. A free counts after the end too.
    pub(super) fn add(&mut self, added: Added<'_>) {
        match added {
            Added::Allocated(allocated, site, of) => self.allocated(allocated, site, of),
            Added::Freed(object) => {
                self.living.remove(&object);
            }
        }
    }

    fn allocated(&mut self, allocated: &Allocated, site: usize, of: Sums) {
        if self.is_over || !self.threads.contains(&allocated.tid) {
            return;
        }
        self.allocated.entry(site).or_default().add(of);
        self.living.insert(allocated.object, (site, of));
        if let Some((limit, poll)) = self.poll_limit.zip(allocated.poll_number) {
            self.in_poll(limit, poll, site, of);
        }
    }

    fn in_poll(&mut self, limit: f64, poll: PollNumber, site: usize, of: Sums) {
        let new = || PollSums { sequence: poll.sequence, bytes: 0.0, sites: HashMap::new() };
        let last = self.last.entry(poll.slot).or_insert_with(new);
        if last.sequence != poll.sequence {
            let ended = std::mem::replace(last, new());
            keep(&mut self.polls, &mut self.further_polls, limit, ended);
        }
        let Some(last) = self.last.get_mut(&poll.slot) else { return };
        last.bytes += of.bytes;
        last.sites.entry(site).or_default().add(of);
    }

    /// Records no further allocation. What lives may still be freed.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        if let Some(limit) = self.poll_limit {
            for (_, ended) in self.last.drain() {
                keep(&mut self.polls, &mut self.further_polls, limit, ended);
            }
        }
    }

    /// The sums by site of what was allocated.
    pub(super) fn all(&self) -> &HashMap<usize, Sums> {
        &self.allocated
    }

    /// The sums by site of what lives.
    pub(super) fn kept(&self) -> HashMap<usize, Sums> {
        let mut sums: HashMap<usize, Sums> = HashMap::new();
        for (site, of) in self.living.values() {
            sums.entry(*site).or_default().add(*of);
        }
        sums
    }

    /// Polls that allocated too much, and how many further ones did.
    pub(super) fn polls(&self) -> (&[PollSums], u64) {
        (&self.polls, self.further_polls)
    }
}

/// Keeps a poll that has ended, if it allocated too much.
fn keep(polls: &mut Vec<PollSums>, further: &mut u64, limit: f64, ended: PollSums) {
    if ended.bytes <= limit {
        return;
    }
    if polls.len() < MAX_POLLS {
        polls.push(ended);
    } else {
        *further += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn recording(poll_limit: Option<u64>) -> Recording {
        let mut recording = Recording::new(1, Arc::default(), Box::new(|| vec![7]), poll_limit);
        recording.refresh();
        recording
    }

    fn allocated(object: u32, tid: i32, poll: Option<u64>) -> Allocated {
        let poll_number = poll.map(|sequence| PollNumber { slot: 1, sequence });
        Allocated { object, size: 1, mean: 0, at: Duration::ZERO, tid, poll: None, poll_number }
    }

    fn sums(bytes: f64) -> Sums {
        Sums { samples: 1, objects: 1.0, bytes }
    }

    #[test]
    fn only_its_threads_count_until_it_ends() {
        let mut recording = recording(None);
        recording.allocated(&allocated(1, 7, None), 0, sums(10.0));
        recording.allocated(&allocated(2, 7, None), 0, sums(20.0));
        recording.allocated(&allocated(3, 8, None), 0, sums(40.0));
        recording.end();
        recording.allocated(&allocated(4, 7, None), 0, sums(80.0));
        assert_eq!(recording.all()[&0].bytes, 30.0);
        recording.add(Added::Freed(1));
        assert_eq!(recording.kept()[&0].bytes, 20.0);
        recording.add(Added::Freed(2));
        assert!(recording.kept().is_empty(), "a free counts after the end too");
    }

    #[test]
    fn a_poll_above_the_limit_is_kept_with_its_sites() {
        let mut recording = recording(Some(25));
        for (object, sequence, site) in [(1, 1, 0), (2, 1, 1), (3, 3, 0), (4, 3, 0), (5, 3, 1), (6, 5, 0)] {
            recording.allocated(&allocated(object, 7, Some(sequence)), site, sums(10.0));
        }
        recording.allocated(&allocated(9, 7, None), 0, sums(1000.0));
        recording.end();
        let (polls, further) = recording.polls();
        assert_eq!((polls.len(), further), (1, 0), "{polls:?}");
        assert_eq!((polls[0].sites[&0].bytes, polls[0].sites[&1].bytes), (20.0, 10.0));
    }

    #[test]
    fn the_last_poll_counts_and_kept_polls_are_bounded() {
        let mut recording = recording(Some(1));
        for number in 0..(MAX_POLLS as u32 + 5) {
            recording.allocated(&allocated(number, 7, Some(u64::from(number) * 2 + 1)), 0, sums(10.0));
        }
        recording.end();
        assert_eq!((recording.polls().0.len(), recording.polls().1), (MAX_POLLS, 5));
    }
}
