//! Evidence on one poll, collected sample by sample. This file reads no clock.

use std::time::{Duration, Instant};

use crate::model::evidence::{Evidence, WaitSite, WaitTime};
use crate::process::ThreadSample;

/// The limit of wait sites with a time of their own. Time in further ones only counts in the window.
const MAX_SITES: usize = 8;

/// The samples of one poll so far.
#[derive(Debug)]
pub(super) struct EvidenceCollector {
    start: Instant,
    first: ThreadSample,
    last: ThreadSample,
    last_at: Instant,
    samples: u32,
    waits: Vec<WaitTime>,
    starved: Duration,
    stolen: Option<Duration>,
    watchdog_late: Duration,
}

impl EvidenceCollector {
    pub(super) fn begin(at: Instant, sample: ThreadSample) -> Self {
        Self {
            stolen: sample.stolen.map(|_| Duration::ZERO),
            start: at,
            first: sample.clone(),
            last: sample,
            last_at: at,
            samples: 1,
            waits: Vec::new(),
            starved: Duration::ZERO,
            watchdog_late: Duration::ZERO,
        }
    }

    /// The watchdog took a sample late.
    pub(super) fn add_watchdog_delay(&mut self, delay: Duration) {
        self.watchdog_late += delay;
    }

    /// Adds a sample.
    ///
    /// The time since the previous sample that is neither CPU time nor run queue time counts as a wait at the present wait site,
    /// or else at the previous one. If the thread ran in both samples it counts as starved: a hypervisor that takes the CPU
    /// away leaves the thread in the running state, but stops its CPU clock.
    ///
    /// The kernel adds run queue time only when it ends. Until then a thread preempted inside a system call seems to wait there.
    /// So run queue time beyond the time since the previous sample is subtracted from that wait.
    pub(super) fn add(&mut self, at: Instant, sample: ThreadSample) {
        let passed = at.duration_since(self.last_at);
        let accounted = grown(self.last.cpu, sample.cpu).unwrap_or_default()
            + grown(self.last.run_queue, sample.run_queue).unwrap_or_default();
        let unaccounted = passed.saturating_sub(accounted);
        self.correct_waits(accounted.saturating_sub(passed));
        if let Some(site) = sample.sleeps_in.as_ref().or(self.last.sleeps_in.as_ref()) {
            add_wait(&mut self.waits, site, unaccounted);
        } else if sample.runs() && self.last.runs() {
            self.starved += unaccounted;
        }
        self.set_last(at, sample);
    }

    /// Subtracts time that the kernel has accounted for late from the wait at the previous site, and then from starved time.
    fn correct_waits(&mut self, mut time: Duration) {
        if let Some(site) = &self.last.sleeps_in
            && let Some(wait) = self.waits.iter_mut().find(|wait| wait.site == *site)
        {
            let wrong = wait.time.min(time);
            wait.time -= wrong;
            time -= wrong;
        }
        self.starved = self.starved.saturating_sub(time);
        self.waits.retain(|wait| !wait.time.is_zero());
    }

    /// Adds a sample taken after the poll. Only its totals count: the time since the previous sample belongs to the previous
    /// wait site.
    pub(super) fn finish(&mut self, at: Instant, mut sample: ThreadSample) {
        sample.sleeps_in.clone_from(&self.last.sleeps_in);
        sample.state = self.last.state;
        self.add(at, sample);
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
        at.duration_since(self.last_at) >= self.last_at.duration_since(self.start) / 16
    }

