//! Finds the frame pointer of a thread that was not touched.
//!
//! The kernel tells the stack and instruction pointers of a sleeping thread, but not rbp. Rust's standard library
//! keeps frame pointers, so a walk from libc's `nanosleep` or `read` into it gets stuck at the first function that
//! needs that register. libc rarely changes it on the way into the kernel, so its value is still what that function
//! set: the address of a saved rbp on this stack, right below the return address into its caller. Each such place
//! near the top of the stack is tried, innermost first. The walk must reach the thread's first function, and the
//! return address that the candidate stands for must follow a call of the very function that got stuck.

use super::unwinder::{NOWHERE, Unwinder, Walk};
use crate::images::Images;
use crate::model::stack::Address;
use crate::sys::{Process, StackCopy};

/// How far from the stack pointer a saved rbp is looked for. The frames in between are libc's wrapper of a system
/// call and at most a few of the standard library; its path buffers of 384 bytes are the largest things in them.
const SEARCH_BYTES: u64 = 16 * 1024;

/// How far into a function a jump to another is looked for: a function that ends in such a jump, instead of a call and
/// a return, leaves no frame of its own (a tail call). Those that do little else are short.
const JUMP_SEARCH_BYTES: usize = 1024;

/// Walks at most this many candidates.
const MAX_WALKS: usize = 128;

pub(super) fn walk(unwinder: &mut Unwinder, stack: &StackCopy) -> Walk {
    let mut best = unwinder.walk_from(stack, NOWHERE);
    // The last function that could be reached without the register is the one that needs it.
    let Some(stuck) = best.addresses.len().checked_sub(1).filter(|_| !best.complete) else { return best };
    let Some(callee) = unwinder.start_of_function(best.addresses[stuck].0) else { return best };
    let prefix = best.clone();
    let (mut best_match, mut innermost_match) = (Match::None, None);
    let top = stack.registers.stack_pointer;
    let mut walks = 0;
    for candidate in (top..top + SEARCH_BYTES).step_by(8) {
        let Some(return_address) = candidate.checked_add(8).and_then(|address| stack.word(address)) else { break };
        let matches = Match::of(unwinder.images(), return_address, callee);
        if matches <= best_match || walks == MAX_WALKS {
            continue;
        }
        walks += 1;
        let walk = unwinder.walk_from(stack, candidate);
        let through_candidate = walk.addresses.get(stuck + 1) == Some(&Address(return_address - 1));
        if walk.complete && through_candidate {
            innermost_match.get_or_insert(matches);
            best = walk;
            best_match = matches;
        }
        if best_match == Match::Callee {
            break;
        }
    }
    // The innermost way out that works may be the true one although its call cannot be followed. Nothing is better
    // than a guess between the two: who asked can still ask the thread itself.
    let ambiguous = innermost_match == Some(Match::OtherFunction) && best_match < Match::ThroughJump;
    if ambiguous { prefix } else { best }
}

/// How well a return address fits a function that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// It follows no call instruction.
    None,
    /// It follows a call of another function, from which no way is seen to the right one.
    OtherFunction,
    /// It follows a call through a register or memory, which may have led anywhere.
    Anywhere,
    /// It follows a call of a function that jumps on to the right one.
    ThroughJump,
    /// It follows a call of that function.
    Callee,
}

impl Match {
    /// `callee` is where the function begins.
    fn of(images: &Images, return_address: u64, callee: u64) -> Self {
        if images.find(return_address).is_none() {
            return Self::None;
        }
        match Call::before(images.process(), return_address) {
            Call::None => Self::None,
            Call::Indirect => Self::Anywhere,
            Call::Direct { target } if target == callee => Self::Callee,
            Call::Direct { target } if jumps_to(images.process(), target, callee) => Self::ThroughJump,
            Call::Direct { .. } => Self::OtherFunction,
        }
    }
}

/// Whether the code at `function` holds a jump to `callee`: `E9 rel32`, or `FF 25 rel32` through a table of addresses.
fn jumps_to(process: Process, function: u64, callee: u64) -> bool {
    let mut code = [0; JUMP_SEARCH_BYTES];
    let length = process.read_memory(function, &mut code);
    code[..length].windows(6).enumerate().any(|(offset, bytes)| {
        let end_of = |length: u64| function + offset as u64 + length;
        let relative = |low: &[u8]| i64::from(i32::from_le_bytes([low[0], low[1], low[2], low[3]]));
        match bytes {
            [0xe9, distance @ ..] => end_of(5).wrapping_add_signed(relative(distance)) == callee,
            [0xff, 0x25, distance @ ..] => {
                process.read_word(end_of(6).wrapping_add_signed(relative(distance))) == Some(callee)
            }
            _ => false,
        }
    })
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
    fn before(process: Process, return_address: u64) -> Self {
        let mut code = [0; 7];
        let Some(start) = return_address.checked_sub(code.len() as u64) else { return Self::None };
        if process.read_memory(start, &mut code) != code.len() {
            return Self::None;
        }
        Self::at_end_of(process, code, return_address)
    }

    /// Intel's manual, volume 2, CALL: `E8 rel32` and `FF /2` with its addressing forms of two to seven bytes.
    fn at_end_of(process: Process, code: [u8; 7], return_address: u64) -> Self {
        let [_, before, opcode, a, b, c, d] = code;
        let place = return_address.wrapping_add_signed(i64::from(i32::from_le_bytes([a, b, c, d])));
        if opcode == 0xe8 {
            return Self::Direct { target: place };
        }
        if let (0xff, 0x15, Some(target)) = (before, opcode, process.read_word(place)) {
            return Self::Direct { target };
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
    fn a_function_that_ends_in_a_jump_leads_to_another() {
        // nop; jmp +0x100; int3 …
        let code: [u8; 16] =
            [0x90, 0xe9, 0x00, 0x01, 0x00, 0x00, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];
        let function = code.as_ptr().expose_provenance() as u64;
        assert!(jumps_to(Process::own(), function, function + 6 + 0x100));
        assert!(!jumps_to(Process::own(), function, function + 6));
        assert!(!jumps_to(Process::own(), 0, 0x1000), "nothing is mapped there");
    }

    #[test]
    fn functions_begin_where_their_unwind_table_says() {
        let unwinder = Unwinder::of(Process::own()).expect("/proc is mounted");
        let begin = functions_begin_where_their_unwind_table_says as *const () as u64;
        assert_eq!(unwinder.start_of_function(begin), Some(begin));
        assert_eq!(unwinder.start_of_function(begin + 4), Some(begin));
        assert_eq!(unwinder.start_of_function(1), None);
    }

    #[test]
    fn tells_calls_from_other_code() {
        let own = Process::own();
        let direct = [0x90, 0x90, 0xe8, 0xfb, 0xff, 0xff, 0xff];
        assert_eq!(Call::at_end_of(own, direct, 0x1000), Call::Direct { target: 0x0ffb });
        let through_register = [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0];
        assert_eq!(Call::at_end_of(own, through_register, 0x1000), Call::Indirect);
        let through_memory = [0x90, 0xff, 0x15, 0x10, 0x20, 0x00, 0x00];
        assert_eq!(Call::at_end_of(own, through_memory, 0x1000), Call::Indirect);
        assert_eq!(Call::at_end_of(own, [0x90; 7], 0x1000), Call::None);
    }
}
