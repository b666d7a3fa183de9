//! The queues of semaphores, which Tokio's locks and channels are made of.

use std::cell::RefCell;
use std::collections::HashMap;

use super::task_scan::word;
use crate::dwarf::{Memory, Unknown, Value, Values};
use crate::model::census::LockStage;
use crate::model::plural::plural;
use crate::tokio_internals::debug_info::{LINKED_LIST, LINKED_LIST_POINTERS};

/// The maximum number of waiters that are remembered, in all queues together.
const MAX_WAITERS: usize = 1_000_000;

/// The maximum number of queues that are remembered.
const MAX_QUEUES: usize = 1_000_000;

/// The queues that a census has read. Each queue is read once, because a search for each of its waiters takes quadratic
/// time.
#[derive(Debug, Default)]
pub(super) struct Queues(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The semaphores of waiters, by the addresses of the waiters.
    waiters: HashMap<u64, u64>,
    /// The addresses of semaphores, and whether all waiters in their queues are remembered.
    queues: HashMap<u64, bool>,
    /// The number of futures that may wait in a queue that is not remembered.
    unknown: usize,
}

/// A queue that can be read.
#[derive(Clone, Copy, Debug)]
struct Queue {
    semaphore: u64,
    first_waiter: u64,
    /// The offset in a waiter of the address of the next waiter.
    next: u64,
}

impl Queues {
    /// Whether an `Acquire` future that says that it is queued waits in the queue of its semaphore, or has been granted its
    /// permits. `None` if neither. `missing` is the number of permits that are not yet assigned to it.
    pub(super) fn stage_of(
        &self,
        values: &Values<'_, '_>,
        acquire: Value,
        missing: u64,
    ) -> Result<Option<LockStage>, Unknown> {
        if missing == 0 {
            return Ok(Some(LockStage::Granted));
        }
        let node = values.member(acquire, "node")?;
        let semaphore = values.pointee(values.member(acquire, "semaphore")?)?;
        Ok(self.is_queued(values, semaphore, node)?.then_some(LockStage::Queued))
    }

    /// What is missing from the census because there are too many waiters.
    pub(super) fn missing(&self) -> Option<String> {
        let unknown = Some(self.0.borrow().unknown).filter(|unknown| *unknown > 0)?;
        let futures = plural(unknown, "unpolled future");
        Some(format!("locks have too many waiters to find {futures} among them"))
    }

    /// Whether the queue contains the waiter. The memory of a dropped future may still say so itself.
    fn is_queued(&self, values: &Values<'_, '_>, semaphore: Value, waiter: Value) -> Result<bool, Unknown> {
        let known = &mut *self.0.borrow_mut();
        let is_remembered = match known.queues.get(&semaphore.address) {
            Some(is_remembered) => *is_remembered,
            None => known.read(values.memory, queue(values, semaphore, waiter)?),
        };
        let is_queued = known.waiters.get(&waiter.address) == Some(&semaphore.address);
        known.unknown += usize::from(!is_queued && !is_remembered);
        Ok(is_queued)
    }
}

impl Known {
    /// Remembers the waiters of a queue, up to the first with invalid memory. Returns false if there are too many.
    fn read(&mut self, memory: &dyn Memory, queue: Queue) -> bool {
        if self.queues.len() >= MAX_QUEUES {
            return false;
        }
        let mut next = queue.first_waiter;
        // A waiter that is known already is in another queue, or the queue is circular: its memory is invalid.
        while next != 0 && !self.waiters.contains_key(&next) && self.waiters.len() < MAX_WAITERS {
            self.waiters.insert(next, queue.semaphore);
            // The step budget of one task does not suffice for the queue of many.
            next = word(memory, next.wrapping_add(queue.next)).unwrap_or(0);
        }
        let is_remembered = next == 0 || self.waiters.contains_key(&next);
        self.queues.insert(queue.semaphore, is_remembered);
        is_remembered
    }
}

fn queue(values: &Values<'_, '_>, semaphore: Value, waiter: Value) -> Result<Queue, Unknown> {
    let list = values.find_named(values.member(semaphore, "waiters")?, 10, LINKED_LIST)?;
    let first_waiter = values.address(values.member(list, "head")?)?;
    let pointers = values.member(Value { address: 0, ..waiter }, "pointers")?;
    let pointers = values.find_named(pointers, 6, LINKED_LIST_POINTERS)?;
    Ok(Queue { semaphore: semaphore.address, first_waiter, next: values.member(pointers, "next")?.address })
}

#[cfg(test)]
mod tests {
    use super::super::test_memory::TestMemory;
    use super::*;

    /// A queue without an end: the next waiter of every waiter follows it.
    struct Endless;

    impl Memory for Endless {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            into.copy_from_slice(&(address + 8).to_le_bytes());
            true
        }
    }

    fn queue(semaphore: u64, first_waiter: u64) -> Queue {
        Queue { semaphore, first_waiter, next: 0 }
    }

    #[test]
    fn a_damaged_queue_ends_and_keeps_its_first_waiters() {
        let mut known = Known::default();
        let circular = TestMemory(vec![0x1008, 0x1000]);
        assert!(known.read(&circular, queue(1, 0x1000)));
        assert!(known.read(&circular, queue(2, 0x1008)), "its waiters are in another queue");
        assert!(known.read(&circular, queue(3, 0x5000)), "the waiter cannot be read");
        assert_eq!(known.waiters, HashMap::from([(0x1000, 1), (0x1008, 1), (0x5000, 3)]));
    }

    #[test]
    fn what_is_not_remembered_is_reported() {
        let mut known = Known { unknown: 2, ..Known::default() };
        assert!(!known.read(&Endless, queue(1, 8)));
        assert_eq!(known.waiters.len(), MAX_WAITERS);
        let missing = Queues(RefCell::new(known)).missing();
        assert_eq!(missing.as_deref(), Some("locks have too many waiters to find 2 unpolled futures among them"));
        assert_eq!(Queues::default().missing(), None);
    }
}
