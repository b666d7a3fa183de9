//! The single steps of capturing a stack, and stopped threads, for the benchmarks. This is not part of the public interface and
//! may change at any time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::model::stack::Address;
use crate::probe::{self, Hooks, Registry, RuntimeProbe, WatchFutureExt as _};
use crate::process::{LocalWorkers, LocalWorkersConfig, WorkerSource};
use crate::symbols::{Origins, Symbolizer};
use crate::sys::{self, Process, StackCopy, StackSignal};
use crate::unwind::Unwinder;

/// How long a thread may take to answer the signal or to stop.
const LIMIT: Duration = Duration::from_secs(1);

/// Does some work while threads of another process are stopped.
///
/// # Errors
/// When one of the threads cannot be stopped.
pub fn while_stopped<T: Send>(threads: &[i32], work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let work = |stopped: &[sys::Stopped]| match stopped.iter().find_map(|stopped| stopped.registers.err()) {
        Some(reason) => Err(io::Error::other(format!("a thread could not be stopped: {reason:?}"))),
        None => Ok(work()),
    };
    sys::while_stopped(threads, LIMIT, |_| true, work)?.0
}

/// A thread to capture stacks of.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    tid: i32,
    stack: (u64, u64),
}

impl Observed {
    /// The calling thread.
    #[must_use]
    pub fn current() -> Self {
        let stack = sys::current_stack().map_or((0, 0), |stack| (stack.start, stack.end));
        Self { tid: sys::current_tid(), stack }
    }
}

/// Copies stacks, unwinds them and names their frames.
#[derive(Debug)]
pub struct Stacks {
    signal: Arc<StackSignal>,
    unwinder: Unwinder,
    copy: StackCopy,
    addresses: Vec<Address>,
    symbolizer: Symbolizer,
}

impl Stacks {
    /// Installs the signal and reads the unwind tables.
    ///
    /// # Errors
    /// When no signal is free, or the loaded images cannot be listed.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            signal: Arc::new(StackSignal::install(None)?),
            unwinder: Unwinder::of(Process::own())?,
            copy: StackCopy::default(),
            addresses: Vec::new(),
            symbolizer: Symbolizer::of(Process::own(), Origins::default()),
        })
    }

    /// Makes a thread copy its own stack; returns the number of bytes, 0 after a failure.
    pub fn copy_by_signal(&mut self, thread: Observed) -> usize {
        match self.signal.copy_stack(thread.tid, thread.stack, LIMIT, &mut self.copy) {
            Ok(()) => self.copy.bytes.len(),
            Err(_) => 0,
        }
    }

    /// Unwinds the last copied stack; returns its number of frames, 0 if the thread's first function is not reached.
    pub fn walk(&mut self) -> usize {
        let walk = self.unwinder.walk(&self.copy);
        self.addresses = walk.addresses;
        if walk.complete { self.addresses.len() } else { 0 }
    }

    /// Names the last unwound stack; returns the number of frames, including inlined ones.
    pub fn name(&mut self) -> usize {
        self.symbolizer.frames(&self.addresses).len()
    }

    /// Names the last unwound stack without any cache.
    #[must_use]
    pub fn name_without_cache(&self) -> usize {
        Symbolizer::of(Process::own(), Origins::default()).frames(&self.addresses).len()
    }

    /// Empties the cache of names. Debug information stays open.
    pub fn clear_names(&mut self) {
        self.symbolizer.clear_cache();
    }
}

/// A runtime with one worker, inside one poll.
pub struct BusyWorker {
    workers: LocalWorkers,
    _runtime: tokio::runtime::Runtime,
}

impl std::fmt::Debug for BusyWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusyWorker").finish_non_exhaustive()
    }
}

impl BusyWorker {
    /// Runs `body` in a poll, and shares the signal of `stacks`. Dropping it waits until `body` returns.
    ///
    /// # Errors
    /// When the runtime cannot be built, or the loaded images cannot be listed.
    pub fn start(stacks: &Stacks, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let registry = Arc::new(Registry::default());
        let probe = RuntimeProbe::new("bench".into(), Arc::clone(&registry));
        let mut builder = Builder::new_multi_thread();
        probe::install(builder.worker_threads(1), &probe, Hooks::new());
        let runtime = builder.build()?;
        probe.set_built(false, None);
        runtime.spawn(async { body() }.watched());
        let workers = LocalWorkers::new(LocalWorkersConfig {
            registry,
            poll_starts: Arc::default(),
            poll_examples: Arc::default(),
            signal: Some(Arc::clone(&stacks.signal)),
            unwinder: Some(Unwinder::of(Process::own())?),
            stacks_missed: Arc::default(),
            runtimes: Arc::default(),
        });
        Ok(Self { workers, _runtime: runtime })
    }

    /// Captures the worker's stack as the watchdog and wall-clock profiles do. Returns its number of frames, 0 outside of a
    /// poll or after a failure.
    pub fn sample(&mut self) -> usize {
        self.workers.refresh();
        if self.workers.workers().is_empty() {
            return 0;
        }
        match self.workers.sample_worker(0).stack {
            Some(Ok(stack)) => stack.addresses.len(),
            _ => 0,
        }
    }
}
