//! The parts of a window as disjoint times. The kernel's counters overlap: a quota and a hypervisor hold a thread back while
//! its run queue time or even its CPU time goes on. And a wait for a disk ends only when the thread has a CPU again.

use std::time::Duration;

use crate::model::evidence::{Evidence, SyscallKind, WaitSite};

/// The step of stolen time. It may be counted by this much too early or too late.
const STEAL_STEP: Duration = Duration::from_millis(10);

/// A machine that is not crowded gives a woken thread a CPU within this time. A virtual CPU that was idle is woken by its host.
const WAKES_WITHIN: Duration = Duration::from_millis(1);

/// The kernel's shortest time slice: no thread that computes is taken off its CPU more often.
const SHORTEST_SLICE: Duration = Duration::from_micros(700);

/// The evidence with parts that do not overlap, so that their sum is at most the window. `slices` is how often the thread was
/// put on a CPU in the window.
///
/// A quota is counted for a group of threads, so it explains only time in which this thread was held back.
pub(super) fn disjoint(measured: Evidence, slices: Option<u64>) -> Evidence {
    let (throttled, stolen) = (measured.throttled, measured.stolen);
    let mut evidence = Evidence { throttled: None, stolen: None, ..measured }.within_window();
    evidence.throttled = throttled.map(|time| move_from(&mut evidence.run_queue, &mut evidence.starved, time));
    evidence.stolen = stolen.map(|time| take_stolen(&mut evidence, time));
    move_wake_ups(&mut evidence, slices);
    evidence
}

/// Counts the time in which a thread that waits for a disk is woken as a part of that wait.
///
/// A sync sleeps hundreds of times, because other threads of the kernel write, and each sleep ends in the run queue. Without the
/// sync, the thread would not have been there. Where the machine is crowded, the thread waits longer for each CPU, and the excess
/// stays run queue time.
fn move_wake_ups(evidence: &mut Evidence, slices: Option<u64>) {
    let (Some(queued), Some(on_cpu), Some(slices)) = (evidence.run_queue, evidence.on_cpu, slices) else { return };
    let Some(wait) = evidence.waits.first_mut().filter(|wait| is_for_disk(&wait.site)) else { return };
    let preempted = u64::try_from(on_cpu.as_nanos() / SHORTEST_SLICE.as_nanos()).unwrap_or(u64::MAX);
    let woken = u32::try_from(slices.saturating_sub(preempted)).unwrap_or(u32::MAX);
    let waking = queued.min(WAKES_WITHIN.saturating_mul(woken));
    wait.time += waking;
    evidence.run_queue = Some(queued - waking);
}

/// Whether a thread there usually waits for a disk.
fn is_for_disk(site: &WaitSite) -> bool {
    matches!(site, WaitSite::Fault | WaitSite::Syscall { kind: SyscallKind::File, .. })
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
    use crate::model::evidence::WaitTime;

    const MS: Duration = Duration::from_millis(1);

    fn wait_in(kind: SyscallKind, ms: u32) -> WaitTime {
        WaitTime { site: WaitSite::Syscall { name: "call".into(), kind, file: None, stream: None }, time: MS * ms }
    }

    fn wait(ms: u32) -> WaitTime {
        wait_in(SyscallKind::Lock, ms)
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
            let parts = disjoint(measured.clone(), Some(u64::from(next(50))));
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
        let parts = disjoint(throttled, None);
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
        let parts = disjoint(asleep, None);
        assert_eq!((parts.throttled, parts.waits[0].time), (Some(MS * 3), MS * 96), "only this thread's part");
    }

    #[test]
    fn a_wait_for_a_disk_lasts_until_the_thread_has_a_cpu() {
        use SyscallKind::{File, Lock, Network};
        for (scene, window, on_cpu, queued, (kind, waited), slices, moved) in [
            ("a sync on an idle machine", 60, 6, 45, (File, 9), Some(250), 45),
            ("a commit on a busy one", 165, 4, 152, (File, 9), Some(58), 53),
            ("one read on a crowded one", 20, 1, 14, (File, 5), Some(2), 1),
            ("a computation that was preempted after a read", 60, 30, 25, (File, 5), Some(20), 0),
            ("locks", 60, 6, 45, (Lock, 9), Some(250), 0),
            ("a socket", 60, 6, 45, (Network, 9), Some(250), 0),
            ("it is not known how often it woke", 60, 6, 45, (File, 9), None, 0),
        ] {
            let measured = Evidence {
                window: MS * window,
                on_cpu: Some(MS * on_cpu),
                run_queue: Some(MS * queued),
                waits: vec![wait_in(kind, waited)],
                ..Evidence::default()
            };
            let parts = disjoint(measured, slices);
            let expected = (MS * (waited + moved), Some(MS * (queued - moved)));
            assert_eq!((parts.waits[0].time, parts.run_queue), expected, "{scene}");
        }
    }

    #[test]
    fn stolen_time_is_taken_from_cpu_time_only_beyond_its_step() {
        let counted = |stolen| {
            let measured = Evidence {
                window: MS * 100,
                on_cpu: Some(MS * 95),
                stolen: Some(MS * stolen),
                starved: MS * 5,
                ..Evidence::default()
            };
            disjoint(measured, None)
        };
        let parts = counted(70);
        assert_eq!((parts.on_cpu, parts.stolen, parts.starved), (Some(MS * 40), Some(MS * 60), Duration::ZERO));
        assert_eq!(counted(10).on_cpu, Some(MS * 95), "one step may lie before the window");
    }
}
