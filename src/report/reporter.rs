//! Explains observations and reports them: to the terminal, to `tracing`, to the user's callback, and to the history that the
//! endpoint serves. It has its own thread, so that slow work never delays the watchdog.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::history::{Open, kind_of};
use super::rate_limit::RateLimit;
use super::sinks::Sinks;
use super::stall_log::StallLog;
use super::stalled_time::{PollStack, inside_poll};
use crate::diagnose::{classify, find_culprit, worker_handed_over};
use crate::export::stall_text::{Repeats, StackDetail, StallView};
use crate::export::text::Style;
use crate::export::to_ms;
use crate::model::cause::{Cause, CauseClass};
use crate::model::evidence::Evidence;
use crate::model::stack::{Address, Frame, Stack, StackUnavailable};
use crate::model::stall::{Phase, Stall, StallEvent, StallId};
use crate::model::task::Task;
use crate::model::victims::{Victims, VictimsUnknown};
use crate::model::waiting::Waiting;
use crate::stalls::{EndedStall, Noticed, Observation, Update};

/// Observations on their way from the watchdog to the reporter. A stall makes at most four; the reporter explains
/// hundreds a second.
pub(crate) const QUEUE: usize = 1024;

/// The reporter checks open stalls after this long without an observation.
const QUIET: Duration = Duration::from_millis(500);

/// The wait while no stall is open. The queue wakes the reporter, also when the watchdog is gone.
const FOREVER: Duration = Duration::from_secs(3600);

/// The first reminder of an open stall. Each further one comes after ten times as long.
const FIRST_REMINDER: Duration = Duration::from_secs(10);

/// Updates before this many thresholds are not printed.
const LINE_FROM: u32 = 16;

/// The limit on kept stacks of one stall.
const MAX_TAKEN: usize = 8;

/// The name of the future that is polled on a stack.
pub(crate) type FutureOn<'f> = dyn Fn(&[Address], &[Frame]) -> Option<Arc<str>> + Sync + 'f;

pub(crate) struct Reporter<'f> {
    log: Arc<StallLog>,
    queue: Receiver<Observation>,
    sinks: Sinks,
    rate_limit: RateLimit,
    /// Names tasks of which nothing else is known.
    future_on: Option<&'f FutureOn<'f>>,
}

/// A stall with its newest stack explained.
struct Explained {
    stall: Stall,
    part: PollStack,
}

