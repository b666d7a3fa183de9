//! Victims: tasks that were ready while a stall held their worker.

use std::fmt;
use std::time::Duration;

use super::task::Task;

/// Victims that are listed. Further ones are counted.
pub(crate) const MAX_LISTED: usize = 64;

/// Kinds of victims that a sentence names.
const MAX_KINDS: usize = 3;

/// The victims of a stall: tasks that were ready during the stall, and that the stuck worker polled after it.
///
/// Excluded are tasks that another worker took, and tasks that became ready after the last sample before the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Victims {
    /// The victims that waited longest, at most 64. The longest wait comes first.
    pub tasks: Vec<Victim>,
    /// The number of further victims.
    pub more: u64,
    /// The longest wait.
    pub longest: Waited,
    /// The sum of all waits. It excludes victims that were not polled soon after the stall.
    pub total: Waited,
}

/// One line about the victims, or why they are unknown.
pub(crate) fn sentence(victims: &Result<Victims, VictimsUnknown>) -> String {
    victims.as_ref().map_or_else(ToString::to_string, Victims::sentence)
}

/// A task that was ready while a stall held its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Victim {
    /// The task.
    pub task: Task,
    /// The time from the later of its wake and the stall's beginning to its poll.
    pub waited: Waited,
}

/// A wait, between two bounds.
///
/// Both bounds are equal if Tokio reported when the task became ready (feature `schedule-latency`). Otherwise the queues
/// were sampled once a millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waited {
    /// The lower bound. It is zero for a task in Tokio's LIFO slot, which may have become ready at the end of the stall.
    pub at_least: Duration,
    /// The upper bound.
    pub at_most: Duration,
}

/// Why the victims of a stall are unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VictimsUnknown {
    /// The stall has not ended.
    Running,
    /// The worker's polls or its queue are not instrumented. Both need `tokio_unstable`.
    #[default]
    NotInstrumented,
    /// The thread is inside `block_on` of a multi-thread runtime, and polls no tasks. It has no victims.
    NoWorker,
    /// The stall happened in another process. Its queues are not recorded.
    Outside,
    /// The worker went on, was handed on or ended before its polls could be recorded.
    Missed,
}

impl Victim {
    /// A victim and its wait.
    #[must_use]
    pub fn new(task: Task, waited: Waited) -> Self {
        Self { task, waited }
    }

    /// Whether the task was certainly ready during the stall. Otherwise it may have become ready at its very end.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.waited.at_least.is_zero()
    }
}

impl Waited {
    /// A wait between two bounds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdup::stall::Waited;
    ///
    /// let waited = Waited::between(Duration::from_millis(19), Duration::from_millis(20));
    /// assert_eq!(waited.to_string(), "20 ms");
    /// ```
    #[must_use]
    pub fn between(at_least: Duration, at_most: Duration) -> Self {
        Self { at_least: at_least.min(at_most), at_most }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            at_least: self.at_least.saturating_add(other.at_least),
            at_most: self.at_most.saturating_add(other.at_most),
        }
    }

    /// Whether the bounds are so close that one number is enough.
    #[must_use]
    pub fn is_close(&self) -> bool {
        self.at_most.saturating_sub(self.at_least) <= (self.at_most / 10).max(Duration::from_millis(3))
            && !self.at_least.is_zero()
    }
}

impl Victims {
    /// The given victims, and `more` unlisted ones.
    #[must_use]
    pub fn new(mut tasks: Vec<Victim>, more: u64) -> Self {
        tasks.sort_by_key(|victim| std::cmp::Reverse((victim.waited.at_most, victim.waited.at_least)));
        let total = tasks.iter().fold(Waited::default(), |sum, victim| sum.plus(victim.waited));
        let longest = Waited {
            at_least: tasks.iter().map(|victim| victim.waited.at_least).max().unwrap_or_default(),
            at_most: tasks.iter().map(|victim| victim.waited.at_most).max().unwrap_or_default(),
        };
        let unlisted = tasks.len().saturating_sub(MAX_LISTED);
        tasks.truncate(MAX_LISTED);
        Self { tasks, more: more.saturating_add(unlisted as u64), longest, total }
    }

