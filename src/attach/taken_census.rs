//! What a task dump reads, and a census that was just taken.

use crate::dwarf::Program;
use crate::images::Image;
use crate::model::census::Census;
use crate::process::{FrozenProcess, MomentStack, Stops};
use crate::sys::Process;

/// A process as a task dump reads it.
#[derive(Clone, Copy)]
pub(super) struct Observed<'o, 'd> {
    pub(super) process: Process,
    pub(super) stops: &'o Stops,
    pub(super) image: &'o Image,
    pub(super) program: &'o Program<'d>,
}

/// A census, with what it was made of.
pub(super) struct Taken {
    pub(super) census: Census,
    pub(super) moment: FrozenProcess,
    /// In the order of its threads.
    pub(super) stacks: Vec<MomentStack>,
    /// The number of threads that may run a worker and were not seen.
    pub(super) unseen: usize,
    /// What could not be read.
    pub(super) missing: Vec<String>,
}
