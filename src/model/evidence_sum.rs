//! Sums and differences of evidence: the part of a poll between two moments.

use std::ops::Sub;
use std::time::Duration;

use super::evidence::{Evidence, WaitTime};

impl Evidence {
    /// What came after an earlier moment of the same poll.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let waits = self.waits.iter().filter_map(|wait| {
            let before = earlier.waits.iter().find(|before| before.site == wait.site).map(|before| before.time);
            let time = wait.time.saturating_sub(before.unwrap_or_default());
            (!time.is_zero()).then(|| WaitTime { site: wait.site.clone(), time })
        });
        Self {
            window: self.window.saturating_sub(earlier.window),
            samples: self.samples.saturating_sub(earlier.samples),
            on_cpu: grown(earlier.on_cpu, self.on_cpu),
            run_queue: grown(earlier.run_queue, self.run_queue),
            throttled: grown(earlier.throttled, self.throttled),
            throttles: grown(earlier.throttles, self.throttles),
            stolen: grown(earlier.stolen, self.stolen),
            starved: self.starved.saturating_sub(earlier.starved),
            waits: waits.collect(),
            in_kernel: grown(earlier.in_kernel, self.in_kernel),
            minor_faults: grown(earlier.minor_faults, self.minor_faults),
            fault_time: grown(earlier.fault_time, self.fault_time),
            major_faults: grown(earlier.major_faults, self.major_faults),
            state: self.state,
            asleep: self.asleep,
            watchdog_late: self.watchdog_late.saturating_sub(earlier.watchdog_late),
        }
        .within_window()
    }

    /// The evidence of this and of the following part.
    pub(crate) fn plus(&self, next: &Self) -> Self {
        let mut waits = self.waits.clone();
        for wait in &next.waits {
            match waits.iter_mut().find(|known| known.site == wait.site) {
                Some(known) => known.time += wait.time,
                None => waits.push(wait.clone()),
            }
        }
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.time));
        Self {
            window: self.window + next.window,
            samples: self.samples + next.samples,
            on_cpu: sum(self.on_cpu, next.on_cpu),
            run_queue: sum(self.run_queue, next.run_queue),
            throttled: sum(self.throttled, next.throttled),
            throttles: sum(self.throttles, next.throttles),
            stolen: sum(self.stolen, next.stolen),
            starved: self.starved + next.starved,
            waits,
            in_kernel: sum(self.in_kernel, next.in_kernel),
            minor_faults: sum(self.minor_faults, next.minor_faults),
            fault_time: sum(self.fault_time, next.fault_time),
            major_faults: sum(self.major_faults, next.major_faults),
            state: next.state,
            asleep: next.asleep,
            watchdog_late: self.watchdog_late + next.watchdog_late,
        }
    }

    /// Half of the evidence, where nothing says when in its window something changed.
    pub(crate) fn half(&self) -> Self {
        let half = |time: Duration| time / 2;
        Self {
            window: self.window / 2,
            samples: self.samples / 2,
            on_cpu: self.on_cpu.map(half),
            run_queue: self.run_queue.map(half),
            throttled: self.throttled.map(half),
            throttles: self.throttles.map(|count| count / 2),
            stolen: self.stolen.map(half),
            starved: self.starved / 2,
            waits: self.waits.iter().map(|wait| WaitTime { site: wait.site.clone(), time: wait.time / 2 }).collect(),
            in_kernel: self.in_kernel.map(half),
            minor_faults: self.minor_faults.map(|count| count / 2),
            fault_time: self.fault_time.map(half),
            major_faults: self.major_faults.map(|count| count / 2),
            state: self.state,
            asleep: self.asleep / 2,
            watchdog_late: self.watchdog_late / 2,
        }
    }

    /// The evidence with parts that sum to at most the window.
    ///
    /// CPU time is exact and comes first. Waits were seen in samples, and run queue time can begin before the window.
    pub(crate) fn within_window(mut self) -> Self {
        let mut rest = self.window;
        take(self.on_cpu.as_mut(), &mut rest);
        for wait in &mut self.waits {
            take(Some(&mut wait.time), &mut rest);
        }
        self.waits.retain(|wait| !wait.time.is_zero());
        for part in [&mut self.run_queue, &mut self.throttled, &mut self.stolen] {
            take(part.as_mut(), &mut rest);
        }
        take(Some(&mut self.starved), &mut rest);
        self
    }
}

/// Limits a part to what is left of the window.
fn take(part: Option<&mut Duration>, rest: &mut Duration) {
    if let Some(part) = part {
        *part = (*part).min(*rest);
        *rest -= *part;
    }
}

/// The growth of a value. Values that the kernel has corrected downwards have not grown.
fn grown<T: Sub<Output = T> + PartialOrd + Default>(from: Option<T>, to: Option<T>) -> Option<T> {
    let to = to?;
    Some(match from {
        Some(from) if to >= from => to - from,
        Some(_) => T::default(),
        None => to,
    })
}

fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::{SyscallKind, WaitSite};

    const MS: Duration = Duration::from_millis(1);

    fn evidence(window: u32, on_cpu: u32, waited: u32) -> Evidence {
        let site = WaitSite::Syscall { name: "futex".into(), kind: SyscallKind::Lock, file: None, stream: None };
        let waits = vec![WaitTime { site, time: MS * waited }];
        Evidence { window: MS * window, on_cpu: Some(MS * on_cpu), waits, ..Evidence::default() }
    }

    #[test]
    fn a_difference_is_the_part_since_then() {
        let part = evidence(95, 70, 25).since(&evidence(70, 69, 1));
        assert_eq!((part.window, part.on_cpu, part.waits[0].time), (MS * 25, Some(MS), MS * 24));
        let whole = evidence(70, 69, 1).plus(&part);
        assert_eq!((whole.window, whole.on_cpu, whole.waits[0].time), (MS * 95, Some(MS * 70), MS * 25));
    }

    #[test]
    fn a_part_never_holds_more_than_its_window() {
        // The kernel has added a wait for a CPU late, so the earlier moment had too long a wait.
        let part = evidence(40, 38, 2).since(&evidence(30, 10, 20));
        assert_eq!((part.window, part.on_cpu, part.waits.len()), (MS * 10, Some(MS * 10), 0));
    }

    #[test]
    fn two_halves_are_the_whole() {
        let half = evidence(40, 30, 8).half();
        assert_eq!(half.plus(&half), Evidence { samples: 0, ..evidence(40, 30, 8) });
    }
}
