//! From a future to all futures that it awaits.
//!
//! The body of an `async fn` is a coroutine. Its state identifies the await at which it is suspended, and its member
//! `__awaitee` is the future that it awaits there.

use std::sync::Arc;
use std::time::Duration;

use super::future_parts::{is_coroutine, is_wrapper, item_future, parts, trait_object};
use super::held_things::held_things;
use super::lock_owners::HeldLock;
use super::semaphore_queue::Queues;
use super::task_layout::TaskLayout;
use super::wait_reasons::{self, Context};
use crate::dwarf::{Shape, Type, Unknown, Value, Values, last_segment, type_name};
use crate::model::census::{Await, Held, HeldKind, LockStage, SourcePlace, WaitsFor};
use crate::tokio_internals::debug_info::MACROS;

/// The step budget for the path of one task.
const STEPS: u32 = 50_000;

/// The maximum number of futures on one path.
const MAX_DEPTH: usize = 96;

/// The maximum number of futures of one task.
const MAX_FUTURES: usize = 1000;

/// An `async fn` that is suspended on the way to what its task awaits, or a stream adapter in it.
#[derive(Clone, Debug)]
pub(super) struct Suspended {
    /// Its variables.
    pub(super) state: Value,
    pub(super) function: String,
    /// The await at which it is suspended.
    pub(super) place: Option<SourcePlace>,
}

/// Reads the futures of one task.
pub(super) struct Walker<'v, 'a, 'd> {
    pub(super) values: &'v Values<'a, 'd>,
    layout: &'v TaskLayout,
    /// The monotonic clock.
    now: Duration,
    held_locks: Vec<HeldLock>,
    /// The number of futures so far.
    futures: usize,
    /// The futures so far.
    walked: Vec<Value>,
    suspended: Vec<Suspended>,
    /// The queues of semaphores, while lock stages are wanted.
    queues: Option<&'v Queues>,
    /// The semaphores at which futures wait or were granted permits.
    lock_stages: Vec<(u64, LockStage)>,
    /// The futures that lead to the current one. The last is the current one.
    path: Vec<Value>,
}

impl<'v, 'a, 'd> Walker<'v, 'a, 'd> {
    pub(super) fn new(values: &'v Values<'a, 'd>, layout: &'v TaskLayout, now: Duration) -> Self {
        values.set_budget(STEPS);
        Self {
            values,
            layout,
            now,
            held_locks: Vec::new(),
            futures: 0,
            walked: Vec::new(),
            suspended: Vec::new(),
            queues: None,
            lock_stages: Vec::new(),
            path: Vec::new(),
        }
    }

    pub(super) fn into_held_locks(self) -> Vec<HeldLock> {
        self.held_locks
    }

    pub(super) fn take_suspended(&mut self) -> Vec<Suspended> {
        std::mem::take(&mut self.suspended)
    }

    pub(super) fn was_walked(&self, future: Value) -> bool {
        self.walked.contains(&future)
    }

    /// The locks that were found so far.
    pub(super) fn held_locks(&self) -> &[HeldLock] {
        &self.held_locks
    }

    /// Collects lock stages from now on.
    pub(super) fn collect_lock_stages(&mut self, queues: &'v Queues) {
        self.queues = Some(queues);
    }

    /// The semaphores at which futures wait or were granted permits, as far as they were found.
    pub(super) fn lock_stages(&self) -> &[(u64, LockStage)] {
        &self.lock_stages
    }

    /// A future with all futures that it awaits.
    pub(super) fn future(&mut self, value: Value) -> Result<Await, Unknown> {
        self.futures += 1;
        if self.futures > MAX_FUTURES || self.path.len() >= MAX_DEPTH {
            return Ok(note("…", "more futures are not shown"));
        }
        if self.path.contains(&value) {
            return Err(Unknown::new("a future contains itself"));
        }
        self.walked.push(value);
        self.path.push(value);
        let found = self.read(value);
        self.path.pop();
        found
    }

    /// An awaited future. If it cannot be read, its note says why.
    fn child(&mut self, value: Value) -> Await {
        self.future(value).unwrap_or_else(|unknown| {
            let name = type_name(&self.values.program.name(value.ty), None);
            note(&name, &format!("unknown: {unknown}"))
        })
    }

    fn read(&mut self, value: Value) -> Result<Await, Unknown> {
        let ty = self.values.ty(value)?;
        if is_coroutine(self.values, value.ty, &ty) {
            return self.coroutine(value, &ty);
        }
        if let Some(object) = trait_object(self.values, value, &ty)? {
            return self.future(object);
        }
        if is_wrapper(&ty) {
            // `Pin<Box<…>>` and the like are not shown.
            let inside = parts(self.values, value)?;
            if let [only] = inside.as_slice() {
                return self.future(*only);
            }
        }
        let future = self.values.display_name(value.ty, || type_name(&ty.name, None));
        let mut shown = Await { future, ..Await::default() };
        let context = Context { values: self.values, layout: self.layout, now: self.now, path: &self.path };
        if let Some(reason) = wait_reasons::explain(&context, value, &ty.name) {
            if let (WaitsFor::Permits { address, missing: Some(missing), .. }, Some(queues)) = (&reason, self.queues)
                && let Ok(Some(stage)) = queues.stage_of(self.values, value, *missing)
            {
                self.lock_stages.push((*address, stage));
            }
            shown.waits_for = Some(reason);
            return Ok(shown);
        }
        if let Some(item) = item_future(self.values, value, &ty) {
            self.leave_stream(value);
            shown.children = vec![self.child(item)];
            return Ok(shown);
        }
        // A vector that grows has room for four. A census may have millions.
        shown.children = parts(self.values, value)?.into_iter().map(|part| self.child(part)).collect();
        if shown.children.is_empty() {
            shown.waits_for = wait_reasons::explain_socket(self.values, value);
        }
        if ty.name.contains("::poll_fn::PollFn<") && last_segment(&ty.name).starts_with("PollFn<") {
            return Ok(self.poll_fn(shown));
        }
        Ok(shown)
    }

