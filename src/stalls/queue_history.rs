//! When tasks were queued behind a stuck worker, known from the queue lengths in each sample. This file reads no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::post_stall::{PolledAfter, PostStallPolls, Queued};
use crate::model::victims::{Victim, Victims, Waited};

/// The limit of groups per queue. Later arrivals join the last group.
const MAX_GROUPS: usize = 64;

/// A task that became ready less than this before the end of the stall is no victim.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// The queues behind one stuck worker.
#[derive(Debug)]
pub(super) struct QueueHistory {
    poll_start: Instant,
    own: Arrivals,
    /// Only while every other worker is stuck too. Otherwise another worker empties the shared queue.
    shared: Option<Arrivals>,
}

/// The arrivals in one queue, first in, first out.
#[derive(Debug)]
struct Arrivals {
    groups: VecDeque<Group>,
    length: usize,
    last_sample: Instant,
}

/// Tasks that were queued between two samples.
#[derive(Clone, Copy, Debug)]
struct Group {
    after: Instant,
    before: Instant,
    count: usize,
}

impl Arrivals {
    fn new(since: Instant) -> Self {
        Self { groups: VecDeque::new(), length: 0, last_sample: since }
    }

    fn add_sample(&mut self, now: Instant, length: usize) {
        let new = length.saturating_sub(self.length);
        if new > 0 && self.groups.len() < MAX_GROUPS {
            self.groups.push_back(Group { after: self.last_sample, before: now, count: new });
        } else if let Some(last) = self.groups.back_mut().filter(|_| new > 0) {
            last.before = now;
            last.count += new;
        }
        self.shrink(length);
        self.length = length;
        self.last_sample = now;
    }

    /// Removes tasks at the head, which other workers have taken, until `length` are left.
    fn shrink(&mut self, length: usize) {
        let mut excess = self.length.saturating_sub(length);
        self.length -= excess;
        while excess > 0
            && let Some(first) = self.groups.front_mut()
        {
            let removed = excess.min(first.count);
            first.count -= removed;
            excess -= removed;
            if first.count == 0 {
                self.groups.pop_front();
            }
        }
    }

    /// The group of the task at this position. `None` if it was queued after the last sample.
    fn at(&self, mut position: usize) -> Option<Group> {
        self.groups.iter().copied().find(|group| {
            let is_inside = position < group.count;
            position = position.saturating_sub(group.count);
            is_inside
        })
    }

    /// The number of these positions that were filled by the last sample.
    fn known(&self, (first, count): (usize, usize)) -> u64 {
        self.length.saturating_sub(first).min(count) as u64
    }
}

impl QueueHistory {
    pub(super) fn new(poll_start: Instant) -> Self {
        Self { poll_start, own: Arrivals::new(poll_start), shared: None }
    }

    /// Adds the queue lengths of one sample. `all_stuck_since` is when the last other worker got stuck, if all are.
    pub(super) fn add_sample(
        &mut self,
        now: Instant,
        (own, shared): (Option<usize>, Option<usize>),
        all_stuck_since: Option<Instant>,
    ) {
        if let Some(own) = own {
            self.own.add_sample(now, own);
        }
        match (all_stuck_since, shared) {
            (Some(since), Some(shared)) => {
                let since = since.max(self.poll_start);
                self.shared.get_or_insert_with(|| Arrivals::new(since)).add_sample(now, shared);
            }
            _ => self.shared = None,
        }
    }

    /// The victims: tasks polled after the stall that were queued during it.
    pub(super) fn victims(mut self, after: &PostStallPolls) -> Victims {
        // Positions count from the head at the end of the stall, so tasks stolen since the last sample are removed first.
        self.own.shrink(after.own);
        if let Some(shared) = &mut self.shared {
            shared.shrink(after.shared);
        }
        let victims = after.polls.iter().filter_map(|poll| {
            let waited = self.waited(poll, after.ended)?;
            Some(Victim::new(poll.task.clone(), waited))
        });
        let left =
            self.own.known(after.own_left) + self.shared.as_ref().map_or(0, |shared| shared.known(after.shared_left));
        Victims::new(victims.collect(), after.dropped + left)
    }

