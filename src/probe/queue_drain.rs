//! How many tasks are queued: asked by a worker about itself, and which of its polls take them out again.

use tokio::runtime::RuntimeMetrics;

use crate::model::post_stall::Queued;

/// How many tasks are queued at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depths {
    /// In the worker's own queue.
    pub(super) own: usize,
    /// In the one that all workers share.
    pub(super) shared: usize,
}

/// The queues of a worker at the end of a stall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) depths: Depths,
    /// The worker may have a task in the place before its queue, and if one comes from nowhere, it came from there: other
    /// workers have none to take.
    pub(super) next_is_told: bool,
    /// There is no place before its queue: a task that is polled was in a queue.
    pub(super) has_no_next: bool,
}

/// Those of the worker that the calling thread is. `None` where Tokio does not tell, and on threads that are none.
#[cfg(tokio_unstable)]
pub(super) fn depths() -> Option<Depths> {
    let (metrics, worker) = here()?;
    Some(Depths { own: metrics.worker_local_queue_depth(worker), shared: metrics.global_queue_depth() })
}

#[cfg(not(tokio_unstable))]
pub(super) fn depths() -> Option<Depths> {
    None
}

/// What is left when a stall ends, told by the worker itself.
#[cfg(tokio_unstable)]
pub(super) fn left() -> Option<Left> {
    use tokio::runtime::{Handle, RuntimeFlavor};

    let depths = depths()?;
    let (metrics, worker) = here()?;
    let flavor = Handle::try_current().ok()?.runtime_flavor();
    let multi_thread = flavor == RuntimeFlavor::MultiThread;
    let nobody_elses =
        || (0..metrics.num_workers()).all(|other| other == worker || metrics.worker_local_queue_depth(other) == 0);
    Some(Left {
        depths,
        next_is_told: multi_thread && (depths.own > 0 || nobody_elses()),
        has_no_next: flavor == RuntimeFlavor::CurrentThread,
    })
}

#[cfg(not(tokio_unstable))]
pub(super) fn left() -> Option<Left> {
    None
}

#[cfg(tokio_unstable)]
fn here() -> Option<(RuntimeMetrics, usize)> {
    let metrics = tokio::runtime::Handle::try_current().ok()?.metrics();
    let worker = tokio::runtime::worker_index()?;
    (worker < metrics.num_workers()).then_some((metrics, worker))
}

/// Tasks in one worker's own queue, which only `tokio_unstable` tells.
#[cfg(tokio_unstable)]
pub(super) fn local_depth(metrics: &RuntimeMetrics, worker: usize) -> Option<usize> {
    (worker < metrics.num_workers()).then(|| metrics.worker_local_queue_depth(worker))
}

#[cfg(not(tokio_unstable))]
pub(super) fn local_depth(_metrics: &RuntimeMetrics, _worker: usize) -> Option<usize> {
    None
}

/// Tells of each poll after a stall whether its task had been queued when the stall ended. Tokio's queues are first in,
/// first out, so it takes no more than how full they are at the end of one poll and at the beginning of the next.
#[derive(Debug)]
pub(super) struct Emptying {
    /// Those of the worker's own queue that are still there, and how many are gone.
    own: Rest,
    /// Likewise of the shared queue.
    shared: Rest,
    /// Those of the shared queue that the worker has moved to its own, behind nobody.
    moved: Rest,
    next_is_told: bool,
    has_no_next: bool,
    last: Depths,
    /// Polls in a row that took none of them.
    others: u32,
}

/// The rest of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    first: usize,
    left: usize,
}

/// A worker that has polled so many other tasks in a row is followed no longer. It looks at the shared queue once in 61 polls
/// at the latest, whatever else there is.
const MAX_OTHERS: u32 = 128;

impl Rest {
    /// Some at its head are gone; where the last of them stood.
    fn take(&mut self, gone: usize) -> usize {
        let gone = gone.min(self.left);
        self.first += gone;
        self.left -= gone;
        self.first.saturating_sub(1)
    }
}

impl Emptying {
    pub(super) fn new(left: Left) -> Self {
        Self {
            own: Rest { first: 0, left: left.depths.own },
            shared: Rest { first: 0, left: left.depths.shared },
            moved: Rest::default(),
            next_is_told: left.next_is_told,
            has_no_next: left.has_no_next,
            last: left.depths,
            others: 0,
        }
    }

    /// A poll begins; `is_task`: it is no future given to `block_on`, which is never queued.
    pub(super) fn begin(&mut self, now: Depths, is_task: bool) -> Queued {
        let next = std::mem::take(&mut self.next_is_told);
        let queued = if is_task { self.taken(now, next) } else { Queued::Elsewhere };
        self.others = if queued == Queued::Elsewhere { self.others + 1 } else { 0 };
        queued
    }

    fn taken(&mut self, now: Depths, next: bool) -> Queued {
        let before = self.last;
        let shared_gone = before.shared.saturating_sub(now.shared);
        if now.own < before.own {
            // Workers that steal take from the head, too.
            let gone = before.own - now.own;
            return if self.own.left > 0 {
                Queued::Own(self.own.take(gone))
            } else if self.moved.left > 0 {
                Queued::Shared(self.moved.take(gone))
            } else {
                Queued::Elsewhere
            };
        }
        // Who awaits a task that has ended is woken after the end of its last poll was told, and makes up for the one that is
        // taken here.
        if self.has_no_next && self.own.left > 0 && shared_gone == 0 {
            return Queued::Own(self.own.take(1));
        }
        // One is polled, and the others are now in the worker's own queue.
        let batch = now.own - before.own + 1;
        if self.shared.left > 0 && shared_gone >= batch && (batch == 1 || before.own == 0) {
            let first = self.shared.first;
            let taken = batch.min(self.shared.left);
            self.shared.take(taken);
            if batch > 1 {
                self.moved = Rest { first: first + 1, left: taken - 1 };
            }
            return Queued::Shared(first);
        }
        if next && batch == 1 { Queued::Next } else { Queued::Elsewhere }
    }

