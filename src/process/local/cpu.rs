//! CPU samples of our own process. Each thread has a timer on its CPU clock; the signal handler copies its stack.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::profile::Labels;
use crate::model::stack::{CaptureMethod, RawStack};
use crate::probe::{Entry, Registry, task_of};
use crate::process::cpu_source::{CpuSample, CpuSource, UnsampledCpu};
use crate::process::sleep::mapping_of;
use crate::sys::{self, CpuSampler, NewestThread, PollNow, Process, StackCopy, ThreadNumber};
use crate::unwind::Unwinder;

/// The shortest interval between two scans for new and ended threads.
const SCAN_INTERVAL: Duration = Duration::from_millis(1);

/// A scan may take one part in this many of the time: 10 % of a CPU.
const SCAN_TIME_DIVISOR: u32 = 10;

/// The interval between two scans while the kernel reports no new thread. These scans find ended threads.
const LONGEST_SCAN_INTERVAL: Duration = Duration::from_millis(100);

/// The interval between two collections. The records between two of them suffice for several kernel ticks per CPU.
const COLLECT_INTERVAL: Duration = Duration::from_millis(1);

/// The longest step of a timer. A busy thread then gets a signal at nearly every kernel tick, and the sampled ticks are
/// chosen from all of them.
const MAX_STEP: Duration = Duration::from_millis(2);

/// The CPU sampler of our own process.
pub(crate) struct LocalCpu {
    sampler: CpuSampler,
    step: Duration,
    steps: u32,
    registry: Arc<Registry>,
    version: u64,
    unwinder: Unwinder,
    copy: StackCopy,
    threads: HashMap<i32, SampledThread>,
    /// True during the first scan. The CPU time of threads before it does not count.
    first_scan: bool,
    scanned: Instant,
    scan_interval: Duration,
    newest: NewestThread,
    /// A thread was started before the last scan. The kernel numbers a thread before it lists it, so only the next scan
    /// may find it.
    started_lately: bool,
    /// The monotonic clock at the start.
    started: Duration,
    unsampled: u64,
    /// Steps of ended threads after their last samples.
    ended: u64,
    seed: RandomState,
}

struct SampledThread {
    number: ThreadNumber,
    has_stack: bool,
    labels: Labels,
}

impl LocalCpu {
    /// Starts a timer for every thread.
    ///
    /// # Errors
    /// Those of [`CpuSampler::start`]; when the threads cannot be listed; when the loaded images cannot be read.
    pub(crate) fn start(registry: Arc<Registry>, rate: u32) -> io::Result<Self> {
        let period = Duration::from_secs(1) / rate.max(1);
        let steps = u32::try_from(period.as_nanos().div_ceil(MAX_STEP.as_nanos() + 1)).unwrap_or(1).max(1);
        let step = period / steps;
        // The unwinder comes first, because it takes milliseconds.
        let unwinder = Unwinder::of(Process::own())?;
        let mut own = Self {
            sampler: CpuSampler::start(step, steps)?,
            step,
            steps,
            registry,
            version: u64::MAX,
            unwinder,
            copy: StackCopy::default(),
            threads: HashMap::new(),
            first_scan: true,
            scanned: Instant::now(),
            scan_interval: SCAN_INTERVAL,
            newest: NewestThread::open(),
            started_lately: false,
            started: sys::monotonic_time(),
            unsampled: 0,
            ended: 0,
            seed: RandomState::new(),
        };
        own.scan()?;
        own.first_scan = false;
        Ok(own)
    }

    fn scan(&mut self) -> io::Result<()> {
        let used = || sys::thread_cpu_time(sys::current_tid()).unwrap_or_default();
        let before = used();
        let present: HashSet<i32> = Process::own().thread_ids()?.into_iter().collect();
        self.threads.retain(|tid, thread| {
            let alive = present.contains(tid);
            if !alive {
                self.ended += u64::from(self.sampler.passed(thread.number));
                self.sampler.remove_thread(thread.number);
            }
            alive
        });
        let mut changed = self.version != self.registry.version();
        for tid in present {
            if !self.threads.contains_key(&tid) {
                changed |= self.add(tid);
            }
        }
        if changed {
            self.label_workers();
        }
        self.scanned = Instant::now();
        self.scan_interval = SCAN_INTERVAL.max(used().saturating_sub(before) * SCAN_TIME_DIVISOR);
        Ok(())
    }

