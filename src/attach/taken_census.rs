//! A census that was just taken.

use crate::model::census::Census;
use crate::process::{FrozenProcess, MomentStack};

/// A census, with what it was made of.
pub(super) struct Taken {
    pub(super) census: Census,
    pub(super) moment: FrozenProcess,
    /// In the order of its threads.
    pub(super) stacks: Vec<MomentStack>,
    /// The number of threads that may run a worker and were not seen.
    pub(super) unseen: usize,
}