    /// A poll ends.
    pub(super) fn end(&mut self, now: Depths) {
        // Other workers take from the shared queue as well.
        self.shared.take(self.shared.left.saturating_sub(now.shared));
        self.last = now;
    }

    /// Nothing that is of interest can come any more.
    pub(super) fn is_over(&self) -> bool {
        let left = self.own.left + self.moved.left + self.shared.left;
        (left == 0 && !self.next_is_told) || self.others >= MAX_OTHERS
    }

    /// Those that are left in the own queue: where the first stands, and how many.
    pub(super) fn own_left(&self) -> (usize, usize) {
        (self.own.first, self.own.left)
    }

    /// Those that are left of the shared queue.
    pub(super) fn shared_left(&self) -> (usize, usize) {
        let first = if self.moved.left > 0 { self.moved.first } else { self.shared.first };
        (first, self.moved.left + self.shared.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(own: usize, shared: usize) -> Depths {
        Depths { own, shared }
    }

    fn emptying(own: usize, shared: usize, next_is_told: bool) -> Emptying {
        Emptying::new(Left { depths: at(own, shared), next_is_told, has_no_next: false })
    }

    /// Queues around polls, and what each poll took.
    fn follow(mut emptying: Emptying, polls: &[(Depths, Depths)]) -> (Vec<Queued>, Emptying) {
        let taken = polls.iter().map(|(begin, end)| {
            let queued = emptying.begin(*begin, true);
            emptying.end(*end);
            queued
        });
        let taken = taken.collect();
        (taken, emptying)
    }

    #[test]
    fn who_is_woken_by_the_end_of_a_task_hides_nobody() {
        let left = Left { depths: at(2, 0), next_is_told: false, has_no_next: true };
        // Between the first and the second poll one comes: it awaits the task that was polled first.
        let polls = [(at(1, 0), at(1, 0)), (at(1, 0), at(1, 0)), (at(0, 0), at(0, 0))];
        let (taken, emptying) = follow(Emptying::new(left), &polls);
        assert_eq!(taken, [Queued::Own(0), Queued::Own(1), Queued::Elsewhere]);
        assert!(emptying.is_over());
    }

    #[test]
    fn the_own_queue_is_taken_from_its_head_and_what_comes_later_is_told_apart() {
        // The first poll wakes a task into the place before the queue, which is polled next; the second pushes two.
        let polls = [(at(1, 0), at(1, 0)), (at(1, 0), at(3, 0)), (at(2, 0), at(2, 0)), (at(1, 0), at(1, 0))];
        let (taken, emptying) = follow(emptying(2, 0, false), &polls);
        assert_eq!(taken, [Queued::Own(0), Queued::Elsewhere, Queued::Own(1), Queued::Elsewhere]);
        assert!(emptying.is_over());
    }

    #[test]
    fn the_place_before_the_queue_comes_first_and_once() {
        let polls = [(at(1, 0), at(1, 0)), (at(1, 0), at(1, 0)), (at(0, 0), at(0, 0))];
        let (taken, emptying) = follow(emptying(1, 0, true), &polls);
        assert_eq!(taken, [Queued::Next, Queued::Elsewhere, Queued::Own(0)]);
        assert!(emptying.is_over());
    }

    #[test]
    fn tasks_that_others_steal_are_gone() {
        let (taken, emptying) = follow(emptying(6, 0, false), &[(at(2, 0), at(2, 0))]);
        assert_eq!(taken, [Queued::Own(3)], "three were stolen before it");
        assert_eq!(emptying.own_left(), (4, 2));
    }

    #[test]
    fn a_batch_from_the_shared_queue_is_polled_out_of_the_own_one() {
        // Of five it takes one to poll and two to keep; others take the last two.
        let polls = [(at(2, 2), at(2, 2)), (at(1, 2), at(1, 0)), (at(0, 0), at(0, 3))];
        let (taken, emptying) = follow(emptying(0, 5, false), &polls);
        assert_eq!(taken, [Queued::Shared(0), Queued::Shared(1), Queued::Shared(2)]);
        assert!(emptying.is_over(), "{emptying:?}");
    }

    #[test]
    fn one_at_a_time_from_the_shared_queue() {
        let polls = [(at(0, 1), at(0, 1)), (at(0, 0), at(0, 0))];
        assert_eq!(follow(emptying(0, 2, false), &polls).0, [Queued::Shared(0), Queued::Shared(1)]);
        // What is stolen from another worker comes with no loss of the shared queue.
        assert_eq!(follow(emptying(0, 2, false), &[(at(3, 2), at(3, 2))]).0, [Queued::Elsewhere]);
    }

    #[test]
    fn a_worker_that_has_other_things_to_do_is_not_followed_for_ever() {
        let mut emptying = emptying(0, 1, false);
        for _ in 0..MAX_OTHERS {
            assert!(!emptying.is_over());
            emptying.begin(at(0, 1), true);
            emptying.end(at(0, 1));
        }
        assert!(emptying.is_over());
    }

    #[test]
    fn a_future_given_to_block_on_is_not_queued() {
        let mut emptying = emptying(1, 0, false);
        assert_eq!(emptying.begin(at(1, 0), false), Queued::Elsewhere);
        emptying.end(at(1, 0));
        assert_eq!(emptying.begin(at(0, 0), true), Queued::Own(0));
    }
}
