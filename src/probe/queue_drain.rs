//! Queue depths that a worker reads about itself, and which of its polls take tasks out of its queues after a stall.
//!
//! Tokio's queues are first in, first out. So the depths at the end of one poll and at the start of the next show where a
//! task was queued. A multi-thread worker also has a LIFO slot, which holds one task that it polls before its queue.

use tokio::runtime::RuntimeMetrics;

use crate::model::post_stall::Queued;
use crate::tokio_internals::MAX_POLLS_BETWEEN_SHARED_QUEUE_CHECKS;

/// The number of queued tasks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depths {
    /// In the worker's own queue.
    pub(super) own: usize,
    /// In the queue that all workers share.
    pub(super) shared: usize,
}

/// The queues of a worker at the end of a stall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueuesAtEnd {
    pub(super) depths: Depths,
    /// A first poll whose task was in no queue took it from the LIFO slot: there is nothing to steal from other workers.
    pub(super) lifo_slot_is_certain: bool,
    /// The runtime has no LIFO slot, so every polled task was in a queue.
    pub(super) has_no_lifo_slot: bool,
}

/// The queue depths of the current worker. `None` without `tokio_unstable`, and on threads that are no workers.
#[cfg(tokio_unstable)]
pub(super) fn depths() -> Option<Depths> {
    let (metrics, worker) = current_worker()?;
    Some(Depths { own: metrics.worker_local_queue_depth(worker), shared: metrics.global_queue_depth() })
}

#[cfg(not(tokio_unstable))]
pub(super) fn depths() -> Option<Depths> {
    None
}

/// The queues of the current worker, which has just ended a stall.
#[cfg(tokio_unstable)]
pub(super) fn queues_at_end() -> Option<QueuesAtEnd> {
    use tokio::runtime::{Handle, RuntimeFlavor};

    let depths = depths()?;
    let (metrics, worker) = current_worker()?;
    let flavor = Handle::try_current().ok()?.runtime_flavor();
    let multi_thread = flavor == RuntimeFlavor::MultiThread;
    let others_are_empty =
        || (0..metrics.num_workers()).all(|other| other == worker || metrics.worker_local_queue_depth(other) == 0);
    Some(QueuesAtEnd {
        depths,
        lifo_slot_is_certain: multi_thread && (depths.own > 0 || others_are_empty()),
        has_no_lifo_slot: flavor == RuntimeFlavor::CurrentThread,
    })
}

#[cfg(not(tokio_unstable))]
pub(super) fn queues_at_end() -> Option<QueuesAtEnd> {
    None
}

#[cfg(tokio_unstable)]
fn current_worker() -> Option<(RuntimeMetrics, usize)> {
    let metrics = tokio::runtime::Handle::try_current().ok()?.metrics();
    let worker = tokio::runtime::worker_index()?;
    (worker < metrics.num_workers()).then_some((metrics, worker))
}

/// The number of tasks in a worker's own queue. `None` without `tokio_unstable`.
#[cfg(tokio_unstable)]
pub(super) fn local_depth(metrics: &RuntimeMetrics, worker: usize) -> Option<usize> {
    (worker < metrics.num_workers()).then(|| metrics.worker_local_queue_depth(worker))
}

#[cfg(not(tokio_unstable))]
pub(super) fn local_depth(_metrics: &RuntimeMetrics, _worker: usize) -> Option<usize> {
    None
}

/// Decides for each poll after a stall whether, and where, its task was queued when the stall ended.
#[derive(Debug)]
pub(super) struct QueueDrain {
    /// Tasks that are still in the worker's own queue.
    own: Remaining,
    /// Tasks that are still in the shared queue.
    shared: Remaining,
    /// Tasks that the worker has moved from the shared queue to its own empty one.
    moved: Remaining,
    lifo_slot_is_certain: bool,
    has_no_lifo_slot: bool,
    last: Depths,
    /// The number of polls in a row of tasks that were not queued at the end of the stall.
    others: u32,
}

/// Tasks of a queue at the end of the stall that are still queued: the position of the first, and their number.
#[derive(Clone, Copy, Debug, Default)]
struct Remaining {
    first: usize,
    count: usize,
}