    /// The evidence so far.
    pub(super) fn evidence(&self) -> Evidence {
        let mut waits = self.waits.clone();
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.time));
        let window = self.last_at.duration_since(self.start);
        let on_cpu = grown(self.first.cpu, self.last.cpu);
        let run_queue = grown(self.first.run_queue, self.last.run_queue);
        // The kernel adds run queue time only when it ends, so it first counted as starved.
        let slept: Duration = waits.iter().map(|wait| wait.time).sum();
        let known = on_cpu.unwrap_or_default() + run_queue.unwrap_or_default() + slept;
        let rest = window.saturating_sub(known);
        Evidence {
            window,
            samples: self.samples,
            on_cpu,
            run_queue,
            waits,
            starved: self.starved.min(rest),
            stolen: self.stolen,
            minor_faults: grown(self.first.minor_faults, self.last.minor_faults),
            major_faults: grown(self.first.major_faults, self.last.major_faults),
            state: self.last.state,
            watchdog_late: self.watchdog_late,
        }
    }
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
        let site = WaitSite::Syscall { name: name.into(), kind: SyscallKind::Other, file: None };
        ThreadSample { cpu: Some(Duration::from_millis(cpu_ms)), sleeps_in: Some(site), ..ThreadSample::default() }
    }

    fn running(cpu_ms: u64) -> ThreadSample {
        ThreadSample { cpu: Some(Duration::from_millis(cpu_ms)), state: Some('R'), ..ThreadSample::default() }
    }

    #[test]
    fn a_running_thread_without_cpu_time_is_starved() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(5));
        collector.add(start + Duration::from_millis(12), running(6));
        assert_eq!(collector.evidence().starved, Duration::from_millis(11));
    }

    #[test]
    fn a_stopped_thread_does_not_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stopped = || ThreadSample { state: Some('T'), ..running(5) };
        let mut collector = EvidenceCollector::begin(start, running(5));
        collector.add(at(10), stopped());
        collector.add(at(90), stopped());
        collector.finish(at(100), running(6));
        let evidence = collector.evidence();
        assert_eq!((evidence.starved, evidence.waits.len()), (Duration::from_millis(99), 0));
    }

    #[test]
    fn off_cpu_time_counts_for_the_wait_site() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut collector = EvidenceCollector::begin(start, running(100));
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
            EvidenceCollector::begin(start, ThreadSample { run_queue: queued(0), ..asleep("nanosleep", 5) });
        collector.add(start + Duration::from_millis(13), ThreadSample { run_queue: queued(0), ..running(5) });
        collector.add(start + Duration::from_millis(19), ThreadSample { run_queue: queued(0), ..running(5) });
        collector.finish(start + Duration::from_millis(20), ThreadSample { run_queue: queued(7), ..running(5) });
        let evidence = collector.evidence();
        assert_eq!(evidence.waits.first().map(|wait| wait.time.as_millis()), Some(13));
        assert_eq!((evidence.run_queue, evidence.starved), (queued(7), Duration::ZERO));
    }

    #[test]
    fn a_thread_preempted_inside_a_system_call_does_not_wait_there() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let queued = |ms| Some(Duration::from_millis(ms));
        let mut collector =
            EvidenceCollector::begin(start, ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        collector.add(at(4), ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        collector.add(at(10), ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        collector.finish(at(13), ThreadSample { run_queue: queued(12), ..running(6) });
        let evidence = collector.evidence();
        let waited: Duration = evidence.waits.iter().map(|wait| wait.time).sum();
        assert_eq!((evidence.run_queue, waited, evidence.starved), (queued(12), Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn the_wait_site_after_the_poll_does_not_count() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(5));
        collector.finish(start + Duration::from_millis(12), asleep("epoll_wait", 6));
        let evidence = collector.evidence();
        assert_eq!((evidence.waits.len(), evidence.starved), (0, Duration::from_millis(11)));
    }

    #[test]
    fn samples_become_rare_in_a_poll_that_never_ends() {
        let start = Instant::now();
        let mut collector = EvidenceCollector::begin(start, running(0));
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
        let mut collector = EvidenceCollector::begin(start, running(0));
        for number in 0..100 {
            collector.add(start + Duration::from_millis(number + 1), asleep(&format!("call {number}"), 0));
        }
        assert_eq!(collector.evidence().waits.len(), MAX_SITES);
    }
}