    fn waited(&self, poll: &PolledAfter, ended: Instant) -> Option<Waited> {
        let since = |ready: Instant| poll.at.saturating_duration_since(ready.max(self.poll_start));
        if let Some(ready) = poll.delay.and_then(|delay| poll.at.checked_sub(delay)) {
            let waited = since(ready);
            return (ended.saturating_duration_since(ready) >= MIN_WAIT).then(|| Waited::between(waited, waited));
        }
        let group = match poll.queued {
            Queued::Own(position) => self.own.at(position)?,
            Queued::Shared(position) => self.shared.as_ref()?.at(position)?,
            // A task pushed out of the LIFO slot goes to the end of the queue, so the slot holds the newest task.
            Queued::Next => {
                let after = self.own.groups.back().map_or(self.poll_start, |group| group.after);
                return Some(Waited::between(Duration::ZERO, since(after)));
            }
            Queued::Elsewhere => return None,
        };
        Some(Waited::between(since(group.before), since(group.after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::{Task, TaskId};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn polled(id: u64, at: Instant, queued: Queued, delay: Option<Duration>) -> PolledAfter {
        let task = Task { id: Some(TaskId(id)), ..Task::default() };
        PolledAfter { task, at, queued, delay }
    }

    fn post_stall(ended: Instant, own: usize, shared: usize, polls: Vec<PolledAfter>) -> PostStallPolls {
        PostStallPolls { ended, own, shared, polls, dropped: 0, own_left: (own, 0), shared_left: (shared, 0) }
    }

    /// The id of each victim, and the bounds of its wait in milliseconds.
    fn bounds(victims: &Victims) -> Vec<(u64, u128, u128)> {
        let one = |victim: &Victim| {
            let Waited { at_least, at_most, .. } = victim.waited;
            (victim.task.id.map_or(0, |id| id.0), at_least.as_millis(), at_most.as_millis())
        };
        victims.tasks.iter().map(one).collect()
    }

    #[test]
    fn a_wait_began_between_the_two_samples_around_the_arrival() {
        let start = Instant::now();
        let mut queues = QueueHistory::new(start);
        queues.add_sample(start + ms(2), (Some(1), Some(0)), Some(start));
        queues.add_sample(start + ms(50), (Some(1), Some(0)), Some(start));
        queues.add_sample(start + ms(51), (Some(2), Some(3)), Some(start));
        let end = start + ms(100);
        let polls = vec![
            polled(1, end, Queued::Own(0), None),
            polled(2, end, Queued::Own(1), None),
            polled(3, end, Queued::Own(2), None),
            polled(4, end, Queued::Shared(2), None),
            polled(5, end, Queued::Elsewhere, None),
            polled(6, end, Queued::Next, None),
        ];
        let victims = queues.victims(&post_stall(end, 3, 3, polls));
        assert_eq!(
            bounds(&victims),
            [(1, 98, 100), (2, 49, 50), (4, 49, 50), (6, 0, 50)],
            "3 was queued after the last sample"
        );
        assert_eq!(victims.more, 0);
    }

    #[test]
    fn tasks_in_the_shared_queue_wait_only_while_all_workers_are_stuck() {
        let start = Instant::now();
        let end = start + ms(100);
        let polls = vec![polled(1, end, Queued::Shared(0), None)];
        let mut queues = QueueHistory::new(start);
        queues.add_sample(start + ms(2), (Some(0), Some(1)), None);
        queues.add_sample(start + ms(60), (Some(0), Some(1)), Some(start + ms(50)));
        assert_eq!(bounds(&queues.victims(&post_stall(end, 0, 1, polls.clone()))), [(1, 40, 50)]);
        let mut queues = QueueHistory::new(start);
        queues.add_sample(start + ms(2), (Some(0), Some(1)), Some(start));
        queues.add_sample(start + ms(3), (Some(0), Some(1)), None);
        assert_eq!(bounds(&queues.victims(&post_stall(end, 0, 1, polls))), []);
    }

    #[test]
    fn schedule_latency_gives_exact_waits() {
        let start = Instant::now();
        let end = start + ms(100);
        let at = end + ms(1);
        let polls = vec![
            polled(1, at, Queued::Elsewhere, Some(ms(31))),
            polled(2, at, Queued::Next, Some(ms(1))),
            polled(3, at, Queued::Own(0), Some(ms(500))),
        ];
        let victims = QueueHistory::new(start).victims(&post_stall(end, 1, 0, polls));
        assert_eq!(bounds(&victims), [(3, 101, 101), (1, 31, 31)], "the second became ready when the stall ended");
    }

    #[test]
    fn stolen_tasks_are_removed_from_the_head() {
        let start = Instant::now();
        let end = start + ms(100);
        let mut queues = QueueHistory::new(start);
        queues.add_sample(start + ms(2), (Some(2), None), None);
        queues.add_sample(start + ms(80), (Some(3), None), None);
        // Two of the three were stolen, and another one was queued after the last sample.
        queues.add_sample(start + ms(90), (Some(1), None), None);
        let polls = vec![polled(3, end, Queued::Own(0), None), polled(4, end, Queued::Own(1), None)];
        assert_eq!(bounds(&queues.victims(&post_stall(end, 2, 0, polls))), [(3, 20, 98)]);
    }

    #[test]
    fn victims_that_were_not_polled_in_time_are_counted() {
        let start = Instant::now();
        let end = start + ms(100);
        let mut queues = QueueHistory::new(start);
        queues.add_sample(start + ms(2), (Some(9), None), None);
        let after = PostStallPolls {
            dropped: 2,
            own_left: (4, 6),
            ..post_stall(end, 10, 0, vec![polled(1, end, Queued::Own(0), None)])
        };
        let victims = queues.victims(&after);
        assert_eq!((bounds(&victims), victims.more), (vec![(1, 98, 100)], 7), "one was queued after the last sample");
    }

    #[test]
    fn the_number_of_groups_is_bounded() {
        let start = Instant::now();
        let mut queues = QueueHistory::new(start);
        let many = MAX_GROUPS as u64 + 10;
        for sample in 1..=many {
            queues.add_sample(start + ms(sample), (Some(sample as usize), None), None);
        }
        assert_eq!((queues.own.groups.len(), queues.own.length), (MAX_GROUPS, many as usize));
        assert!(queues.own.at(many as usize - 1).is_some_and(|group| group.before == start + ms(many)));
    }
}
