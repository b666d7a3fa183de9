//! A census of many tasks at one lock takes no more reads per task than one of few. Times would depend on the machine.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::awaiting::{Awaiting, MANY};
use super::thread_starts::starts;
use crate::census::Subject;
use crate::dwarf::{Memory, Program, Sections};
use crate::images::Images;
use crate::model::census::{Census, LockStage};
use crate::process::{FrozenProcess, Snapshot, Stops};
use crate::sys::Process;

/// Memory that counts how often it is read.
struct Counted {
    memory: Snapshot,
    reads: AtomicUsize,
}

impl Memory for Counted {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.memory.read(address, into)
    }
}

/// The census of a program that waits in this way, and the number of reads for each task.
fn census(flavor: &str) -> (Census, usize) {
    let program = Awaiting::with(flavor);
    let process = Process::with_id(program.pid());
    let mut images = Images::of(process);
    images.load_new().expect("it is our own child");
    let image = images.program().expect("it is there");
    let sections = Sections::read(image.path.as_deref().expect("it has a file")).expect("it can be read");
    let types = Program::of(&sections);
    let moment =
        FrozenProcess::freeze(process, &Stops::new(true), &|_, _| {}, &|_, _| {}).expect("it is our own child");
    let threads = starts(&moment.threads, image.thread_locals());
    let memory = Counted { memory: moment.memory, reads: AtomicUsize::new(0) };
    let census = Subject { threads: &threads, ..Subject::of(&types, &memory, image.bias) }.census();
    let reads = memory.reads.load(Ordering::Relaxed) / census.tasks.len();
    (census, reads)
}

#[test]
fn each_queue_is_read_once_and_not_once_for_each_waiter() {
    let (_, few) = census("futurelock");
    let (census, many) = census("queue");
    let queued = |stage: &LockStage| *stage == LockStage::Queued;
    let unpolled = census.tasks.iter().flat_map(|task| &task.unpolled);
    assert_eq!(unpolled.filter(|future| queued(&future.stage)).count(), 100 * MANY, "all are found in the queue");
    println!("{few} and {many}");
    assert!(many < 3 * few, "{few} reads for each task with short queues, and {many} with a long one");
}
