//! What the threads of another process do with their CPU time: the kernel samples them, wherever they run.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stacks::is_over;
use crate::model::profile::Labels;
use crate::model::stack::{CaptureMethod, RawStack};
use crate::process::{CpuSample, CpuSource, UnsampledCpu};
use crate::sys::{self, PerfRecord, PerfSampler, PerfThread, Process, StackCopy, ThreadProbe};
use crate::unwind::Unwinder;

/// Threads that appeared or ended are looked for this often, or as seldom as keeps the looking below 0.5 % of a CPU.
const SCAN_INTERVAL: Duration = Duration::from_millis(5);
const SCAN_SHARE: u32 = 200;

/// Threads that are sampled at most; each has a ring of samples.
const MAX_THREADS: usize = 4096;

/// Where there are more, those that use no CPU time get no ring.
const MANY_THREADS: usize = 16;

/// The kernel counts in nanoseconds. A sampling period has so many steps.
const STEPS: u32 = 1000;

/// Samples wait at most so long, if the machine runs us.
const LONGEST_INTERVAL: Duration = Duration::from_millis(10);

/// The sampler of another process.
#[derive(Debug)]
pub(crate) struct RemoteCpu {
    process: Process,
    sampler: PerfSampler,
    step: Duration,
    unwinder: Unwinder,
    copy: StackCopy,
    threads: HashMap<i32, Thread>,
    /// Threads that have used no CPU time yet, where there are many: what they had used before.
    dormant: HashMap<i32, (ThreadProbe, Option<Duration>)>,
    /// Threads that could not be sampled, which are not tried again.
    refused: HashSet<i32>,
    scanned: Instant,
    scan_interval: Duration,
    /// The monotonic clock at the start.
    started: Duration,
    lost: u64,
    unsampled: u64,
    /// Steps of threads that ended.
    used_by_ended: u64,
    ended: Option<&'static str>,
}

#[derive(Debug)]
struct Thread {
    perf: PerfThread,
    labels: Labels,
    probe: ThreadProbe,
    /// What it had used before.
    before: Option<Duration>,
}

impl RemoteCpu {
    /// Begins to sample every thread.
    ///
    /// # Errors
    /// When the process does not exist or may not be looked at; when the kernel allows no sampling.
    pub(crate) fn start(process: Process, rate: u32) -> io::Result<Self> {
        let period = Duration::from_secs(1) / rate.max(1);
        // First, because it takes milliseconds.
        let unwinder = Unwinder::of(process)?;
        let mut other = Self {
            process,
            sampler: PerfSampler::new(period),
            step: period / STEPS,
            unwinder,
            copy: StackCopy::default(),
            threads: HashMap::new(),
            dormant: HashMap::new(),
            refused: HashSet::new(),
            scanned: Instant::now(),
            scan_interval: SCAN_INTERVAL,
            started: sys::monotonic_time(),
            lost: 0,
            unsampled: 0,
            used_by_ended: 0,
            ended: None,
        };
        match other.scan(&mut |_| {})? {
            Some(refusal) if other.threads.is_empty() && other.dormant.is_empty() => Err(refusal),
            _ => Ok(other),
        }
    }

    /// Looks for threads; returns why the last one that could not be sampled could not.
    fn scan(&mut self, take: &mut dyn FnMut(CpuSample)) -> io::Result<Option<io::Error>> {
        let start = Instant::now();
        let present: HashSet<i32> = self.process.thread_ids()?.into_iter().collect();
        let ended: Vec<i32> = self.threads.keys().copied().filter(|tid| !present.contains(tid)).collect();
        for tid in ended {
            self.drain(tid, take);
            if let Some(thread) = self.threads.remove(&tid) {
                self.used_by_ended += steps_in(thread.perf.cpu_time().unwrap_or_default(), self.step);
            }
        }
        self.refused.retain(|tid| present.contains(tid));
        self.dormant.retain(|tid, _| present.contains(tid));
        let many = present.len() > MANY_THREADS;
        let mut refusal = None;
        for tid in present {
            if self.threads.contains_key(&tid) || self.refused.contains(&tid) || (many && self.sleeps_on(tid)) {
                continue;
            }
            refusal = self.add(tid).err().or(refusal);
        }
        self.scanned = Instant::now();
        self.scan_interval = SCAN_INTERVAL.max(self.scanned.duration_since(start) * SCAN_SHARE);
        Ok(refusal)
    }

