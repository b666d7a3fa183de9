//! Leaves functions that have no unwind table: musl's C code and assembly, and other code built without tables.
//!
//! The code itself shows the distance to the return address ([`code_walk`]). Of these, the first that holds counts:
//!
//! 1. A symbol names the function. Every way from its start to the instruction gives one distance, and the word there follows
//!    a call instruction.
//! 2. The word follows a call of a known function, and a way from that function's start to the instruction gives the same
//!    distance as a way from the instruction to a return.
//! 3. The word follows a call through a register, and every way from the instruction to a return gives its distance.
//!
//! Anything else ends the walk: the stack is incomplete, and nothing is guessed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use framehop::FrameAddress;

use super::call::Call;
use super::code_walk::{self, CallerBase, Exits, Frame, Register, Slot};
use super::functions::TablelessFunctions;
use crate::sys::{Process, StackCopy};

/// Places in code that are remembered at most. A thread sleeps in a handful of functions.
const MAX_PLACES: usize = 4096;

/// The way out of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The registers of the caller.
    Caller { return_address: u64, stack_pointer: u64, frame_pointer: Option<u64> },
    /// The function is the first of its thread.
    First,
    /// The return address cannot be proven.
    Unknown,
}

/// What the code shows about a place in it.
#[derive(Debug)]
struct Place {
    /// From the start of the function, if a symbol names it.
    from_start: Option<Frame>,
    exits: Exits,
    is_first: bool,
}

/// What is known of code without unwind tables.
#[derive(Debug, Default)]
pub(super) struct Tableless {
    /// By the address, and whether it is a return address.
    places: HashMap<(u64, bool), Arc<Place>>,
    /// By the start of a function that was called, and the address in it.
    ways: HashMap<(u64, u64), Vec<Frame>>,
}

impl Tableless {
    /// Leaves the frame at `address`. `functions` are those of its image, and `is_function` knows where functions with a table
    /// begin.
    pub(super) fn step(
        &mut self,
        address: FrameAddress,
        registers: (u64, u64),
        stack: &StackCopy,
        functions: &TablelessFunctions,
        is_function: impl Fn(u64) -> bool,
    ) -> Step {
        let process = functions.process;
        let place = self.place(address, functions, is_function);
        if place.is_first {
            return Step::First;
        }
        let read = |slot: Slot| {
            let from = if slot.from == Register::Stack { registers.0 } else { registers.1 };
            let at = from.checked_add_signed(slot.distance)?;
            Some((at, stack.word(at)?))
        };
        let proven = |ways: &mut Self, frame: &Frame, from_start: bool| {
            let (at, return_address) = read(frame.return_slot)?;
            let is_proven = match Call::before(process, return_address) {
                Call::None => false,
                _ if from_start => true,
                Call::Direct { target } => ways.leads_to(process, target, address.address(), frame.return_slot),
                Call::Indirect => place.exits.complete && place.exits.frames.len() == 1,
            };
            is_proven.then_some((at, return_address, frame.base))
        };
        let from_start = place.from_start.and_then(|frame| proven(self, &frame, true));
        let found = from_start.or_else(|| {
            let mut found = place.exits.frames.iter().filter_map(|frame| proven(self, frame, false));
            // Two ways out that can both be proven prove nothing.
            found.next().filter(|_| found.next().is_none())
        });
        let Some((at, return_address, base)) = found else { return Step::Unknown };
        let frame_pointer = match base {
            CallerBase::Current => Some(registers.1),
            CallerBase::Saved(slot) => read(slot).map(|(_, word)| word),
            CallerBase::Unknown => None,
        };
        Step::Caller { return_address, stack_pointer: at.saturating_add(8), frame_pointer }
    }

    fn place(
        &mut self,
        address: FrameAddress,
        functions: &TablelessFunctions,
        is_function: impl Fn(u64) -> bool,
    ) -> Arc<Place> {
        let key = (address.address(), address.is_return_address());
        if let Some(known) = self.places.get(&key) {
            return Arc::clone(known);
        }
        let place = Arc::new(Place::of(address, functions, is_function));
        if self.places.len() >= MAX_PLACES {
            self.places.clear();
        }
        self.places.insert(key, Arc::clone(&place));
        place
    }

    /// Whether a way from a function's start to an address leaves the return address in this slot.
    fn leads_to(&mut self, process: Process, function: u64, address: u64, slot: Slot) -> bool {
        if self.ways.len() >= MAX_PLACES {
            self.ways.clear();
        }
        let ways = self.ways.entry((function, address));
        let ways = ways.or_insert_with(|| code_walk::ways_to(process, function, None, address));
        ways.iter().any(|frame| frame.return_slot == slot)
    }
}

impl Place {
    fn of(address: FrameAddress, functions: &TablelessFunctions, is_function: impl Fn(u64) -> bool) -> Self {
        let (process, instruction) = (functions.process, address.address());
        let function: Option<Range<u64>> = functions.at(address.address_for_lookup(), &is_function);
        let exits = code_walk::exits(process, instruction, function.as_ref(), is_function);
        let from_start = function.map(|code| code_walk::ways_to(process, code.start, Some(&code), instruction));
        let from_start = match from_start.as_deref() {
            Some([frame]) => Some(*frame),
            _ => None,
        };
        let is_entry = functions.entry.is_some_and(|entry| {
            (entry..entry.saturating_add(MAX_ENTRY_BYTES)).contains(&instruction)
                && code_walk::is_right_after(process, entry, instruction)
        });
        Self { from_start, is_first: is_entry || exits.never_returns, exits }
    }
}

/// The length in bytes of the code at which a program starts, up to its first call.
const MAX_ENTRY_BYTES: u64 = 64;
