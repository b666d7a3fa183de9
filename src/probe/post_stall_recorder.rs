//! What a worker polls right after a stall. Off the hot path: a worker that nobody follows reads one flag in its own slot,
//! the one that tells whether polls are counted (`Slot::noted`).

use std::panic::Location;
use std::time::{Duration, Instant};

use super::names::{self, NameId};
use super::queue_drain::{self, Depths, Emptying, Left};
use crate::model::post_stall::{PolledAfter, PostStallPolls, Queued};
use crate::model::task::{Task, TaskId};

/// Polls that are kept. Further ones are counted.
const MAX_POLLS: usize = 1024;

/// Follows one worker from the end of a stall on, until nothing that was queued then is left, or the worker parks.
#[derive(Debug)]
pub(super) struct Follower {
    /// The stall's poll.
    stall: u64,
    ended: Option<End>,
    open: Option<Poll>,
    /// As large from the beginning as it will ever be: the worker does not allocate.
    polls: Vec<Poll>,
    dropped: u64,
    over: bool,
}

/// The end of the stall.
#[derive(Debug)]
struct End {
    at: Instant,
    left: Depths,
    emptying: Emptying,
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

impl Follower {
    pub(super) fn new(stall: u64) -> Self {
        let polls = Vec::with_capacity(MAX_POLLS);
        Self { stall, ended: None, open: None, polls, dropped: 0, over: false }
    }

    pub(super) fn stall(&self) -> u64 {
        self.stall
    }

    /// Whether there is nothing more to see.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// A poll begins, by the worker.
    pub(super) fn begin(&mut self, sequence: u64, task: u64, spawned_at: &'static Location<'static>, name: NameId) {
        if self.over {
            return;
        }
        let Some((ended, depths)) = self.ended.as_mut().zip(queue_drain::depths()) else {
            // The stall ended before anybody followed.
            self.over = true;
            return;
        };
        let queued = ended.emptying.begin(depths, task != 0);
        let at = Instant::now();
        self.open = Some(Poll { sequence, task, spawned_at, name, at, queued, delay: None });
    }

    /// A poll ends: that of the stall, or one after it.
    pub(super) fn end(&mut self, sequence: u64) {
        if self.over {
            return;
        }
        if sequence == self.stall {
            let end = |left: Left| End { at: Instant::now(), left: left.depths, emptying: Emptying::new(left) };
            self.ended = queue_drain::left().map(end);
        } else {
            self.keep();
            if let (Some(ended), Some(depths)) = (&mut self.ended, queue_drain::depths()) {
                ended.emptying.end(depths);
            }
        }
        self.over = self.ended.as_ref().is_none_or(|ended| ended.emptying.is_over());
    }

    /// The worker has nothing more to do, or is no worker any more.
    pub(super) fn stop(&mut self) {
        self.over = true;
    }

    /// The outermost name of a poll is the one that counts.
    pub(super) fn name(&mut self, sequence: u64, name: NameId) {
        if let Some(poll) = self.open_mut(sequence).filter(|poll| poll.name == NameId::NONE) {
            poll.name = name;
        }
    }

    /// How long the poll was put off.
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    pub(super) fn delayed(&mut self, sequence: u64, delay: Duration) {
        if let Some(poll) = self.open_mut(sequence) {
            poll.delay = Some(delay);
        }
    }

    fn open_mut(&mut self, sequence: u64) -> Option<&mut Poll> {
        self.open.as_mut().filter(|poll| poll.sequence == sequence)
    }

    fn keep(&mut self) {
        let Some((poll, ended)) = self.open.take().zip(self.ended.as_ref()) else { return };
        let was_ready =
            poll.delay.is_some_and(|delay| poll.at.checked_sub(delay).is_some_and(|ready| ready < ended.at));
        if poll.task == 0 || (poll.queued == Queued::Elsewhere && !was_ready) {
            return;
        }
        if self.polls.len() < MAX_POLLS {
            self.polls.push(poll);
        } else {
            self.dropped += 1;
        }
    }

    /// What was seen; `None` where the worker was not seen to end the stall.
    pub(super) fn finish(mut self) -> Option<PostStallPolls> {
        self.keep();
        let End { at, left, emptying } = self.ended?;
        Some(PostStallPolls {
            ended: at,
            own: left.own,
            shared: left.shared,
            polls: self.polls.into_iter().map(Poll::told).collect(),
            dropped: self.dropped,
            own_left: emptying.own_left(),
            shared_left: emptying.shared_left(),
        })
    }
}

impl Poll {
    fn told(self) -> PolledAfter {
        let task = Task { id: Some(TaskId(self.task)), name: names::get(self.name), spawned_at: Some(self.spawned_at) };
        PolledAfter { task, at: self.at, queued: self.queued, delay: self.delay }
    }
}
