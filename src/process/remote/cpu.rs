//! CPU samples of another process, taken by the kernel (perf events).

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stacks::process_has_ended;
use super::thread_count::MAX_REMOTE_THREADS;
use crate::model::profile::Labels;
use crate::model::stack::{CaptureMethod, RawStack};
use crate::process::cpu_source::{CpuSample, CpuSource, UnsampledCpu};
use crate::sys::{self, PerfRecord, PerfSampler, PerfThread, Process, StackCopy, ThreadProbe};
use crate::unwind::Unwinder;

/// The shortest interval between two scans for new and ended threads.
const SCAN_INTERVAL: Duration = Duration::from_millis(5);

/// A scan may take one part in this many of the time: 0.5 % of a CPU.
const SCAN_TIME_DIVISOR: u32 = 200;

/// In a process with more threads than this, threads that use no CPU time get no ring of samples.
const MANY_THREADS: usize = 16;

/// Steps per sampling period. The kernel counts in nanoseconds.
const STEPS: u32 = 1000;

/// The longest interval between two collections.
const LONGEST_INTERVAL: Duration = Duration::from_millis(10);

/// The CPU sampler of another process.
#[derive(Debug)]
pub(crate) struct RemoteCpu {
    process: Process,
    sampler: PerfSampler,
    step: Duration,
    unwinder: Unwinder,
    copy: StackCopy,
    threads: HashMap<i32, SampledThread>,
    /// Threads that use no CPU time, in a process with many threads, with their CPU time when first seen.
    dormant: HashMap<i32, (ThreadProbe, Option<Duration>)>,
    /// Threads that could not be sampled. They are not tried again.
    refused: HashSet<i32>,
    scanned: Instant,
    scan_interval: Duration,
    /// The monotonic clock at the start.
    started: Duration,
    lost: u64,
    unsampled: u64,
    /// Steps of ended threads.
    used_by_ended: u64,
    end_reason: Option<&'static str>,
}

#[derive(Debug)]
struct SampledThread {
    perf: PerfThread,
    labels: Labels,
    probe: ThreadProbe,
    /// CPU time before sampling began.
    before: Option<Duration>,
    /// CPU time that an earlier perf event has counted.
    before_perf: Duration,
}

