//! Unwinds stacks: registers, stack bytes and unwind tables in, addresses out.
//!
//! framehop follows the unwind tables (`.eh_frame`) that every Rust program contains, so the unwound code needs no frame
//! pointers. The kernel does not report the frame pointer of a sleeping thread; see [`frame_pointer`]. Code without tables,
//! such as musl's, is followed instruction by instruction; see [`tableless`].

/// Unwinds stack copies.
mod unwinder;

/// Walks a stack copy with given registers.
mod frame_walker;

/// The starts of functions.
mod functions;

/// The frame pointer of a sleeping thread.
mod frame_pointer;

/// Positions that walks have passed.
mod passed;

/// Functions without unwind tables.
mod tableless;

/// Ways through code.
mod code_walk;

/// Machine instructions.
mod instruction;

/// Machine instructions with longer opcodes.
mod extended_opcodes;

/// The parts of machine instructions.
mod operands;

/// Effects of machine instructions.
mod effect;

/// The call before a return address.
mod call;

/// The decoder and the walks through code, against this program's own unwind tables.
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod code_tests;

/// Polls and schedulers in a stack.
mod polls;

#[cfg(feature = "attach")]
pub(crate) use passed::Walk;
pub(crate) use polls::PollFrames;
#[cfg(feature = "attach")]
pub(crate) use polls::ThreadRole;
pub(crate) use unwinder::Unwinder;
