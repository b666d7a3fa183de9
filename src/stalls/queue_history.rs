//! Since when tasks have been queued behind a stuck worker: how full its queues were at each look. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::post_stall::{PolledAfter, PostStallPolls, Queued};
use crate::model::victims::{Victim, Victims, Waited};

/// Different times at which tasks came that are told apart, per queue. What comes later is taken together.
const MAX_RUNS: usize = 64;

/// Who became ready so shortly before the end did not wait.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// The queues behind one stuck worker, look by look.
#[derive(Debug)]
pub(super) struct Queues {
    began: Instant,
    own: Arrivals,
    /// As long as every other worker is stuck too; otherwise somebody empties it.
    shared: Option<Arrivals>,
}

/// Who came when. First in, first out.
#[derive(Debug)]
struct Arrivals {
    runs: VecDeque<Run>,
    length: usize,
    looked: Instant,
}

/// Tasks that came between two looks.
#[derive(Clone, Copy, Debug)]
struct Run {
    after: Instant,
    before: Instant,
    count: usize,
}

impl Arrivals {
    fn new(since: Instant) -> Self {
        Self { runs: VecDeque::new(), length: 0, looked: since }
    }

    fn look(&mut self, now: Instant, length: usize) {
        let new = length.saturating_sub(self.length);
        if new > 0 && self.runs.len() < MAX_RUNS {
            self.runs.push_back(Run { after: self.looked, before: now, count: new });
        } else if let Some(last) = self.runs.back_mut().filter(|_| new > 0) {
            last.before = now;
            last.count += new;
        }
        self.shrink(length);
        self.length = length;
        self.looked = now;
    }

