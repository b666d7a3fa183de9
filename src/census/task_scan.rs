//! Tasks of a program that describes no types, found by their shape.
//!
//! Every task begins with a header that points to a table of functions, one table for each type of task. A table is seven
//! addresses of code in a row, and behind them the distances from a task's header to its parts; a header is what points to
//! one. Which word of a header is what is not assumed: it is what the headers that were found have in common. What does
//! not fit in every respect is dropped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::lock_owners::Held;
use super::runtimes::Entered;
use super::tasks::{TaskLayout, TaskReader, state_of};
use super::{Subject, lock_owners, threads};
use crate::dwarf::Memory;
use crate::model::census::{Census, RuntimeNow, SourcePlace, TaskNow, TaskState};
use crate::model::task::TaskId;

/// Functions in a table.
const FUNCTIONS: usize = 7;

/// Words of a table that are read: functions, the three distances, and one more that `tokio_unstable` adds.
const TABLE_WORDS: usize = FUNCTIONS + 4;

/// Tasks lie at multiples of this.
const ALIGNMENT: u64 = 128;

/// Words of a header that are looked at.
const HEADER_WORDS: u64 = 8;

/// A task is no larger.
const MAX_TASK: u64 = 1 << 26;

/// Read at a time.
const CHUNK: u64 = 1 << 20;

/// Memory that is searched; the rest is not, and that is told.
const MAX_SEARCHED: u64 = 8 << 30;

/// Tasks that are found.
const MAX_FOUND: usize = 1_000_000;

/// More references than a task ever has.
const MAX_REFERENCES: u64 = 1 << 24;

/// Bits of a task's state below the number of its references.
const STATE_BITS: u32 = 6;

/// No counter comes that far.
const MAX_NUMBER: u64 = 1 << 48;

/// Where in a process the parts of a program lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) code: Vec<Range<u64>>,
    pub(crate) constants: Vec<Range<u64>>,
    /// Memory that is neither of a file nor of the kernel.
    pub(crate) heap: Vec<Range<u64>>,
}

/// The functions and distances of one type of task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) functions: [u64; FUNCTIONS],
    /// Of the scheduler, before which the header ends.
    scheduler_offset: u64,
    id_offset: u64,
    /// Of the reference to the place where it was spawned.
    spawned_offset: Option<u64>,
}

/// A task whose header was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    address: u64,
    table: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    pub(crate) tables: BTreeMap<u64, Table>,
    headers: Vec<Header>,
    /// Of a header: its state, and the list that it is in.
    state: u64,
    owner: u64,
    /// Some memory was not searched.
    pub(crate) incomplete: bool,
}

/// A task as its header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShapedTask {
    /// The address of its header.
    header: u64,
    pub(crate) id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) cancelled: bool,
    /// The number of the list that it is in; 0 for work of `spawn_blocking`, workers among them.
    pub(crate) owner: u64,
    /// The address of its table.
    pub(crate) table: u64,
    pub(crate) spawned_at: Option<SourcePlace>,
}

impl Shapes {
    /// Finds the tables of the program, and the headers that point to them. The process may run on.
    pub(crate) fn find(memory: &dyn Memory, places: &Places) -> Self {
        let mut shapes = Self::default();
        let is_code = |word: u64| places.code.iter().any(|range| range.contains(&word));
        each_chunk(memory, &places.constants, TABLE_WORDS as u64 * 8, &mut shapes.incomplete, |start, words| {
            for (position, window) in words.windows(TABLE_WORDS).enumerate() {
                if let Some(table) = table(window, &is_code) {
                    shapes.tables.insert(start + 8 * position as u64, table);
                }
            }
        });
        shapes.find_headers(memory, &places.heap);
        shapes
    }

