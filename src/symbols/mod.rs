//! Symbolizes addresses: functions, files and lines, inlined calls included, in the names that Rust developers use.
//!
//! The first name of a large program takes tens of milliseconds. So only the reporter's thread symbolizes, never a worker
//! or the watchdog. An address without a name is shown as a number.

/// Readable names of compiler-made names.
mod names;

/// Debug information and symbols of one file.
mod debug_info;

/// Facts about Tokio and debug information in a program's file.
#[cfg(feature = "attach")]
mod facts;

/// Types of tasks, by symbols.
#[cfg(feature = "attach")]
mod task_types;

/// Names and lines of a stripped program in a separate table.
#[cfg(feature = "attach")]
mod name_table;

/// Crates in readable names.
mod crate_name;

/// The origin of a frame: user code, a dependency, a runtime.
mod origin;

/// The owner of a source file.
mod source_path;

/// Source paths in the constants of a program.
mod locations;

/// The owners of a program's crates.
mod crate_owners;

/// Frames of addresses.
mod symbolizer;

pub(crate) use crate_name::crate_of;
#[cfg(feature = "attach")]
pub(crate) use name_table::NameTable;
pub(crate) use origin::Origins;
pub(crate) use symbolizer::Symbolizer;
#[cfg(feature = "attach")]
pub(crate) use task_types::{TaskFunctions, TaskType};
