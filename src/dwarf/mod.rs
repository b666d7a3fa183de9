//! Reads DWARF debug information to find Tokio's runtimes, tasks and futures in the memory of a process.
//!
//! No offset is hard-coded. Members are found by name and types by their qualified names. So the same code reads every
//! version of Tokio and every layout that the compiler chooses. What is not found is [`Unknown`] and never guessed. The
//! format is DWARF (<https://dwarfstd.org>) as rustc writes it.

/// The sections of a file that hold debug information.
mod sections;

/// Compilation units, in the program's file and in split debug information.
mod units;

/// Types: size, members, variants.
mod types;

/// The index of one compilation unit.
mod index_unit;

/// The index of a whole program.
mod index;

/// Code that polls futures given to `block_on`.
mod block_on_code;

/// Types that are read from DWARF when they are needed.
mod dwarf_types;

/// Types in the compact form that is kept on disk.
mod packed;

/// The types of a program, by name and by id.
mod program;

/// Conversion of a program's types to the compact form.
mod pack;

/// Outcomes of searches in values.
mod find;

/// Values in the memory of a process.
mod value;

/// Names of types as a developer writes them.
mod names;

pub(crate) use names::{last_segment, task_name, type_name};
pub(crate) use pack::pack;
pub(crate) use packed::PackedTypes;
pub(crate) use program::Program;
pub(crate) use sections::Sections;
pub(crate) use types::{Shape, TaskTypes, Type};
pub(crate) use units::TypeId;
pub(crate) use value::{Memory, Unknown, Value, Values};