    fn find_headers(&mut self, memory: &dyn Memory, heap: &[Range<u64>]) {
        let (Some((first, _)), Some((last, _))) = (self.tables.first_key_value(), self.tables.last_key_value()) else {
            return;
        };
        let (first, last) = (*first, *last);
        let mut hits = Vec::new();
        let tables = &self.tables;
        each_chunk(memory, heap, 0, &mut self.incomplete, |start, words| {
            for (position, word) in words.iter().enumerate() {
                if (first..=last).contains(word) && tables.contains_key(word) && hits.len() < MAX_FOUND {
                    hits.push((start + 8 * position as u64, *word));
                }
            }
        });
        // Where in a header the reference to its table is: where most of those are that were found.
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for (address, _) in &hits {
            *places.entry(address % ALIGNMENT).or_default() += 1;
        }
        let Some((inside, _)) = places.into_iter().max_by_key(|(_, count)| *count) else { return };
        let headers = hits.into_iter().filter(|(address, _)| address % ALIGNMENT == inside);
        self.headers = headers.map(|(address, table)| Header { address: address - inside, table }).collect();
        self.learn(memory, inside, heap);
    }

    /// Finds out which word of a header is its state, and which the number of its list: those by which most headers are tasks.
    /// Not all are, because memory that is free again keeps some of what it held; that may be most of them.
    fn learn(&mut self, memory: &dyn Memory, table: u64, heap: &[Range<u64>]) {
        let ends = self.headers.iter().filter_map(|header| Some(self.tables.get(&header.table)?.scheduler_offset));
        let end = ends.min().unwrap_or(0).min(8 * HEADER_WORDS);
        let headers: Vec<Vec<u64>> =
            self.headers.iter().filter_map(|header| words(memory, header.address, end)).collect();
        // A list's number is small; the next in a queue is an address.
        let is_list =
            |value: u64| (1..MAX_NUMBER >> 16).contains(&value) && !heap.iter().any(|range| range.contains(&value));
        let positions: Vec<usize> =
            (0..HEADER_WORDS).zip(0..).filter(|(word, _)| 8 * word != table).map(|(_, at)| at).collect();
        let mut best = (0, 0, 0);
        for (state, owner) in positions.iter().flat_map(|state| positions.iter().map(move |owner| (*state, *owner))) {
            let is_task = |words: &&Vec<u64>| {
                let (state, owner) = (words.get(state), words.get(owner));
                state.is_some_and(|state| is_state(*state)) && owner.is_some_and(|owner| is_list(*owner))
            };
            let tasks = headers.iter().filter(is_task).count();
            if state != owner && tasks > best.0 {
                best = (tasks, state, owner);
            }
        }
        let (tasks, state, owner) = best;
        if tasks == 0 {
            self.headers.clear();
        }
        (self.state, self.owner) = (8 * state as u64, 8 * owner as u64);
    }

    /// The tasks whose headers still make sense, each once.
    pub(crate) fn tasks(&self, memory: &dyn Memory) -> Vec<ShapedTask> {
        let mut tasks: HashMap<TaskId, ShapedTask> = HashMap::new();
        for task in self.headers.iter().filter_map(|header| self.task(memory, *header)) {
            // A copy that remains of the moment when it was made is in no list.
            let known = tasks.get(&task.id).is_some_and(|known| known.owner != 0 || task.owner == 0);
            if !known {
                tasks.insert(task.id, task);
            }
        }
        let mut tasks: Vec<ShapedTask> = tasks.into_values().collect();
        tasks.sort_by_key(|task| (task.owner, task.id));
        tasks
    }

    fn task(&self, memory: &dyn Memory, header: Header) -> Option<ShapedTask> {
        let table = self.tables.get(&header.table)?;
        let bits = word(memory, header.address.checked_add(self.state)?).filter(|bits| is_state(*bits))?;
        let id = word(memory, header.address.checked_add(table.id_offset)?)?;
        let owner = word(memory, header.address.checked_add(self.owner)?)?;
        if id == 0 || id >= MAX_NUMBER || owner >= MAX_NUMBER {
            return None;
        }
        let (state, cancelled) = state_of(bits);
        let spawned_at = table.spawned_offset.and_then(|offset| {
            let reference = word(memory, header.address.checked_add(offset)?)?;
            location(memory, reference)
        });
        Some(ShapedTask {
            header: header.address,
            id: TaskId(id),
            state,
            cancelled,
            owner,
            table: header.table,
            spawned_at,
        })
    }
}