    /// No more than so many are left: others have taken some from the head.
    fn shrink(&mut self, length: usize) {
        let mut gone = self.length.saturating_sub(length);
        self.length -= gone;
        while gone > 0
            && let Some(first) = self.runs.front_mut()
        {
            let here = gone.min(first.count);
            first.count -= here;
            gone -= here;
            if first.count == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// When the one at this place came. `None`: after the last look.
    fn at(&self, mut place: usize) -> Option<Run> {
        self.runs.iter().copied().find(|run| {
            let here = place < run.count;
            place = place.saturating_sub(run.count);
            here
        })
    }

    /// How many of those at these places had come by the last look.
    fn known(&self, (first, count): (usize, usize)) -> u64 {
        self.length.saturating_sub(first).min(count) as u64
    }
}

impl Queues {
    /// Of a poll that began then.
    pub(super) fn new(began: Instant) -> Self {
        Self { began, own: Arrivals::new(began), shared: None }
    }

    /// One look at them. `stuck_since`: when the last of the other workers got stuck, if none is free.
    pub(super) fn look(
        &mut self,
        now: Instant,
        (own, shared): (Option<usize>, Option<usize>),
        stuck_since: Option<Instant>,
    ) {
        if let Some(own) = own {
            self.own.look(now, own);
        }
        match (stuck_since, shared) {
            (Some(since), Some(shared)) => {
                let since = since.max(self.began);
                self.shared.get_or_insert_with(|| Arrivals::new(since)).look(now, shared);
            }
            _ => self.shared = None,
        }
    }

    /// Who waited, of those whom the worker polled after the stall.
    pub(super) fn victims(mut self, after: &PostStallPolls) -> Victims {
        // Who stands where, when the stall ended, is told from the head: what was stolen since the last look is gone.
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
        let since = |ready: Instant| poll.at.saturating_duration_since(ready.max(self.began));
        if let Some(ready) = poll.delay.and_then(|delay| poll.at.checked_sub(delay)) {
            let waited = since(ready);
            return (ended.saturating_duration_since(ready) >= MIN_WAIT).then(|| Waited::between(waited, waited));
        }
        let run = match poll.queued {
            Queued::Own(place) => self.own.at(place)?,
            Queued::Shared(place) => self.shared.as_ref()?.at(place)?,
            // Whoever is pushed out of this place goes to the end of the queue, so the newest of all is in it.
            Queued::Next => {
                let after = self.own.runs.back().map_or(self.began, |run| run.after);
                return Some(Waited::between(Duration::ZERO, since(after)));
            }
            Queued::Elsewhere => return None,
        };
        Some(Waited::between(since(run.before), since(run.after)))
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

    /// Id, at least, at most; in milliseconds.
    fn told(victims: &Victims) -> Vec<(u64, u128, u128)> {
        let one = |victim: &Victim| {
            let Waited { at_least, at_most, .. } = victim.waited;
            (victim.task.id.map_or(0, |id| id.0), at_least.as_millis(), at_most.as_millis())
        };
        victims.tasks.iter().map(one).collect()
    }

    #[test]
    fn waits_lie_between_the_looks_that_show_a_task_come_and_its_poll() {
        let start = Instant::now();
        let mut queues = Queues::new(start);
        queues.look(start + ms(2), (Some(1), Some(0)), Some(start));
        queues.look(start + ms(50), (Some(1), Some(0)), Some(start));
        queues.look(start + ms(51), (Some(2), Some(3)), Some(start));
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
        assert_eq!(told(&victims), [(1, 98, 100), (2, 49, 50), (4, 49, 50), (6, 0, 50)], "3 came in the end");
        assert_eq!(victims.more, 0);
    }

    #[test]
    fn the_shared_queue_waits_only_while_nobody_else_can_take_from_it() {
        let start = Instant::now();
        let end = start + ms(100);
        let polls = vec![polled(1, end, Queued::Shared(0), None)];
        let mut queues = Queues::new(start);
        queues.look(start + ms(2), (Some(0), Some(1)), None);
        queues.look(start + ms(60), (Some(0), Some(1)), Some(start + ms(50)));
        assert_eq!(told(&queues.victims(&post_stall(end, 0, 1, polls.clone()))), [(1, 40, 50)]);
        let mut queues = Queues::new(start);
        queues.look(start + ms(2), (Some(0), Some(1)), Some(start));
        queues.look(start + ms(3), (Some(0), Some(1)), None);
        assert_eq!(told(&queues.victims(&post_stall(end, 0, 1, polls))), []);
    }

    #[test]
    fn what_tokio_tells_is_exact() {
        let start = Instant::now();
        let end = start + ms(100);
        let at = end + ms(1);
        let polls = vec![
            polled(1, at, Queued::Elsewhere, Some(ms(31))),
            polled(2, at, Queued::Next, Some(ms(1))),
            polled(3, at, Queued::Own(0), Some(ms(500))),
        ];
        let victims = Queues::new(start).victims(&post_stall(end, 1, 0, polls));
        assert_eq!(told(&victims), [(3, 101, 101), (1, 31, 31)], "the second became ready when the stall ended");
    }

    #[test]
    fn tasks_that_were_stolen_are_not_confused_with_those_behind_them() {
        let start = Instant::now();
        let end = start + ms(100);
        let mut queues = Queues::new(start);
        queues.look(start + ms(2), (Some(2), None), None);
        queues.look(start + ms(80), (Some(3), None), None);
        // Two of the three were stolen; another one came in the end.
        queues.look(start + ms(90), (Some(1), None), None);
        let polls = vec![polled(3, end, Queued::Own(0), None), polled(4, end, Queued::Own(1), None)];
        assert_eq!(told(&queues.victims(&post_stall(end, 2, 0, polls))), [(3, 20, 98)]);
    }

    #[test]
    fn who_is_not_polled_soon_is_counted() {
        let start = Instant::now();
        let end = start + ms(100);
        let mut queues = Queues::new(start);
        queues.look(start + ms(2), (Some(9), None), None);
        let after = PostStallPolls {
            dropped: 2,
            own_left: (4, 6),
            ..post_stall(end, 10, 0, vec![polled(1, end, Queued::Own(0), None)])
        };
        let victims = queues.victims(&after);
        assert_eq!((told(&victims), victims.more), (vec![(1, 98, 100)], 7), "one came in the end");
    }

    #[test]
    fn times_of_arrival_are_bounded() {
        let start = Instant::now();
        let mut queues = Queues::new(start);
        let many = MAX_RUNS as u64 + 10;
        for look in 1..=many {
            queues.look(start + ms(look), (Some(look as usize), None), None);
        }
        assert_eq!((queues.own.runs.len(), queues.own.length), (MAX_RUNS, many as usize));
        assert!(queues.own.at(many as usize - 1).is_some_and(|run| run.before == start + ms(many)));
    }
}
