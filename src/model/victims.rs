//! Victims: tasks that were ready and had to wait behind a stall.

use std::fmt;
use std::time::Duration;

use super::task::Task;

/// Victims that are told one by one. Further ones are counted.
pub(crate) const MAX_TOLD: usize = 64;

/// Kinds of victims that a sentence names.
const MAX_KINDS: usize = 3;

/// Who had to wait behind a stall: the tasks that were ready while it lasted, and that the stuck worker polled after it. A task
/// that another worker took meanwhile is none, nor is one that became ready within the last look before the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Victims {
    /// Those who waited longest, the longest first; up to 64.
    pub tasks: Vec<Victim>,
    /// How many there were beyond those.
    pub more: u64,
    /// The longest wait.
    pub longest: Waited,
    /// All waits together; of victims that were not polled soon after the stall, nothing.
    pub total: Waited,
}

/// In one line who waited, or why that is not known.
pub(crate) fn sentence(victims: &Result<Victims, VictimsUnknown>) -> String {
    victims.as_ref().map_or_else(ToString::to_string, Victims::sentence)
}

/// A task that was ready and had to wait behind a stall.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Victim {
    /// The task.
    pub task: Task,
    /// From when it was ready, but not before the stall's begin, to its poll.
    pub waited: Waited,
}

/// How long, between two bounds. Both are equal where Tokio told when the task became ready (the feature `schedule-latency`);
/// otherwise it was once a millisecond that somebody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waited {
    /// At least so long. Zero of the one task that waits in Tokio's LIFO slot: it may have become ready as late as at the
    /// end of the stall.
    pub at_least: Duration,
    /// At most so long.
    pub at_most: Duration,
}

/// Why it is not known which tasks waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VictimsUnknown {
    /// The stall lasts.
    Running,
    /// The worker's polls, or its queue, are not told: that takes Tokio's task hooks, and so `tokio_unstable`.
    #[default]
    NotInstrumented,
    /// Nobody waits behind the thread inside `block_on` of a multi-thread runtime: it polls nothing else.
    NoWorker,
    /// Another process does not tell.
    Outside,
    /// The worker went on, was handed on or ended before it could be followed.
    Missed,
}

impl Victim {
    pub(crate) fn new(task: Task, waited: Waited) -> Self {
        Self { task, waited }
    }

    /// Whether it was ready while the stall lasted; otherwise it may have become so at its very end.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.waited.at_least.is_zero()
    }
}

impl Waited {
    pub(crate) fn between(at_least: Duration, at_most: Duration) -> Self {
        Self { at_least: at_least.min(at_most), at_most }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            at_least: self.at_least.saturating_add(other.at_least),
            at_most: self.at_most.saturating_add(other.at_most),
        }
    }

    /// The bounds are so close together that one number will do.
    #[must_use]
    pub fn is_close(&self) -> bool {
        self.at_most.saturating_sub(self.at_least) <= (self.at_most / 10).max(Duration::from_millis(3))
            && !self.at_least.is_zero()
    }
}

impl Victims {
    /// Puts together who is known, and how many more there were.
    pub(crate) fn new(mut tasks: Vec<Victim>, more: u64) -> Self {
        tasks.sort_by_key(|victim| std::cmp::Reverse((victim.waited.at_most, victim.waited.at_least)));
        let total = tasks.iter().fold(Waited::default(), |sum, victim| sum.plus(victim.waited));
        let longest = Waited {
            at_least: tasks.iter().map(|victim| victim.waited.at_least).max().unwrap_or_default(),
            at_most: tasks.iter().map(|victim| victim.waited.at_most).max().unwrap_or_default(),
        };
        let untold = tasks.len().saturating_sub(MAX_TOLD);
        tasks.truncate(MAX_TOLD);
        Self { tasks, more: more.saturating_add(untold as u64), longest, total }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.more.saturating_add(self.tasks.len() as u64)
    }

    /// In one line, the tasks by what they have in common: `5 tasks, the longest 0.3 s, together 1.5 s: 4 × "serve", 1 × …`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let tasks = match self.count() {
            0 => return "none: no task had to wait".to_owned(),
            1 => "1 task".to_owned(),
            count => format!("{count} tasks"),
        };
        let kinds = self.kinds();
        let named: Vec<_> = kinds.iter().take(MAX_KINDS).map(|(kind, count)| format!("{count} × {kind}")).collect();
        let told: u64 = kinds.iter().take(MAX_KINDS).map(|(_, count)| count).sum();
        let more = match self.count() - told {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{tasks}, the longest {}, together {}: {}{more}", self.longest, self.total, named.join(", "))
    }

    /// What they are called, or where they were spawned, with how many there are; the most first.
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
    /// The word used in JSON.
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
            Self::NotInstrumented => {
                "not known which: build with tokio_unstable, whose task hooks and queue lengths tell"
            }
            Self::NoWorker => "none: the thread in block_on polls no tasks",
            Self::Outside => "not known which: another process does not tell",
            Self::Missed => "not known which: the worker went on before it could be followed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::TaskId;

    fn victim(id: u64, name: &str, at_least: u64, at_most: u64) -> Victim {
        let task = Task { id: Some(TaskId(id)), name: Some(name.into()), spawned_at: None };
        Victim::new(task, Waited::between(Duration::from_millis(at_least), Duration::from_millis(at_most)))
    }

    #[test]
    fn victims_are_told_by_what_they_have_in_common() {
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
    fn many_victims_are_counted_and_their_waits_too() {
        let victims = Victims::new((0..100).map(|id| victim(id, "serve", 10, 10)).collect(), 5);
        assert_eq!((victims.tasks.len(), victims.more, victims.count()), (MAX_TOLD, 41, 105));
        assert_eq!(victims.total.at_most, Duration::from_secs(1));
        assert_eq!(victims.sentence(), "105 tasks, the longest 10 ms, together 1.00 s: 64 × \"serve\" and 41 more");
    }
}
