//! The exit codes of the command, besides 0 for success.

/// The exit code of a negative finding: a stall is still running, a profile has no samples, no process runs Tokio, or
/// the self-check misses something.
pub(super) const NEGATIVE: u8 = 1;

/// The exit code of an answer that may be wrong because some threads could not be seen.
pub(super) const UNSEEN: u8 = 3;

/// The exit code of an error.
pub(super) const ERROR: u8 = 2;
