//! What is made of profiles: a part of one, one with groups, sums by function, the difference of two. Pure.

/// A part of a profile.
pub(crate) mod filter;

/// Labels as outermost frames.
pub(crate) mod group;

/// Sums by function.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod top;

/// Two profiles compared.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod diff;