    /// The number of all victims.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.more.saturating_add(self.tasks.len() as u64)
    }

    /// One line that groups the victims by name: `5 tasks, the longest 300 ms, together 1.50 s: 4 × "serve", 1 × …`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let tasks = match self.count() {
            0 => return "none: no task had to wait".to_owned(),
            1 => "1 task".to_owned(),
            count => format!("{count} tasks"),
        };
        let kinds = self.kinds();
        let named: Vec<_> = kinds.iter().take(MAX_KINDS).map(|(kind, count)| format!("{count} × {kind}")).collect();
        let listed: u64 = kinds.iter().take(MAX_KINDS).map(|(_, count)| count).sum();
        let more = match self.count() - listed {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{tasks}, the longest {}, together {}: {}{more}", self.longest, self.total, named.join(", "))
    }

    /// The victims grouped by name or spawn location, with their number. The largest group comes first.
    fn kinds(&self) -> Vec<(String, u64)> {
        let mut kinds: Vec<(String, u64)> = Vec::new();
        for victim in &self.tasks {
            let kind = kind_of(victim);
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds
    }
}

fn kind_of(victim: &Victim) -> String {
    let task = &victim.task;
    let kind = match (&task.name, task.place(), task.id) {
        (Some(name), _, _) => format!("\"{name}\""),
        (None, Some(place), _) => format!("spawned at {place}"),
        (None, None, Some(id)) => format!("task {id}"),
        (None, None, None) => "unknown".to_owned(),
    };
    if victim.is_certain() { kind } else { format!("{kind} (perhaps ready only at its end)") }
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_most = if self.is_close() { "" } else { "at most " };
        let ms = self.at_most.as_secs_f64() * 1e3;
        if ms < 1e3 { write!(f, "{at_most}{ms:.0} ms") } else { write!(f, "{at_most}{:.2} s", ms / 1e3) }
    }
}

impl VictimsUnknown {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::NotInstrumented => "not_instrumented",
            Self::NoWorker => "no_worker",
            Self::Outside => "outside",
            Self::Missed => "missed",
        }
    }
}

impl fmt::Display for VictimsUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "known when the stall has ended",
            Self::NotInstrumented => "unknown: build with tokio_unstable, which adds task hooks and queue lengths",
            Self::NoWorker => "none: the thread in block_on polls no tasks",
            Self::Outside => "unknown: the queues of another process are not recorded",
            Self::Missed => "unknown: the worker went on before its polls could be recorded",
        })
    }
}

impl std::error::Error for VictimsUnknown {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::TaskId;

    fn victim(id: u64, name: &str, at_least: u64, at_most: u64) -> Victim {
        let task = Task { id: Some(TaskId(id)), name: Some(name.into()), spawned_at: None };
        Victim::new(task, Waited::between(Duration::from_millis(at_least), Duration::from_millis(at_most)))
    }

    #[test]
    fn victims_are_grouped_by_name() {
        let victims = Victims::new(
            vec![victim(1, "serve", 298, 300), victim(2, "flush", 0, 300), victim(3, "serve", 299, 300)],
            2,
        );
        assert_eq!(
            victims.tasks.iter().map(|victim| victim.task.id.map(|id| id.0)).collect::<Vec<_>>(),
            [Some(3), Some(1), Some(2)]
        );
        assert_eq!(
            victims.sentence(),
            "5 tasks, the longest 300 ms, together at most 900 ms: 2 × \"serve\", \
             1 × \"flush\" (perhaps ready only at its end) and 2 more"
        );
        assert_eq!(Victims::default().sentence(), "none: no task had to wait");
    }

    #[test]
    fn unlisted_victims_are_counted_and_their_waits_are_summed() {
        let victims = Victims::new((0..100).map(|id| victim(id, "serve", 10, 10)).collect(), 5);
        assert_eq!((victims.tasks.len(), victims.more, victims.count()), (MAX_LISTED, 41, 105));
        assert_eq!(victims.total.at_most, Duration::from_secs(1));
        assert_eq!(victims.sentence(), "105 tasks, the longest 10 ms, together 1.00 s: 64 × \"serve\" and 41 more");
    }
}
