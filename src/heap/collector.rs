//! The collector: a thread of holdup's own that unwinds what the allocator has copied, and keeps the ledger.
//!
//! A process has one allocator, so it has one collector for all its watches. Whoever asks for a profile collects too, so it is
//! up to date. Nothing here is sampled.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ledger::{Event, Ledger, SiteStack};
#[cfg(feature = "testing")]
use super::recording::OtherThreads;
use super::recording::Recording;
use super::sampling::Sampling;
use super::size_class::SizeClasses;
use super::threads::Threads;
use crate::model::own_thread;
use crate::probe::Registry;
use crate::sys::heap as sampler;
use crate::sys::{Process, StackCopy};
use crate::threads::spawn_thread;
use crate::unwind::Unwinder;

/// Between two collections.
const INTERVAL: Duration = Duration::from_millis(10);

/// Between two collections while many samples come.
const BUSY_INTERVAL: Duration = Duration::from_millis(1);

/// This many samples in a collection are many.
const MANY: usize = 16;

static COLLECTOR: Mutex<Option<Collector>> = Mutex::new(None);

struct Collector {
    ledger: Ledger,
    threads: Threads,
    sizes: SizeClasses,
    /// Without it, samples have no stacks.
    unwinder: Option<Unwinder>,
    copy: StackCopy,
    sampling: Sampling,
    has_thread: bool,
    recordings: Vec<Recording>,
    #[cfg(feature = "testing")]
    next_recording: u64,
}

/// Why the heap cannot be sampled.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The program has another global allocator.
    NotInstalled,
    /// See [`sampler::StartError`].
    Refused(sampler::StartError),
    /// The collector's thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => write!(
                f,
                "the program's global allocator is not holdup's; add #[global_allocator] static ALLOCATOR: holdup::heap::Allocator = holdup::heap::Allocator::system();"
            ),
            Self::Refused(sampler::StartError::Unsupported) => write!(f, "heap profiles need Linux on x86_64"),
            Self::Refused(sampler::StartError::Forked) => {
                write!(f, "this process was forked from one whose heap was sampled; start another program instead")
            }
            Self::Thread(source) => write!(f, "holdup could not start a thread: {source}"),
        }
    }
}

