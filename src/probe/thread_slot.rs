//! The slot of the current thread. The hot path finds it with two loads; the cold path assigns and returns it.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};

use super::registry::{Registry, RuntimeProbe};
use super::slot::Slot;
#[cfg(feature = "heap")]
use crate::sys;

thread_local! {
    /// Without a destructor and with a constant initializer, a read is one load relative to the thread pointer.
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    /// The runtime that this thread belongs to. A wrapped future does not know which runtime polls it.
    static RUNTIME: RefCell<Option<Membership>> = const { RefCell::new(None) };
    /// Returns the slot when the thread ends.
    static TENANCY: RefCell<Option<Tenancy>> = const { RefCell::new(None) };
}

/// A thread's membership in a runtime.
#[derive(Clone, Debug)]
struct Membership {
    runtime: Arc<RuntimeProbe>,
    role: Role,
}

/// What a thread is to its runtime.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// A thread of the runtime's pool.
    Pool,
    /// A thread inside `block_on`, as the worker of this index.
    Root { index: Option<usize> },
}

/// Slots without a thread. Slots are never freed, so there are as many as there were concurrent workers at most.
static FREE_SLOTS: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

/// A thread's ownership of its slot and of its entry in a registry.
struct Tenancy {
    slot: &'static Slot,
    registry: Option<Arc<Registry>>,
}

impl Tenancy {
    fn leave_registry(&mut self) {
        if let Some(registry) = self.registry.take() {
            registry.remove(self.slot);
        }
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.leave_registry();
        self.slot.detach();
        // Another thread may get the slot.
        #[cfg(feature = "heap")]
        sys::heap::leave_worker();
        FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

/// The current thread's slot, if it has one.
#[inline]
pub(super) fn current() -> Option<&'static Slot> {
    SLOT.get()
}

/// Makes the current thread a worker of `runtime`, and returns its slot. `None` while the thread ends.
#[cold]
pub(super) fn register(runtime: &Arc<RuntimeProbe>, index: Option<usize>) -> Option<&'static Slot> {
    let slot = occupy_slot(runtime, |slot| runtime.registry.add(slot, runtime, index))?;
    SLOT.set(Some(slot));
    Some(slot)
}

/// Makes the current thread one of `workers` that has not parked yet, so that a first poll without an end is seen. The
/// hot path does not find the slot: at its first park, the worker registers with its index.
pub(super) fn register_starting(runtime: &Arc<RuntimeProbe>, workers: usize) {
    let _ending = occupy_slot(runtime, |slot| runtime.registry.add_starting(slot, runtime, workers));
}

/// Gives the current thread a slot of its own, and adds it to the registry. `None` while the thread ends.
///
/// What it allocates is holdup's, and not sampled.
fn occupy_slot(runtime: &Arc<RuntimeProbe>, add: impl FnOnce(&'static Slot)) -> Option<&'static Slot> {
    let occupy = |tenancy: &RefCell<Option<Tenancy>>| {
        let mut tenancy = tenancy.borrow_mut();
        let tenancy = tenancy.get_or_insert_with(|| Tenancy { slot: take_free_slot(), registry: None });
        tenancy.leave_registry();
        tenancy.slot.attach(runtime.number);
        add(tenancy.slot);
        #[cfg(feature = "heap")]
        sys::heap::enter_worker(tenancy.slot.words(), sys::current_stack());
        tenancy.registry = Some(Arc::clone(&runtime.registry));
        tenancy.slot
    };
    unsampled(|| TENANCY.try_with(occupy).ok())
}

#[cfg(feature = "heap")]
fn unsampled<T>(run: impl FnOnce() -> T) -> T {
    sys::heap::without_sampling(run)
}

#[cfg(not(feature = "heap"))]
fn unsampled<T>(run: impl FnOnce() -> T) -> T {
    run()
}

/// Ends the current thread's work as a worker. It may become one again.
fn unregister() {
    // A thread that ends has already returned its slot.
    let _ended = TENANCY.try_with(|tenancy| {
        if let Some(tenancy) = tenancy.borrow_mut().as_mut() {
            tenancy.leave_registry();
            tenancy.slot.detach();
        }
    });
}

fn take_free_slot() -> &'static Slot {
    let free = FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner).pop();
    free.unwrap_or_else(|| Box::leak(Box::new(Slot::new())))
}

/// Adds the current thread to the runtime's pool.
pub(super) fn enter(runtime: &Arc<RuntimeProbe>) {
    let membership = Membership { runtime: Arc::clone(runtime), role: Role::Pool };
    let _outer = set_membership(Some(membership));
}

/// Returns the previous membership. Does nothing while the thread ends.
fn set_membership(membership: Option<Membership>) -> Option<Membership> {
    RUNTIME.try_with(|current| current.replace(membership)).ok().flatten()
}

/// The runtime that the current thread belongs to.
pub(super) fn runtime() -> Option<Arc<RuntimeProbe>> {
    RUNTIME.try_with(|current| current.borrow().as_ref().map(|member| Arc::clone(&member.runtime))).ok().flatten()
}

/// The current thread's watch, as a number that is unique while the watch exists, and the thread id.
#[cfg(feature = "testing")]
pub(crate) fn current_watch() -> Option<(usize, i32)> {
    Some((Arc::as_ptr(&runtime()?.registry).addr(), crate::sys::current_tid()))
}

/// Marks a thread inside `block_on`. It polls the root future, and on a current-thread runtime also every task.
#[derive(Debug)]
pub(crate) struct RootThread {
    outer: Option<Membership>,
}

impl RootThread {
    /// Makes the current thread a worker of `runtime` until the guard is dropped. Inside a poll of another runtime, Tokio
    /// allows this only in `block_in_place`, which has given that poll's worker to another thread.
    pub(crate) fn enter(runtime: &Arc<RuntimeProbe>) -> Self {
        Self::enter_as(runtime, runtime.root_index())
    }

    /// The same for a thread that polls its future only, while another one is the worker of a current-thread runtime.
    pub(crate) fn enter_beside_workers(runtime: &Arc<RuntimeProbe>) -> Self {
        Self::enter_as(runtime, None)
    }

    fn enter_as(runtime: &Arc<RuntimeProbe>, index: Option<usize>) -> Self {
        let outer = set_membership(Some(Membership { runtime: Arc::clone(runtime), role: Role::Root { index } }));
        register(runtime, index);
        Self { outer }
    }
}

impl Drop for RootThread {
    fn drop(&mut self) {
        unregister();
        let outer = self.outer.take();
        if let Some(Membership { runtime, role: Role::Root { index } }) = &outer {
            register(runtime, *index);
        }
        set_membership(outer);
    }
}
