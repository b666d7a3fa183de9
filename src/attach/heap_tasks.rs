//! Searches a process's memory for tasks that no runtime lists: those of a `LocalSet` and of `spawn_blocking`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::census::{HeapTaskKinds, Subject};
use crate::dwarf::Program;
use crate::images::Image;
use crate::process::{HeapMatches, Snapshot};
use crate::sys::{Mapping, Process};

/// The shortest time between two searches.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// Searching takes at most one part in this many of the time.
const SEARCH_TIME_DIVISOR: u32 = 8;

/// The vtables that such tasks point to. A program without such tasks has no such vtable.
#[derive(Debug, Default)]
pub(crate) struct HeapTaskTables {
    tables: HashSet<u64>,
    /// The offset of the vtable pointer in a task, in bytes.
    offset: u64,
}

impl HeapTaskTables {
    pub(crate) fn of(process: Process, image: &Image, program: &Program<'_>, kinds: HeapTaskKinds) -> Self {
        let memory = Snapshot::of(process);
        let subject = Subject::of(program, &memory, image.bias);
        let inside = |mapping: &&Mapping| !mapping.executable && image.range.contains(&mapping.start);
        let constants: Vec<_> = process.mappings().unwrap_or_default();
        let constants: Vec<_> =
            constants.iter().filter(inside).map(|mapping| mapping.start..mapping.end.min(image.range.end)).collect();
        let Some((tables, offset)) = subject.heap_task_vtables(&constants, kinds) else { return Self::default() };
        Self { tables, offset }
    }

    /// Searches all memory of the process while it runs.
    pub(crate) fn search(&self, process: Process) -> HeapTasks {
        HeapTasks { found: HeapMatches::of(process, &self.tables), offset: self.offset }
    }
}

/// Places in memory where such tasks may be.
#[derive(Debug, Default)]
pub(crate) struct HeapTasks {
    found: HeapMatches,
    offset: u64,
}

impl HeapTasks {
    /// The addresses of their headers, given the control blocks of the process's threads.
    pub(crate) fn headers(&self, pointers: impl Iterator<Item = u64>) -> Vec<u64> {
        self.found.off_stacks(pointers).into_iter().map(|place| place.wrapping_sub(self.offset)).collect()
    }

    pub(crate) fn missing(&self) -> Option<String> {
        let left_out = self.found.left_out;
        (left_out > 0).then(|| {
            let mebibytes = left_out >> 20;
            format!("tasks of a LocalSet and of spawn_blocking were not searched for in {mebibytes} MiB of its memory")
        })
    }
}

/// Repeated searches for tasks of `LocalSet`s. A new task is seen with the next search.
#[derive(Debug, Default)]
pub(crate) struct HeapTaskSearch {
    tables: OnceLock<HeapTaskTables>,
    last: Mutex<Option<Arc<Search>>>,
}

#[derive(Debug)]
struct Search {
    found: HeapTasks,
    ended: Instant,
    took: Duration,
}

impl HeapTaskSearch {
    /// Searches, unless the last search is recent.
    pub(crate) fn search(&self, process: Process, image: &Image, program: &Program<'_>) {
        let tables = self.tables.get_or_init(|| HeapTaskTables::of(process, image, program, HeapTaskKinds::LocalSets));
        let is_old =
            |search: &Search| search.ended.elapsed() >= (search.took * (SEARCH_TIME_DIVISOR - 1)).max(SEARCH_EVERY);
        if tables.tables.is_empty() || !self.last().is_none_or(|search| is_old(&search)) {
            return;
        }
        let begun = Instant::now();
        let found = tables.search(process);
        let search = Search { found, ended: Instant::now(), took: begun.elapsed() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(search));
    }

    /// The addresses of their headers, by the last search.
    pub(crate) fn headers(&self, threads: &[(i32, u64)]) -> Vec<u64> {
        let pointers = threads.iter().map(|(_, pointer)| *pointer);
        self.last().map(|search| search.found.headers(pointers)).unwrap_or_default()
    }

    fn last(&self) -> Option<Arc<Search>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
