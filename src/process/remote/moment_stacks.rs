//! The stacks of all threads at the moment of a freeze. A stack of another moment is dropped.

use std::collections::HashSet;
use std::io;

use super::freeze::{FrozenProcess, FrozenThread};
use super::stacks::RemoteStacks;
use super::stops::Stops;
use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
use crate::sys::{Process, StackCopy, StopError};

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
}

impl FrozenProcess {
    /// The stack of each thread: of a held thread as it was then, of a sleeping thread as it still is. No thread is stopped.
    ///
    /// `wanted` are the words that are looked for, if only stacks show what threads do.
    ///
    /// # Errors
    /// When the process has ended or may not be read.
    pub(crate) fn stacks(&self, process: Process, wanted: Option<&HashSet<u64>>) -> io::Result<Vec<MomentStack>> {
        let mut stacks = RemoteStacks::open(process, Stops::new(false))?;
        Ok(self.threads.iter().map(|thread| self.stack(&mut stacks, thread, wanted)).collect())
    }

    fn stack(&self, stacks: &mut RemoteStacks, thread: &FrozenThread, wanted: Option<&HashSet<u64>>) -> MomentStack {
        let taken = match &thread.stack {
            Some(copy) => {
                let walk = stacks.walk(copy);
                Ok((RawStack { addresses: walk.addresses, method: CaptureMethod::Stop, complete: walk.complete }, copy))
            }
            None if thread.runs => Err(self.why_not_held(thread.tid)),
            None => stacks.capture_sleep(thread.tid, thread.slices).map(|stack| (stack, stacks.last_copy())),
        };
        let (stack, words) = match taken {
            Ok((stack, copy)) => (Ok(stack), words_on(copy, &thread.kept_registers, wanted)),
            Err(why) => (Err(why), HashSet::new()),
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
        MomentStack { stack, later, functions, words }
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
    let words = copy.bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    words.chain(registers.iter().copied()).filter(|word| wanted.contains(word)).collect()
}
