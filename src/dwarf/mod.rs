//! From a program's debug information: where its Tokio runtimes, tasks and futures are in memory, and how to read them.
//!
//! Nothing here knows an offset. Members are found by name and types by their qualified names, so that one code reads
//! every version of Tokio and every layout the compiler chooses; what is not found is [`Unknown`], never a guess. The
//! format is DWARF (<https://dwarfstd.org>) as rustc writes it.

/// The sections of a file that hold debug information.
mod sections;

/// Units, wherever they are.
mod units;

/// What one pass over the debug information finds.
mod index;

/// How one part of the index is made.
mod index_unit;

/// Where futures given to `block_on` are polled.
mod roots;

/// Types, read when they are needed.
mod types;

/// What is kept of a program's types.
mod packed;

/// A program's types, by name and by number.
mod program;

/// Values in a process's memory.
mod value;

/// Names of types as a developer writes them.
mod names;

pub(crate) use index::TaskTypes;
pub(crate) use names::{last_segment, task_name, type_name};
pub(crate) use packed::PackedTypes;
pub(crate) use program::Program;
pub(crate) use sections::Sections;
pub(crate) use types::{Shape, Type};
pub(crate) use value::{Memory, Unknown, Value, Values};
