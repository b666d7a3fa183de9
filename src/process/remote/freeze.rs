//! One moment of another process: its threads, and a copy of its memory. Threads that run are made to stand still while
//! memory is copied, and for nothing else; threads that sleep are not touched.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::thread_pointer;
use crate::process::Snapshot;
use crate::sys::{self, KernelState, Mapping, Process, StackCopy, Stopped, ThreadProbe};

/// How long running threads may take to stand still.
const STOP_LIMIT: Duration = Duration::from_millis(100);

/// Threads that are looked at.
const MAX_THREADS: usize = 4096;

/// Threads are stopped a second time where the first stop showed one that nothing was known about.
const ROUNDS: usize = 2;

/// A thread at that moment.
#[derive(Debug)]
pub(crate) struct FrozenThread {
    pub(crate) tid: i32,
    pub(crate) name: String,
    /// It was on a CPU or ready for one.
    pub(crate) runs: bool,
    /// Where its thread-local variables are found.
    pub(crate) thread_pointer: Option<u64>,
    /// From where it slept or was held to the end of its stack.
    pub(crate) bounds: Option<Range<u64>>,
    /// Its stack, where it ran and was held.
    pub(crate) stack: Option<StackCopy>,
}

/// The moment.
#[derive(Debug)]
pub(crate) struct FrozenProcess {
    pub(crate) threads: Vec<FrozenThread>,
    pub(crate) memory: Snapshot,
    /// By the monotonic clock.
    pub(crate) now: Duration,
    /// How long threads were held, the longest time of all stops.
    pub(crate) pause: Duration,
    pub(crate) held: usize,
    /// Threads that ran and could not be held, with the reason.
    pub(crate) refused: Vec<(i32, sys::StopError)>,
    /// Bytes that were copied at the moment.
    pub(crate) copied: u64,
    /// Sleeping threads that woke up meanwhile.
    pub(crate) woken: usize,
}

/// What reads all the memory that is to be copied.
pub(crate) type Touch<'a> = dyn Fn(&Snapshot, &[FrozenThread]) + Sync + 'a;

impl FrozenProcess {
    /// Takes it. `rehearse` is called while the process runs, to learn what memory is to be copied; `touch` at the moment
    /// itself, for what is new since, and must be quick.
    ///
    /// # Errors
    /// When the process does not exist or may not be looked at.
    pub(crate) fn freeze(process: Process, rehearse: &Touch<'_>, touch: &Touch<'_>) -> io::Result<Self> {
        let mut tids = process.thread_ids()?;
        tids.truncate(MAX_THREADS);
        let mappings = process.mappings()?;
        let probes: HashMap<i32, ThreadProbe> =
            tids.iter().map(|tid| (*tid, ThreadProbe::open(process, *tid))).collect();
        let mut threads = Vec::new();
        for tid in tids {
            let state = probes.get(&tid).and_then(ThreadProbe::kernel_state);
            let asleep = state.and_then(KernelState::asleep_at);
            let found = asleep.and_then(|(stack, _)| thread_pointer::find(process, &mappings, tid, stack));
            let Some(name) = process.thread_name(tid) else { continue };
            let bounds = match asleep {
                Some((pointer, _)) => Mapping::of(&mappings, pointer).map(|stack| pointer..stack.end),
                // Of a thread that runs, the whole stack; only the first thread's can be told.
                None => first_stack(&mappings).filter(|_| u32::try_from(tid) == Ok(process.id())),
            };
            threads.push(FrozenThread { tid, name, runs: false, thread_pointer: found, bounds, stack: None });
        }
        let mut moment = Self {
            threads,
            memory: Snapshot::of(process),
            now: Duration::ZERO,
            pause: Duration::ZERO,
            held: 0,
            refused: Vec::new(),
            copied: 0,
            woken: 0,
        };
        for _ in 0..ROUNDS {
            rehearse(&moment.memory, &moment.threads);
            if !moment.hold(process, &probes, touch)? {
                break;
            }
        }
        moment.memory.seal();
        Ok(moment)
    }

    /// Holds what runs and copies. Returns whether a thread was seen of which nothing had been known.
    fn hold(&mut self, process: Process, probes: &HashMap<i32, ThreadProbe>, touch: &Touch<'_>) -> io::Result<bool> {
        let state = |tid: i32| probes.get(&tid).and_then(ThreadProbe::kernel_state);
        let slices = |tid: i32| probes.get(&tid).and_then(ThreadProbe::schedstat).map(|stat| stat.slices);
        let mut sleeping = Vec::new();
        let mut running = Vec::new();
        for thread in &mut self.threads {
            thread.runs = state(thread.tid) == Some(KernelState::Running);
            if thread.runs {
                running.push(thread.tid);
            } else {
                sleeping.push((thread.tid, slices(thread.tid)));
            }
        }
        let (memory, threads) = (&self.memory, &mut self.threads);
        // Memory that was written once, because the first write to a page takes as long as copying it.
        let mut spare: Vec<StackCopy> = running.iter().map(|_| stack_copy()).collect();
        let mut copy = |stopped: &[Stopped]| {
            let learned = note_stopped(process, threads, stopped, &mut spare);
            let now = sys::monotonic_time();
            let copied = memory.renew();
            if !learned {
                touch(memory, threads);
            }
            let refused: Vec<_> = stopped.iter().filter_map(|stop| Some((stop.tid, stop.registers.err()?))).collect();
            (learned, now, copied, stopped.len() - refused.len(), refused)
        };
        let ((learned, now, copied, held, refused), pause) = if running.is_empty() {
            (copy(&[]), Duration::ZERO)
        } else {
            let still = |tid| state(tid) == Some(KernelState::Running);
            sys::while_stopped(&running, STOP_LIMIT, still, &mut copy)?
        };
        (self.now, self.copied, self.held) = (now, copied, held);
        // One that fell asleep before it was held is as good as held.
        self.refused = refused.into_iter().filter(|(_, why)| *why != sys::StopError::Slept).collect();
        self.pause = self.pause.max(pause);
        self.woken = sleeping.iter().filter(|(tid, before)| slices(*tid) != *before).count();
        Ok(learned)
    }
}

/// Writes down what was seen of threads that stand still. Returns whether that told where one's variables are.
fn note_stopped(
    process: Process,
    threads: &mut [FrozenThread],
    stopped: &[Stopped],
    spare: &mut Vec<StackCopy>,
) -> bool {
    let mut learned = false;
    for stop in stopped {
        let Some(thread) = threads.iter_mut().find(|thread| thread.tid == stop.tid) else { continue };
        let Ok(registers) = stop.registers else { continue };
        if thread.thread_pointer.is_none() && stop.thread_pointer != 0 {
            thread.thread_pointer = Some(stop.thread_pointer);
            learned = true;
        }
        let mut copy = spare.pop().unwrap_or_default();
        process.copy_stack(registers, None, &mut copy);
        thread.bounds = Some(registers.stack_pointer..registers.stack_pointer + copy.bytes.len() as u64);
        thread.stack = Some(copy);
    }
    learned
}

fn first_stack(mappings: &[Mapping]) -> Option<Range<u64>> {
    mappings.iter().find(|mapping| mapping.path == "[stack]").map(|stack| stack.start..stack.end)
}

/// Room for a stack.
fn stack_copy() -> StackCopy {
    StackCopy { bytes: vec![u8::MAX; sys::MAX_STACK_BYTES], ..StackCopy::default() }
}
