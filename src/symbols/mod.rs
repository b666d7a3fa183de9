//! From addresses to functions, files and lines, inlined calls included, as a Rust developer writes them.
//!
//! Slow by nature (the first name out of a large program takes tens of milliseconds), so it runs on the reporter's
//! thread only, never on a worker or the watchdog. Analysis does not fail: what has no name is shown as an address.

/// Makes compiler-made names readable.
mod names;

/// What a program's file tells about Tokio in it.
#[cfg(feature = "attach")]
mod facts;

/// What types tasks are of, by symbols.
#[cfg(feature = "attach")]
mod task_types;

/// Names of a program's code in a table of its own.
#[cfg(feature = "attach")]
mod name_table;

/// Whose code a frame is.
mod origin;

/// Looks addresses up.
mod symbolizer;

#[cfg(feature = "attach")]
pub(crate) use name_table::NameTable;
pub(crate) use origin::{Origins, crate_of};
pub(crate) use symbolizer::Symbolizer;
#[cfg(feature = "attach")]
pub(crate) use task_types::{TaskFunctions, TaskType};
