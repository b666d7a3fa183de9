//! The exceptions of a guard: allowed functions and blocks.

use std::collections::HashMap;
use std::panic::Location;
use std::time::{Duration, SystemTime};

use super::allowed::AllowedBlock;
use crate::model::stack::Frame;
use crate::model::stall::Stall;

/// An allowed block is needed if it overlaps stalls for at least this long in total. The start of a poll is known only to half
/// a sampling interval, so a block right before the poll seems to overlap it.
const MIN_OVERLAP: Duration = Duration::from_millis(1);

/// The exceptions of a guard, and which of them have applied.
pub(super) struct Exceptions<'r> {
    functions: Vec<(&'r str, &'r str, bool)>,
    blocks: &'r [AllowedBlock],
    /// The overlap with stalls, by the location of the block: a block that runs often may stall only once.
    overlaps: HashMap<&'r Location<'r>, Duration>,
}

impl<'r> Exceptions<'r> {
    /// Functions have a part of their names and a reason.
    pub(super) fn new(functions: &'r [(String, String)], blocks: &'r [AllowedBlock]) -> Self {
        let functions = functions.iter().map(|(name, reason)| (name.as_str(), reason.as_str(), false)).collect();
        Self { functions, blocks, overlaps: HashMap::new() }
    }

    /// The duration of the stall without its overlap with allowed blocks.
    pub(super) fn duration_outside_blocks(&mut self, start: SystemTime, stall: &Stall) -> Duration {
        let (mut duration, mut any_overlap) = (stall.duration, false);
        for block in self.blocks.iter().filter(|block| block.tid == stall.tid) {
            let overlap = block.overlap(start, start + stall.duration);
            *self.overlaps.entry(block.location).or_default() += overlap;
            if !any_overlap && !overlap.is_zero() {
                any_overlap = true;
                // The time of a block is exact, and that of a poll is not. So outside the block only the time between
                // samples counts.
                duration = duration.min(stall.observed());
            }
            duration = duration.saturating_sub(overlap);
        }
        duration
    }

    /// Whether an allowed function is on the stack of a stall.
    pub(super) fn allow_function_of(&mut self, stall: &Stall) -> bool {
        self.allow_function_in(stall.stack.as_ref().map_or(&[][..], |stack| &stack.frames))
    }

    /// Whether an allowed function is among these frames.
    pub(super) fn allow_function_in(&mut self, frames: &[Frame]) -> bool {
        let mut is_allowed = false;
        for (name, _, has_applied) in &mut self.functions {
            let applies = frames.iter().any(|frame| frame.function.contains(*name));
            *has_applied |= applies;
            is_allowed |= applies;
        }
        is_allowed
    }

    /// A sentence for each exception that never applied.
    pub(super) fn unused_exceptions(&self) -> Vec<String> {
        let functions = self.functions.iter().filter(|(_, _, has_applied)| !has_applied);
        let functions = functions
            .map(|(name, reason, _)| format!("allow_function(\"{name}\", \"{reason}\") never applied; remove it"));
        let is_unused =
            |block: &&AllowedBlock| self.overlaps.get(block.location).is_none_or(|overlap| *overlap < MIN_OVERLAP);
        let blocks = self.blocks.iter().filter(is_unused);
        let blocks = blocks
            .map(|block| format!("the allow at {} (\"{}\") held nothing up; remove it", block.location, block.reason));
        let mut warnings: Vec<_> = functions.chain(blocks).collect();
        warnings.sort();
        warnings.dedup();
        warnings
    }
}
