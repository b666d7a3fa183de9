//! Sleeping threads and their stacks, read without touching the thread, in our own process and in others.

use std::ops::Range;

use crate::model::stack::{CaptureMethod, RawStack};
use crate::sys::{Mapping, Process, Registers, StackCopy, ThreadProbe};
use crate::unwind::Unwinder;

/// One sleep of a thread. It stays equal to itself as long as the thread does not wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sleep {
    stack_pointer: u64,
    instruction: u64,
    /// How often the thread was put on a CPU; `None` if the kernel does not count it.
    pub(super) slices: Option<u64>,
}

impl Sleep {
    /// A sleep for unit tests.
    #[cfg(test)]
    pub(crate) fn for_test(stack_pointer: u64, slices: u64) -> Self {
        Self { stack_pointer, instruction: 0, slices: Some(slices) }
    }

    /// Whether both sleeps are at the same place: the same sleep after a signal, or another one.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.stack_pointer, self.instruction) == (other.stack_pointer, other.instruction)
    }

    /// Whether an equal value is the same sleep, because the kernel counts how often the thread ran.
    #[cfg(feature = "attach")]
    pub(super) fn is_unique(&self) -> bool {
        self.slices.is_some_and(|slices| slices > 0)
    }

    /// The thread's current sleep; `None` if it runs or the kernel does not say.
    pub(super) fn of(probe: &ThreadProbe) -> Option<Self> {
        let (stack_pointer, instruction) = probe.kernel_state()?.asleep_at()?;
        Some(Self { stack_pointer, instruction, slices: probe.schedstat().map(|stat| stat.slices) })
    }
}

/// Copies the stack of a sleeping thread, at `known` addresses if given. Returns false unless the thread slept from the
/// start of the copy to its end.
pub(super) fn copy(process: Process, probe: &ThreadProbe, known: Option<Range<u64>>, into: &mut StackCopy) -> bool {
    let Some(before) = Sleep::of(probe) else { return false };
    let inside = known.filter(|stack| stack.contains(&before.stack_pointer));
    let Some(stack) = inside.or_else(|| mapping_of(process, before.stack_pointer)) else { return false };
    let registers =
        Registers { instruction: before.instruction, stack_pointer: before.stack_pointer, frame_pointer: None };
    process.copy_stack(registers, Some(stack), into);
    Sleep::of(probe) == Some(before)
}

/// Unwinds the copy. The second value says whether no other method would get further: the stack is complete, or the walk
/// went through all of a copy that was cut at its largest size.
pub(super) fn walk(unwinder: &mut Unwinder, copy: &StackCopy) -> (RawStack, bool) {
    let walk = unwinder.walk_now(copy);
    let stack = RawStack { addresses: walk.addresses, method: CaptureMethod::Passive, complete: walk.complete };
    let enough = stack.complete || walk.is_cut;
    (stack, enough)
}

/// The range of the mapping that contains an address.
pub(super) fn mapping_of(process: Process, address: u64) -> Option<Range<u64>> {
    let mappings = process.mappings().ok()?;
    Mapping::of(&mappings, address).map(|mapping| mapping.start..mapping.end)
}
