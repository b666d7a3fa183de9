//! Evidence on one poll, collected sample by sample. This file reads no clock.

use std::time::{Duration, Instant};

use super::window_parts::disjoint;
use crate::model::evidence::{Evidence, Throttling, WaitSite, WaitTime};
use crate::process::ThreadSample;

/// The limit of wait sites with a time of their own. Time in further ones only counts in the window.
const MAX_SITES: usize = 8;

/// The kernel counts the time in it and outside of it at ticks. Fewer say nothing.
const LEAST_MODES: Duration = Duration::from_millis(20);

/// The samples of one poll so far.
#[derive(Debug)]
pub(super) struct EvidenceCollector {
    start: Instant,
    first: ThreadSample,
    last: ThreadSample,
    last_at: Instant,
    samples: u32,
    waits: Vec<WaitTime>,
    /// The last wait, and the time of it in which the thread woke up. It may have been queued for a part of that.
    woke_in: Option<(WaitSite, Duration)>,
    /// The last wait site.
    slept_in: Option<WaitSite>,
    starved: Duration,
    /// CPU time that the kernel added in the window, but that lies outside of it.
    cpu_outside: Duration,
    /// The same of run queue time.
    queued_outside: Duration,
    stolen: Option<Duration>,
    throttling: Throttled,
    watchdog_late: Duration,
    activity: Activity,
}

/// What the thread does: it waits at a site, or it runs.
#[derive(Debug)]
struct Activity {
    /// Where the thread waited in the last sample before the newest stack. `None` if it ran.
    at_stack: Option<WaitSite>,
    /// The thread has begun something since then.
    is_new: bool,
    /// Since when it does what the last sample shows.
    since: Instant,
    /// The evidence until then.
    before: Evidence,
}

/// What a CPU quota had held back at the start of the window and by now.
#[derive(Clone, Copy, Debug)]
struct Throttled {
    first: Option<Throttling>,
    last: Option<Throttling>,
}

