//! The wiring for another process: everything that is read from outside.

/// Readers against damaged memory and damaged debug information.
#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod corruption_tests;

/// Where types and names of another program come from.
mod debug_info;

/// Tasks that no runtime has a list of.
mod heap_tasks;

/// Its debug information and its memory.
mod live_reader;

/// Tasks that are named by the stacks of their polls.
mod polled_task_type;

/// Another process.
mod process;

/// Which processes run Tokio.
mod process_list;

/// Its profiles.
mod profiles;

/// Its stalls.
mod stalls;

/// Files of symbols of programs that were read before.
mod symbol_cache;

/// A program's debug information in a file.
mod symbol_file;

/// A census of it.
mod task_dump;

/// A census without types.
mod task_dump_untyped;

/// What it does, again and again.
mod top;

pub(crate) use debug_info::Sources;
pub(crate) use process::Attached;
pub(crate) use process_list::Processes;
pub(crate) use profiles::OutsideMode;
pub(crate) use stalls::StallsSoFar;
pub(crate) use symbol_file::extract;
