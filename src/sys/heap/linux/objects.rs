//! Sampled objects: what is known about each until it is freed, and the mailboxes to the collector.

use std::ops::Range;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::lists::{Mailbox, Pool};
use super::{region, stack_record, thread};
use crate::sys::heap::facts::{Allocated, Freed, MAX_OBJECTS, PollNumber};
use crate::sys::{PollNow, PollWords, StackCopy, StaticRef, monotonic_time};

/// No stack record.
const NONE: u32 = u32::MAX;

/// How often a thread yields until a stack record is free, if every allocation is sampled.
const MOST_YIELDS: usize = 2_000;

/// A sampled object. It is written before it is posted, and read by the collector after that.
struct Object {
    address: AtomicUsize,
    size: AtomicUsize,
    mean: AtomicU64,
    /// Nanoseconds of the monotonic clock.
    at: AtomicU64,
    tid: AtomicI32,
    stack: AtomicU32,
    /// The address of the worker's words, 0 outside of a poll.
    words: AtomicUsize,
    sequence: AtomicU64,
    task: AtomicU64,
    spawned_at: StaticRef<Location<'static>>,
    name: AtomicU32,
    freed_at: AtomicU64,
    freed_in_same_poll: AtomicBool,
}

impl Object {
    const fn new() -> Self {
        Self {
            address: AtomicUsize::new(0),
            size: AtomicUsize::new(0),
            mean: AtomicU64::new(0),
            at: AtomicU64::new(0),
            tid: AtomicI32::new(0),
            stack: AtomicU32::new(NONE),
            words: AtomicUsize::new(0),
            sequence: AtomicU64::new(0),
            task: AtomicU64::new(0),
            spawned_at: StaticRef::empty(),
            name: AtomicU32::new(0),
            freed_at: AtomicU64::new(0),
            freed_in_same_poll: AtomicBool::new(false),
        }
    }
}

static OBJECTS: [Object; MAX_OBJECTS] = [const { Object::new() }; MAX_OBJECTS];
static FREE: Pool<MAX_OBJECTS> = Pool::new();
static NEW: Mailbox<MAX_OBJECTS> = Mailbox::new();
static FREED: Mailbox<MAX_OBJECTS> = Mailbox::new();

/// A number for a new object.
pub(super) fn claim() -> Option<u32> {
    FREE.take(MAX_OBJECTS)
}

/// Gives back a number that was not published.
pub(super) fn give_back(object: u32) {
    FREE.give(object);
}

fn now() -> u64 {
    monotonic_time().as_nanos() as u64
}

/// Stores what is known about an object, copies the calling thread's stack, and posts the object.
pub(super) fn publish(number: u32, address: usize, size: usize) {
    let Some(object) = OBJECTS.get(number as usize) else { return };
    let mean = thread::MEAN.load(Ordering::Relaxed);
    object.address.store(address, Ordering::Relaxed);
    object.size.store(size, Ordering::Relaxed);
    object.mean.store(mean, Ordering::Relaxed);
    object.at.store(now(), Ordering::Relaxed);
    object.tid.store(thread::tid(), Ordering::Relaxed);
    let words = thread::words();
    let poll = words.and_then(PollWords::now);
    let in_poll = words.filter(|_| poll.is_some());
    object.words.store(in_poll.map_or(0, |words| std::ptr::from_ref(words).addr()), Ordering::Relaxed);
    object.sequence.store(in_poll.map_or(0, |words| words.sequence.load(Ordering::Relaxed)), Ordering::Relaxed);
    object.task.store(poll.map_or(0, |poll| poll.task), Ordering::Relaxed);
    object.spawned_at.set(poll.and_then(|poll| poll.spawned_at));
    object.name.store(poll.map_or(0, |poll| poll.name), Ordering::Relaxed);
    let stack = thread::stack();
    let record = if mean == 0 { take_record_patiently(&stack) } else { stack_record::take(&stack) };
    if let Some(record) = record {
        stack_record::fill(record, &stack);
    }
    object.stack.store(record.unwrap_or(NONE), Ordering::Relaxed);
    NEW.post(number);
}

/// Waits for a record for a limited time. A test that samples every allocation would fill the records before the
/// collector runs.
fn take_record_patiently(stack: &Range<usize>) -> Option<u32> {
    (0..MOST_YIELDS).find_map(|_| {
        stack_record::take(stack).or_else(|| {
            std::thread::yield_now();
            None
        })
    })
}

/// Posts that an object is freed by the calling thread.
pub(super) fn post_freed(number: u32) {
    let Some(object) = OBJECTS.get(number as usize) else { return };
    let words = object.words.load(Ordering::Relaxed);
    let in_same_poll = thread::words().is_some_and(|own| {
        std::ptr::from_ref(own).addr() == words
            && own.sequence.load(Ordering::Relaxed) == object.sequence.load(Ordering::Relaxed)
    });
    object.freed_at.store(now(), Ordering::Relaxed);
    object.freed_in_same_poll.store(in_same_poll, Ordering::Relaxed);
    FREED.post(number);
}

/// Passes on new and freed objects, each new one before its free. `stack` has the copy of a new object's stack; it is
/// empty if there is none. One thread at a time may call it.
pub(super) fn drain(
    stack: &mut StackCopy,
    mut allocated: impl FnMut(Allocated, &StackCopy),
    mut freed: impl FnMut(Freed),
) {
    // An object that is freed here is new here at the latest.
    let ended = FREED.take_all();
    for number in NEW.take_all() {
        let Some(object) = OBJECTS.get(number as usize) else { continue };
        let record = object.stack.load(Ordering::Relaxed);
        if record == NONE || !stack_record::empty(record, stack) {
            stack.bytes.clear();
        }
        let slot = object.words.load(Ordering::Relaxed);
        let sequence = object.sequence.load(Ordering::Relaxed);
        let poll = (slot != 0).then(|| PollNow {
            task: object.task.load(Ordering::Relaxed),
            spawned_at: object.spawned_at.get(),
            name: object.name.load(Ordering::Relaxed),
        });
        let facts = Allocated {
            object: number,
            size: object.size.load(Ordering::Relaxed) as u64,
            mean: object.mean.load(Ordering::Relaxed),
            at: Duration::from_nanos(object.at.load(Ordering::Relaxed)),
            tid: object.tid.load(Ordering::Relaxed),
            poll,
            poll_number: poll.map(|_| PollNumber { slot, sequence }),
        };
        allocated(facts, stack);
    }
    for number in ended {
        let Some(object) = OBJECTS.get(number as usize) else { continue };
        freed(Freed {
            object: number,
            at: Duration::from_nanos(object.freed_at.load(Ordering::Relaxed)),
            in_same_poll: object.freed_in_same_poll.load(Ordering::Relaxed),
        });
        let address = object.address.load(Ordering::Relaxed);
        if region::contains(address) {
            region::give(address);
        }
        FREE.give(number);
    }
}
