//! Evidence on one poll, gathered look by look. Pure: times and looks come in, numbers come out.

use std::time::{Duration, Instant};

use crate::model::evidence::{Evidence, WaitSite, WaitTime};
use crate::process::ThreadSample;

/// Different places in the kernel that are told apart; time in further ones is only part of the window.
const MAX_PLACES: usize = 8;

/// The looks at one poll so far.
#[derive(Debug)]
pub(super) struct Gathering {
    start: Instant,
    first: ThreadSample,
    last: ThreadSample,
    last_at: Instant,
    looks: u32,
    waits: Vec<WaitTime>,
    starved: Duration,
    stolen: Option<Duration>,
    watchdog_late: Duration,
}

impl Gathering {
    pub(super) fn begin(at: Instant, look: ThreadSample) -> Self {
        Self {
            stolen: look.stolen.map(|_| Duration::ZERO),
            start: at,
            first: look.clone(),
            last: look,
            last_at: at,
            looks: 1,
            waits: Vec::new(),
            starved: Duration::ZERO,
            watchdog_late: Duration::ZERO,
        }
    }

    /// The watchdog itself came late.
    pub(super) fn late(&mut self, by: Duration) {
        self.watchdog_late += by;
    }

    /// Adds a look. The time since the last one that the thread neither ran nor was ready to run counts as a wait
    /// in the place where it is found now, or was found then. Where it was found running both times, there is no
    /// such place: a hypervisor that takes a CPU away leaves the thread running for the kernel, but its clock stops.
    ///
    /// A wait in the queue for a CPU is told by the kernel when it is over, and a thread that is put off its CPU inside a system
    /// call looks as if it waited there. What is told for longer than it was since the last look is taken from there.
    pub(super) fn add(&mut self, at: Instant, look: ThreadSample) {
        let passed = at.duration_since(self.last_at);
        let told = grown(self.last.cpu, look.cpu).unwrap_or_default()
            + grown(self.last.run_queue, look.run_queue).unwrap_or_default();
        let unaccounted = passed.saturating_sub(told);
        self.told_late(told.saturating_sub(passed));
        if let Some(place) = look.sleeps_in.as_ref().or(self.last.sleeps_in.as_ref()) {
            count(&mut self.waits, place, unaccounted);
        } else if look.runs() && self.last.runs() {
            self.starved += unaccounted;
        }
        self.take_over(at, look);
    }

    /// So much of the time before the last look was not spent where it seemed.
    fn told_late(&mut self, mut time: Duration) {
        if let Some(place) = &self.last.sleeps_in
            && let Some(wait) = self.waits.iter_mut().find(|wait| wait.site == *place)
        {
            let wrong = wait.time.min(time);
            wait.time -= wrong;
            time -= wrong;
        }
        self.starved = self.starved.saturating_sub(time);
        self.waits.retain(|wait| !wait.time.is_zero());
    }

    /// Adds a look taken when the poll was over. Where the thread is by then does not matter: it spent the time since
    /// the last look where it was then. The totals hold what the kernel learned late.
    pub(super) fn finish(&mut self, at: Instant, mut look: ThreadSample) {
        look.sleeps_in.clone_from(&self.last.sleeps_in);
        look.state = self.last.state;
        self.add(at, look);
    }

    fn take_over(&mut self, at: Instant, look: ThreadSample) {
        if let (Some(sum), Some((before_on, before)), Some((now_on, now))) =
            (self.stolen, self.last.stolen, look.stolen)
        {
            let taken = if before_on == now_on { now.saturating_sub(before) } else { Duration::ZERO };
            self.stolen = Some(sum + taken);
        }
        self.looks += 1;
        self.last_at = at;
        self.last = look;
    }

    /// How long after the last look the next one is due: soon while the poll is young, rarely when it never ends.
    pub(super) fn due(&self, at: Instant) -> bool {
        at.duration_since(self.last_at) >= self.last_at.duration_since(self.start) / 16
    }

