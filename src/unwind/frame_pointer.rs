//! Finds the frame pointer of a thread that was not touched.
//!
//! The kernel tells the stack and instruction pointers of a sleeping thread, but not rbp. Rust's standard library
//! keeps frame pointers, so a walk from libc's `nanosleep` or `read` into it needs that register. libc rarely
//! changes it on the way into the kernel, so its value is still what the standard library's innermost function set:
//! the address of a saved rbp on this stack, right below a return address. Each such place near the top of the stack
//! is tried, innermost first, and the walk that makes sense wins: it reaches the thread's first function, and every
//! return address on it follows a call instruction whose target, where it is written in the instruction, is the
//! function called.

use super::unwinder::{Unwinder, Walk};
use crate::images::Images;
use crate::sys::{self, StackCopy};

/// How far from the stack pointer a saved rbp is looked for. The frames in between are libc's wrapper of a system
/// call and at most a few of the standard library; its path buffers of 384 bytes are the largest things in them.
const SEARCH_BYTES: u64 = 16 * 1024;

/// A function that is called directly begins at the target of the call and holds the address in it. Functions are
/// rarely larger than this.
const LARGE_FUNCTION: u64 = 256 * 1024;

/// Walks at most this many candidates.
const MAX_WALKS: usize = 128;

/// Stands for "unknown": an address that no stack has. framehop takes 0 for the end of the stack.
const NOWHERE: u64 = 1;

pub(super) fn walk(unwinder: &mut Unwinder, stack: &StackCopy) -> Walk {
    let mut best = unwinder.walk_from(stack, NOWHERE);
    if best.complete {
        return best;
    }
    let mut best_doubts = usize::MAX;
    let top = stack.registers.stack_pointer;
    let mut walks = 0;
    for candidate in (top..top + SEARCH_BYTES).step_by(8) {
        if walks == MAX_WALKS || !may_be_frame(unwinder.images(), stack, candidate) {
            continue;
        }
        walks += 1;
        let walk = unwinder.walk_from(stack, candidate);
        if !walk.complete {
            continue;
        }
        let doubts = doubts(&walk);
        if doubts < best_doubts {
            best_doubts = doubts;
            best = walk;
        }
        if doubts == 0 {
            break;
        }
    }
    best
}

/// A return address lies above the saved rbp.
fn may_be_frame(images: &Images, stack: &StackCopy, candidate: u64) -> bool {
    let return_address = candidate.checked_add(8).and_then(|address| stack.word(address));
    return_address.is_some_and(|address| images.find(address).is_some() && Call::before(address) != Call::None)
}

/// How many steps of the walk do not look like the call that they should be.
fn doubts(walk: &Walk) -> usize {
    walk.addresses.windows(2).filter(|pair| !is_call(pair[0].0, pair[1].0)).count()
}

/// Whether the caller's address lies in a call instruction that leads to the callee's.
fn is_call(callee: u64, caller: u64) -> bool {
    match Call::before(caller + 1) {
        Call::None => false,
        Call::Indirect => true,
        Call::Direct { target } => (target..target.saturating_add(LARGE_FUNCTION)).contains(&callee),
    }
}

/// The call instruction that a return address follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    None,
    /// The target is in a register or in memory.
    Indirect,
    /// `E8`: the target is in the instruction, relative to the return address.
    Direct {
        target: u64,
    },
}

impl Call {
    fn before(return_address: u64) -> Self {
        let mut code = [0; 7];
        let Some(start) = return_address.checked_sub(code.len() as u64) else { return Self::None };
        if sys::read_memory(start, &mut code) != code.len() {
            return Self::None;
        }
        Self::at_end_of(code, return_address)
    }

    /// Intel's manual, volume 2, CALL: `E8 rel32` and `FF /2` with its addressing forms of two to seven bytes.
    fn at_end_of(code: [u8; 7], return_address: u64) -> Self {
        let [_, _, opcode, a, b, c, d] = code;
        if opcode == 0xe8 {
            let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
            return Self::Direct { target: return_address.wrapping_add_signed(distance) };
        }
        let indirect = |length: usize| {
            let (opcode, modrm) = (code[7 - length], code[8 - length]);
            opcode == 0xff && (modrm >> 3) & 7 == 2
        };
        if (2..=7).any(indirect) { Self::Indirect } else { Self::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_calls_from_other_code() {
        let direct = [0x90, 0x90, 0xe8, 0xfb, 0xff, 0xff, 0xff];
        assert_eq!(Call::at_end_of(direct, 0x1000), Call::Direct { target: 0x0ffb });
        let through_register = [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0];
        assert_eq!(Call::at_end_of(through_register, 0x1000), Call::Indirect);
        let through_memory = [0x90, 0xff, 0x15, 0x10, 0x20, 0x00, 0x00];
        assert_eq!(Call::at_end_of(through_memory, 0x1000), Call::Indirect);
        assert_eq!(Call::at_end_of([0x90; 7], 0x1000), Call::None);
    }
}
