//! From tasks to what they await.
//!
//! The body of an `async fn` is a coroutine, whose state tells the await it is suspended at and whose member `__awaitee`
//! is the future it awaits there. Other futures hold the futures they poll: by value, boxed, behind `Pin<&mut …>`, or, in
//! a closure, behind a reference. What is a future is told by the debug information: some `poll` takes it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::futurelock::Suspended;
use super::lock_owners;
use super::tasks::TaskLayout;
use super::{collections, wait_reasons};
use crate::dwarf::{Shape, Type, Unknown, Value, Values, last_segment, type_name};
use crate::model::census::{Await, SourcePlace, UnpolledPlace, WaitsFor};

/// Steps for one task's path.
const STEPS: u32 = 50_000;

/// Futures on one path.
const MAX_DEPTH: usize = 96;

/// Futures of one task.
const MAX_FUTURES: usize = 1000;

/// Futures that one future awaits side by side.
pub(super) const MAX_CHILDREN: usize = 100;

/// How deep in a future its parts are looked for.
const MAX_PARTS_DEPTH: u32 = 48;

/// Files of Tokio's macros that make a future of several, with the macros.
const MACROS: [(&str, &str); 4] = [
    ("/src/macros/join.rs", "join!"),
    ("/src/macros/try_join.rs", "try_join!"),
    ("/src/macros/select.rs", "select!"),
    ("/src/macros/pin.rs", "pin!"),
];

/// A semaphore of which a task holds permits, or a mutex which it holds.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    pub(super) semaphore: u64,
    /// The `async fn` in which the guard lives.
    pub(super) function: String,
    pub(super) place: Option<SourcePlace>,
}

/// Walks one task's futures.
pub(super) struct Walker<'v, 'a, 'd> {
    pub(super) values: &'v Values<'a, 'd>,
    pub(super) layout: &'v TaskLayout,
    pub(super) now: Duration,
    holds: Vec<Holds>,
    futures: usize,
    /// Every future so far.
    walked: HashSet<Value>,
    suspended: Vec<Suspended>,
    /// Semaphores with the place that a future has at each.
    places: Vec<(u64, UnpolledPlace)>,
    /// The futures that lead to the present one.
    above: Vec<Value>,
}

/// How a part of a future was reached.
#[derive(Clone, Copy)]
struct Way {
    depth: u32,
    /// Behind a reference that a closure captured.
    captured: bool,
    /// Inside a `Pin` or a `Box`: the next pointer is followed.
    owned: bool,
}

impl<'v, 'a, 'd> Walker<'v, 'a, 'd> {
    pub(super) fn new(values: &'v Values<'a, 'd>, layout: &'v TaskLayout, now: Duration) -> Self {
        values.allow(STEPS);
        Self {
            values,
            layout,
            now,
            holds: Vec::new(),
            futures: 0,
            walked: HashSet::new(),
            suspended: Vec::new(),
            places: Vec::new(),
            above: Vec::new(),
        }
    }

    pub(super) fn into_holds(self) -> Vec<Holds> {
        self.holds
    }

    pub(super) fn take_suspended(&mut self) -> Vec<Suspended> {
        std::mem::take(&mut self.suspended)
    }

    pub(super) fn was_walked(&self, future: Value) -> bool {
        self.walked.contains(&future)
    }

    pub(super) fn holds_so_far(&self) -> usize {
        self.holds.len()
    }

    pub(super) fn holds_from(&self, position: usize) -> Vec<u64> {
        self.holds.iter().skip(position).map(|holds| holds.semaphore).collect()
    }

    pub(super) fn places_so_far(&self) -> usize {
        self.places.len()
    }

    pub(super) fn places_from(&self, position: usize) -> Vec<(u64, UnpolledPlace)> {
        self.places.iter().skip(position).copied().collect()
    }

    /// The futures that lead to the present one, the nearest last.
    pub(super) fn above(&self) -> &[Value] {
        &self.above
    }

    /// A future and everything that it awaits.
    pub(super) fn future(&mut self, value: Value) -> Result<Await, Unknown> {
        self.futures += 1;
        if self.futures > MAX_FUTURES || self.above.len() >= MAX_DEPTH {
            return Ok(note("…", "more futures are not shown"));
        }
        // A future cannot lie in itself.
        if self.above.contains(&value) {
            return Err(Unknown::new("a future leads to itself"));
        }
        self.walked.insert(value);
        self.above.push(value);
        let found = self.kind_of_future(value);
        self.above.pop();
        found
    }

    /// A future whose faults are told in its place.
    fn child(&mut self, value: Value) -> Await {
        let name = || type_name(&self.values.program.name(value.ty), None);
        let fallback = name();
        self.future(value).unwrap_or_else(|unknown| note(&fallback, &format!("unknown: {unknown}")))
    }

