//! The readers against damaged memory and debug information: whatever the bytes are, they end and do not panic. Real data is
//! damaged, because random data ends every reader early.

use std::time::Duration;

use super::awaiting::{Awaiting, MANY};
use super::heap_tasks::HeapTaskTables;
use super::thread_starts::{pointers, starts};
use crate::census::{HeapTaskKinds, Subject, ThreadStart};
use crate::dwarf::{Memory, PackedTypes, Program, Sections, pack};
use crate::images::Images;
use crate::process::{FrozenProcess, Snapshot, Stops};
use crate::sys::Process;

/// A pseudo-random number, the same for the same input (splitmix64).
fn chance(of: u64) -> u64 {
    let mixed = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Memory in which one word in a number is replaced, and one page in a number is missing.
struct Damaged<'a> {
    memory: &'a Snapshot,
    seed: u64,
    one_in: u64,
    heap: u64,
}

impl Memory for Damaged<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        if chance((address >> 12) ^ self.seed).is_multiple_of(self.one_in * 50) || !self.memory.read(address, into) {
            return false;
        }
        for (index, byte) in into.iter_mut().enumerate() {
            let at = address.wrapping_add(index as u64);
            let word = chance((at >> 3) ^ (self.seed << 32));
            if word.is_multiple_of(self.one_in) {
                // Nothing, a small number, an address of the heap so that lists meet themselves, or anything.
                let wrong = match (word >> 32) % 4 {
                    0 => 0,
                    1 => word >> 61,
                    2 => self.heap + (word >> 40) % 4096 * 8,
                    _ => word,
                };
                *byte = wrong.to_le_bytes()[usize::try_from(at % 8).unwrap_or(0)];
            }
        }
        true
    }
}

/// The program that is read, and what is needed for it.
struct Scene {
    _program: Awaiting,
    sections: Sections,
    memory: Snapshot,
    starts: Vec<ThreadStart>,
    unlisted: Vec<u64>,
    bias: u64,
}

impl Scene {
    fn new() -> Self {
        let program = Awaiting::with("heap_tasks");
        let process = Process::with_id(program.pid());
        let mut images = Images::of(process);
        images.load_new().expect("it is our own child");
        let image = images.program().expect("it is there");
        let sections = Sections::read(image.path.as_deref().expect("it has a file")).expect("it can be read");
        let moment =
            FrozenProcess::freeze(process, &Stops::new(true), &|_, _| {}, &|_, _| {}).expect("it is our own child");
        let starts = starts(&moment.threads, image.thread_locals());
        let found = HeapTaskTables::of(process, image, &Program::of(&sections), HeapTaskKinds::All).search(process);
        let mut unlisted = found.headers(pointers(&moment.threads));
        assert!(unlisted.len() >= 5, "three of a set, two of the blocking pool");
        // And what is none.
        unlisted.extend(unlisted.clone().iter().flat_map(|header| [header + 8, header ^ 64]));
        Self { _program: program, sections, memory: moment.memory, starts, unlisted, bias: image.bias }
    }

    fn subject<'s, 'd>(&'s self, program: &'s Program<'d>, memory: &'s dyn Memory) -> Subject<'s, 'd> {
        let (threads, unlisted, now) = (&self.starts, &self.unlisted, Duration::from_secs(1));
        Subject { threads, heap_headers: unlisted, now, ..Subject::of(program, memory, self.bias) }
    }

    fn census(&self, program: &Program<'_>, memory: &dyn Memory) -> usize {
        let subject = self.subject(program, memory);
        subject.touch(usize::MAX);
        let (_workers, _unknown) = subject.workers();
        let futures = subject.find_block_on_futures();
        Subject { block_on_futures: Some(&futures), ..subject }.census().tasks.len()
    }
}

#[test]
fn damaged_memory_ends_in_unknown_tasks_and_not_in_a_panic() {
    let scene = Scene::new();
    let program = Program::of(&scene.sections);
    assert!(scene.census(&program, &scene.memory) > MANY, "undamaged, all of it is read");
    let heap = Process::with_id(scene._program.pid()).mappings().expect("it lives");
    let heap = heap.iter().find(|mapping| mapping.path == "[heap]").expect("it has a heap").start;
    let mut read = 0;
    for seed in 0..60 {
        let memory = Damaged { memory: &scene.memory, seed, one_in: [5, 50, 500][seed as usize % 3], heap };
        read += scene.census(&program, &memory);
    }
    assert!(read > MANY, "the damage leaves something to be read");
}

#[test]
fn damaged_debug_information_ends_in_unknown_types_and_not_in_a_panic() {
    let scene = Scene::new();
    let mut read = 0;
    for seed in 0..6 {
        let mut sections = scene.sections.clone();
        sections.damage(|position, byte| {
            let word = chance(position as u64 ^ (seed << 48));
            let rate = [1_000, 100_000][usize::try_from(seed % 2).unwrap_or(0)];
            if word.is_multiple_of(rate) { word.to_le_bytes()[5] } else { byte }
        });
        let program = Program::of(&sections);
        read += scene.census(&program, &scene.memory);
    }
    println!("{read} tasks were read in spite of it");
}

#[test]
fn packed_types_tell_the_same_and_damaged_ones_do_not_panic() {
    let scene = Scene::new();
    let program = Program::of(&scene.sections);
    let packed = pack(&program).expect("it describes a runtime");
    let whole = Program::unpacked(PackedTypes::read(packed.clone()).expect("it is whole"));
    let census = |program: &Program<'_>| {
        let subject = scene.subject(program, &scene.memory);
        let futures = subject.find_block_on_futures();
        Subject { block_on_futures: Some(&futures), ..subject }.census()
    };
    let (found, expected) = (census(&whole), census(&program));
    let with_paths = expected.tasks.iter().filter(|task| task.path.is_some()).count();
    assert!(with_paths > MANY, "{with_paths} of {}", expected.tasks.len());
    assert_eq!(found.tasks, expected.tasks);
    assert!(
        expected.threads.iter().any(|thread| thread.block_on_future.is_some()),
        "the future given to block_on is found"
    );
    assert_eq!(found.threads, expected.threads);
    assert_eq!(whole.source_roots(), program.source_roots());
    let (mut read, mut refused) = (0, 0);
    for seed in 0..200 {
        let rate = [100, 10_000, 200_000][seed as usize % 3];
        let mut damaged = packed.clone();
        for (position, byte) in damaged.iter_mut().enumerate() {
            let word = chance(position as u64 ^ (seed << 48));
            if word.is_multiple_of(rate) {
                *byte = word.to_le_bytes()[5];
            }
        }
        damaged.truncate(damaged.len() - usize::try_from(chance(seed) % 2 * (chance(seed) >> 45)).unwrap_or(0));
        match PackedTypes::read(damaged) {
            Some(types) => read += scene.census(&Program::unpacked(types), &scene.memory),
            None => refused += 1,
        }
    }
    println!("{read} tasks were read in spite of it, {refused} were refused as a whole");
}