/// The task that each thread polls: of all words of the threads' variables, the one that is the number of a task that runs
/// in every thread, or nothing. `None` where that is no single word.
pub(crate) fn polled(
    memory: &dyn Memory,
    blocks: &[Option<Range<u64>>],
    tasks: &[ShapedTask],
) -> Option<Vec<Option<TaskId>>> {
    let running: HashSet<u64> =
        tasks.iter().filter(|task| task.state == TaskState::Running).map(|task| task.id.0).collect();
    let length = blocks.iter().flatten().map(|block| block.end.saturating_sub(block.start)).min()?.min(CHUNK);
    let mut found: Option<Vec<Option<TaskId>>> = None;
    let mut best = 0;
    for offset in (0..length).step_by(8) {
        let read = |block: &Option<Range<u64>>| block.as_ref().and_then(|block| word(memory, block.start + offset));
        let words: Vec<u64> = blocks.iter().map(|block| read(block).unwrap_or(0)).collect();
        let told: Vec<u64> = words.iter().copied().filter(|word| *word != 0).collect();
        let different: HashSet<u64> = told.iter().copied().collect();
        if told.len() < best.max(1) || different.len() < told.len() || !different.is_subset(&running) {
            continue;
        }
        let tasks: Vec<_> = words.iter().map(|word| Some(TaskId(*word)).filter(|id| id.0 != 0)).collect();
        match &found {
            // Two words that tell different things: neither is believed.
            Some(known) if told.len() == best && *known != tasks => return None,
            _ => (best, found) = (told.len(), Some(tasks)),
        }
    }
    found
}

/// The census of tasks that were found by their shape. `types` tells future and scheduler of the tasks of a table. What
/// tasks await is told as far as the program describes it.
pub(crate) fn shaped_census(
    subject: &Subject<'_, '_>,
    tasks: Vec<ShapedTask>,
    polled: Option<Vec<Option<TaskId>>>,
    types: &dyn Fn(u64) -> Option<(String, String)>,
) -> Census {
    let mut census = Census::default();
    let values = subject.values();
    let layout = TaskLayout::of(&values).ok();
    let mut held = Vec::new();
    let mut lists: BTreeMap<u64, usize> = BTreeMap::new();
    for task in tasks {
        // What is in no list is work of `spawn_blocking`, or a worker.
        if task.owner == 0 {
            continue;
        }
        let (future, scheduler) = types(task.table).unzip();
        let index = *lists.entry(task.owner).or_insert_with(|| {
            let index = census.runtimes.len();
            census.runtimes.push(RuntimeNow {
                index,
                flavor: scheduler.as_deref().map_or("flavor not known", flavor).to_owned(),
                address: task.owner,
                threads: 0,
                unknown: None,
            });
            index
        });
        let described = layout.as_ref().and_then(|layout| {
            let reader = TaskReader { values: &values, layout, runtime: index, now: subject.now };
            let (read, holds) = reader.read_at(task.header)?;
            held.extend(holds.into_iter().map(|holds| Held { holds, task: task.id }));
            read.path.is_some().then_some(read)
        });
        census.tasks.push(described.unwrap_or_else(|| TaskNow {
            id: Some(task.id),
            runtime: index,
            state: task.state,
            cancelled: task.cancelled,
            future: future.unwrap_or_else(|| "type not known".to_owned()),
            spawned_at: task.spawned_at,
            thread: None,
            path: None,
            unpolled: Vec::new(),
            unknown: None,
        }));
    }
    lock_owners::tell(&mut census.tasks, &held);
    let starts = subject.threads;
    let told = polled.unwrap_or_else(|| vec![None; starts.len()]);
    let entered: Vec<Entered> = told
        .into_iter()
        .map(|id| {
            let task = census.tasks.iter().find(|task| id.is_some() && task.id == id);
            Entered { runtime: task.map(|task| task.runtime), task: id, ..Entered::default() }
        })
        .collect();
    census.threads = threads(starts, &entered, &mut census.tasks);
    for runtime in &mut census.runtimes {
        runtime.threads = entered.iter().filter(|entered| entered.runtime == Some(runtime.index)).count();
    }
    census.tasks.sort_by_key(|task| (task.runtime, task.id));
    census
}