impl EvidenceCollector {
    pub(super) fn begin(at: Instant, sample: ThreadSample, throttling: Option<Throttling>) -> Self {
        Self {
            activity: Activity { at_stack: None, is_new: false, since: at, before: Evidence::default() },
            stolen: sample.stolen.map(|_| Duration::ZERO),
            start: at,
            first: sample.clone(),
            last: sample,
            last_at: at,
            samples: 1,
            waits: Vec::new(),
            woke_in: None,
            slept_in: None,
            starved: Duration::ZERO,
            cpu_outside: Duration::ZERO,
            queued_outside: Duration::ZERO,
            throttling: Throttled { first: throttling, last: throttling },
            watchdog_late: Duration::ZERO,
        }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// The watchdog took a sample late.
    pub(super) fn add_watchdog_delay(&mut self, delay: Duration) {
        self.watchdog_late += delay;
    }

    /// What a CPU quota has held back by now.
    pub(super) fn add_throttling(&mut self, throttling: Option<Throttling>) {
        self.throttling.last = throttling;
    }

    /// Adds a sample.
    pub(super) fn add(&mut self, at: Instant, sample: ThreadSample) {
        let passed = at.saturating_duration_since(self.last_at);
        if begins_something(&self.last, &sample) {
            self.activity.is_new = true;
            (self.activity.since, self.activity.before) = (self.last_at, self.evidence());
        }
        self.add_interval(passed, passed, &sample);
        self.set_last(at, sample);
    }

    /// Since when the thread does something else than at the newest stack, and the evidence until then.
    pub(super) fn change(&self) -> Option<(Instant, &Evidence)> {
        let is_other = self.last.sleeps_in.is_some() || self.activity.at_stack.is_some();
        (self.activity.is_new && is_other).then_some((self.activity.since, &self.activity.before))
    }

    /// A stack is captured, which shows what the thread does now.
    pub(super) fn stack_captured(&mut self) {
        self.activity.at_stack.clone_from(&self.last.sleeps_in);
        self.activity.is_new = false;
    }

    /// Adds the time since the previous sample, of which `kept` belongs to the poll.
    ///
    /// What is neither CPU time nor run queue time counts as a wait at the present wait site, or else at the previous one. If
    /// the thread ran in both samples, it counts as starved. A hypervisor that takes the CPU away leaves the thread in the
    /// running state, but stops its CPU clock. But a thread that was put on a CPU in between may also have slept: a sync sleeps
    /// and wakes many times. Then it counts as a wait where the thread slept before, if it did.
    ///
    /// The kernel adds run queue time only when it ends. Until then a thread preempted inside a system call seems to wait there.
    /// So run queue time beyond the time since the previous sample is subtracted from that wait.
    fn add_interval(&mut self, passed: Duration, kept: Duration, sample: &ThreadSample) {
        let cpu = grown(self.last.cpu, sample.cpu).unwrap_or_default();
        let queued = grown(self.last.run_queue, sample.run_queue).unwrap_or_default();
        let accounted = cpu + queued;
        let late = accounted.saturating_sub(passed);
        let accounted_kept = share(accounted - late, kept, passed);
        let after_end = accounted - late - accounted_kept;
        let queued_after_end = share(after_end, queued, accounted);
        let before_start = self.correct_waits(late);
        // Run queue time often begins before the window, because it is added when it ends.
        let queued_before = before_start.min(queued);
        self.queued_outside += queued_after_end + queued_before;
        self.cpu_outside += after_end - queued_after_end + before_start - queued_before;
        let unaccounted = kept.saturating_sub(accounted_kept);
        let was_put_on_cpu = grown(self.last.slices, sample.slices).is_some_and(|times| times > 0);
        if let Some(site) = sample.sleeps_in.as_ref().or(self.last.sleeps_in.as_ref()) {
            add_wait(&mut self.waits, site, unaccounted);
            self.woke_in = sample.sleeps_in.is_none().then(|| (site.clone(), unaccounted));
            self.slept_in = Some(site.clone());
        } else if let (Some(site), true) = (&self.slept_in, was_put_on_cpu) {
            add_wait(&mut self.waits, site, unaccounted);
        } else if sample.runs() && self.last.runs() {
            self.starved += unaccounted;
        }
    }

    /// Subtracts time that the kernel has accounted for late. It comes off the wait at the previous site, the end of the wait
    /// before it, and starved time. Returns the rest, which lies before the window.
    fn correct_waits(&mut self, mut time: Duration) -> Duration {
        let limit = self.last.sleeps_in.clone().map(|site| (site, Duration::MAX)).or_else(|| self.woke_in.clone());
        let starved = self.starved.min(time);
        if self.last.sleeps_in.is_none() {
            self.starved -= starved;
            time -= starved;
        }
        if let Some((site, most)) = limit
            && let Some(wait) = self.waits.iter_mut().find(|wait| wait.site == site)
        {
            let wrong = wait.time.min(time).min(most);
            wait.time -= wrong;
            time -= wrong;
            self.woke_in = self.woke_in.take().map(|(site, most)| (site, most.saturating_sub(wrong)));
        }
        let starved = self.starved.min(time);
        self.starved -= starved;
        self.waits.retain(|wait| !wait.time.is_zero());
        time - starved
    }

    /// Adds a sample taken after the poll, which ended at `end`. Only its totals count: the time since the previous sample
    /// belongs to the previous wait site, and time after the end to nothing.
    pub(super) fn finish(&mut self, end: Instant, at: Instant, mut sample: ThreadSample) {
        sample.sleeps_in.clone_from(&self.last.sleeps_in);
        sample.state = self.last.state;
        let passed = at.saturating_duration_since(self.last_at);
        let kept = end.saturating_duration_since(self.last_at).min(passed);
        self.add_interval(passed, kept, &sample);
        self.set_last(self.last_at + kept, sample);
    }

    fn set_last(&mut self, at: Instant, sample: ThreadSample) {
        if let (Some(sum), Some((before_on, before)), Some((now_on, now))) =
            (self.stolen, self.last.stolen, sample.stolen)
        {
            let taken = if before_on == now_on { now.saturating_sub(before) } else { Duration::ZERO };
            self.stolen = Some(sum + taken);
        }
        self.samples += 1;
        self.last_at = at;
        self.last = sample;
    }

    /// Whether the next sample is due. The longer the poll runs, the fewer samples are needed.
    pub(super) fn is_due(&self, at: Instant) -> bool {
        at.saturating_duration_since(self.last_at) >= self.last_at.duration_since(self.start) / 16
    }

    /// The end of the window.
    pub(super) fn until(&self) -> Instant {
        self.last_at
    }

    /// How long the thread had slept in one sleep at the last sample.
    fn asleep(&self) -> Duration {
        let is_known = self.last.sleeps_in.is_some() && self.last.slices.is_some();
        if is_known { self.last_at.saturating_duration_since(self.activity.since) } else { Duration::ZERO }
    }

    /// The page faults of the window. They were counted before its first and its last sample. So their rate between the two
    /// counts is extended to the CPU time of the window, up to twice the count. Unknown if the thread used no CPU between.
    fn minor_faults(&self, on_cpu: Duration) -> Option<u64> {
        let counted = grown(self.first.minor_faults, self.last.minor_faults)?;
        let within = grown(self.first.counted_cpu, self.last.counted_cpu).filter(|within| !within.is_zero())?;
        Some((counted as f64 * on_cpu.div_duration_f64(within).min(2.0)) as u64)
    }

    /// The part of the CPU time that the thread spent in the kernel. Unknown if the kernel has counted less than two of its
    /// steps of 10 ms.
    fn in_kernel(&self, on_cpu: Duration) -> Option<Duration> {
        let ((user_before, kernel_before), (user, kernel)) = self.first.modes.zip(self.last.modes)?;
        let (user, kernel) = (user.saturating_sub(user_before), kernel.saturating_sub(kernel_before));
        let counted = user + kernel;
        (counted >= LEAST_MODES).then(|| on_cpu.mul_f64(kernel.div_duration_f64(counted)))
    }

    /// The evidence so far.
    pub(super) fn evidence(&self) -> Evidence {
        let mut waits = self.waits.clone();
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.time));
        let run_queue = grown(self.first.run_queue, self.last.run_queue);
        let on_cpu = grown(self.first.cpu, self.last.cpu).map(|time| time.saturating_sub(self.cpu_outside));
        let throttled =
            grown(self.throttling.first.map(|so_far| so_far.time), self.throttling.last.map(|so_far| so_far.time));
        let periods = |so_far: Throttling| so_far.periods;
        let minor_faults = self.minor_faults(on_cpu.unwrap_or_default());
        let faults = minor_faults.map(|faults| u32::try_from(faults).unwrap_or(u32::MAX));
        let fault_time = faults.zip(self.last.minor_fault_cost).map(|(faults, cost)| cost.saturating_mul(faults));
        let measured = Evidence {
            window: self.last_at.duration_since(self.start),
            samples: self.samples,
            on_cpu,
            run_queue: run_queue.map(|time| time.saturating_sub(self.queued_outside)),
            waits,
            throttled,
            throttles: grown(self.throttling.first.map(periods), self.throttling.last.map(periods)),
            starved: self.starved,
            stolen: self.stolen,
            minor_faults,
            in_kernel: on_cpu.and_then(|on_cpu| self.in_kernel(on_cpu)),
            fault_time: fault_time.zip(on_cpu).map(|(time, on_cpu)| time.min(on_cpu)),
            major_faults: grown(self.first.major_faults, self.last.major_faults),
            state: self.last.state,
            asleep: self.asleep(),
            watchdog_late: self.watchdog_late,
        };
        disjoint(measured, grown(self.first.slices, self.last.slices))
    }
}

