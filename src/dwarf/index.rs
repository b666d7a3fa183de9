//! The index of a program's debug information: all types by name, and the addresses of Tokio's functions and variables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::index_unit::{UnitIndex, index_unit};
use super::types::{TaskTypes, ThreadLocal};
use super::units::{TypeId, Units};

/// The part of the index with addresses of the program's file.
#[derive(Debug, Default)]
pub(super) struct AddressIndex {
    /// The types of tasks, by the address of the function that polls the task. The linker may merge the functions of
    /// several types.
    pub(super) tasks: HashMap<u64, Vec<TaskTypes>>,
    /// The names of these functions, for programs without descriptions of types.
    pub(super) poll_names: HashMap<u64, Arc<str>>,
    /// The concrete types of trait objects, by the address of the vtable.
    pub(super) vtables: HashMap<u64, TypeId>,
    /// Tokio's thread-local variable `CONTEXT`.
    pub(super) contexts: Vec<ThreadLocal>,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) addresses: AddressIndex,
    /// The qualified name of every structure, union and enumeration.
    pub(super) names: HashMap<TypeId, Arc<str>>,
    /// The first complete definition of each name.
    pub(super) by_name: HashMap<Arc<str>, TypeId>,
    /// The names of types that have a function `poll` or `poll_next` for `Pin<&mut Self>`.
    pub(super) futures: HashSet<String>,
    /// The entries of functions that poll a future given to `block_on`, with the type of that future.
    pub(super) block_on_functions: HashMap<TypeId, TypeId>,
}

impl Index {
    /// Reads all units on all processors. A damaged unit contributes what comes before the damage.
    pub(super) fn build(units: &Units<'_>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 16);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut part = UnitIndex::default();
            while let Some(unit) = units.list().get(next.fetch_add(1, Ordering::Relaxed)) {
                let _damaged = index_unit(unit, &mut part);
            }
            part
        };
        let parts: Vec<UnitIndex> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut parts = vec![work()];
            // If a thread panicked, the types that it read are unknown.
            parts.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
            parts
        });
        Self::merge(parts)
    }

    fn merge(parts: Vec<UnitIndex>) -> Self {
        let mut index = Self::default();
        let (mut polled, mut block_on_functions) = (Vec::new(), Vec::new());
        for part in parts {
            for (ty, name, complete) in part.types {
                if complete {
                    // The first definition wins, so that the same file always gives the same index.
                    let first = index.by_name.entry(Arc::clone(&name)).or_insert(ty);
                    *first = (*first).min(ty);
                }
                index.names.insert(ty, name);
            }
            for (address, types) in part.tasks {
                let all = index.addresses.tasks.entry(address).or_default();
                if !all.contains(&types) {
                    all.push(types);
                }
            }
            for (address, table) in part.vtables {
                if let Some(ty) = part.concrete_types.get(&table) {
                    index.addresses.vtables.insert(address, *ty);
                }
            }
            index.addresses.poll_names.extend(part.poll_names);
            index.addresses.contexts.extend(part.contexts);
            polled.extend(part.polled);
            block_on_functions.extend(part.block_on_functions);
        }
        let futures = polled.iter().filter_map(|pin| {
            let name = index.names.get(pin)?.strip_prefix("core::pin::Pin<&mut ")?.strip_suffix('>')?;
            Some(name.to_owned())
        });
        index.futures = futures.collect();
        // Several units may describe the same type.
        let first = |ty: TypeId| index.names.get(&ty).and_then(|name| index.by_name.get(name)).copied().unwrap_or(ty);
        index.block_on_functions =
            block_on_functions.into_iter().map(|(entry, future)| (entry, first(future))).collect();
        index
    }
}