/// What kind of runtime a task's scheduler belongs to.
fn flavor(scheduler: &str) -> &'static str {
    [("multi_thread_alt", "multi_thread_alt"), ("multi_thread", "multi_thread"), ("current_thread", "current_thread")]
        .into_iter()
        .find(|(part, _)| scheduler.contains(part))
        .map_or(if scheduler.is_empty() { "flavor not known" } else { "local" }, |(_, flavor)| flavor)
}

fn table(words: &[u64], is_code: &dyn Fn(u64) -> bool) -> Option<Table> {
    let (functions, distances) = words.split_first_chunk::<FUNCTIONS>()?;
    let &[trailer, scheduler, id, more] = distances else { return None };
    let aligned = [trailer, scheduler, id].iter().all(|distance| distance.is_multiple_of(8));
    let ordered = (24..=ALIGNMENT).contains(&scheduler) && scheduler <= id && id < trailer && trailer <= MAX_TASK;
    if !aligned || !ordered || !functions.iter().all(|function| is_code(*function)) {
        return None;
    }
    let spawned =
        Some(more).filter(|more| more.is_multiple_of(8) && (scheduler..trailer).contains(more) && *more != id);
    Some(Table { functions: *functions, scheduler_offset: scheduler, id_offset: id, spawned_offset: spawned })
}

/// Somebody refers to every task that there is, and none is polled and over at once.
fn is_state(bits: u64) -> bool {
    (1..MAX_REFERENCES).contains(&(bits >> STATE_BITS)) && bits & 3 != 3
}

/// A `Location` of the standard library: address and length of the file's name, line and column.
fn location(memory: &dyn Memory, reference: u64) -> Option<SourcePlace> {
    const LONGEST: u64 = 4096;
    let (start, length) = (word(memory, reference)?, word(memory, reference.checked_add(8)?)?);
    let [line, _column] = halves(word(memory, reference.checked_add(16)?)?);
    let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| length <= LONGEST)?];
    if line == 0 || !memory.read(start, &mut bytes) {
        return None;
    }
    let file = String::from_utf8(bytes).ok()?;
    let file = file.trim_end_matches('\0');
    file.ends_with(".rs").then(|| SourcePlace { file: file.into(), line })
}

fn halves(word: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
    [word as u32, (word >> 32) as u32]
}

