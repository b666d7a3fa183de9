//! All threads of another process and a copy of its memory, both of one moment. Running threads are held only while memory
//! is copied. Sleeping threads are not stopped for it.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::snapshot::Snapshot;
use super::stops::Stops;
use super::thread_count::MAX_REMOTE_THREADS;
use super::thread_pointer;
use crate::sys::{self, KernelState, Mapping, Process, StackCopy, Stopped, ThreadProbe};

/// How long all running threads may take to stop.
const FREEZE_STOP_LIMIT: Duration = Duration::from_millis(100);

/// Stops at most. The second one follows if the first one reveals a thread pointer that was unknown.
const MAX_STOPS: usize = 2;

/// A thread at the moment of the freeze.
#[derive(Debug)]
pub(crate) struct FrozenThread {
    pub(crate) tid: i32,
    pub(crate) name: String,
    /// Whether it was on a CPU or ready for one.
    pub(crate) runs: bool,
    /// The base address of its thread-local variables.
    pub(crate) thread_pointer: Option<u64>,
    /// From its stack pointer to the end of its stack.
    pub(crate) bounds: Option<Range<u64>>,
    /// Its stack, if it ran and was held.
    pub(crate) stack: Option<StackCopy>,
    /// If it was held, the registers that functions keep for their callers.
    pub(super) kept_registers: [u64; 6],
    /// If it slept, how often it had been put on a CPU; `None` if the kernel does not count it.
    pub(super) slices: Option<u64>,
}

/// A process at one moment.
#[derive(Debug)]
pub(crate) struct FrozenProcess {
    pub(crate) threads: Vec<FrozenThread>,
    pub(crate) memory: Snapshot,
    /// By the monotonic clock.
    pub(crate) now: Duration,
    /// The longest time that threads were held.
    pub(crate) pause: Duration,
    /// Threads that were held in the last stop.
    pub(crate) held: usize,
    /// Running threads that could not be held, with the reason.
    pub(crate) refused: Vec<(i32, sys::StopError)>,
    /// Bytes copied while threads were held.
    pub(crate) copied: u64,
    /// Sleeping threads that woke up during the copy.
    pub(crate) woken: usize,
    /// Threads beyond the limit.
    pub(crate) left_out: usize,
}

/// Reads all memory that is to be copied.
pub(crate) type Touch<'a> = dyn Fn(&Snapshot, &[FrozenThread]) + Sync + 'a;

impl FrozenProcess {
    /// Freezes a process. `rehearse` runs before the freeze and determines which memory is copied. `touch` runs during the
    /// freeze, reads what is new since, and must be fast.
    ///
    /// # Errors
    /// When the process does not exist or may not be read.
    pub(crate) fn freeze(process: Process, stops: &Stops, rehearse: &Touch<'_>, touch: &Touch<'_>) -> io::Result<Self> {
        let mut tids = process.thread_ids()?;
        let left_out = tids.len().saturating_sub(MAX_REMOTE_THREADS);
        tids.truncate(MAX_REMOTE_THREADS);
        let mappings = process.mappings()?;
        let probes: HashMap<i32, ThreadProbe> =
            tids.iter().map(|tid| (*tid, ThreadProbe::open(process, *tid))).collect();
        let mut threads = Vec::new();
        for tid in tids {
            let state = probes.get(&tid).and_then(ThreadProbe::kernel_state);
            let asleep = state.and_then(KernelState::asleep_at);
            let pointer = asleep.and_then(|(stack, _)| thread_pointer::find(process, &mappings, tid, stack));
            let Some(name) = process.thread_name(tid) else { continue };
            let bounds = match asleep {
                Some((pointer, _)) => Mapping::of(&mappings, pointer).map(|stack| pointer..stack.end),
                // The stack of a running thread is known for the main thread only, and as a whole.
                None => main_stack(&mappings).filter(|_| u32::try_from(tid) == Ok(process.id())),
            };
            threads.push(FrozenThread {
                tid,
                name,
                runs: false,
                thread_pointer: pointer,
                bounds,
                stack: None,
                kept_registers: [0; 6],
                slices: None,
            });
        }
        let mut frozen = Self {
            threads,
            memory: Snapshot::of(process),
            now: Duration::ZERO,
            pause: Duration::ZERO,
            held: 0,
            refused: Vec::new(),
            copied: 0,
            woken: 0,
            left_out,
        };
        for _ in 0..MAX_STOPS {
            rehearse(&frozen.memory, &frozen.threads);
            if !frozen.hold(process, stops, &probes, touch)? {
                break;
            }
        }
        frozen.memory.seal();
        Ok(frozen)
    }

    /// Holds running threads and copies memory. Returns whether an unknown thread pointer was found.
    fn hold(
        &mut self,
        process: Process,
        stops: &Stops,
        probes: &HashMap<i32, ThreadProbe>,
        touch: &Touch<'_>,
    ) -> io::Result<bool> {
        let state = |tid: i32| probes.get(&tid).and_then(ThreadProbe::kernel_state);
        let slices = |tid: i32| probes.get(&tid).and_then(ThreadProbe::schedstat).map(|stat| stat.slices);
        let mut sleeping = Vec::new();
        let mut running = Vec::new();
        for thread in &mut self.threads {
            // First the count: a thread that sleeps after it has not run since, as long as the count stays.
            thread.slices = slices(thread.tid);
            thread.runs = state(thread.tid) == Some(KernelState::Running);
            if thread.runs {
                running.push(thread.tid);
            } else {
                sleeping.push((thread.tid, thread.slices));
            }
        }
        let (memory, threads) = (&self.memory, &mut self.threads);
        // These buffers were written once, because the first write to a page takes as long as copying it.
        let mut spare: Vec<StackCopy> = running.iter().map(|_| stack_copy()).collect();
        let mut copy = |stopped: &[Stopped]| {
            let learned = note_stopped(process, threads, stopped, &mut spare);
            for stop in stopped.iter().filter(|stop| stop.registers == Err(sys::StopError::Slept)) {
                let slept = slices(stop.tid);
                // It sleeps since then, or has woken up again and runs.
                if state(stop.tid).is_some_and(|state| state != KernelState::Running)
                    && let Some(thread) = threads.iter_mut().find(|thread| thread.tid == stop.tid)
                {
                    (thread.runs, thread.slices) = (false, slept);
                }
            }
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
            let still_running = |tid| state(tid) == Some(KernelState::Running);
            stops.hold(&running, FREEZE_STOP_LIMIT, still_running, &mut copy)?
        };
        (self.now, self.copied, self.held) = (now, copied, held);
        // A thread that fell asleep before it was held needs no holding.
        self.refused = refused.into_iter().filter(|(_, why)| *why != sys::StopError::Slept).collect();
        self.pause = self.pause.max(pause);
        self.woken = sleeping.iter().filter(|(tid, before)| slices(*tid) != *before).count();
        Ok(learned)
    }
}

/// Records the registers and stacks of held threads. Returns whether an unknown thread pointer was found.
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
        thread.kept_registers = stop.kept_registers;
    }
    learned
}

fn main_stack(mappings: &[Mapping]) -> Option<Range<u64>> {
    mappings.iter().find(|mapping| mapping.path == "[stack]").map(|stack| stack.start..stack.end)
}

/// A buffer for a whole stack.
fn stack_copy() -> StackCopy {
    StackCopy { bytes: vec![u8::MAX; sys::MAX_STACK_BYTES], ..StackCopy::default() }
}