/// The recording ends after this many polls in a row of tasks that were not queued at the end of the stall. By then the worker
/// has checked the shared queue, unless it also polled from its LIFO slot.
const MAX_OTHERS: u32 = 128;
const _: () = assert!(MAX_OTHERS > MAX_POLLS_BETWEEN_SHARED_QUEUE_CHECKS);

impl Remaining {
    /// Removes tasks at the head, and returns the position of the last one removed.
    fn take(&mut self, removed: usize) -> usize {
        let removed = removed.min(self.count);
        self.first += removed;
        self.count -= removed;
        self.first.saturating_sub(1)
    }
}

impl QueueDrain {
    pub(super) fn new(queues: QueuesAtEnd) -> Self {
        Self {
            own: Remaining { first: 0, count: queues.depths.own },
            shared: Remaining { first: 0, count: queues.depths.shared },
            moved: Remaining::default(),
            lifo_slot_is_certain: queues.lifo_slot_is_certain,
            has_no_lifo_slot: queues.has_no_lifo_slot,
            last: queues.depths,
            others: 0,
        }
    }

    /// A poll begins. A future given to `block_on` is no task, and is never queued.
    pub(super) fn begin_poll(&mut self, now: Depths, is_task: bool) -> Queued {
        let lifo_slot_is_certain = std::mem::take(&mut self.lifo_slot_is_certain);
        let queued = if is_task { self.origin(now, lifo_slot_is_certain) } else { Queued::Elsewhere };
        self.others = if queued == Queued::Elsewhere { self.others + 1 } else { 0 };
        queued
    }

    /// Where the task of the poll that begins was queued.
    fn origin(&mut self, now: Depths, lifo_slot_is_certain: bool) -> Queued {
        let before = self.last;
        let removed_from_shared = before.shared.saturating_sub(now.shared);
        if now.own < before.own {
            // Workers that steal also take from the head.
            let removed = before.own - now.own;
            return if self.own.count > 0 {
                Queued::Own(self.own.take(removed))
            } else if self.moved.count > 0 {
                Queued::Shared(self.moved.take(removed))
            } else {
                Queued::Elsewhere
            };
        }
        // The last poll of a task wakes its join handle after the hook, so the depth can stay equal although a task was taken.
        if self.has_no_lifo_slot && self.own.count > 0 && removed_from_shared == 0 {
            return Queued::Own(self.own.take(1));
        }
        // The worker takes a batch from the shared queue: it polls the first task and moves the others to its own queue.
        let batch = now.own - before.own + 1;
        if self.shared.count > 0 && removed_from_shared >= batch && (batch == 1 || before.own == 0) {
            let first = self.shared.first;
            let taken = batch.min(self.shared.count);
            self.shared.take(taken);
            if batch > 1 {
                self.moved = Remaining { first: first + 1, count: taken - 1 };
            }
            return Queued::Shared(first);
        }
        if lifo_slot_is_certain && batch == 1 { Queued::Next } else { Queued::Elsewhere }
    }

    /// A poll ends.
    pub(super) fn end_poll(&mut self, now: Depths) {
        // Other workers take from the shared queue as well.
        self.shared.take(self.shared.count.saturating_sub(now.shared));
        self.last = now;
    }

    /// Whether no task that was queued at the end of the stall is left, or too many other polls came in between.
    pub(super) fn is_done(&self) -> bool {
        let left = self.own.count + self.moved.count + self.shared.count;
        (left == 0 && !self.lifo_slot_is_certain) || self.others >= MAX_OTHERS
    }

    /// Tasks left in the worker's own queue: the position of the first, and their number.
    pub(super) fn own_left(&self) -> (usize, usize) {
        (self.own.first, self.own.count)
    }

