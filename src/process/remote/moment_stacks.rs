//! The stacks of all threads at the moment of a freeze. A stack of another moment is dropped.

use std::collections::HashSet;
use std::io;

use super::freeze::{FrozenProcess, FrozenThread};
use super::stacks::RemoteStacks;
use super::stops::Stops;
use crate::model::address_hash::BuildAddressHasher;
use crate::model::census::ThreadLocks;
use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
use crate::sys::{KernelState, Process, StackCopy, StopError, ThreadProbe};

/// The words around a futex that may be the address of a lock: parking_lot keeps both in one structure.
const WORDS_BEFORE: u64 = 6;
const WORDS_NEAR: usize = 12;

/// Smaller words are no addresses.
const FIRST_ADDRESS: u64 = 1 << 16;

/// The stack of one thread.
#[derive(Clone, Debug)]
pub(crate) struct MomentStack {
    pub(crate) stack: Result<RawStack, StackUnavailable>,
    /// A stack of a later sleep, if there is none of the moment.
    pub(crate) later: Option<RawStack>,
    /// The first addresses of the functions on it, innermost first. Unknown ones are left out.
    pub(crate) functions: Vec<u64>,
    /// The wanted words that are on it or in its registers.
    pub(crate) words: HashSet<u64>,
    /// What it shows of locks of threads.
    pub(crate) locks: ThreadLocks,
}

/// Words that are looked for.
type Wanted = HashSet<u64, BuildAddressHasher>;

/// What threads wait for in the kernel.
#[derive(Debug, Default)]
struct Futexes {
    /// In the order of the threads: the address of each one's futex, and the words beside it.
    of_threads: Vec<Option<(u64, Vec<u64>)>>,
    /// All addresses that may be of a lock.
    wanted: Wanted,
}

impl Futexes {
    fn of(process: Process, threads: &[FrozenThread]) -> Self {
        let mut futexes = Self::default();
        for thread in threads {
            let state = ThreadProbe::open(process, thread.tid).kernel_state();
            let futex = state.filter(|_| !thread.runs).and_then(KernelState::futex);
            let found = futex.map(|futex| (futex, near(process, futex)));
            if let Some((futex, near)) = &found {
                // A lock of readers and writers has a second futex behind its first one.
                futexes.wanted.extend([*futex, futex.wrapping_sub(4)]);
                futexes.wanted.extend(near.iter().flat_map(|word| [*word, word & !1]));
            }
            futexes.of_threads.push(found);
        }
        futexes
    }

    /// What a thread shows, by its stack and registers.
    fn locks(&self, position: usize, copy: &StackCopy, registers: &[u64]) -> ThreadLocks {
        let mut on_stack: Vec<u64> = words(copy, registers).filter(|word| self.wanted.contains(word)).collect();
        on_stack.sort_unstable();
        on_stack.dedup();
        let Some(Some((futex, near))) = self.of_threads.get(position) else {
            return ThreadLocks { on_stack, ..ThreadLocks::default() };
        };
        let near_futex = near.iter().copied().filter(|word| on_stack.binary_search(word).is_ok()).collect();
        ThreadLocks { futex: Some(*futex), near_futex, on_stack }
    }
}

/// The words around a futex that may be addresses.
fn near(process: Process, futex: u64) -> Vec<u64> {
    let mut bytes = [0; WORDS_NEAR * 8];
    let first = (futex & !7).saturating_sub(WORDS_BEFORE * 8);
    let read = process.read_memory(first, &mut bytes);
    let words = bytes[..read].as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    let words: Vec<u64> = words.filter(|word| *word >= FIRST_ADDRESS).collect();
    let places: Vec<u64> = words.iter().map(|word| word & !7).collect();
    let mut found = Vec::new();
    process.read_words(&places, &mut found);
    words.into_iter().zip(found).filter_map(|(word, found)| found.map(|_| word)).collect()
}

impl FrozenProcess {
    /// The stack of each thread: of a held thread as it was then, of a sleeping thread as it still is. A thread that waits for
    /// a lock is stopped if its stack cannot be unwound without all registers.
    ///
    /// `wanted` are the words that are looked for, if only stacks show what threads do.
    ///
    /// # Errors
    /// When the process has ended or may not be read.
    pub(crate) fn stacks(
        &self,
        process: Process,
        stops: &Stops,
        wanted: Option<&HashSet<u64>>,
    ) -> io::Result<Vec<MomentStack>> {
        let mut stacks = RemoteStacks::open(process, stops.clone())?;
        let futexes = Futexes::of(process, &self.threads);
        Ok((0..self.threads.len()).map(|position| self.stack(&mut stacks, position, &futexes, wanted)).collect())
    }

    fn stack(
        &self,
        stacks: &mut RemoteStacks,
        position: usize,
        futexes: &Futexes,
        wanted: Option<&HashSet<u64>>,
    ) -> MomentStack {
        let thread = &self.threads[position];
        let taken = match &thread.stack {
            Some(copy) => {
                let walk = stacks.walk(copy);
                Ok((RawStack { addresses: walk.addresses, method: CaptureMethod::Stop, complete: walk.complete }, copy))
            }
            None if thread.runs => Err(self.why_not_held(thread.tid)),
            None => stacks.capture_sleep(thread.tid, thread.slices).map(|stack| (stack, stacks.last_copy())),
        };
        let (stack, words, locks) = match taken {
            Ok((stack, copy)) => {
                let registers = &thread.kept_registers;
                (Ok(stack), words_on(copy, registers, wanted), futexes.locks(position, copy, registers))
            }
            Err(why) => (Err(why), HashSet::new(), ThreadLocks::default()),
        };
        let addresses = stack
            .as_ref()
            .ok()
            .filter(|_| wanted.is_some_and(|wanted| !wanted.is_empty()))
            .into_iter()
            .flat_map(|stack| &stack.addresses);
        let functions = addresses.filter_map(|address| stacks.start_of_function(address.0)).collect();
        let is_late = stack.as_ref().is_err_and(|why| *why == StackUnavailable::TooLate) && wanted.is_some();
        let later = if is_late { stacks.capture_later_sleep(thread.tid) } else { None };
        MomentStack { stack, later, functions, words, locks }
    }

    /// Why a running thread has no stack.
    fn why_not_held(&self, tid: i32) -> StackUnavailable {
        match self.refused.iter().find(|(refused, _)| *refused == tid) {
            Some((_, StopError::Refused)) => StackUnavailable::Refused,
            Some((_, StopError::Forbidden)) => StackUnavailable::NeverStop,
            Some((_, StopError::Gone)) => StackUnavailable::Gone,
            Some((_, StopError::NoAnswer)) => StackUnavailable::NoAnswer,
            Some((_, StopError::Slept)) | None => StackUnavailable::TooLate,
        }
    }
}

/// The wanted words among those of a stack and the registers.
fn words_on(copy: &StackCopy, registers: &[u64], wanted: Option<&HashSet<u64>>) -> HashSet<u64> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return HashSet::new() };
    words(copy, registers).filter(|word| wanted.contains(word)).collect()
}

fn words(copy: &StackCopy, registers: &[u64]) -> impl Iterator<Item = u64> {
    copy.bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).chain(registers.iter().copied())
}