/// Runs with the collector's state. Its own allocations are not sampled.
fn locked<T>(run: impl FnOnce(&mut Option<Collector>) -> T) -> T {
    sampler::without_sampling(|| run(&mut COLLECTOR.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Begins to sample for a watch, or changes how often.
pub(crate) fn start(sampling: Sampling, registry: &Arc<Registry>) -> Result<(), StartError> {
    if sampler::is_forked() {
        return Err(StartError::Refused(sampler::StartError::Forked));
    }
    locked(|state| {
        sampler::start(sampling.mean()).map_err(StartError::Refused)?;
        if !sampler::is_installed() {
            sampler::stop();
            return Err(StartError::NotInstalled);
        }
        let collector = state.get_or_insert_with(Collector::new);
        collector.sampling = sampling;
        collector.threads.add(registry);
        if !collector.has_thread {
            // Its handle is not needed: it ends with sampling.
            drop(spawn_thread(own_thread::HEAP, run).map_err(StartError::Thread)?);
            collector.has_thread = true;
        }
        Ok(())
    })
}

/// Begins to sample as rarely as by default, unless the heap is sampled already.
pub(crate) fn ensure_started(registry: &Arc<Registry>) -> Result<(), StartError> {
    let is_on = sampler::is_on()
        && locked(|state| {
            let collector = state.as_mut();
            collector.map(|collector| collector.threads.add(registry)).is_some()
        });
    if is_on { Ok(()) } else { start(Sampling::default(), registry) }
}

/// Ends sampling for a watch. It ends for the process with the last watch.
pub(crate) fn stop(registry: &Arc<Registry>) {
    if sampler::is_forked() {
        return;
    }
    locked(|state| {
        if let Some(collector) = state
            && !collector.threads.remove(registry)
        {
            sampler::stop();
        }
    });
}

/// The ledger after a collection, and how often was sampled. `None` if sampling never began.
pub(crate) fn with_ledger<T>(read: impl FnOnce(&Ledger, Sampling) -> T) -> Option<T> {
    locked(|state| {
        let collector = state.as_mut()?;
        collector.collect();
        Some(read(&collector.ledger, collector.sampling))
    })
}

/// Begins to record what the threads of a watch allocate, at least as exactly as this sampling. Returns its number.
#[cfg(feature = "testing")]
pub(super) fn begin_recording(
    sampling: Sampling,
    registry: &Arc<Registry>,
    others: OtherThreads,
    poll_limit: Option<u64>,
) -> Result<u64, StartError> {
    let is_fine = sampler::is_on()
        && locked(|state| state.as_ref().is_some_and(|state| state.sampling.mean() <= sampling.mean()));
    if is_fine {
        ensure_started(registry)?;
    } else {
        start(sampling, registry)?;
    }
    locked(|state| {
        let collector = state.as_mut().ok_or(StartError::NotInstalled)?;
        // What was allocated until now is not recorded.
        collector.collect();
        collector.next_recording += 1;
        let number = collector.next_recording;
        collector.recordings.push(Recording::new(number, Arc::clone(registry), others, poll_limit));
        Ok(number)
    })
}

/// The recording of this number after a collection, with the ledger. `None` if it has ended.
#[cfg(feature = "testing")]
pub(super) fn with_recording<T>(number: u64, read: impl FnOnce(&mut Recording, &Ledger, Sampling) -> T) -> Option<T> {
    locked(|state| {
        let collector = state.as_mut()?;
        collector.collect();
        let Collector { recordings, ledger, sampling, .. } = collector;
        Some(read(recordings.iter_mut().find(|recording| recording.number == number)?, ledger, *sampling))
    })
}

/// Forgets a recording.
#[cfg(feature = "testing")]
pub(super) fn forget_recording(number: u64) {
    locked(|state| {
        if let Some(collector) = state {
            collector.recordings.retain(|recording| recording.number != number);
        }
    });
}

/// Collects until sampling ends.
fn run() {
    while let Some(collected) = collect_once() {
        std::thread::sleep(if collected >= MANY { BUSY_INTERVAL } else { INTERVAL });
    }
}

/// The number of events. `None` once sampling has ended.
fn collect_once() -> Option<usize> {
    locked(|state| {
        let collector = state.as_mut()?;
        let collected = collector.collect();
        collector.has_thread = sampler::is_on();
        collector.has_thread.then_some(collected)
    })
}

impl Collector {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            threads: Threads::default(),
            sizes: SizeClasses::default(),
            unwinder: Unwinder::of(Process::own()).ok(),
            copy: StackCopy::default(),
            sampling: Sampling::default(),
            has_thread: false,
            recordings: Vec::new(),
            #[cfg(feature = "testing")]
            next_recording: 0,
        }
    }

    /// Takes what the allocator has sampled since the last time.
    fn collect(&mut self) -> usize {
        let Self { ledger, threads, sizes, unwinder, copy, recordings, .. } = self;
        threads.refresh();
        let mut events = Vec::new();
        let mut ends = Vec::new();
        sampler::drain(
            copy,
            |allocated, copy| {
                let stack =
                    unwinder.as_mut().filter(|_| !copy.bytes.is_empty()).map_or_else(SiteStack::default, |unwinder| {
                        let walk = unwinder.walk_now(copy);
                        if !walk.complete && copy.bytes.len() == sampler::SMALL_BYTES {
                            sampler::expect_deep_stacks();
                        }
                        SiteStack { addresses: walk.addresses.into(), complete: walk.complete }
                    });
                let mut labels = threads.labels(allocated.tid, allocated.poll);
                labels.size = sizes.label(allocated.size);
                events.push(Event::Allocated(allocated, stack, Box::new(labels)));
            },
            |freed| ends.push(Event::Freed(freed)),
        );
        events.append(&mut ends);
        let count = events.len();
        // Threads that have registered since are among those that allocated.
        recordings.iter_mut().for_each(Recording::refresh);
        ledger.add(events, |added| recordings.iter_mut().for_each(|recording| recording.add(added)));
        count
    }
}
