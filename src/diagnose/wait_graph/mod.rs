//! Who waits for whom, between futures.
//!
//! A future continues when what it awaits happens. A timer or a socket needs nobody of the program. A lock needs the
//! future that holds its guard, room in a channel needs the future that has the receiver, and a handle needs the last
//! future of its task. What cannot be seen is assumed to happen. So the futures that can continue are found from those
//! that need nobody, in one pass. The others wait for each other, or behind such a cycle.

use crate::model::census::{Census, WaitCycle};

/// Futures, what they wait for, and which of them continue.
mod graph;

/// Threads that wait for each other's locks.
mod thread_locks;

/// The search for cycles among things that nobody releases.
mod cycles;

use graph::{BlockingPool, Graph};

/// The cycles of a census.
pub(crate) fn cycles(census: &Census) -> Vec<WaitCycle> {
    let pool = BlockingPool::of(census);
    let mut cycles = cycles::of(&Graph::of(census, &pool));
    cycles.extend(thread_locks::cycles(census));
    cycles
}

#[cfg(test)]
mod tests;
