//! Finds the frame pointer of a sleeping thread.
//!
//! The kernel reports the stack and instruction pointers of a sleeping thread, but not rbp. Rust's standard library keeps
//! frame pointers, so a walk out of libc's `nanosleep` or `read` gets stuck at the first function that needs rbp. libc
//! rarely changes rbp on the way into the kernel. So it still holds what that function set: the address of a saved rbp in
//! its frame, right below the return address into its caller.
//!
//! Each such place in that frame is a candidate, innermost first. The walk must reach the thread's first
//! function, or the end of a copy that was cut. The candidate's return address must follow a call of the function that got stuck.

use std::collections::HashMap;

use super::call::Call;
use super::frame_walker::{FrameWalker, NOWHERE};
use super::passed::{Passed, Position, Walk};
use crate::images::Images;
use crate::model::stack::Address;
use crate::sys::{Process, StackCopy};

/// The largest distance in bytes between the stack pointer of the function that got stuck and its saved rbp, which is the
/// size of its frame.
const MAX_FRAME_POINTER_DISTANCE: u64 = 64 * 1024;

/// The largest distance in bytes between a function's start and its tail call. A function that ends in a jump to another
/// one leaves no frame. Functions that do little else are short.
const MAX_JUMP_DISTANCE: usize = 1024;

/// Candidates that are walked at most.
const MAX_WALKS: usize = 128;

pub(super) fn walk(walker: &mut FrameWalker, stack: &StackCopy) -> Walk {
    let (mut best, stuck_at) = walker.walk_to_end(stack, NOWHERE);
    // The last function reached without the register is the one that needs it.
    let Some(stuck) = best.addresses.len().checked_sub(1).filter(|_| !best.complete) else { return best };
    // A register that was saved on the stack is not the one that is missing.
    if stuck_at.frame_pointer != NOWHERE {
        return best;
    }
    let Some(callee) = walker.start_of_function(best.addresses[stuck].0) else { return best };
    let prefix = best.clone();
    let (mut best_match, mut innermost_match) = (Match::None, None);
    // The functions that it called have other frames, and none of them had changed rbp.
    let top = stuck_at.stack_pointer;
    let (mut walks, mut passed, mut jumps) = (0, Passed::default(), Jumps::new());
    for candidate in (top..top + MAX_FRAME_POINTER_DISTANCE).step_by(8) {
        let Some(return_address) = candidate.checked_add(8).and_then(|address| stack.word(address)) else { break };
        let matches = Match::of(walker.images(), return_address, callee, &mut jumps);
        if matches <= best_match || walks == MAX_WALKS {
            continue;
        }
        walks += 1;
        let rest = walker.walk_on(stack, Position { frame_pointer: candidate, ..stuck_at }, &mut passed);
        let through_candidate = rest.addresses.get(1) == Some(&Address(return_address - 1));
        // A walk through all of a copy that was cut proves as much as one to the first function, if the call fits exactly.
        let reaches_end = rest.complete || (rest.is_cut && matches == Match::Callee);
        if reaches_end && through_candidate {
            innermost_match.get_or_insert(matches);
            best.addresses.truncate(stuck);
            best.addresses.extend(rest.addresses);
            best.complete = rest.complete;
            best.is_cut = rest.is_cut;
            best_match = matches;
        }
        if best_match == Match::Callee {
            break;
        }
    }
    // The innermost complete walk may be the true one even if its call cannot be followed. An incomplete stack is better
    // than a guess between two walks, because the caller can still stop or signal the thread.
    let ambiguous = innermost_match == Some(Match::OtherFunction) && best_match < Match::ThroughJump;
    if ambiguous { prefix } else { best }
}

/// Functions, and whether they jump to the callee. Their code is read once: a stack has the same calls many times.
type Jumps = HashMap<u64, bool>;

/// How well a return address fits a function that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// The return address follows no call instruction.
    None,
    /// The return address follows a call of another function without a jump to the right one.
    OtherFunction,
    /// The return address follows a call through a register or memory. The target is unknown.
    Anywhere,
    /// The return address follows a call of a function that jumps to the right one.
    ThroughJump,
    /// The return address follows a call of the right function.
    Callee,
}

impl Match {
    /// `callee` is the first address of the called function.
    fn of(images: &Images, return_address: u64, callee: u64, jumps: &mut Jumps) -> Self {
        if images.find(return_address).is_none() {
            return Self::None;
        }
        match Call::before(images.process(), return_address) {
            Call::None => Self::None,
            Call::Indirect => Self::Anywhere,
            Call::Direct { target } if target == callee => Self::Callee,
            Call::Direct { target } => {
                let jumps = jumps.entry(target).or_insert_with(|| jumps_to(images.process(), target, callee));
                if *jumps { Self::ThroughJump } else { Self::OtherFunction }
            }
        }
    }
}

/// Whether the code at `function` contains a jump to `callee`: `E9 rel32`, or `FF 25 rel32` through a table of addresses.
fn jumps_to(process: Process, function: u64, callee: u64) -> bool {
    let mut code = [0; MAX_JUMP_DISTANCE];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_call_leads_to_another_function() {
        // nop; jmp +0x100; int3 …
        let code: [u8; 16] =
            [0x90, 0xe9, 0x00, 0x01, 0x00, 0x00, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];
        let function = code.as_ptr().expose_provenance() as u64;
        assert!(jumps_to(Process::own(), function, function + 6 + 0x100));
        assert!(!jumps_to(Process::own(), function, function + 6));
        assert!(!jumps_to(Process::own(), 0, 0x1000), "nothing is mapped there");
    }

    #[test]
    fn the_unwind_table_contains_the_start_of_a_function() {
        let walker = FrameWalker::of(Process::own()).expect("/proc is mounted");
        let begin = the_unwind_table_contains_the_start_of_a_function as *const () as u64;
        assert_eq!(walker.start_of_function(begin), Some(begin));
        assert_eq!(walker.start_of_function(begin + 4), Some(begin));
        assert_eq!(walker.start_of_function(1), None);
    }
}