    /// Tasks left of the shared queue: the position of the first, and their number.
    pub(super) fn shared_left(&self) -> (usize, usize) {
        let first = if self.moved.count > 0 { self.moved.first } else { self.shared.first };
        (first, self.moved.count + self.shared.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(own: usize, shared: usize) -> Depths {
        Depths { own, shared }
    }

    fn drain(own: usize, shared: usize, lifo_slot_is_certain: bool) -> QueueDrain {
        QueueDrain::new(QueuesAtEnd { depths: at(own, shared), lifo_slot_is_certain, has_no_lifo_slot: false })
    }

    /// Runs polls, each with the queue depths at its start and end. Returns where each task was queued.
    fn run(mut drain: QueueDrain, polls: &[(Depths, Depths)]) -> (Vec<Queued>, QueueDrain) {
        let taken = polls.iter().map(|(begin, end)| {
            let queued = drain.begin_poll(*begin, true);
            drain.end_poll(*end);
            queued
        });
        let taken = taken.collect();
        (taken, drain)
    }

    #[test]
    fn a_join_handle_woken_by_the_end_of_a_task_hides_no_task() {
        let queues = QueuesAtEnd { depths: at(2, 0), lifo_slot_is_certain: false, has_no_lifo_slot: true };
        // Between the first and the second poll a task is queued that awaits the first one.
        let polls = [(at(1, 0), at(1, 0)), (at(1, 0), at(1, 0)), (at(0, 0), at(0, 0))];
        let (taken, drain) = run(QueueDrain::new(queues), &polls);
        assert_eq!(taken, [Queued::Own(0), Queued::Own(1), Queued::Elsewhere]);
        assert!(drain.is_done());
    }

    #[test]
    fn tasks_are_taken_from_the_head_and_later_ones_do_not_count() {
        // The first poll wakes a task into the LIFO slot, which is polled next; the second pushes two.
        let polls = [(at(1, 0), at(1, 0)), (at(1, 0), at(3, 0)), (at(2, 0), at(2, 0)), (at(1, 0), at(1, 0))];
        let (taken, drain) = run(drain(2, 0, false), &polls);
        assert_eq!(taken, [Queued::Own(0), Queued::Elsewhere, Queued::Own(1), Queued::Elsewhere]);
        assert!(drain.is_done());
    }

    #[test]
    fn the_lifo_slot_is_polled_first_and_once() {
        let polls = [(at(1, 0), at(1, 0)), (at(1, 0), at(1, 0)), (at(0, 0), at(0, 0))];
        let (taken, drain) = run(drain(1, 0, true), &polls);
        assert_eq!(taken, [Queued::Next, Queued::Elsewhere, Queued::Own(0)]);
        assert!(drain.is_done());
    }

    #[test]
    fn stolen_tasks_are_no_longer_queued() {
        let (taken, drain) = run(drain(6, 0, false), &[(at(2, 0), at(2, 0))]);
        assert_eq!(taken, [Queued::Own(3)], "three were stolen before it");
        assert_eq!(drain.own_left(), (4, 2));
    }

    #[test]
    fn a_batch_from_the_shared_queue_is_polled_from_the_own_queue() {
        // Of five tasks it polls one and moves two; other workers take the last two.
        let polls = [(at(2, 2), at(2, 2)), (at(1, 2), at(1, 0)), (at(0, 0), at(0, 3))];
        let (taken, drain) = run(drain(0, 5, false), &polls);
        assert_eq!(taken, [Queued::Shared(0), Queued::Shared(1), Queued::Shared(2)]);
        assert!(drain.is_done(), "{drain:?}");
    }

    #[test]
    fn the_shared_queue_is_taken_one_at_a_time() {
        let polls = [(at(0, 1), at(0, 1)), (at(0, 0), at(0, 0))];
        assert_eq!(run(drain(0, 2, false), &polls).0, [Queued::Shared(0), Queued::Shared(1)]);
        // Tasks stolen from another worker do not reduce the shared queue.
        assert_eq!(run(drain(0, 2, false), &[(at(3, 2), at(3, 2))]).0, [Queued::Elsewhere]);
    }

    #[test]
    fn a_worker_with_other_tasks_is_not_recorded_forever() {
        let mut drain = drain(0, 1, false);
        for _ in 0..MAX_OTHERS {
            assert!(!drain.is_done());
            drain.begin_poll(at(0, 1), true);
            drain.end_poll(at(0, 1));
        }
        assert!(drain.is_done());
    }

    #[test]
    fn a_future_given_to_block_on_is_not_queued() {
        let mut drain = drain(1, 0, false);
        assert_eq!(drain.begin_poll(at(1, 0), false), Queued::Elsewhere);
        drain.end_poll(at(1, 0));
        assert_eq!(drain.begin_poll(at(0, 0), true), Queued::Own(0));
    }
}
