//! Breakpoints at the return addresses of polls that are not instrumented: those of a runtime without task hooks, and those
//! by a `LocalSet`. Each counts how often its thread passes the address.

use std::collections::HashMap;
use std::sync::Arc;

use super::worker_source::{BreakpointError, PollInStack};
use crate::model::stack::{Address, RawStack};
use crate::model::worker::Worker;
use crate::sys::{Breakpoint, KeepPerfWarm};
use crate::unwind::PollFrames;

/// Watched return addresses per runtime. x86_64 has four hardware breakpoints, and a debugger may need one. Tokio has two
/// return addresses (a task from the queue, a task from the LIFO slot); a `LocalSet` adds one.
const MAX_RETURN_ADDRESSES: usize = 3;

/// The return addresses of each runtime's polls, and the breakpoints of each worker.
#[derive(Debug, Default)]
pub(super) struct ReturnBreakpoints {
    /// By runtime name, the most recently seen address first.
    addresses: HashMap<Arc<str>, Vec<u64>>,
    /// Of polls by any `LocalSet`, the most recently seen one first.
    local: Vec<u64>,
    /// The first of two stacks that are inside of polls by a `LocalSet`.
    local_example: Option<Vec<Address>>,
    /// By the worker's key.
    breakpoints: HashMap<u64, Vec<(u64, Breakpoint)>>,
    /// `None` before the first update, or if the kernel refuses perf events.
    keep_warm: Option<KeepPerfWarm>,
}

impl ReturnBreakpoints {
    /// Updates the workers. The watchdog calls this first at its start: soon after the self-check, opening the perf event
    /// takes no time.
    pub(super) fn set_workers(&mut self, workers: &[Arc<Worker>]) {
        self.keep_warm = self.keep_warm.take().or_else(|| KeepPerfWarm::keep().ok());
        self.breakpoints.retain(|key, _| workers.iter().any(|worker| worker.key == *key));
        self.addresses.retain(|name, _| workers.iter().any(|worker| worker.runtime == *name));
    }

    /// Sets breakpoints at every known return address of the worker's runtime, or at none.
    pub(super) fn set(&mut self, worker: &Worker) -> Result<(), BreakpointError> {
        let addresses = self.addresses.get(&worker.runtime).cloned().unwrap_or_default();
        self.set_at(worker, &addresses)
    }

    /// Sets breakpoints at every known address to which a poll by a `LocalSet` returns, or at none.
    pub(super) fn set_local(&mut self, worker: &Worker) -> Result<(), BreakpointError> {
        let addresses = self.local.clone();
        self.set_at(worker, &addresses)
    }

    fn set_at(&mut self, worker: &Worker, addresses: &[u64]) -> Result<(), BreakpointError> {
        // A breakpoint that was not passed stays valid. Drop the others first, because hardware breakpoints are few.
        let mut reusable = self.breakpoints.remove(&worker.key).unwrap_or_default();
        if addresses.is_empty() {
            return Err(BreakpointError::NoReturnAddress);
        }
        reusable.retain(|(address, breakpoint)| addresses.contains(address) && !breakpoint.passed());
        let mut set = |address: &u64| match reusable.iter().position(|(known, _)| known == address) {
            Some(at) => Some(reusable.swap_remove(at)),
            None => Some((*address, Breakpoint::set(worker.thread.tid, *address).ok()?)),
        };
        let breakpoints = addresses.iter().map(&mut set).collect::<Option<Vec<_>>>().ok_or(BreakpointError::Refused)?;
        self.breakpoints.insert(worker.key, breakpoints);
        Ok(())
    }

    /// Whether the worker with this key has passed one of its breakpoints; `None` if it has none.
    pub(super) fn passed(&self, worker: u64) -> Option<bool> {
        Some(self.breakpoints.get(&worker)?.iter().any(|(_, breakpoint)| breakpoint.passed()))
    }