impl<'f> Reporter<'f> {
    pub(crate) fn new(log: Arc<StallLog>, queue: Receiver<Observation>, sinks: Sinks) -> Self {
        Self { log, queue, sinks, rate_limit: RateLimit::new(Instant::now()), future_on: None }
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
            let quiet = if self.log.history().any_open() { QUIET } else { FOREVER };
            match self.queue.recv_timeout(quiet) {
                Ok(Observation::Noticed(noticed)) => self.noticed(*noticed),
                Ok(Observation::Updated(id, update)) => self.updated(id, update),
                Ok(Observation::Ended(EndedStall { id, evidence, victims })) => self.ended(id, Some(evidence), victims),
                Err(RecvTimeoutError::Timeout) => self.check_open(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn noticed(&mut self, noticed: Noticed) {
        let Noticed { id, worker, task, at, detection, life, first } = noticed;
        let blank = Stall {
            id,
            runtime: Arc::clone(&worker.runtime),
            worker: worker.index,
            thread: Arc::clone(&worker.thread.name),
            tid: worker.thread.tid,
            task,
            threshold: self.log.threshold,
            duration: first.after,
            detection,
            began_at: at.checked_sub(first.after).unwrap_or(at),
            noticed_at: at,
            ended: false,
            cause: Cause { class: CauseClass::Unknown, evidence: Evidence::default() },
            culprit: None,
            stack: Err(StackUnavailable::Unavailable),
            waiting: Waiting::default(),
        };
        let taken_after = first.after;
        let Explained { stall, part } = self.explain(blank, first);
        if stall.stack.as_ref().is_ok_and(|stack| worker_handed_over(&stack.frames)) {
            self.log.history().reported.dismissed += 1;
            return;
        }
        let kind = kind_of(&stall);
        let held_back = self.rate_limit.admit(kind, Instant::now());
        let count = {
            let mut history = self.log.history();
            if held_back.is_none() {
                history.reported.suppressed += 1;
            }
            history.open(Open {
                stall: stall.clone(),
                life,
                taken: vec![(taken_after, part)],
                reported: held_back.is_some(),
                remind_after: FIRST_REMINDER,
            });
            history.count(kind) + 1
        };
        if let Some(suppressed) = held_back {
            let repeats = Repeats { count, suppressed, ..Repeats::default() };
            self.print(|style| StallView::from(&stall).report(repeats, StackDetail::Folded, style));
            trace(Phase::Noticed, &stall, repeats);
        }
        self.call(Phase::Noticed, &stall);
    }

    fn updated(&mut self, id: StallId, update: Update) {
        let Some(before) = self.log.history().open_mut(id).map(|open| open.stall.clone()) else { return };
        let taken_after = update.after;
        let Explained { stall, part } = self.explain(before, update);
        let reported = {
            let mut history = self.log.history();
            let Some(open) = history.open_mut(id) else { return };
            open.stall = stall.clone();
            if open.taken.len() < MAX_TAKEN {
                open.taken.push((taken_after, part));
            }
            open.reported
        };
        if reported && stall.duration >= stall.threshold * LINE_FROM {
            self.print(|style| StallView::from(&stall).update(style));
            trace(Phase::Updated, &stall, Repeats::default());
        }
        self.call(Phase::Updated, &stall);
    }

    fn ended(&mut self, id: StallId, evidence: Option<Evidence>, victims: Result<Victims, VictimsUnknown>) {
        let closed = {
            let mut history = self.log.history();
            if let Some(open) = history.open_mut(id) {
                open.stall.waiting.victims = victims;
                if let Some(evidence) = evidence {
                    let class = classify(&evidence, frames_of(&open.stall));
                    open.stall.cause = Cause { class, evidence };
                }
            }
            history.close(id)
        };
        let Some((stall, reported)) = closed else { return };
        if reported {
            self.print(|style| StallView::from(&stall).update(style));
            trace(Phase::Ended, &stall, Repeats::default());
        }
        self.call(Phase::Ended, &stall);
    }

    /// Closes stalls with an end that was lost in a full queue, and reminds of stalls that last.
    fn check_open(&mut self) {
        let ended = self.log.history().ended_unreported();
        for id in ended {
            self.ended(id, None, Err(VictimsUnknown::Missed));
        }
        let mut reminders = Vec::new();
        for open in self.log.history().all_open_mut() {
            let duration = open.life.duration();
            if open.reported && duration >= open.remind_after {
                open.remind_after = duration * 10;
                reminders.push(Stall { duration, ..open.stall.clone() });
            }
        }
        for stall in reminders {
            self.print(|style| StallView::from(&stall).update(style));
            trace(Phase::Updated, &stall, Repeats::default());
        }
    }

    /// Names the stack, and finds culprit and cause. Without a new stack, the last one stays.
    fn explain(&mut self, mut stall: Stall, update: Update) -> Explained {
        let Update { after, stack, evidence, waiting } = update;
        stall.waiting = waiting;
        match stack {
            Ok(raw) => {
                let frames = self.log.symbolizer().frames(&raw.addresses);
                if let Some(future_on) = self.future_on.filter(|_| stall.task == Task::default()) {
                    stall.task.name = future_on(&raw.addresses, &frames);
                }
                stall.culprit = find_culprit(&frames);
                stall.stack = Ok(Stack { frames, method: raw.method, complete: raw.complete, taken_after: after });
            }
            Err(reason) if stall.stack.is_err() => stall.stack = Err(reason),
            Err(_) => {}
        }
        let class = classify(&evidence, frames_of(&stall));
        let part = inside_poll(frames_of(&stall).unwrap_or_default());
        stall.cause = Cause { class, evidence };
        stall.duration = after;
        Explained { stall, part }
    }

    fn print(&self, write: impl FnOnce(Style) -> String) {
        let Some(style) = self.sinks.print else { return };
        // A closed standard error is no reason to stop watching.
        let _closed = std::io::stderr().lock().write_all(write(style).as_bytes());
    }

    fn call(&self, phase: Phase, stall: &Stall) {
        let Some(callback) = &self.sinks.callback else { return };
        let event = StallEvent { phase, stall };
        if catch_unwind(AssertUnwindSafe(|| callback(&event))).is_err() {
            self.log.history().reported.callback_panics += 1;
        }
    }
}

fn frames_of(stall: &Stall) -> Result<&[Frame], &StackUnavailable> {
    stall.stack.as_ref().map(|stack| &*stack.frames)
}

/// One event for each report, under the target `holdup::stall`.
fn trace(phase: Phase, stall: &Stall, repeats: Repeats) {
    let culprit = stall.culprit.as_ref();
    let victims = stall.waiting.victims.as_ref().ok();
    tracing::warn!(
        target: "holdup::stall",
        phase = phase.as_str(),
        id = stall.id.0,
        runtime = %stall.runtime,
        worker = stall.worker,
        thread = %stall.thread,
        task_id = stall.task.id.map(|id| id.0),
        task_name = stall.task.name.as_deref(),
        spawned_at = stall.task.place(),
        threshold_ms = to_ms(stall.threshold),
        duration_ms = to_ms(stall.duration),
        detection = stall.detection.as_str(),
        inferred = stall.detection.is_inferred(),
        cause = stall.cause.class.as_str(),
        function = culprit.map(|culprit| &*culprit.frame.function),
        file = culprit.and_then(|culprit| culprit.frame.file.as_deref()),
        line = culprit.and_then(|culprit| culprit.frame.line),
        call = culprit.and_then(|culprit| culprit.call.as_deref()),
        victims = victims.map(Victims::count),
        victims_longest_ms = victims.map(|victims| to_ms(victims.longest.at_most)),
        count = repeats.count,
        suppressed = repeats.suppressed,
        "{}", message(phase, stall)
    );
}

fn message(phase: Phase, stall: &Stall) -> String {
    let place = stall.culprit.as_ref().map_or_else(String::new, |culprit| format!(" in {}", culprit.frame.function));
    let held = StallView::from(stall).held();
    match phase {
        Phase::Ended => format!("a poll held its worker for {held}{place}: {}", stall.cause.class.title()),
        Phase::Noticed | Phase::Updated => {
            format!("a poll has been holding its worker for {held}{place}: {}", stall.cause.class.title())
        }
    }
}
