//! From addresses to functions, files and lines, inlined calls included, as a Rust developer writes them.
//!
//! Slow by nature (the first name out of a large program takes tens of milliseconds), so it runs on the reporter's
//! thread only, never on a worker or the watchdog. Analysis does not fail: what has no name is shown as an address.

/// Makes compiler-made names readable.
mod names;

/// What a program's file tells about Tokio in it.
#[cfg(feature = "attach")]
mod facts;

/// Whose code a frame is.
mod origin;

/// Looks addresses up.
mod symbolizer;

pub(crate) use origin::{Origins, crate_of};
pub(crate) use symbolizer::Symbolizer;