impl RemoteCpu {
    /// Starts to sample every thread.
    ///
    /// # Errors
    /// When the process does not exist or may not be read; when the kernel allows no sampling.
    pub(crate) fn start(process: Process, rate: u32) -> io::Result<Self> {
        let period = Duration::from_secs(1) / rate.max(1);
        // The unwinder comes first, because it takes milliseconds.
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
            end_reason: None,
        };
        match other.scan(&mut |_| {})? {
            Some(refusal) if other.threads.is_empty() && other.dormant.is_empty() => Err(refusal),
            _ => Ok(other),
        }
    }

    /// Finds new and ended threads; returns the error of the last thread that could not be sampled.
    fn scan(&mut self, take: &mut dyn FnMut(CpuSample)) -> io::Result<Option<io::Error>> {
        let start = Instant::now();
        let present: HashSet<i32> = self.process.thread_ids()?.into_iter().collect();
        let ended: Vec<i32> = self.threads.keys().copied().filter(|tid| !present.contains(tid)).collect();
        for tid in ended {
            self.drain(tid, take);
            if let Some(thread) = self.threads.remove(&tid) {
                self.used_by_ended += steps_in(thread.counted(), self.step);
            }
        }
        self.refused.retain(|tid| present.contains(tid));
        self.dormant.retain(|tid, _| present.contains(tid));
        let many = present.len() > MANY_THREADS;
        let mut refusal = None;
        for tid in present {
            if self.threads.contains_key(&tid) || self.refused.contains(&tid) || (many && self.is_dormant(tid)) {
                continue;
            }
            refusal = self.add(tid).err().or(refusal);
        }
        self.scanned = Instant::now();
        self.scan_interval = SCAN_INTERVAL.max(self.scanned.duration_since(start) * SCAN_TIME_DIVISOR);
        Ok(refusal)
    }

    /// Whether a thread has used no CPU time since it was first seen. Services have hundreds of waiting threads, and memory
    /// for rings is scarce.
    fn is_dormant(&mut self, tid: i32) -> bool {
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
            others @ 0..MAX_REMOTE_THREADS => self.sampler.add_thread(tid, others),
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        };
        match added {
            Ok(Some(perf)) => {
                let probe = ThreadProbe::open(self.process, tid);
                let name = self.process.thread_name(tid).map(Arc::from);
                let labels = Labels { thread: name, tid: Some(tid), ..Labels::default() };
                self.threads.insert(
                    tid,
                    SampledThread { before: probe.cpu_time(), before_perf: Duration::ZERO, probe, perf, labels },
                );
                Ok(())
            }
            // The thread has ended already.
            Ok(None) => Ok(()),
            Err(error) => {
                self.unsampled += 1;
                self.refused.insert(tid);
                Err(error)
            }
        }
    }

    /// Passes on a thread's samples.
    fn drain(&mut self, tid: i32, take: &mut dyn FnMut(CpuSample)) {
        let Self { threads, unwinder, copy, started, lost, end_reason, sampler, .. } = self;
        let Some(SampledThread { perf, labels, before_perf, .. }) = threads.get_mut(&tid) else { return };
        let (most, mut cut) = (perf.stack_bytes(), false);
        perf.drain(copy, |record, copy| match record {
            PerfRecord::Sample { at } => {
                // Kernel time of a thread that has lost its stack counts for its other samples.
                if copy.registers.instruction == 0 || end_reason.is_some() {
                    return;
                }
                let walk = unwinder.walk_now(copy);
                cut |= !walk.complete && copy.bytes.len() >= most;
                take(CpuSample {
                    at: at.saturating_sub(*started),
                    // `unsampled_cpu` has all of the threads' CPU time.
                    steps: 0,
                    labels: labels.clone(),
                    stack: RawStack { addresses: walk.addresses, method: CaptureMethod::Tick, complete: walk.complete },
                });
            }
            PerfRecord::Lost(samples) => *lost += samples,
            PerfRecord::Replaced => *end_reason = Some("the process began to run another program (exec)"),
        });
        if cut && let Some(deeper) = sampler.deepen(tid, perf) {
            // What comes between the last records and this moment counts for the other samples of the thread.
            *before_perf += std::mem::replace(perf, deeper).cpu_time().unwrap_or_default();
        }
    }
}

impl SampledThread {
    /// CPU time since sampling began. The scheduler's count excludes time taken by a hypervisor, as the thread's clock
    /// does; the perf event's count includes it.
    fn used(&self) -> Duration {
        let now = self.probe.cpu_time().filter(|now| !now.is_zero());
        let used = self.before.zip(now).map(|(before, now)| now.saturating_sub(before));
        used.unwrap_or_else(|| self.counted())
    }

    /// The CPU time that its perf events have counted.
    fn counted(&self) -> Duration {
        self.before_perf + self.perf.cpu_time().unwrap_or_default()
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
        if self.scanned.elapsed() >= self.scan_interval && self.end_reason.is_none() {
            // A process without a list of threads has ended.
            let gone = self.scan(take).is_err();
            let tids: Vec<i32> = self.threads.keys().chain(self.dormant.keys()).copied().collect();
            if gone || process_has_ended(self.process, &tids) {
                self.end_reason = Some("the process ended");
            }
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.sampler.with_kernel() {
            let note = "kernel code could not be sampled; its time counts for the other samples of the thread";
            notes.push(note.to_owned());
        }
        if self.unsampled > 0 {
            let note = "some threads could not be sampled for lack of locked memory: raise `ulimit -l`, or run as root";
            notes.push(note.to_owned());
        }
        notes
    }

    fn unsampled_cpu(&self) -> UnsampledCpu {
        let used = |(tid, thread): (&i32, &SampledThread)| (*tid, steps_in(thread.used(), self.step));
        UnsampledCpu { living: self.threads.iter().map(used).collect(), ended: self.used_by_ended }
    }

    fn end_reason(&self) -> Option<&'static str> {
        self.end_reason
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