    /// Starts to sample a thread; returns whether it did. The first step and the first sample have a random phase, so that
    /// threads which live for less than a step are sampled in proportion. Steps count from the thread's start.
    fn add(&mut self, tid: i32) -> bool {
        let step = self.step.as_nanos().max(1);
        let chance = self.seed.hash_one((tid, self.threads.len(), Instant::now()));
        let phase = u128::from(chance) % step + 1;
        let used = if self.first_scan { 0 } else { sys::thread_cpu_time(tid).unwrap_or_default().as_nanos() };
        let passed = if used >= phase { (used - phase) / step + 1 } else { 0 };
        let first = phase + passed * step - used;
        let first = Duration::from_nanos(u64::try_from(first).unwrap_or(u64::MAX));
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        match self.sampler.add_thread(tid, first, passed, (chance >> 32) as u32) {
            Ok(Some(number)) => {
                let name = Process::own().thread_name(tid).map(Arc::from);
                let labels = Labels { thread: name, tid: Some(tid), ..Labels::default() };
                self.threads.insert(tid, SampledThread { number, has_stack: false, labels });
                true
            }
            // The thread has ended already.
            Ok(None) => false,
            Err(_) => {
                self.unsampled += 1;
                false
            }
        }
    }

    fn label_workers(&mut self) {
        self.version = self.registry.version();
        let entries = self.registry.snapshot();
        let by_thread: HashMap<i32, &Entry> = entries.iter().map(|entry| (entry.worker.thread.tid, entry)).collect();
        for (tid, thread) in &mut self.threads {
            let entry = by_thread.get(tid);
            self.sampler.set_poll(thread.number, entry.map(|entry| entry.slot.words()));
            let Some(entry) = entry else {
                thread.labels.runtime = None;
                thread.labels.worker = None;
                continue;
            };
            thread.labels.thread = Some(Arc::clone(&entry.worker.thread.name));
            thread.labels.runtime = Some(Arc::clone(&entry.worker.runtime));
            thread.labels.worker = entry.worker.index.and_then(|index| u32::try_from(index).ok());
            if let Some(stack) = &entry.worker.thread.stack {
                self.sampler.set_stack(thread.number, stack.clone(), true);
                thread.has_stack = true;
            }
        }
    }
}

impl CpuSource for LocalCpu {
    fn collect(&mut self, take: &mut dyn FnMut(CpuSample)) -> io::Result<()> {
        let since = self.scanned.elapsed();
        if since >= self.scan_interval {
            let started = self.newest.changed();
            if started || self.started_lately || since >= LONGEST_SCAN_INTERVAL {
                self.scan()?;
            }
            self.started_lately = started;
        }
        let Self { sampler, threads, unwinder, copy, started, .. } = self;
        let (mut foreign, mut cut) = (Vec::new(), Vec::new());
        sampler.drain(copy, |sample, copy| {
            if sample.foreign {
                foreign.push((sample.tid, copy.registers.stack_pointer));
            }
            let labels = threads.get(&sample.tid).map(|thread| thread.labels.clone()).unwrap_or_default();
            let walk = unwinder.walk_now(copy);
            if sample.cut && !walk.complete {
                cut.push(sample.tid);
            }
            take(CpuSample {
                at: sample.at.saturating_sub(*started),
                steps: sample.steps,
                labels: with_task(labels, sample.poll),
                stack: RawStack { addresses: walk.addresses, method: CaptureMethod::Signal, complete: walk.complete },
            });
        });
        for number in cut.iter().filter_map(|tid| self.threads.get(tid)).map(|thread| thread.number) {
            self.sampler.deepen(number);
        }
        for (tid, stack_pointer) in foreign {
            self.learn_stack(tid, stack_pointer);
        }
        Ok(())
    }

    fn unsampled_cpu(&self) -> UnsampledCpu {
        let passed = |thread: &SampledThread| u64::from(self.sampler.passed(thread.number));
        UnsampledCpu {
            living: self.threads.iter().map(|(tid, thread)| (*tid, passed(thread))).collect(),
            ended: self.ended,
        }
    }

    fn collect_interval(&self) -> Duration {
        COLLECT_INTERVAL
    }

    fn steps_per_period(&self) -> u32 {
        self.steps
    }

    fn lost_samples(&self) -> u64 {
        self.sampler.lost()
    }

    fn unsampled_threads(&self) -> u64 {
        self.unsampled
    }

    fn process_cpu_time(&self) -> Option<Duration> {
        Process::own().cpu_time()
    }
}

impl LocalCpu {
    /// Takes the bounds of a thread's stack from its first sample.
    fn learn_stack(&mut self, tid: i32, stack_pointer: u64) {
        let Some(thread) = self.threads.get_mut(&tid).filter(|thread| !thread.has_stack) else { return };
        if let Some(mapping) = mapping_of(Process::own(), stack_pointer) {
            self.sampler.set_stack(thread.number, mapping, false);
            thread.has_stack = true;
        }
    }
}

fn with_task(labels: Labels, poll: Option<PollNow>) -> Labels {
    let Some(task) = poll.map(task_of) else { return labels };
    Labels { task: task.id, spawned_at: task.place().map(Arc::from), task_name: task.name, ..labels }
}
