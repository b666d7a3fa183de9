//! Whether silent polls have returned: a breakpoint that counts, where a poll seen on the stack returns to.

use std::collections::HashMap;
use std::sync::Arc;

use super::{BreakpointError, PollInStack};
use crate::model::stack::RawStack;
use crate::model::worker::Worker;
use crate::sys::{Breakpoint, KeepPerfWarm};
use crate::unwind::PollFrames;

/// Places that polls of one runtime return to and that are watched at a time: x86_64 has four breakpoints, and a debugger
/// may want one. Tokio has two (a task of the queue, a task of the LIFO slot), a `LocalSet` one more.
const MAX_PLACES: usize = 3;

/// Where polls return to, and who is watched there.
#[derive(Debug, Default)]
pub(super) struct ReturnBreakpoints {
    /// By the name of the runtime, the place seen last first.
    places: HashMap<Arc<str>, Vec<u64>>,
    /// By the worker's key.
    watched: HashMap<u64, Vec<(u64, Breakpoint)>>,
    /// None before the first time, or where it is refused.
    at_hand: Option<KeepPerfWarm>,
}

impl ReturnBreakpoints {
    /// These are the workers now. Called by the thread that watches, first when it begins: soon after the self-check, that takes no
    /// time.
    pub(super) fn take_over(&mut self, workers: &[Arc<Worker>]) {
        self.at_hand = self.at_hand.take().or_else(|| KeepPerfWarm::keep().ok());
        self.watched.retain(|key, _| workers.iter().any(|worker| worker.key == *key));
        self.places.retain(|name, _| workers.iter().any(|worker| worker.runtime == *name));
    }

    /// Watches anew, in every place or in none.
    pub(super) fn watch(&mut self, worker: &Worker) -> Result<(), BreakpointError> {
        // What was not passed is still watched. The others go first: there are few breakpoints.
        let mut known = self.watched.remove(&worker.key).unwrap_or_default();
        let places = self.places.get(&worker.runtime).ok_or(BreakpointError::NoReturnAddress)?;
        known.retain(|(place, watch)| places.contains(place) && !watch.passed());
        let mut set = |place: &u64| match known.iter().position(|(watched, _)| watched == place) {
            Some(at) => Some(known.swap_remove(at)),
            None => Some((*place, Breakpoint::set(worker.thread.tid, *place).ok()?)),
        };
        let watches = places.iter().map(&mut set).collect::<Option<Vec<_>>>().ok_or(BreakpointError::Refused)?;
        self.watched.insert(worker.key, watches);
        Ok(())
    }

    pub(super) fn returned(&self, worker: u64) -> Option<bool> {
        Some(self.watched.get(&worker)?.iter().any(|(_, watch)| watch.passed()))
    }

    pub(super) fn poll_in_stack(
        &mut self,
        worker: &Worker,
        stack: &RawStack,
        frames: Option<&PollFrames>,
    ) -> PollInStack {
        let Some(frames) = frames else { return PollInStack::None };
        let Some(place) = frames.return_address(&stack.addresses) else {
            let told = stack.complete || frames.reaches_scheduler(&stack.addresses);
            return if told { PollInStack::None } else { PollInStack::Unknown };
        };
        let places = self.places.entry(Arc::clone(&worker.runtime)).or_default();
        places.retain(|known| *known != place);
        places.insert(0, place);
        places.truncate(MAX_PLACES);
        let watched = self.watched.get(&worker.key);
        if watched.is_some_and(|watches| watches.iter().any(|(watched, _)| *watched == place)) {
            PollInStack::Watched
        } else {
            PollInStack::Unwatched
        }
    }
}