    fn kind_of_future(&mut self, value: Value) -> Result<Await, Unknown> {
        let ty = self.values.ty(value)?;
        if is_coroutine(&ty) {
            return self.coroutine(value, &ty);
        }
        if let Some(object) = self.trait_object(value, &ty)? {
            return self.future(object);
        }
        if is_wrapper(&ty) {
            // Of `Pin<Box<…>>` and the like, what is inside.
            let inside = self.parts(value)?;
            if let [only] = inside.as_slice() {
                return self.future(*only);
            }
        }
        let mut shown = Await { future: type_name(&ty.name, None), ..Await::default() };
        if let Some(reason) = wait_reasons::explain(self, value, &ty.name) {
            if let WaitsFor::Permits { address, .. } = &reason
                && let Ok(Some(place)) = self.place_at_semaphore(value)
            {
                self.places.push((*address, place));
            }
            shown.waits_for = Some(reason);
            return Ok(shown);
        }
        for part in self.parts(value)? {
            shown.children.push(self.child(part));
        }
        if shown.children.is_empty() {
            shown.waits_for = wait_reasons::explain_parts(self, value);
        }
        if ty.name.contains("::poll_fn::PollFn<") && last_segment(&ty.name).starts_with("PollFn<") {
            return Ok(self.poll_fn(shown));
        }
        Ok(shown)
    }

