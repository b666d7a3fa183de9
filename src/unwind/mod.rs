//! From registers, stack bytes and unwind tables to addresses.
//!
//! framehop follows the tables (`.eh_frame`) that every Rust program carries, so no frame pointers are needed in the
//! code that is walked. Stacks of sleeping threads need one register that the kernel does not tell; see
//! [`frame_pointer`].

/// Walks a stack copy.
mod unwinder;

/// Where functions begin.
mod functions;

/// Finds the frame pointer of a thread that was not touched.
mod frame_pointer;

/// Where a stack enters a poll.
mod polls;

pub(crate) use polls::PollFrames;
#[cfg(feature = "attach")]
pub(crate) use polls::Role;
pub(crate) use unwinder::Unwinder;