/// Whether the thread began to wait, to wait for something else, to wait again, or to run.
fn begins_something(last: &ThreadSample, now: &ThreadSample) -> bool {
    last.sleeps_in != now.sleeps_in || (now.sleeps_in.is_some() && last.slices != now.slices)
}

/// The part of `time` that `kept` is of `whole`.
fn share(time: Duration, kept: Duration, whole: Duration) -> Duration {
    if kept >= whole { time } else { time.mul_f64(kept.as_secs_f64() / whole.as_secs_f64()).min(kept) }
}

fn add_wait(waits: &mut Vec<WaitTime>, site: &WaitSite, time: Duration) {
    if let Some(wait) = waits.iter_mut().find(|wait| wait.site == *site) {
        wait.time += time;
    } else if waits.len() < MAX_SITES {
        waits.push(WaitTime { site: site.clone(), time });
    }
}

fn grown<T: std::ops::Sub<Output = T> + PartialOrd>(from: Option<T>, to: Option<T>) -> Option<T> {
    let (from, to) = (from?, to?);
    (to >= from).then(|| to - from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::SyscallKind;

    fn asleep(name: &str, cpu_ms: u64) -> ThreadSample {
        let site = WaitSite::Syscall { name: name.into(), kind: SyscallKind::Other, file: None, stream: None };
        ThreadSample { cpu: Some(Duration::from_millis(cpu_ms)), sleeps_in: Some(site), ..ThreadSample::default() }
    }

    fn running(cpu_ms: u64) -> ThreadSample {
        ThreadSample { cpu: Some(Duration::from_millis(cpu_ms)), state: Some('R'), ..ThreadSample::default() }
    }

    #[test]
    fn a_running_thread_without_cpu_time_is_starved() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(5), None);
        collector.add(start + Duration::from_millis(12), running(6));
        assert_eq!(collector.evidence().starved, Duration::from_millis(11));
    }

    /// Samples of an fsync: the thread sleeps for the disk, wakes, and waits for a CPU, again and again.
    #[test]
    fn sleeps_between_two_samples_are_waits_where_the_thread_slept_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let put_on_cpu = |slices, sample| ThreadSample { slices: Some(slices), ..sample };
        let mut collector = EvidenceCollector::begin(start, put_on_cpu(10, running(0)), None);
        collector.add(at(2), put_on_cpu(10, running(1)));
        assert_eq!(collector.evidence().starved, Duration::from_millis(1), "it was not put on a CPU");
        collector.add(at(6), put_on_cpu(14, asleep("fsync", 1)));
        collector.add(at(8), put_on_cpu(16, running(1)));
        collector.add(at(20), put_on_cpu(28, running(2)));
        let evidence = collector.evidence();
        assert_eq!(evidence.starved, Duration::from_millis(1));
        assert_eq!(evidence.waits.first().map(|wait| wait.time.as_millis()), Some(17), "{evidence:?}");
        let mut computing = EvidenceCollector::begin(start, put_on_cpu(10, running(0)), None);
        computing.add(at(10), put_on_cpu(12, running(6)));
        assert_eq!(computing.evidence().starved, Duration::from_millis(4), "it never slept");
    }

    #[test]
    fn a_stopped_thread_does_not_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stopped = || ThreadSample { state: Some('T'), ..running(5) };
        let mut collector = EvidenceCollector::begin(start, running(5), None);
        collector.add(at(10), stopped());
        collector.add(at(90), stopped());
        collector.finish(at(100), at(100), running(6));
        let evidence = collector.evidence();
        assert_eq!((evidence.starved, evidence.waits.len()), (Duration::from_millis(99), 0));
    }

    #[test]
    fn faults_counted_early_are_extended_to_the_window() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let counted = |faults, cpu_before, cpu| ThreadSample {
            minor_faults: Some(faults),
            minor_fault_cost: Some(Duration::from_micros(2)),
            counted_cpu: Some(Duration::from_millis(cpu_before)),
            ..running(cpu)
        };
        let mut collector = EvidenceCollector::begin(at(2), counted(100, 0, 2), None);
        collector.add(at(5), counted(100, 0, 5));
        assert_eq!(collector.evidence().minor_faults, None, "not counted again");
        collector.add(at(12), counted(900, 8, 12));
        assert_eq!(collector.evidence().minor_faults, Some(1000), "of 10 ms, and 800 in 8 ms");
        assert_eq!(collector.evidence().fault_time, Some(Duration::from_millis(2)));
        collector.finish(at(14), at(22), counted(2100, 20, 22));
        assert_eq!(collector.evidence().minor_faults, Some(1200), "without those after the end");
        let mut rarely = EvidenceCollector::begin(at(2), counted(100, 2, 2), None);
        rarely.add(at(92), counted(110, 3, 92));
        assert_eq!(rarely.evidence().minor_faults, Some(20), "at most twice the count");
    }

    #[test]
    fn time_in_the_kernel_is_known_from_two_ticks_on() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let sample = |user, kernel, cpu| ThreadSample { modes: Some((ms(user), ms(kernel))), ..running(cpu) };
        let mut collector = EvidenceCollector::begin(at(0), sample(70, 30, 100), None);
        collector.add(at(14), sample(70, 40, 114));
        assert_eq!(collector.evidence().in_kernel, None);
        collector.add(at(40), sample(80, 60, 140));
        assert_eq!(collector.evidence().in_kernel, Some(ms(30)), "three of four ticks");
    }

    #[test]
    fn off_cpu_time_counts_for_the_wait_site() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut collector = EvidenceCollector::begin(start, running(100), None);
        collector.add(at(2), running(102));
        collector.add(at(12), asleep("fsync", 103));
        collector.add(at(20), running(104));
        let evidence = collector.evidence();
        assert_eq!(evidence.window, Duration::from_millis(20));
        assert_eq!(evidence.on_cpu, Some(Duration::from_millis(4)));
        assert_eq!(evidence.samples, 4);
        let waits: Vec<_> = evidence.waits.iter().map(|wait| (wait.site.to_string(), wait.time.as_millis())).collect();
        assert_eq!(waits, [("fsync".to_owned(), 16)]);
    }

    #[test]
    fn run_queue_time_after_a_sleep_counts_once() {
        let start = Instant::now();
        let queued = |ms| Some(Duration::from_millis(ms));
        let mut collector =
            EvidenceCollector::begin(start, ThreadSample { run_queue: queued(0), ..asleep("nanosleep", 5) }, None);
        collector.add(start + Duration::from_millis(13), ThreadSample { run_queue: queued(0), ..running(5) });
        collector.add(start + Duration::from_millis(19), ThreadSample { run_queue: queued(0), ..running(5) });
        collector.finish(
            start + Duration::from_millis(20),
            start + Duration::from_millis(20),
            ThreadSample { run_queue: queued(7), ..running(5) },
        );
        let evidence = collector.evidence();
        assert_eq!(evidence.waits.first().map(|wait| wait.time.as_millis()), Some(13));
        assert_eq!((evidence.run_queue, evidence.starved), (queued(7), Duration::ZERO));
    }

    #[test]
    fn the_run_queue_time_of_a_woken_sleeper_does_not_count_as_its_sleep_too() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let queued = |ms| Some(Duration::from_millis(ms));
        let sample = |ms, sample| ThreadSample { run_queue: queued(ms), ..sample };
        let mut collector = EvidenceCollector::begin(start, sample(0, asleep("nanosleep", 5)), None);
        collector.add(at(10), sample(0, asleep("nanosleep", 5)));
        // It woke after 12 ms, and waits for a CPU until 20 ms.
        collector.add(at(14), sample(0, running(5)));
        collector.add(at(18), sample(0, running(5)));
        collector.finish(at(21), at(21), sample(8, running(6)));
        let evidence = collector.evidence();
        let slept: Vec<_> = evidence.waits.iter().map(|wait| wait.time.as_millis()).collect();
        assert_eq!((slept, evidence.run_queue, evidence.starved), (vec![12], queued(8), Duration::ZERO));
    }

    #[test]
    fn time_before_the_window_and_after_the_poll_does_not_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let sample = |ms, sample| ThreadSample { run_queue: Some(Duration::from_millis(ms)), ..sample };
        // The thread waited for a CPU when the window began: 4.5 ms computing and 11.7 ms queued are more than 10.8 ms.
        let mut collector = EvidenceCollector::begin(start, sample(0, running(5)), None);
        collector.add(at(6), sample(12, running(5)));
        collector.add(at(11), sample(12, running(10)));
        let evidence = collector.evidence();
        let ms = |time: Option<Duration>| time.map(|time| time.as_millis());
        assert_eq!((ms(evidence.on_cpu), ms(evidence.run_queue)), (Some(5), Some(6)));
        // The next sample is late. The poll ended in the middle.
        collector.finish(at(31), at(51), sample(12, running(50)));
        let evidence = collector.evidence();
        assert_eq!((evidence.window.as_millis(), ms(evidence.on_cpu)), (31, Some(25)));
    }

    #[test]
    fn a_thread_preempted_inside_a_system_call_does_not_wait_there() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let queued = |ms| Some(Duration::from_millis(ms));
        let mut collector =
            EvidenceCollector::begin(start, ThreadSample { run_queue: queued(0), ..asleep("write", 5) }, None);
        collector.add(at(4), ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        collector.add(at(10), ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        collector.finish(at(13), at(13), ThreadSample { run_queue: queued(12), ..running(6) });
        let evidence = collector.evidence();
        let waited: Duration = evidence.waits.iter().map(|wait| wait.time).sum();
        assert_eq!((evidence.run_queue, waited, evidence.starved), (queued(12), Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn the_wait_site_after_the_poll_does_not_count() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(5), None);
        collector.finish(start + Duration::from_millis(12), start + Duration::from_millis(12), asleep("epoll_wait", 6));
        let evidence = collector.evidence();
        assert_eq!((evidence.waits.len(), evidence.starved), (0, Duration::from_millis(11)));
    }

    #[test]
    fn a_change_is_dated_to_the_sample_before_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut collector = EvidenceCollector::begin(start, running(0), None);
        collector.add(at(10), running(10));
        collector.stack_captured();
        collector.add(at(70), running(70));
        assert!(collector.change().is_none());
        collector.add(at(71), asleep("futex", 70));
        collector.add(at(82), asleep("futex", 70));
        let (since, before) = collector.change().expect("it waits now");
        assert_eq!((since, before.on_cpu), (at(70), Some(Duration::from_millis(70))));
        collector.stack_captured();
        assert!(collector.change().is_none(), "the newest stack shows it");
    }

    #[test]
    fn samples_become_rare_in_a_poll_that_never_ends() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(0), None);
        let mut samples = 0;
        for ms in 1..600_000 {
            let at = start + Duration::from_millis(ms);
            if collector.is_due(at) {
                collector.add(at, running(0));
                samples += 1;
            }
        }
        assert!(samples < 300, "{samples} samples in ten minutes");
    }

    #[test]
    fn the_number_of_wait_sites_is_bounded() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(0), None);
        for number in 0..100 {
            collector.add(start + Duration::from_millis(number + 1), asleep(&format!("call {number}"), 0));
        }
        assert_eq!(collector.evidence().waits.len(), MAX_SITES);
    }
}