    /// Learns an address from a stack of a runtime that is inside a poll.
    pub(super) fn learn(&mut self, runtime: Arc<str>, stack: &[Address], frames: &PollFrames) {
        if let Some(address) = frames.return_address(stack) {
            remember(self.addresses.entry(runtime).or_default(), address);
        }
    }

    /// Learns an address from two stacks that are inside of polls by a `LocalSet`. Their tasks have different types, so only their
    /// callers are the same functions. This needs no symbols.
    pub(super) fn learn_local(&mut self, stack: Vec<Address>) {
        match self.local_example.take() {
            Some(other) => {
                if let Some(address) = innermost_common_return(&other, &stack) {
                    remember(&mut self.local, address);
                }
            }
            None => self.local_example = Some(stack),
        }
    }

    /// The poll that a stack is inside of. Remembers its return address for [`set`](Self::set).
    pub(super) fn poll_in_stack(
        &mut self,
        worker: &Worker,
        stack: &RawStack,
        frames: Option<&PollFrames>,
    ) -> PollInStack {
        let Some(frames) = frames else { return PollInStack::None };
        let Some(address) = frames.return_address(&stack.addresses) else {
            let decided = stack.complete || frames.reaches_scheduler(&stack.addresses);
            return if decided { PollInStack::None } else { PollInStack::Unknown };
        };
        remember(self.addresses.entry(Arc::clone(&worker.runtime)).or_default(), address);
        self.is_watched(worker, address)
    }

    /// The poll by a `LocalSet` that a stack is inside of. Remembers its return address for [`set_local`](Self::set_local).
    pub(super) fn local_poll_in_stack(
        &mut self,
        worker: &Worker,
        stack: &RawStack,
        frames: Option<&PollFrames>,
    ) -> PollInStack {
        let known =
            self.local.iter().copied().find(|known| stack.addresses.iter().any(|caller| caller.0 + 1 == *known));
        let by_name = || frames?.return_address_to_local_set(&stack.addresses);
        let Some(address) = known.or_else(by_name) else { return PollInStack::None };
        remember(&mut self.local, address);
        self.is_watched(worker, address)
    }

    fn is_watched(&self, worker: &Worker, address: u64) -> PollInStack {
        let breakpoints = self.breakpoints.get(&worker.key);
        if breakpoints.is_some_and(|all| all.iter().any(|(known, _)| *known == address)) {
            PollInStack::Watched
        } else {
            PollInStack::Unwatched
        }
    }
}

fn remember(addresses: &mut Vec<u64>, address: u64) {
    addresses.retain(|known| *known != address);
    addresses.insert(0, address);
    addresses.truncate(MAX_RETURN_ADDRESSES);
}

/// The return address to the innermost of the outer callers that two stacks, innermost first, have in common. `None` if one stack
/// is a part of the other.
fn innermost_common_return(one: &[Address], other: &[Address]) -> Option<u64> {
    let common = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    let caller = one.len().checked_sub(common).filter(|differing| *differing > 0 && common < other.len())?;
    // A caller's address is that of the last byte of its call.
    Some(one.get(caller)?.0 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_of_two_tasks_return_to_their_innermost_common_caller() {
        let stack = |addresses: &[u64]| addresses.iter().copied().map(Address).collect::<Vec<_>>();
        let (tick, poll, thread) = (30, 20, 10);
        let mut breakpoints = ReturnBreakpoints::default();
        let capture = 81;
        breakpoints.learn_local(stack(&[capture, 71, 61, 51, tick, poll, thread]));
        assert_eq!(breakpoints.local, [0; 0], "one says nothing");
        breakpoints.learn_local(stack(&[capture, 72, 52, tick, poll, thread]));
        assert_eq!(breakpoints.local, [31]);
        let common = |one: &[u64], other: &[u64]| innermost_common_return(&stack(one), &stack(other));
        assert_eq!(common(&[71, tick, thread], &[71, tick, thread]), None, "one function polls both");
        assert_eq!(common(&[71, tick], &[72, 31]), None, "the walks ended early");
        assert_eq!(common(&[], &[]), None);
    }
}
