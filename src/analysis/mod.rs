//! What is made of profiles: a part of one, one with groups, one with shorter stacks, sums by function, the difference of two. Pure.

/// A part of a profile.
pub(crate) mod filter;

/// Labels as outermost frames.
pub(crate) mod group;

/// Stacks without what leads to the program's functions.
pub(crate) mod runtime_frames;

/// Sums by function.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod top;

/// Two profiles compared.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod diff;