    pub(super) fn evidence(&self) -> Evidence {
        let mut waits = self.waits.clone();
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.time));
        let window = self.last_at.duration_since(self.start);
        let on_cpu = grown(self.first.cpu, self.last.cpu);
        let run_queue = grown(self.first.run_queue, self.last.run_queue);
        // The kernel adds a wait in its queue only when it is over, so it was first taken for being starved.
        let slept: Duration = waits.iter().map(|wait| wait.time).sum();
        let known = on_cpu.unwrap_or_default() + run_queue.unwrap_or_default() + slept;
        let rest = window.saturating_sub(known);
        Evidence {
            window,
            samples: self.looks,
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

fn count(waits: &mut Vec<WaitTime>, place: &WaitSite, time: Duration) {
    if let Some(wait) = waits.iter_mut().find(|wait| wait.site == *place) {
        wait.time += time;
    } else if waits.len() < MAX_PLACES {
        waits.push(WaitTime { site: place.clone(), time });
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
        let place = WaitSite::Syscall { name: name.into(), kind: SyscallKind::Other, file: None };
        ThreadSample { cpu: Some(Duration::from_millis(cpu_ms)), sleeps_in: Some(place), ..ThreadSample::default() }
    }

    fn running(cpu_ms: u64) -> ThreadSample {
        ThreadSample { cpu: Some(Duration::from_millis(cpu_ms)), state: Some('R'), ..ThreadSample::default() }
    }

    #[test]
    fn a_running_thread_whose_clock_stands_still_was_stopped_from_outside() {
        let start = Instant::now();
        let mut gathering = Gathering::begin(start, running(5));
        gathering.add(start + Duration::from_millis(12), running(6));
        assert_eq!(gathering.evidence().starved, Duration::from_millis(11));
    }

    #[test]
    fn a_thread_that_was_stopped_did_not_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stopped = || ThreadSample { state: Some('T'), ..running(5) };
        let mut gathering = Gathering::begin(start, running(5));
        gathering.add(at(10), stopped());
        gathering.add(at(90), stopped());
        gathering.finish(at(100), running(6));
        let evidence = gathering.evidence();
        assert_eq!((evidence.starved, evidence.waits.len()), (Duration::from_millis(99), 0));
    }

    #[test]
    fn time_off_the_cpu_counts_for_the_place_where_the_thread_sleeps() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gathering = Gathering::begin(start, running(100));
        gathering.add(at(2), running(102));
        gathering.add(at(12), asleep("fsync", 103));
        gathering.add(at(20), running(104));
        let evidence = gathering.evidence();
        assert_eq!(evidence.window, Duration::from_millis(20));
        assert_eq!(evidence.on_cpu, Some(Duration::from_millis(4)));
        assert_eq!(evidence.samples, 4);
        let waits: Vec<_> = evidence.waits.iter().map(|wait| (wait.site.to_string(), wait.time.as_millis())).collect();
        assert_eq!(waits, [("fsync".to_owned(), 16)]);
    }

    #[test]
    fn a_wait_in_the_queue_counts_once_also_where_the_thread_slept_before() {
        let start = Instant::now();
        let queued = |ms| Some(Duration::from_millis(ms));
        let mut gathering = Gathering::begin(start, ThreadSample { run_queue: queued(0), ..asleep("nanosleep", 5) });
        gathering.add(start + Duration::from_millis(13), ThreadSample { run_queue: queued(0), ..running(5) });
        gathering.add(start + Duration::from_millis(19), ThreadSample { run_queue: queued(0), ..running(5) });
        gathering.finish(start + Duration::from_millis(20), ThreadSample { run_queue: queued(7), ..running(5) });
        let evidence = gathering.evidence();
        assert_eq!(evidence.waits.first().map(|wait| wait.time.as_millis()), Some(13));
        assert_eq!((evidence.run_queue, evidence.starved), (queued(7), Duration::ZERO));
    }

    #[test]
    fn a_thread_that_is_put_off_its_cpu_inside_a_call_did_not_wait_there() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let queued = |ms| Some(Duration::from_millis(ms));
        let mut gathering = Gathering::begin(start, ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        gathering.add(at(4), ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        gathering.add(at(10), ThreadSample { run_queue: queued(0), ..asleep("write", 5) });
        gathering.finish(at(13), ThreadSample { run_queue: queued(12), ..running(6) });
        let evidence = gathering.evidence();
        let waited: Duration = evidence.waits.iter().map(|wait| wait.time).sum();
        assert_eq!((evidence.run_queue, waited, evidence.starved), (queued(12), Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn where_the_thread_is_after_the_poll_does_not_matter() {
        let start = Instant::now();
        let mut gathering = Gathering::begin(start, running(5));
        gathering.finish(start + Duration::from_millis(12), asleep("epoll_wait", 6));
        let evidence = gathering.evidence();
        assert_eq!((evidence.waits.len(), evidence.starved), (0, Duration::from_millis(11)));
    }

    #[test]
    fn looks_become_rare_on_a_poll_that_never_ends() {
        let start = Instant::now();
        let mut gathering = Gathering::begin(start, running(0));
        let mut looks = 0;
        for ms in 1..600_000 {
            let at = start + Duration::from_millis(ms);
            if gathering.due(at) {
                gathering.add(at, running(0));
                looks += 1;
            }
        }
        assert!(looks < 300, "{looks} looks in ten minutes");
    }

    #[test]
    fn places_are_bounded() {
        let start = Instant::now();
        let mut gathering = Gathering::begin(start, running(0));
        for number in 0..100 {
            gathering.add(start + Duration::from_millis(number + 1), asleep(&format!("call {number}"), 0));
        }
        assert_eq!(gathering.evidence().waits.len(), MAX_PLACES);
    }
}
