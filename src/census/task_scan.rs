//! The search for tasks of a program without descriptions of types.
//!
//! Every task begins with a header that points to a vtable, and each type of task has its own vtable. A vtable is seven
//! addresses of functions, followed by the distances from a task's header to its parts. A word that points to a vtable
//! belongs to a header. The meaning of the header's other words is not assumed, but inferred from what most headers have
//! in common. What does not fit in every respect is dropped.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::task_layout::state_of;
use crate::dwarf::Memory;
use crate::model::census::{SourcePlace, TaskState};
use crate::model::task::TaskId;
use crate::tokio_internals::debug_info::{TASK_ALIGNMENT, VTABLE_FUNCTIONS, task_state};

/// The words of a vtable that are read: functions, three distances, and one more that `tokio_unstable` adds.
const VTABLE_WORDS: usize = VTABLE_FUNCTIONS + 4;

/// The maximum number of words in a header.
const HEADER_WORDS: u64 = 8;

/// The maximum size of a task.
const MAX_TASK: u64 = 1 << 26;

/// The number of bytes that are read at a time.
const CHUNK: u64 = 1 << 20;

/// The maximum number of bytes that are searched. If there are more, the scan is incomplete.
const MAX_SEARCHED: u64 = 8 << 30;

/// The maximum number of headers.
const MAX_FOUND: usize = 1_000_000;

/// A larger reference count means invalid memory.
const MAX_REFERENCES: u64 = 1 << 24;

/// Larger ids of tasks and lists mean invalid memory.
const MAX_ID: u64 = 1 << 48;

/// The memory of a process that is scanned.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScanRanges {
    /// The program's code.
    pub(crate) code: Vec<Range<u64>>,
    /// The program's constants.
    pub(crate) constants: Vec<Range<u64>>,
    /// Anonymous memory.
    pub(crate) heap: Vec<Range<u64>>,
}

/// The vtable of one type of task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vtable {
    pub(crate) functions: [u64; VTABLE_FUNCTIONS],
    /// The distance to the scheduler, which comes after the header.
    scheduler_offset: u64,
    /// The distance to the id.
    id_offset: u64,
    /// The distance to the reference to the spawn location.
    spawned_offset: Option<u64>,
}

/// A possible header of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    address: u64,
    vtable: u64,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub(crate) struct TaskScan {
    /// By their addresses.
    pub(crate) vtables: BTreeMap<u64, Vtable>,
    headers: Vec<Header>,
    /// The offset of the state in a header.
    state_offset: u64,
    /// The offset of the list id in a header.
    list_offset: u64,
    /// Some memory was not searched.
    pub(crate) incomplete: bool,
}

/// A task that the scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScannedTask {
    /// The address of its header.
    pub(super) header: u64,
    pub(super) id: TaskId,
    pub(super) state: TaskState,
    pub(super) cancelled: bool,
    /// The id of the list that contains it. 0 for blocking functions and for workers.
    pub(super) list: u64,
    /// The address of its vtable.
    pub(super) vtable: u64,
    pub(super) spawned_at: Option<SourcePlace>,
}

impl TaskScan {
    /// Finds the vtables of the program, and the headers that point to them. The process may run meanwhile.
    pub(crate) fn run(memory: &dyn Memory, ranges: &ScanRanges) -> Self {
        let mut scan = Self::default();
        let is_code = |word: u64| ranges.code.iter().any(|range| range.contains(&word));
        each_chunk(memory, &ranges.constants, VTABLE_WORDS as u64 * 8, &mut scan.incomplete, |start, words| {
            for (position, window) in words.windows(VTABLE_WORDS).enumerate() {
                if let Some(vtable) = vtable(window, &is_code) {
                    scan.vtables.insert(start + 8 * position as u64, vtable);
                }
            }
        });
        scan.find_headers(memory, &ranges.heap);
        scan
    }

    fn find_headers(&mut self, memory: &dyn Memory, heap: &[Range<u64>]) {
        let (Some((first, _)), Some((last, _))) = (self.vtables.first_key_value(), self.vtables.last_key_value())
        else {
            return;
        };
        let (first, last) = (*first, *last);
        let mut references = Vec::new();
        let vtables = &self.vtables;
        each_chunk(memory, heap, 0, &mut self.incomplete, |start, words| {
            for (position, word) in words.iter().enumerate() {
                let is_reference = (first..=last).contains(word) && vtables.contains_key(word);
                if is_reference && references.len() < MAX_FOUND {
                    references.push((start + 8 * position as u64, *word));
                }
            }
        });
        // The offset of the vtable's address in a header is the one that most references have.
        let mut offsets: BTreeMap<u64, usize> = BTreeMap::new();
        for (address, _) in &references {
            *offsets.entry(address % TASK_ALIGNMENT).or_default() += 1;
        }
        let Some((offset, _)) = offsets.into_iter().max_by_key(|(_, count)| *count) else { return };
        let headers = references.into_iter().filter(|(address, _)| address % TASK_ALIGNMENT == offset);
        self.headers = headers.map(|(address, vtable)| Header { address: address - offset, vtable }).collect();
        self.infer_offsets(memory, offset, heap);
    }

