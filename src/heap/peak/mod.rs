//! The peak in a file, for the time after a crash.
//!
//! The file holds addresses and the programs that they lie in, and no names: naming needs memory and time just when both
//! are short. Whoever reads the file names them from the same build of the program.

/// The two halves of a file.
mod halves;

/// A file that keeps the peak.
mod file;

/// What the file says about the peak.
mod saved;

/// The programs and libraries of the process.
mod images;

/// The peak as a profile.
#[cfg(feature = "cli")]
mod collection;

/// The thread that writes.
mod keeper;

pub(crate) use keeper::keep;
#[cfg(feature = "cli")]
pub(crate) use {
    halves::{FileError, newest},
    images::{SavedImage, file_facts},
    saved::SavedPeak,
};