    /// Whether a thread has used no CPU time since it was first seen. Services have hundreds of threads that wait, and rings
    /// are scarce.
    fn sleeps_on(&mut self, tid: i32) -> bool {
        let process = self.process;
        let new = || {
            let probe = ThreadProbe::open(process, tid);
            let used = probe.cpu_time();
            (probe, used)
        };
        let (probe, used) = self.dormant.entry(tid).or_insert_with(new);
        let sleeps = probe.stat().is_some_and(|stat| stat.state != 'R') && probe.cpu_time() == *used;
        if !sleeps {
            self.dormant.remove(&tid);
        }
        sleeps
    }

    fn add(&mut self, tid: i32) -> io::Result<()> {
        let added = match self.threads.len() {
            others @ 0..MAX_THREADS => self.sampler.add_thread(tid, others),
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        };
        match added {
            Ok(Some(perf)) => {
                let probe = ThreadProbe::open(self.process, tid);
                let name = self.process.thread_name(tid).map(Arc::from);
                let labels = Labels { thread: name, tid: Some(tid), ..Labels::default() };
                self.threads.insert(tid, Thread { before: probe.cpu_time(), probe, perf, labels });
                Ok(())
            }
            // It ended before it could be sampled, which short ones do.
            Ok(None) => Ok(()),
            Err(error) => {
                self.unsampled += 1;
                self.refused.insert(tid);
                Err(error)
            }
        }
    }

    /// Takes what the kernel sampled of a thread.
    fn drain(&mut self, tid: i32, take: &mut dyn FnMut(CpuSample)) {
        let Self { threads, unwinder, copy, started, lost, ended, .. } = self;
        let Some(Thread { perf, labels, .. }) = threads.get_mut(&tid) else { return };
        perf.drain(copy, |record, copy| match record {
            PerfRecord::Sample { at } => {
                // What the kernel did for a thread that has no stack any more counts for its other samples.
                if copy.registers.instruction == 0 || ended.is_some() {
                    return;
                }
                let walk = unwinder.walk_now(copy);
                take(CpuSample {
                    at: at.saturating_sub(*started),
                    // What the threads used is all in the rest.
                    steps: 0,
                    labels: labels.clone(),
                    stack: RawStack { addresses: walk.addresses, method: CaptureMethod::Tick, complete: walk.complete },
                });
            }
            PerfRecord::Lost(samples) => *lost += samples,
            PerfRecord::Replaced => *ended = Some("the process began to run another program (exec)"),
        });
    }
}

impl Thread {
    /// CPU time since it is sampled. The scheduler's count leaves out what a hypervisor took, as the thread's own clock
    /// does; the event's does not.
    fn used(&self) -> Duration {
        let now = self.probe.cpu_time().filter(|now| !now.is_zero());
        let used = self.before.zip(now).map(|(before, now)| now.saturating_sub(before));
        used.or_else(|| self.perf.cpu_time()).unwrap_or_default()
    }
}

fn steps_in(time: Duration, step: Duration) -> u64 {
    u64::try_from(time.as_nanos() / step.as_nanos().max(1)).unwrap_or(u64::MAX)
}

impl CpuSource for RemoteCpu {
    fn collect(&mut self, take: &mut dyn FnMut(CpuSample)) -> io::Result<()> {
        let all: Vec<i32> = self.threads.keys().copied().collect();
        for tid in all {
            self.drain(tid, take);
        }
        if self.scanned.elapsed() >= self.scan_interval && self.ended.is_none() {
            // Without a list of threads nothing is left of it.
            let gone = self.scan(take).is_err();
            let tids: Vec<i32> = self.threads.keys().chain(self.dormant.keys()).copied().collect();
            if gone || is_over(self.process, &tids) {
                self.ended = Some("the process ended");
            }
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.sampler.with_kernel() {
            let note = "code in the kernel could not be sampled; its time counts for the other samples of the thread";
            notes.push(note.to_owned());
        }
        if self.unsampled > 0 {
            let note =
                "samples wait in memory that is locked: raise `ulimit -l`, or run as root, to sample all threads";
            notes.push(note.to_owned());
        }
        notes
    }

    fn unsampled_cpu(&self) -> UnsampledCpu {
        let used = |(tid, thread): (&i32, &Thread)| (*tid, steps_in(thread.used(), self.step));
        UnsampledCpu { living: self.threads.iter().map(used).collect(), ended: self.used_by_ended }
    }

    fn end_reason(&self) -> Option<&'static str> {
        self.ended
    }

    fn collect_interval(&self) -> Duration {
        (self.step * STEPS).clamp(Duration::from_millis(1), LONGEST_INTERVAL)
    }

    fn steps_per_period(&self) -> u32 {
        STEPS
    }

    fn lost_samples(&self) -> u64 {
        self.lost
    }

    fn unsampled_threads(&self) -> u64 {
        self.unsampled
    }

    fn process_cpu_time(&self) -> Option<Duration> {
        self.process.cpu_time()
    }
}
