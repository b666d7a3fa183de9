//! Positions that walks of one stack have passed. A search for a register walks the same frames again and again.

use std::collections::HashMap;

use framehop::FrameAddress;
use framehop::x86_64::UnwindRegsX86_64;

use crate::model::stack::Address;
use crate::sys::StackCopy;

/// The result of unwinding a stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// Addresses, innermost first.
    pub(crate) addresses: Vec<Address>,
    /// Whether the walk reached the thread's first function through code that shows how to leave it.
    pub(crate) complete: bool,
    /// Whether it went on behind the end of the copy instead.
    pub(crate) is_cut: bool,
}

/// A frame, and the registers in it. They decide how a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Position {
    pub(super) address: u64,
    pub(super) is_return_address: bool,
    pub(super) stack_pointer: u64,
    pub(super) frame_pointer: u64,
}

impl Position {
    /// The innermost frame of a stack.
    pub(super) fn first(stack: &StackCopy, frame_pointer: u64) -> Self {
        let registers = &stack.registers;
        let (address, stack_pointer) = (registers.instruction, registers.stack_pointer);
        Self { address, is_return_address: false, stack_pointer, frame_pointer }
    }

    pub(super) fn of(frame: FrameAddress, registers: &UnwindRegsX86_64) -> Self {
        Self {
            address: frame.address(),
            is_return_address: frame.is_return_address(),
            stack_pointer: registers.sp(),
            frame_pointer: registers.bp(),
        }
    }

    pub(super) fn frame(&self) -> FrameAddress {
        let caller = FrameAddress::from_return_address(self.address).filter(|_| self.is_return_address);
        caller.unwrap_or(FrameAddress::InstructionPointer(self.address))
    }
}

/// The walks of one stack so far.
#[derive(Debug, Default)]
pub(super) struct Passed {
    walks: Vec<Walk>,
    /// The walk that has passed a position first, and the frame in it.
    positions: HashMap<Position, (usize, usize)>,
}

impl Passed {
    /// The rest of an earlier walk from this position.
    pub(super) fn rest(&self, position: Position) -> Option<Walk> {
        let (walk, frame) = self.positions.get(&position)?;
        let walk = self.walks.get(*walk)?;
        Some(Walk { addresses: walk.addresses.get(*frame..)?.to_vec(), complete: walk.complete, is_cut: walk.is_cut })
    }

    /// Adds a walk. `positions` are those of its first frames.
    pub(super) fn add(&mut self, positions: &[Position], walk: &Walk) {
        let number = self.walks.len();
        self.walks.push(walk.clone());
        self.positions.extend(positions.iter().enumerate().map(|(frame, position)| (*position, (number, frame))));
    }
}
