//! What one pass over the debug information finds: every type by name, and where Tokio's own marks are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::index_unit::{self, Found};
use super::types::TypeId;
use super::units::Units;

/// The future and the scheduler of a task: the type arguments of the function that polls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskTypes {
    pub(crate) future: TypeId,
    pub(crate) scheduler: TypeId,
}

/// A thread-local variable of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadLocal {
    /// Where it lies in the program's block of thread-local variables.
    pub(crate) offset: u64,
    pub(crate) ty: TypeId,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The qualified name of every structure, union and enumeration.
    pub(super) names: HashMap<TypeId, Arc<str>>,
    /// The first complete definition of each.
    pub(super) by_name: HashMap<Arc<str>, TypeId>,
    /// By the address, as the file has it, of the function that polls such a task. The linker may give several one address.
    pub(super) tasks: HashMap<u64, Vec<TaskTypes>>,
    /// By the same: the name of that function, for programs that do not describe its types.
    pub(super) polls: HashMap<u64, Arc<str>>,
    /// By the address of a trait object's table: the type of the object.
    pub(super) vtables: HashMap<u64, TypeId>,
    /// Tokio's `CONTEXT`.
    pub(super) contexts: Vec<ThreadLocal>,
    /// The names of types that have a function `poll` or `poll_next` for `Pin<&mut Self>`.
    pub(super) futures: HashSet<String>,
    /// Functions that poll a future given to `block_on`, by their entries, with its type.
    pub(super) roots: HashMap<TypeId, TypeId>,
}

impl Index {
    /// Reads every unit, on as many threads as there are processors. Units that are damaged end where they are.
    pub(super) fn build(units: &Units<'_>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 16);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Found::default();
            while let Some(unit) = units.list().get(next.fetch_add(1, Ordering::Relaxed)) {
                // A damaged unit gives what stands before the damage.
                let _damaged = index_unit::unit(unit, &mut found);
            }
            found
        };
        let parts: Vec<Found> = std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut parts = vec![work()];
            // A part that panicked is missing; the types in it are unknown.
            parts.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()));
            parts
        });
        Self::of(parts)
    }

    fn of(parts: Vec<Found>) -> Self {
        let mut index = Self::default();
        let (mut pins, mut roots) = (Vec::new(), Vec::new());
        for part in parts {
            for (ty, name, complete) in part.types {
                if complete {
                    // The first, so that the same file gives the same index.
                    let first = index.by_name.entry(Arc::clone(&name)).or_insert(ty);
                    *first = (*first).min(ty);
                }
                index.names.insert(ty, name);
            }
            for (address, types) in part.tasks {
                let all = index.tasks.entry(address).or_default();
                if !all.contains(&types) {
                    all.push(types);
                }
            }
            for (address, table) in part.vtables {
                if let Some(ty) = part.containing.get(&table) {
                    index.vtables.insert(address, *ty);
                }
            }
            index.polls.extend(part.polls);
            index.contexts.extend(part.contexts);
            pins.extend(part.polled);
            roots.extend(part.roots);
        }
        let polled = pins.iter().filter_map(|pin| {
            let name = index.names.get(pin)?.strip_prefix("core::pin::Pin<&mut ")?.strip_suffix('>')?;
            Some(name.to_owned())
        });
        index.futures = polled.collect();
        // A type that several units describe is one.
        let first = |ty: TypeId| index.names.get(&ty).and_then(|name| index.by_name.get(name)).copied().unwrap_or(ty);
        index.roots = roots.into_iter().map(|(entry, future)| (entry, first(future))).collect();
        index
    }
}