    /// Notes that the stream of an adapter is not polled, as a variable of the `async fn` that polls the adapter.
    fn leave_stream(&mut self, adapter: Value) {
        let coroutine = self.path.iter().rev().find_map(|value| {
            let ty = self.values.ty(*value).ok().filter(|ty| is_coroutine(self.values, value.ty, ty))?;
            Some((*value, ty))
        });
        if let Some((value, ty)) = coroutine {
            let function = self.values.display_name(value.ty, || type_name(&ty.name, self.receiver(&ty).as_deref()));
            let place = self.values.active_variant(value).ok().and_then(|active| active.place);
            self.suspended.push(Suspended { state: adapter, function, place });
        }
    }

    /// The macro that made a `PollFn`, or the only future inside it. Both say more than the name `PollFn`.
    fn poll_fn(&self, mut shown: Await) -> Await {
        let maker = self.path.iter().rev().nth(1).and_then(|parent| {
            let place = self.values.active_variant(*parent).ok()?.place;
            macro_of(&place?)
        });
        match maker {
            Some(name) => name.clone_into(&mut shown.future),
            None if shown.children.len() == 1 && shown.note.is_none() => {
                return shown.children.pop().unwrap_or(shown);
            }
            None => {}
        }
        shown
    }

    fn coroutine(&mut self, value: Value, ty: &Type) -> Result<Await, Unknown> {
        let active = self.values.active_variant(value)?;
        let future = self.values.display_name(value.ty, || type_name(&ty.name, self.receiver(ty).as_deref()));
        let mut shown = Await { future, ..Await::default() };
        match &*active.name {
            "Unresumed" => shown.note = Some("not polled yet".to_owned()),
            "Returned" => shown.note = Some("finished".to_owned()),
            "Panicked" => shown.note = Some("panicked".to_owned()),
            _ => {
                shown.place = active.place;
                if let Some(name) = shown.place.as_ref().and_then(macro_of) {
                    // The place is a line of the macro's source. The first line of the function is more useful.
                    shown.note = Some(format!("in {name}"));
                    shown.place = declaration(ty).or(shown.place);
                }
                self.suspended_at(active.content, &mut shown);
            }
        }
        Ok(shown)
    }

    /// Adds the locks and the awaited future of a suspended coroutine.
    fn suspended_at(&mut self, state: Value, shown: &mut Await) {
        let (function, place) = (&shown.future, &shown.place);
        shown.holds = held_things(self.values, state);
        for Held { kind, address } in shown.holds.iter().copied().filter(|held| held.kind != HeldKind::Sender) {
            let (function, place) = (function.clone(), place.clone());
            self.held_locks.push(HeldLock { semaphore: address, kind, function, place });
        }
        self.suspended.push(Suspended { state, function: function.clone(), place: place.clone() });
        if let Ok(awaited) = self.values.member(state, "__awaitee") {
            shown.children = vec![self.child(awaited)];
        }
    }

    /// The type of `self` in an `async fn`.
    fn receiver(&self, ty: &Type) -> Option<Arc<str>> {
        let Shape::Variants { variants, .. } = &ty.shape else { return None };
        let first = variants.iter().find(|variant| variant.discriminant == Some(0))?;
        let state = self.values.program.ty(first.content.ty)?;
        let Shape::Structure(members) = &state.shape else { return None };
        let receiver = members.iter().find(|member| &*member.name == "self")?;
        let mut receiver = self.values.program.ty(receiver.ty)?;
        for _ in 0..2 {
            if let Shape::Pointer(Some(target)) = receiver.shape {
                receiver = self.values.program.ty(target)?;
            }
        }
        Some(Arc::clone(&receiver.name))
    }
}

/// The first line of an `async fn`.
fn declaration(ty: &Type) -> Option<SourcePlace> {
    let Shape::Variants { variants, .. } = &ty.shape else { return None };
    let first = variants.iter().find(|variant| variant.discriminant == Some(0))?;
    first.content.place.clone()
}

/// The macro with its source at a place.
fn macro_of(place: &SourcePlace) -> Option<&'static str> {
    MACROS
        .iter()
        .find_map(|(file, name)| (place.file.contains("tokio-") && place.file.ends_with(file)).then_some(*name))
}

fn note(future: &str, text: &str) -> Await {
    Await { future: future.to_owned(), note: Some(text.to_owned()), ..Await::default() }
}