    /// Infers which words of a header are the state and the list id: the pair by which most headers are valid tasks. Some
    /// headers are in freed memory that still has its old content, possibly most of them.
    fn infer_offsets(&mut self, memory: &dyn Memory, vtable_offset: u64, heap: &[Range<u64>]) {
        let ends = self.headers.iter().filter_map(|header| Some(self.vtables.get(&header.vtable)?.scheduler_offset));
        let end = ends.min().unwrap_or(0).min(8 * HEADER_WORDS);
        let headers: Vec<Vec<u64>> =
            self.headers.iter().filter_map(|header| words(memory, header.address, end)).collect();
        // A list id is small. The link to the next task in a queue is an address.
        let is_list =
            |value: u64| (1..MAX_ID >> 16).contains(&value) && !heap.iter().any(|range| range.contains(&value));
        let positions: Vec<usize> =
            (0..HEADER_WORDS).zip(0..).filter(|(word, _)| 8 * word != vtable_offset).map(|(_, at)| at).collect();
        let mut best = (0, 0, 0);
        for (state, list) in positions.iter().flat_map(|state| positions.iter().map(move |list| (*state, *list))) {
            let is_task = |words: &&Vec<u64>| {
                let (state, list) = (words.get(state), words.get(list));
                state.is_some_and(|state| is_state(*state)) && list.is_some_and(|list| is_list(*list))
            };
            let tasks = headers.iter().filter(is_task).count();
            if state != list && tasks > best.0 {
                best = (tasks, state, list);
            }
        }
        let (tasks, state, list) = best;
        if tasks == 0 {
            self.headers.clear();
        }
        (self.state_offset, self.list_offset) = (8 * state as u64, 8 * list as u64);
    }

    /// The tasks with headers that are still valid, without duplicates.
    pub(crate) fn tasks(&self, memory: &dyn Memory) -> Vec<ScannedTask> {
        let mut tasks: HashMap<TaskId, ScannedTask> = HashMap::new();
        for task in self.headers.iter().filter_map(|header| self.task(memory, *header)) {
            // A copy from the moment when the task was created is in no list.
            let known = tasks.get(&task.id).is_some_and(|known| known.list != 0 || task.list == 0);
            if !known {
                tasks.insert(task.id, task);
            }
        }
        let mut tasks: Vec<ScannedTask> = tasks.into_values().collect();
        tasks.sort_by_key(|task| (task.list, task.id));
        tasks
    }

    fn task(&self, memory: &dyn Memory, header: Header) -> Option<ScannedTask> {
        let vtable = self.vtables.get(&header.vtable)?;
        let bits = word(memory, header.address.checked_add(self.state_offset)?).filter(|bits| is_state(*bits))?;
        let id = word(memory, header.address.checked_add(vtable.id_offset)?)?;
        let list = word(memory, header.address.checked_add(self.list_offset)?)?;
        if id == 0 || id >= MAX_ID || list >= MAX_ID {
            return None;
        }
        let (state, cancelled) = state_of(bits);
        let spawned_at = vtable.spawned_offset.and_then(|offset| {
            let reference = word(memory, header.address.checked_add(offset)?)?;
            location(memory, reference)
        });
        Some(ScannedTask {
            header: header.address,
            id: TaskId(id),
            state,
            cancelled,
            list,
            vtable: header.vtable,
            spawned_at,
        })
    }
}

/// The vtable in these words, if they are one.
fn vtable(words: &[u64], is_code: &dyn Fn(u64) -> bool) -> Option<Vtable> {
    let (functions, distances) = words.split_first_chunk::<VTABLE_FUNCTIONS>()?;
    let &[trailer, scheduler, id, extra] = distances else { return None };
    let aligned = [trailer, scheduler, id].iter().all(|distance| distance.is_multiple_of(8));
    let ordered = (24..=TASK_ALIGNMENT).contains(&scheduler) && scheduler <= id && id < trailer && trailer <= MAX_TASK;
    if !aligned || !ordered || !functions.iter().all(|function| is_code(*function)) {
        return None;
    }
    let spawned =
        Some(extra).filter(|extra| extra.is_multiple_of(8) && (scheduler..trailer).contains(extra) && *extra != id);
    Some(Vtable { functions: *functions, scheduler_offset: scheduler, id_offset: id, spawned_offset: spawned })
}

/// Whether these bits can be the state of a task. A task has references, and is not running and complete at once.
fn is_state(bits: u64) -> bool {
    const BUSY_AND_DONE: u64 = task_state::RUNNING | task_state::COMPLETE;
    (1..MAX_REFERENCES).contains(&(bits >> task_state::REFERENCES_SHIFT)) && bits & BUSY_AND_DONE != BUSY_AND_DONE
}

