//! Explains observations and reports them. The history keeps reports for the endpoint, and the sinks deliver them to standard
//! error, `tracing` and the user's callback. It has its own thread, so that slow work never delays the watchdog. It runs no
//! code of the program.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::captures::{Captures, Seen};
use super::history::{Open, kind_of};
use super::news::News;
use super::rate_limit::RateLimit;
use super::stall_log::StallLog;
use super::stalled_time::inside_poll;
use crate::diagnose::{PollTime, find_culprit, is_in_local_set, is_in_task, poll_boundary, worker_handed_over};
use crate::export::stall_text::Repeats;
use crate::model::cause::{Cause, CauseClass};
use crate::model::evidence::Evidence;
use crate::model::holds::Counted;
use crate::model::stack::{Address, Frame, Origin, RawStack, Stack, StackUnavailable};
use crate::model::stall::{Culprit, Detection, Phase, Stall, StallId};
use crate::model::task::Task;
use crate::model::victims::{Victims, VictimsUnknown};
use crate::stalls::{EndedStall, Noticed, Observation, Update};

/// Observations on their way from the watchdog to the reporter. Most stalls make four; the reporter explains hundreds a
/// second.
pub(crate) const QUEUE: usize = 1024;

/// The reporter checks open stalls after this long without an observation.
const QUIET: Duration = Duration::from_millis(500);

/// The wait while no stall is open. The queue wakes the reporter, also when the watchdog is gone.
const FOREVER: Duration = Duration::from_secs(3600);

/// The first reminder of an open stall. Each further one comes after ten times as long.
const FIRST_REMINDER: Duration = Duration::from_secs(10);

/// Updates before this many thresholds are not printed.
const LINE_FROM: u32 = 16;

/// The name of the future that is polled on a stack.
pub(crate) type FutureOn<'f> = dyn Fn(&[Address], &[Frame]) -> Option<Arc<str>> + Sync + 'f;

pub(crate) struct Reporter<'f> {
    log: Arc<StallLog>,
    queue: Receiver<Observation>,
    rate_limit: RateLimit,
    /// Names tasks of which nothing else is known.
    future_on: Option<&'f FutureOn<'f>>,
}

impl<'f> Reporter<'f> {
    pub(crate) fn new(log: Arc<StallLog>, queue: Receiver<Observation>) -> Self {
        Self { log, queue, rate_limit: RateLimit::new(Instant::now()), future_on: None }
    }

    /// Names tasks of which nothing else is known by the stacks of their polls.
    #[cfg(feature = "attach")]
    pub(crate) fn with_futures(self, future_on: Option<&'f FutureOn<'f>>) -> Self {
        Self { future_on, ..self }
    }

