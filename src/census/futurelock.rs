//! Futures that a suspended `async fn` keeps in a variable and does not poll now, because it awaits something else: after a
//! `select!` by reference, in the body of a loop over a buffered stream. One that has its place at a lock keeps it
//! meanwhile.

use super::await_path::Walker;
use crate::dwarf::{Unknown, Value};
use crate::model::census::{Await, SourcePlace, Unpolled, UnpolledPlace};

/// Of one task.
const MOST: usize = 32;

/// Waiters of one semaphore that are looked through; the steps for one task end sooner.
const MAX_QUEUE: usize = 100_000;

/// A suspended `async fn` that is on the way to what its task awaits.
#[derive(Clone, Debug)]
pub(super) struct Suspended {
    pub(super) state: Value,
    pub(super) function: String,
    pub(super) place: Option<SourcePlace>,
}

impl Walker<'_, '_, '_> {
    /// Looks for them in what has been walked, which is all that the task polls.
    pub(super) fn unpolled(&mut self) -> Vec<Unpolled> {
        let (mut found, suspended) = (Vec::new(), self.take_suspended());
        for within in suspended {
            let Ok(variables) = self.values.members(within.state) else { continue };
            for (name, variable) in variables {
                // Members of one state may share their place with those that live at other times only.
                if &*name == "__awaitee" || found.len() >= MOST {
                    continue;
                }
                let Ok(futures) = self.futures_in(variable) else { continue };
                for future in futures {
                    if !self.was_walked(future) {
                        self.unpolled_at(future, &within, &mut found);
                    }
                }
            }
        }
        found
    }

    /// The places that a future has at locks.
    fn unpolled_at(&mut self, future: Value, within: &Suspended, found: &mut Vec<Unpolled>) {
        let (held, placed) = (self.holds_so_far(), self.places_so_far());
        let Ok(node) = self.future(future) else { return };
        let place = innermost_place(&node);
        let told = |semaphore, stage| Unpolled {
            future: node.future.clone(),
            future_place: place.clone(),
            function: within.function.clone(),
            place: within.place.clone(),
            semaphore,
            stage,
        };
        let places = self.places_from(placed).into_iter().map(|(semaphore, stage)| told(semaphore, stage));
        found.extend(places);
        found.extend(self.holds_from(held).into_iter().map(|semaphore| told(semaphore, UnpolledPlace::Holds)));
    }

    /// Whether an `Acquire` waits in its semaphore's queue, or has been given what it waits for.
    pub(super) fn place_at_semaphore(&self, acquire: Value) -> Result<Option<UnpolledPlace>, Unknown> {
        let values = self.values;
        if values.scalar(values.member(acquire, "queued")?)? & 0xff == 0 {
            return Ok(None);
        }
        let node = values.member(acquire, "node")?;
        let missing = values.scalar(values.member(node, "state")?)?;
        if missing == 0 {
            return Ok(Some(UnpolledPlace::Granted));
        }
        let semaphore = values.pointee(values.member(acquire, "semaphore")?)?;
        Ok(self.is_queued(semaphore, node)?.then_some(UnpolledPlace::Queued))
    }

    /// Whether it is in the queue: a future that was dropped may still look as if it were.
    fn is_queued(&self, semaphore: Value, waiter: Value) -> Result<bool, Unknown> {
        let values = self.values;
        let queue =
            values.find_named(values.member(semaphore, "waiters")?, 10, "tokio::util::linked_list::LinkedList<")?;
        let mut next = values.address(values.member(queue, "head")?)?;
        for _ in 0..MAX_QUEUE {
            if next == 0 || next == waiter.address {
                return Ok(next != 0);
            }
            let pointers = values.member(Value { ty: waiter.ty, address: next }, "pointers")?;
            let pointers = values.find_named(pointers, 6, "tokio::util::linked_list::PointersInner<")?;
            next = values.address(values.member(pointers, "next")?)?;
        }
        Err(Unknown::new("a queue without an end"))
    }
}

fn innermost_place(node: &Await) -> Option<SourcePlace> {
    let own = |place: &&SourcePlace| !place.file.contains("/registry/src/") && !place.file.starts_with("/rustc/");
    let inside = node.children.iter().find_map(innermost_place);
    inside.or_else(|| node.place.as_ref().filter(own).cloned())
}