/// So many bytes as words.
fn words(memory: &dyn Memory, address: u64, length: u64) -> Option<Vec<u64>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let read = memory.read(address, &mut bytes);
    read.then(|| bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

fn word(memory: &dyn Memory, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory.read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
}

/// Calls `visit` with the words of all memory in these ranges. Chunks overlap by so many bytes.
fn each_chunk(
    memory: &dyn Memory,
    ranges: &[Range<u64>],
    overlap: u64,
    incomplete: &mut bool,
    mut visit: impl FnMut(u64, &[u64]),
) {
    let mut left = MAX_SEARCHED;
    let (mut bytes, mut words) = (Vec::new(), Vec::new());
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(CHUNK);
            let Some(rest) = left.checked_sub(length) else {
                *incomplete = true;
                return;
            };
            left = rest;
            bytes.resize(usize::try_from(length).unwrap_or(0), 0);
            // What is only reserved cannot be read, from its beginning to its end.
            if !memory.read(at, &mut bytes) {
                break;
            }
            words.clear();
            words.extend(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
            visit(at, &words);
            let last = at.saturating_add(length) >= range.end;
            at = if last { range.end } else { at + length - overlap };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory at 0x1000.
    struct Made(Vec<u64>);

    impl Memory for Made {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
            let start = address.checked_sub(0x1000).and_then(|start| usize::try_from(start).ok());
            let part = start.and_then(|start| bytes.get(start..start.checked_add(into.len())?));
            part.map(|part| into.copy_from_slice(part)).is_some()
        }
    }

    /// Two tasks of one type, a copy of one that is in no list, and one that is gone.
    fn scene() -> (Made, Places) {
        let mut words = vec![0; 256];
        for (position, word) in words[8..15].iter_mut().enumerate() {
            *word = 0x10 + position as u64;
        }
        words[15..19].copy_from_slice(&[96, 32, 40, 0]);
        let table = 0x1000 + 64;
        for (at, state, owner, id) in [(32, 2 << 6, 1, 7), (64, 3 << 6 | 1, 1, 8), (96, 2 << 6, 0, 7), (128, 0, 1, 9)] {
            words[at..at + 6].copy_from_slice(&[state, 0, table, owner, 0, id]);
        }
        let all = 0x1000..0x1000 + 256 * 8;
        (
            Made(words),
            Places { code: std::iter::once(0x10..0x20).collect(), constants: vec![all.clone()], heap: vec![all] },
        )
    }

    /// The tasks, each with the number of its list.
    fn found(memory: &Made, places: &Places) -> Vec<(u64, u64)> {
        Shapes::find(memory, places).tasks(memory).iter().map(|task| (task.id.0, task.owner)).collect()
    }

    #[test]
    fn tasks_are_found_by_what_their_headers_have_in_common() {
        let (memory, places) = scene();
        let shapes = Shapes::find(&memory, &places);
        assert_eq!(shapes.tables.keys().copied().collect::<Vec<_>>(), [0x1040]);
        let tasks = shapes.tasks(&memory);
        let told: Vec<_> = tasks.iter().map(|task| (task.id.0, task.state, task.owner)).collect();
        assert_eq!(told, [(7, TaskState::Idle, 1), (8, TaskState::Running, 1)]);
    }

    #[test]
    fn the_next_in_a_queue_is_no_list() {
        let (mut memory, places) = scene();
        // The first task was followed by the second when both were in a queue; one that is gone has anything there.
        memory.0[32 + 1] = 0x1000 + 64 * 8;
        memory.0[128 + 1] = 1;
        assert_eq!(found(&memory, &places), [(7, 1), (8, 1)]);
    }

    #[test]
    fn memory_that_is_free_again_misleads_nobody() {
        let (mut memory, places) = scene();
        // What an allocator leaves where tasks were: its own words at the beginning, and the rest as it was.
        for at in (144..256).step_by(16) {
            memory.0[at..at + 6].copy_from_slice(&[0x7f06_0802_25f0, 0x7f06_0802_2970, 0x1040, 1, 0, at as u64]);
        }
        assert_eq!(found(&memory, &places), [(7, 1), (8, 1)]);
    }

    #[test]
    fn workers_alone_are_no_tasks() {
        let (mut memory, places) = scene();
        // None is in a list, and all have the same small number behind the header.
        for at in [32, 64, 96, 128] {
            memory.0[at + 3] = 0;
            memory.0[at + 4] = 256;
        }
        assert_eq!(found(&memory, &places).iter().filter(|(_, owner)| *owner != 0).count(), 0);
    }

    #[test]
    fn nonsense_is_no_task() {
        let (mut memory, places) = scene();
        for (position, word) in memory.0.iter_mut().enumerate().skip(20) {
            *word = (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        assert!(Shapes::find(&memory, &places).tasks(&memory).is_empty());
        assert!(Shapes::find(&Made(Vec::new()), &places).tasks(&memory).is_empty());
    }

    #[test]
    fn the_task_of_a_thread_is_the_number_that_only_running_ones_have() {
        let task = |id, state| ShapedTask {
            header: 0,
            id: TaskId(id),
            state,
            cancelled: false,
            owner: 1,
            table: 0,
            spawned_at: None,
        };
        let tasks = [task(5, TaskState::Running), task(6, TaskState::Running), task(7, TaskState::Idle)];
        // Two threads of three words each.
        let blocks = [Some(0x1000..0x1018), Some(0x1018..0x1030)];
        let memory = Made(vec![9, 5, 7, 5, 6, 0]);
        assert_eq!(polled(&memory, &blocks, &tasks), Some(vec![Some(TaskId(5)), Some(TaskId(6))]));
        let doubtful = Made(vec![5, 6, 0, 6, 5, 0]);
        assert_eq!(polled(&doubtful, &blocks, &tasks), None);
    }
}
