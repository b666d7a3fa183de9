//! The stack of a thread that sleeps, read without touching the thread. The same for our own threads and for others'.

use std::ops::Range;

use crate::model::stack::{CaptureMethod, RawStack};
use crate::sys::{self, Mapping, Process, Registers, StackCopy, ThreadProbe};
use crate::unwind::Unwinder;

/// A sleep that can be told from every other: nothing of it changes unless the thread was woken in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sleep {
    stack_pointer: u64,
    instruction: u64,
    /// How often the thread was put on a CPU; `None` where the kernel does not count it.
    pub(super) slices: Option<u64>,
}

impl Sleep {
    /// Perhaps another one in the same place, or the same one after a signal.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.stack_pointer, self.instruction) == (other.stack_pointer, other.instruction)
    }

    /// The kernel counts how often the thread ran, so an equal one is the same.
    #[cfg(feature = "attach")]
    pub(super) fn is_unique(&self) -> bool {
        self.slices.is_some_and(|slices| slices > 0)
    }

    /// The thread's present one; `None` where it runs, or where the kernel does not tell.
    pub(super) fn of(probe: &ThreadProbe) -> Option<Self> {
        let (stack_pointer, instruction) = probe.kernel_state()?.asleep_at()?;
        Some(Self { stack_pointer, instruction, slices: probe.schedstat().map(|stat| stat.slices) })
    }
}

/// Copies the stack, whose addresses may be known; false where the thread does not sleep, or did not all the while.
pub(super) fn copy(process: Process, probe: &ThreadProbe, known: Option<Range<u64>>, into: &mut StackCopy) -> bool {
    let Some(before) = Sleep::of(probe) else { return false };
    let inside = known.filter(|stack| stack.contains(&before.stack_pointer));
    let Some(stack) = inside.or_else(|| mapping_of(process, before.stack_pointer)) else { return false };
    let registers =
        Registers { instruction: before.instruction, stack_pointer: before.stack_pointer, frame_pointer: None };
    process.copy_stack(registers, Some(stack), into);
    Sleep::of(probe) == Some(before)
}

/// Walks the copy; also tells whether that is as far as anybody would get. Asking the thread itself leads no further
/// through a stack that was cut.
pub(super) fn walk(unwinder: &mut Unwinder, copy: &StackCopy) -> (RawStack, bool) {
    let cut = copy.bytes.len() >= sys::MAX_STACK_BYTES;
    let walk = unwinder.walk_now(copy);
    let stack = RawStack { addresses: walk.addresses, method: CaptureMethod::Passive, complete: walk.complete };
    let enough = stack.complete || cut;
    (stack, enough)
}

/// The mapping that an address lies in.
pub(super) fn mapping_of(process: Process, address: u64) -> Option<Range<u64>> {
    let mappings = process.mappings().ok()?;
    Mapping::of(&mappings, address).map(|mapping| mapping.start..mapping.end)
}
