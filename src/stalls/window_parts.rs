//! The parts of a window as disjoint times. The kernel's counters overlap: a quota and a hypervisor hold a thread back while
//! its run queue time or even its CPU time goes on.

use std::time::Duration;

use crate::model::evidence::Evidence;

/// The step of stolen time. It may be counted by this much too early or too late.
const STEAL_STEP: Duration = Duration::from_millis(10);

/// The evidence with parts that do not overlap, so that their sum is at most the window.
///
/// A quota is counted for a group of threads, so it explains only time in which this thread was held back.
pub(super) fn disjoint(measured: Evidence) -> Evidence {
    let (throttled, stolen) = (measured.throttled, measured.stolen);
    let mut evidence = Evidence { throttled: None, stolen: None, ..measured }.within_window();
    evidence.throttled = throttled.map(|time| move_from(&mut evidence.run_queue, &mut evidence.starved, time));
    evidence.stolen = stolen.map(|time| take_stolen(&mut evidence, time));
    evidence
}

/// Takes up to `time` from the run queue time, and then from starved time.
fn move_from(run_queue: &mut Option<Duration>, starved: &mut Duration, time: Duration) -> Duration {
    let queued = run_queue.unwrap_or_default().min(time);
    *run_queue = run_queue.map(|whole| whole - queued);
    let further = (*starved).min(time - queued);
    *starved -= further;
    queued + further
}

/// The stolen time that explains starved time. More of it was taken from other threads on this CPU, or else the kernel has
/// counted it as CPU time.
fn take_stolen(evidence: &mut Evidence, time: Duration) -> Duration {
    let starved = evidence.starved.min(time);
    evidence.starved -= starved;
    let others = evidence.run_queue.unwrap_or_default() + evidence.throttled.unwrap_or_default();
    let counted = (time - starved).saturating_sub(others + STEAL_STEP).min(evidence.on_cpu.unwrap_or_default());
    evidence.on_cpu = evidence.on_cpu.map(|on_cpu| on_cpu - counted);
    starved + counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::{SyscallKind, WaitSite, WaitTime};

    const MS: Duration = Duration::from_millis(1);

    fn wait(ms: u32) -> WaitTime {
        let site = WaitSite::Syscall { name: "futex".into(), kind: SyscallKind::Lock, file: None, stream: None };
        WaitTime { site, time: MS * ms }
    }

    fn sum(evidence: &Evidence) -> Duration {
        let waits: Duration = evidence.waits.iter().map(|wait| wait.time).sum();
        let optional = [evidence.on_cpu, evidence.run_queue, evidence.throttled, evidence.stolen];
        optional.into_iter().flatten().sum::<Duration>() + waits + evidence.starved
    }

    #[test]
    fn the_parts_never_sum_to_more_than_the_window() {
        let mut seed = 7_u64;
        let mut next = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((seed >> 33) % most).expect("it is small")
        };
        for _ in 0..20_000 {
            let mut optional = |most| (next(4) > 0).then(|| MS * next(most));
            let times = [optional(60), optional(60), optional(200), optional(100)];
            let [on_cpu, run_queue, throttled, stolen] = times;
            let measured = Evidence {
                window: MS * next(80),
                on_cpu,
                run_queue,
                throttled,
                stolen,
                starved: MS * next(40),
                waits: vec![wait(next(60)), wait(next(30))],
                ..Evidence::default()
            };
            let parts = disjoint(measured.clone());
            assert!(sum(&parts) <= parts.window, "{measured:?} becomes {parts:?}");
            assert!(parts.machine_time() + parts.own_time() == parts.window, "{parts:?}");
            assert!(parts.on_cpu <= measured.on_cpu && parts.run_queue <= measured.run_queue, "nothing is added");
        }
    }

    #[test]
    fn a_quota_explains_time_in_the_run_queue() {
        let throttled = Evidence {
            window: MS * 100,
            on_cpu: Some(MS * 40),
            run_queue: Some(MS * 58),
            throttled: Some(MS * 110),
            ..Evidence::default()
        };
        let parts = disjoint(throttled);
        assert_eq!(
            (parts.throttled, parts.run_queue, parts.on_cpu),
            (Some(MS * 58), Some(Duration::ZERO), Some(MS * 40))
        );
    }

    #[test]
    fn a_quota_explains_no_sleep() {
        let asleep = Evidence {
            window: MS * 100,
            on_cpu: Some(MS),
            run_queue: Some(MS * 3),
            throttled: Some(MS * 90),
            waits: vec![wait(96)],
            ..Evidence::default()
        };
        let parts = disjoint(asleep);
        assert_eq!((parts.throttled, parts.waits[0].time), (Some(MS * 3), MS * 96), "only this thread's part");
    }

    #[test]
    fn stolen_time_is_taken_from_cpu_time_only_beyond_its_step() {
        let counted = |stolen| {
            disjoint(Evidence {
                window: MS * 100,
                on_cpu: Some(MS * 95),
                stolen: Some(MS * stolen),
                starved: MS * 5,
                ..Evidence::default()
            })
        };
        let parts = counted(70);
        assert_eq!((parts.on_cpu, parts.stolen, parts.starved), (Some(MS * 40), Some(MS * 60), Duration::ZERO));
        assert_eq!(counted(10).on_cpu, Some(MS * 95), "one step may lie before the window");
    }
}