    /// `poll_fn` says nothing; what it is made of, or what made it, does.
    fn poll_fn(&self, mut shown: Await) -> Await {
        let maker = self.above.iter().rev().nth(1).and_then(|value| {
            let (_, place, _) = self.suspension(*value).ok()?;
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

    /// Where a coroutine is: its state, the place, and the value of the state.
    fn suspension(&self, value: Value) -> Result<(String, Option<SourcePlace>, Value), Unknown> {
        let active = self.values.active(value)?;
        Ok((active.name, active.place, active.content))
    }

    fn coroutine(&mut self, value: Value, ty: &Type) -> Result<Await, Unknown> {
        let (state, place, content) = self.suspension(value)?;
        let receiver = self.receiver(ty);
        let mut shown = Await { future: type_name(&ty.name, receiver.as_deref()), ..Await::default() };
        match state.as_str() {
            "Unresumed" => shown.note = Some("not polled yet".to_owned()),
            "Returned" => shown.note = Some("finished".to_owned()),
            "Panicked" => shown.note = Some("panicked".to_owned()),
            _ => {
                shown.place = place;
                if let Some(name) = shown.place.as_ref().and_then(macro_of) {
                    // The line of the macro in Tokio tells nobody anything; the function's does.
                    shown.note = Some(format!("in {name}"));
                    shown.place = self.declared(ty).or(shown.place);
                }
                self.holds.extend(lock_owners::held_in(self.values, content).into_iter().map(|semaphore| Holds {
                    semaphore,
                    function: shown.future.clone(),
                    place: shown.place.clone(),
                }));
                let (function, place) = (shown.future.clone(), shown.place.clone());
                self.suspended.push(Suspended { state: content, function, place });
                if let Ok(awaited) = self.values.member(content, "__awaitee") {
                    shown.children.push(self.child(awaited));
                }
            }
        }
        Ok(shown)
    }

    /// Where an `async fn` begins.
    fn declared(&self, ty: &Type) -> Option<SourcePlace> {
        let Shape::Variants { variants, .. } = &ty.shape else { return None };
        let first = variants.iter().find(|variant| variant.discriminant == Some(0))?;
        first.content.place.clone()
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

    /// What is behind a `dyn Future`, whose pointers are data and table.
    fn trait_object(&self, value: Value, ty: &Type) -> Result<Option<Value>, Unknown> {
        if !is_trait_object(ty) {
            return Ok(None);
        }
        let data = self.values.word(self.values.member(value, "pointer")?.address)?;
        let table = self.values.word(self.values.member(value, "vtable")?.address)?;
        let concrete = self.values.program.behind_vtable(self.values.in_file(table));
        let ty = concrete.ok_or_else(|| Unknown::new("the type behind a `dyn` is not described"))?;
        Ok(Some(Value { ty, address: data }))
    }

    /// The futures that a variable is, or owns.
    pub(super) fn futures_in(&self, variable: Value) -> Result<Vec<Value>, Unknown> {
        let mut found = Vec::new();
        let way = Way { depth: MAX_PARTS_DEPTH, captured: false, owned: false };
        self.look_into(variable, way, false, &mut found)?;
        // What a pointer or a `dyn` stands for.
        Ok(found.into_iter().map(|future| self.itself(future)).collect())
    }

    fn itself(&self, future: Value) -> Value {
        let object = self.values.ty(future).and_then(|ty| self.trait_object(future, &ty));
        object.ok().flatten().unwrap_or(future)
    }

    /// The futures that a future, which is no coroutine, polls.
    pub(super) fn parts(&self, value: Value) -> Result<Vec<Value>, Unknown> {
        let mut found = Vec::new();
        let way = Way { depth: MAX_PARTS_DEPTH, captured: false, owned: false };
        self.look_into(value, way, true, &mut found)?;
        Ok(found)
    }

    fn look_into(&self, value: Value, way: Way, top: bool, found: &mut Vec<Value>) -> Result<(), Unknown> {
        let Some(depth) = way.depth.checked_sub(1) else { return Ok(()) };
        if found.len() >= MAX_CHILDREN {
            return Ok(());
        }
        let ty = self.values.ty(value)?;
        if let Some(members) = collections::members(self.values, value, &ty.name) {
            found.extend(members.into_iter().take(MAX_CHILDREN.saturating_sub(found.len())));
            return Ok(());
        }
        if !top && (self.is_future(&ty) || wait_reasons::is_leaf(&ty.name)) && !is_wrapper(&ty) {
            found.push(value);
            return Ok(());
        }
        let inside = |owned| Way { depth, captured: way.captured || ty.name.contains("{closure_env"), owned };
        match &ty.shape {
            Shape::Structure(_) => {
                if is_trait_object(&ty) {
                    if is_dyn_future(&ty.name) {
                        found.push(value);
                    }
                    return Ok(());
                }
                let owned = is_wrapper(&ty) || way.owned && is_pointer_part(&ty.name);
                for (_, member) in self.values.members(value)? {
                    self.look_into(member, inside(owned), false, found)?;
                }
            }
            Shape::Variants { .. } => {
                let active = self.values.active(value)?;
                self.look_into(active.content, inside(way.owned), false, found)?;
            }
            Shape::Pointer(Some(_)) if way.owned || way.captured || ty.name.starts_with("&mut ") => {
                let target = self.values.pointee(value)?;
                let behind = Way { depth, captured: false, owned: false };
                if self.values.ty(target).is_ok_and(|ty| ty.size > 0) {
                    // Behind a reference may be anything; what cannot be read there is no future of ours.
                    let _unreadable = self.look_into(target, behind, false, found);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_future(&self, ty: &Type) -> bool {
        is_coroutine(ty) || self.values.program.is_polled(&ty.name)
    }
}

/// The body of an `async fn`, block or closure. A pointer to an `async fn` has a name that ends in the same way.
pub(super) fn is_coroutine(ty: &Type) -> bool {
    matches!(ty.shape, Shape::Variants { .. }) && last_segment(&ty.name).starts_with("{async_")
}

/// Of a pointer to a trait object, whether the trait is `Future`, and not one that has something to do with it, as a service that returns
/// futures.
fn is_dyn_future(name: &str) -> bool {
    name.split_once("dyn ").is_some_and(|(_, of)| of.starts_with("core::future::future::Future"))
}

/// A pointer to data and one to a table.
fn is_trait_object(ty: &Type) -> bool {
    let Shape::Structure(members) = &ty.shape else { return false };
    members.len() == 2 && ["pointer", "vtable"].iter().all(|name| members.iter().any(|member| &*member.name == *name))
}

/// Types that stand for what is in them.
fn is_wrapper(ty: &Type) -> bool {
    const WRAPPERS: [&str; 6] = [
        "core::pin::Pin<",
        "alloc::boxed::Box<",
        "core::mem::manually_drop::ManuallyDrop<",
        "core::panic::unwind_safe::AssertUnwindSafe<",
        "tokio::future::maybe_done::MaybeDone<",
        "futures_util::future::maybe_done::MaybeDone<",
    ];
    WRAPPERS.iter().any(|wrapper| ty.name.starts_with(wrapper))
        || (ty.name.starts_with("&mut ") && matches!(ty.shape, Shape::Pointer(_)))
}

/// What a `Box` consists of.
fn is_pointer_part(name: &str) -> bool {
    name.starts_with("core::ptr::unique::Unique<") || name.starts_with("core::ptr::non_null::NonNull<")
}

fn macro_of(place: &SourcePlace) -> Option<&'static str> {
    MACROS
        .iter()
        .find_map(|(file, name)| (place.file.contains("tokio-") && place.file.ends_with(file)).then_some(*name))
}

fn note(future: &str, text: &str) -> Await {
    Await { future: future.to_owned(), note: Some(text.to_owned()), ..Await::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_returns_futures_is_no_future() {
        let boxed = "alloc::boxed::Box<(dyn core::future::future::Future<Output=()> + core::marker::Send), alloc::alloc::Global>";
        assert!(is_dyn_future(boxed) && is_dyn_future("&mut dyn core::future::future::Future<Output=u8>"));
        assert!(!is_dyn_future(&format!("alloc::boxed::Box<dyn app::Service<u8, Future=core::pin::Pin<{boxed}>>>")));
        assert!(!is_dyn_future("alloc::boxed::Box<u8>"));
    }
}