/// A `Location` of the standard library: address and length of the file name, line and column.
fn location(memory: &dyn Memory, reference: u64) -> Option<SourcePlace> {
    const MAX_PATH: u64 = 4096;
    let (start, length) = (word(memory, reference)?, word(memory, reference.checked_add(8)?)?);
    let [line, _column] = halves(word(memory, reference.checked_add(16)?)?);
    let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| length <= MAX_PATH)?];
    if line == 0 || !memory.read(start, &mut bytes) {
        return None;
    }
    let file = String::from_utf8(bytes).ok()?;
    let file = file.trim_end_matches('\0');
    file.ends_with(".rs").then(|| SourcePlace { file: file.into(), line })
}

fn halves(word: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the word is split into halves")]
    [word as u32, (word >> 32) as u32]
}

/// The words in a range of memory.
fn words(memory: &dyn Memory, address: u64, length: u64) -> Option<Vec<u64>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let read = memory.read(address, &mut bytes);
    read.then(|| bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

pub(super) fn word(memory: &dyn Memory, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory.read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
}

/// Calls `visit` with the words of all memory in these ranges. Successive chunks share `overlap` bytes.
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
            // Memory that is only reserved cannot be read, and nothing after it in the same range can.
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
    use super::super::test_memory::TestMemory;
    use super::*;

    /// Two tasks of one type, a copy of one that is in no list, and a freed one.
    fn scene() -> (TestMemory, ScanRanges) {
        let mut words = vec![0; 256];
        for (position, word) in words[8..15].iter_mut().enumerate() {
            *word = 0x10 + position as u64;
        }
        words[15..19].copy_from_slice(&[96, 32, 40, 0]);
        let vtable = 0x1000 + 64;
        for (at, state, list, id) in [(32, 2 << 6, 1, 7), (64, 3 << 6 | 1, 1, 8), (96, 2 << 6, 0, 7), (128, 0, 1, 9)] {
            words[at..at + 6].copy_from_slice(&[state, 0, vtable, list, 0, id]);
        }
        let all = 0x1000..0x1000 + 256 * 8;
        (
            TestMemory(words),
            ScanRanges { code: std::iter::once(0x10..0x20).collect(), constants: vec![all.clone()], heap: vec![all] },
        )
    }

    /// The ids of tasks, with the ids of their lists.
    fn found(memory: &TestMemory, ranges: &ScanRanges) -> Vec<(u64, u64)> {
        TaskScan::run(memory, ranges).tasks(memory).iter().map(|task| (task.id.0, task.list)).collect()
    }

    #[test]
    fn tasks_are_found_by_common_properties_of_headers() {
        let (memory, ranges) = scene();
        let scan = TaskScan::run(&memory, &ranges);
        assert_eq!(scan.vtables.keys().copied().collect::<Vec<_>>(), [0x1040]);
        let tasks = scan.tasks(&memory);
        let found: Vec<_> = tasks.iter().map(|task| (task.id.0, task.state, task.list)).collect();
        assert_eq!(found, [(7, TaskState::Idle, 1), (8, TaskState::Running, 1)]);
    }

    #[test]
    fn a_link_of_a_queue_is_not_a_list_id() {
        let (mut memory, ranges) = scene();
        // The first task still links to the second, from when both were in a queue. The freed task has a small number
        // there.
        memory.0[32 + 1] = 0x1000 + 64 * 8;
        memory.0[128 + 1] = 1;
        assert_eq!(found(&memory, &ranges), [(7, 1), (8, 1)]);
    }

    #[test]
    fn freed_memory_does_not_matter() {
        let (mut memory, ranges) = scene();
        // An allocator overwrites the first words of a freed task, and keeps the rest.
        for at in (144..256).step_by(16) {
            memory.0[at..at + 6].copy_from_slice(&[0x7f06_0802_25f0, 0x7f06_0802_2970, 0x1040, 1, 0, at as u64]);
        }
        assert_eq!(found(&memory, &ranges), [(7, 1), (8, 1)]);
    }

    #[test]
    fn workers_alone_are_not_tasks() {
        let (mut memory, ranges) = scene();
        // None is in a list, and all have the same small number after the header.
        for at in [32, 64, 96, 128] {
            memory.0[at + 3] = 0;
            memory.0[at + 4] = 256;
        }
        assert_eq!(found(&memory, &ranges).iter().filter(|(_, list)| *list != 0).count(), 0);
    }

    #[test]
    fn random_memory_has_no_tasks() {
        let (mut memory, ranges) = scene();
        for (position, word) in memory.0.iter_mut().enumerate().skip(20) {
            *word = (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        assert!(TaskScan::run(&memory, &ranges).tasks(&memory).is_empty());
        assert!(TaskScan::run(&TestMemory(Vec::new()), &ranges).tasks(&memory).is_empty());
    }
}