    /// Runs until the watchdog is gone and everything is reported.
    pub(crate) fn run(mut self) {
        self.log.symbolizer().warm_up();
        loop {
            let is_quiet = !self.log.history().any_open() && !self.log.sinks.any_pending();
            match self.queue.recv_timeout(if is_quiet { FOREVER } else { QUIET }) {
                Ok(Observation::Noticed(noticed)) => {
                    self.noticed(*noticed);
                    self.log.handled.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Observation::Updated(id, update)) => self.updated(id, *update),
                Ok(Observation::Ended(ended)) => {
                    let EndedStall { id, evidence, victims } = *ended;
                    self.ended(id, Some(evidence), victims);
                }
                Err(RecvTimeoutError::Timeout) => self.check_open(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn noticed(&mut self, noticed: Noticed) {
        let Noticed { id, worker, task, at, after, detection, life, first } = noticed;
        let mut stall = Stall {
            id,
            runtime: Arc::clone(&worker.runtime),
            worker: worker.index,
            holds: worker.holds,
            thread: Arc::clone(&worker.thread.name),
            tid: worker.thread.tid,
            task,
            threshold: self.log.threshold,
            duration: first.after,
            detection,
            began_at: at.checked_sub(after).unwrap_or(at),
            noticed_at: at,
            ended: false,
            cause: Cause::new(CauseClass::Unknown, Evidence::default()),
            culprit: None,
            build_advice: None,
            stack: Err(StackUnavailable::Unavailable),
            parts: Vec::new(),
            parts_joined: 0,
            waiting: first.waiting,
        };
        let seen = self.see(&mut stall, first.stack, first.after);
        if seen.stack.as_ref().is_ok_and(|stack| worker_handed_over(&stack.frames)) {
            self.log.history().reported.dismissed += 1;
            return;
        }
        stall.holds = worker.holds.of_poll(first.had_tasks, is_in_task_poll(&stall, &seen));
        if detection == Detection::Instrumented && is_in_local_poll(&stall, &seen) {
            stall.detection = Detection::LocalSet;
        }
        let captures = Captures::first(first.after, first.evidence.clone(), seen);
        let poll = poll_time(&stall, first.after);
        let stacks = captures.explain(&mut stall, &first.evidence, poll);
        self.log.history().open(Open {
            stall: stall.clone(),
            thread_holds: worker.holds,
            life,
            captures,
            stacks,
            counted: false,
            announced: false,
            reported: false,
            remind_after: FIRST_REMINDER,
        });
        // So far the machine is the cause. Whether it stays so is known when the stack is captured again, or at the end.
        if stall.cause.class != CauseClass::NotScheduled {
            self.announce(Phase::Noticed, &Arc::new(stall));
        }
    }

    /// Reports a stall for the first time, unless the rate limit holds it back. The phase is that of the report.
    fn announce(&mut self, phase: Phase, stall: &Arc<Stall>) {
        let kind = kind_of(stall);
        let admitted = self.rate_limit.admit(kind, Instant::now());
        let count = {
            let mut history = self.log.history();
            history.reported.suppressed += u64::from(admitted.is_none());
            if let Some(open) = history.open_mut(stall.id) {
                (open.announced, open.reported) = (true, admitted.is_some());
            }
            history.count(kind) + 1
        };
        if let Some(suppressed) = admitted {
            let repeats = Repeats { count, suppressed, ..Repeats::default() };
            self.log.sinks.say(News::Stall { phase, stall: Arc::clone(stall), repeats, first: true });
        }
        self.log.sinks.call(Phase::Noticed, stall);
    }

    fn updated(&mut self, id: StallId, update: Update) {
        let Update { after, stack, evidence, change, waiting, had_tasks } = update;
        let Some(mut stall) = self.log.history().open_mut(id).map(|open| open.stall.clone()) else { return };
        let before = (stall.parts.len(), stall.duration);
        let seen = self.see(&mut stall, stack, after);
        (stall.waiting, stall.duration) = (waiting, after);
        let (announced, reported) = {
            let mut history = self.log.history();
            let Some(open) = history.open_mut(id) else { return };
            // A task may have come meanwhile. What tasks have waited for stays a stall.
            if stall.counted_as() != Counted::Stall {
                stall.holds = open.thread_holds.of_poll(had_tasks, is_in_task_poll(&stall, &seen));
            }
            open.captures.add(after, &evidence, change, seen);
            let poll = poll_time(&stall, after);
            open.stacks = open.captures.explain(&mut stall, &evidence, poll);
            open.stall = stall.clone();
            let known = (open.announced, open.reported);
            history.count_if_stall(id);
            known
        };
        let stall = Arc::new(stall);
        if !announced {
            self.announce(Phase::Noticed, &stall);
            return;
        }
        if reported && is_news(&stall, before) {
            self.say_more(Phase::Updated, &stall);
        }
        self.log.sinks.call(Phase::Updated, &stall);
    }

    fn ended(&mut self, id: StallId, evidence: Option<Evidence>, victims: Result<Victims, VictimsUnknown>) {
        let Some((stall, announced)) = self.complete(id, evidence, victims) else { return };
        if !announced {
            self.announce(Phase::Ended, &Arc::new(stall));
        }
        let Some((stall, reported)) = self.log.history().close(id) else { return };
        let stall = Arc::new(stall);
        // A first report at the end has said everything.
        if reported && announced {
            self.say_more(Phase::Ended, &stall);
        }
        self.log.sinks.call(Phase::Ended, &stall);
    }

    /// An open stall with all that is known at its end, and whether it was announced.
    fn complete(
        &self,
        id: StallId,
        evidence: Option<Evidence>,
        victims: Result<Victims, VictimsUnknown>,
    ) -> Option<(Stall, bool)> {
        let mut history = self.log.history();
        let open = history.open_mut(id)?;
        let mut stall = open.stall.clone().lasting(open.life.duration());
        (stall.waiting.victims, stall.ended) = (victims, true);
        if let Some(evidence) = evidence {
            let poll = PollTime { ended: true, ..poll_time(&stall, stall.duration) };
            open.stacks = open.captures.explain(&mut stall, &evidence, poll);
        }
        open.stall = stall.clone();
        Some((stall, open.announced))
    }

    /// Closes stalls with an end that was lost in a full queue, and reminds of stalls that last. Prints what a stuck
    /// subscriber has not taken.
    fn check_open(&mut self) {
        self.log.sinks.check();
        let ended = self.log.history().ended_unreported();
        for id in ended {
            self.ended(id, None, Err(VictimsUnknown::Missed));
        }
        let mut reminders = Vec::new();
        for open in self.log.history().all_open_mut() {
            let duration = open.life.duration();
            if open.reported && duration >= open.remind_after {
                open.remind_after = duration * 10;
                reminders.push(open.stall.clone().lasting(duration));
            }
        }
        for stall in reminders {
            self.say_more(Phase::Updated, &Arc::new(stall));
        }
    }

    /// Names a stack, and finds its culprit. A task of which nothing is known gets the name of its future.
    fn see(&self, stall: &mut Stall, stack: Result<RawStack, StackUnavailable>, after: Duration) -> Seen {
        let raw = match stack {
            Ok(raw) => raw,
            Err(reason) => return Seen::nothing(reason),
        };
        let frames = self.log.symbolizer().frames(&raw.addresses);
        if let Some(future_on) = self.future_on.filter(|_| stall.task == Task::default()) {
            stall.task.name = future_on(&raw.addresses, &frames);
        }
        let (culprit, inside) = (find_culprit(&frames), inside_poll(&frames));
        // Behind the end of a stack that was cut, there may be a function of the user.
        let is_cut = !raw.complete && poll_boundary(&frames) == frames.len();
        let culprit = culprit.filter(|culprit| !is_cut || culprit.frame.origin == Origin::User);
        let build_advice = self.build_advice(culprit.as_ref());
        let stack = Stack { frames, method: raw.method, complete: raw.complete, taken_after: after };
        Seen { culprit, build_advice, stack: Ok(stack), inside }
    }

    /// The settings for a build with more names, for a stack without a function of the user.
    fn build_advice(&self, culprit: Option<&Culprit>) -> Option<&'static str> {
        let is_users = culprit.is_some_and(|culprit| culprit.frame.origin == Origin::User);
        if is_users { None } else { self.log.symbolizer().build_advice() }
    }

    /// Says more of a stall that was reported before.
    fn say_more(&self, phase: Phase, stall: &Arc<Stall>) {
        let (stall, repeats) = (Arc::clone(stall), Repeats::default());
        self.log.sinks.say(News::Stall { phase, stall, repeats, first: false });
    }
}

/// Whether the long poll is, or contains, the poll of a task.
fn is_in_task_poll(stall: &Stall, seen: &Seen) -> bool {
    stall.task.id.is_some() || seen.stack.as_ref().is_ok_and(|stack| is_in_task(&stack.frames))
}

/// Whether the long poll, that of the future given to `block_on`, contains polls by a `LocalSet`.
fn is_in_local_poll(stall: &Stall, seen: &Seen) -> bool {
    stall.task.id.is_none() && seen.stack.as_ref().is_ok_and(|stack| is_in_local_set(&stack.frames))
}

/// A poll that still runs.
fn poll_time(stall: &Stall, lasted: Duration) -> PollTime {
    PollTime { threshold: stall.threshold, lasted, ended: false }
}

/// Whether an update says more than the lines before it: the stall has become long, or has got another part. `before` is the
/// number of its parts and its duration then.
fn is_news(stall: &Stall, before: (usize, Duration)) -> bool {
    let long = stall.threshold * LINE_FROM;
    stall.duration >= long && (before.1 < long || stall.parts.len() != before.0)
}
