//! Records the polls of a worker right after a stall, to find the tasks that waited. Off the hot path: without a recorder,
//! a poll only reads one flag in its own slot (`Slot::is_recording`).

use std::panic::Location;
use std::time::{Duration, Instant};

use super::names::{self, NameId};
use super::queue_drain::{self, Depths, QueueDrain, QueuesAtEnd};
use crate::model::post_stall::{PolledAfter, PostStallPolls, Queued};
use crate::model::task::{Task, TaskId};

/// The limit of recorded polls. Further ones are only counted.
const MAX_POLLS: usize = 1024;

/// Records one worker's polls from the end of a stall until it has polled every task that was queued then, or parks.
#[derive(Debug)]
pub(super) struct PostStallRecorder {
    /// The sequence number of the stalled poll.
    stall: u64,
    end: Option<EndOfStall>,
    open: Option<Poll>,
    /// Allocated at full capacity by the watchdog, so that the worker does not allocate.
    polls: Vec<Poll>,
    dropped: u64,
    done: bool,
}

#[derive(Debug)]
struct EndOfStall {
    at: Instant,
    queued: Depths,
    drain: QueueDrain,
}

#[derive(Debug)]
struct Poll {
    sequence: u64,
    task: u64,
    spawned_at: &'static Location<'static>,
    name: NameId,
    at: Instant,
    queued: Queued,
    delay: Option<Duration>,
}

impl PostStallRecorder {
    pub(super) fn new(stall: u64) -> Self {
        let polls = Vec::with_capacity(MAX_POLLS);
        Self { stall, end: None, open: None, polls, dropped: 0, done: false }
    }

    pub(super) fn stall(&self) -> u64 {
        self.stall
    }

    /// Whether no further poll will be recorded.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Called by the worker when a poll begins.
    pub(super) fn begin_poll(
        &mut self,
        sequence: u64,
        task: u64,
        spawned_at: &'static Location<'static>,
        name: NameId,
    ) {
        if self.done {
            return;
        }
        let Some((end, depths)) = self.end.as_mut().zip(queue_drain::depths()) else {
            // The stall ended before this recorder was set.
            self.done = true;
            return;
        };
        let queued = end.drain.begin_poll(depths, task != 0);
        let at = Instant::now();
        self.open = Some(Poll { sequence, task, spawned_at, name, at, queued, delay: None });
    }

    /// Called by the worker when a poll ends: the stalled one, or one after it.
    pub(super) fn end_poll(&mut self, sequence: u64) {
        if self.done {
            return;
        }
        if sequence == self.stall {
            self.end = queue_drain::queues_at_end().map(|queues: QueuesAtEnd| EndOfStall {
                at: Instant::now(),
                queued: queues.depths,
                drain: QueueDrain::new(queues),
            });
        } else {
            self.keep_open_poll();
            if let (Some(end), Some(depths)) = (&mut self.end, queue_drain::depths()) {
                end.drain.end_poll(depths);
            }
        }
        self.done = self.end.as_ref().is_none_or(|end| end.drain.is_done());
    }

    /// Stops recording: the worker parks, or has lost its slot.
    pub(super) fn stop(&mut self) {
        self.done = true;
    }

    /// Sets the name of the poll. The first and outermost name is kept.
    pub(super) fn name_poll(&mut self, sequence: u64, name: NameId) {
        if let Some(poll) = self.open_mut(sequence).filter(|poll| poll.name == NameId::NONE) {
            poll.name = name;
        }
    }

    /// Sets the schedule latency of the poll: the time from wake to poll.
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    pub(super) fn set_delay(&mut self, sequence: u64, delay: Duration) {
        if let Some(poll) = self.open_mut(sequence) {
            poll.delay = Some(delay);
        }
    }

    fn open_mut(&mut self, sequence: u64) -> Option<&mut Poll> {
        self.open.as_mut().filter(|poll| poll.sequence == sequence)
    }

    /// Keeps the poll that ends if its task was ready before the stall ended.
    fn keep_open_poll(&mut self) {
        let Some((poll, end)) = self.open.take().zip(self.end.as_ref()) else { return };
        let was_ready = poll.delay.is_some_and(|delay| poll.at.checked_sub(delay).is_some_and(|ready| ready < end.at));
        if poll.task == 0 || (poll.queued == Queued::Elsewhere && !was_ready) {
            return;
        }
        if self.polls.len() < MAX_POLLS {
            self.polls.push(poll);
        } else {
            self.dropped += 1;
        }
    }

    /// The recorded polls. `None` if the end of the stall was missed.
    pub(super) fn finish(mut self) -> Option<PostStallPolls> {
        self.keep_open_poll();
        let EndOfStall { at, queued, drain } = self.end?;
        Some(PostStallPolls {
            ended: at,
            own: queued.own,
            shared: queued.shared,
            polls: self.polls.into_iter().map(Poll::into_model).collect(),
            dropped: self.dropped,
            own_left: drain.own_left(),
            shared_left: drain.shared_left(),
        })
    }
}

impl Poll {
    fn into_model(self) -> PolledAfter {
        let task = Task { id: Some(TaskId(self.task)), name: names::get(self.name), spawned_at: Some(self.spawned_at) };
        PolledAfter { task, at: self.at, queued: self.queued, delay: self.delay }
    }
}
