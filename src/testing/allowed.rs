//! Blocks that may hold the runtime up. What is inside them is known to, and for a reason.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::probe;

/// Blocks that are remembered until their test ends. Further ones are exceptions no more.
const MAX_SCOPES: usize = 100_000;

/// A block that ran to its end.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// Whose: the registry of the watch whose thread ran it.
    registry: usize,
    pub(super) tid: i32,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) reason: &'static str,
    pub(super) place: &'static Location<'static>,
}

static SCOPES: Mutex<Vec<Scope>> = Mutex::new(Vec::new());

fn scopes() -> MutexGuard<'static, Vec<Scope>> {
    SCOPES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a block that may hold the runtime up, and says why. Its time does not count against the test's guard, if one
/// watches this thread; outside of guards it does nothing else.
///
/// ```
/// let config = holdup::testing::allow("read once at start, before anything else runs", || std::fs::read("/dev/null"));
/// # config.unwrap();
/// ```
#[track_caller]
pub fn allow<R>(reason: &'static str, block: impl FnOnce() -> R) -> R {
    let place = Location::caller();
    let Some((registry, tid)) = probe::current_watch() else { return block() };
    // Also when the block panics: the test may expect that.
    let _open = Open { registry, tid, start: SystemTime::now(), reason, place };
    block()
}

struct Open {
    registry: usize,
    tid: i32,
    start: SystemTime,
    reason: &'static str,
    place: &'static Location<'static>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self { registry, tid, start, reason, place } = *self;
        let mut scopes = scopes();
        if scopes.len() < MAX_SCOPES {
            scopes.push(Scope { registry, tid, start, end: SystemTime::now(), reason, place });
        }
    }
}

impl Scope {
    #[cfg(test)]
    #[track_caller]
    pub(super) fn new(tid: i32, start: SystemTime, end: SystemTime, reason: &'static str) -> Self {
        Self { registry: 0, tid, start, end, reason, place: Location::caller() }
    }

    /// How much of the time between two moments lies inside.
    pub(super) fn overlap(&self, start: SystemTime, end: SystemTime) -> Duration {
        self.end.min(end).duration_since(self.start.max(start)).unwrap_or_default()
    }
}

/// Takes out the blocks that ran on threads of one watch.
pub(super) fn take(registry: usize) -> Vec<Scope> {
    scopes().extract_if(.., |scope| scope.registry == registry).collect()
}
