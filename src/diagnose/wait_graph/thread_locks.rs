//! Threads that wait for each other's locks: those of the standard library, of parking_lot and of C.
//!
//! Such a lock does not record its holder. But a guard is a pointer to its lock, and it lies on the stack of the thread that
//! has it, or in a register that a function there has saved. So a thread that has a lock's address on its stack, and does
//! not wait for it, may hold it. Where all threads that may hold what a thread waits for are stuck too, the thread is stuck.
//! That remains a guess, because a reference to a lock looks like its guard.

use std::collections::HashMap;

use crate::diagnose::culprit::find_culprit;
use crate::diagnose::object;
use crate::model::census::{Census, SourcePlace, ThreadNow, WaitCycle, WaitStep, Waiter};
use crate::model::stack::Frame;

const DOUBT: &str =
    "a lock does not record its holder; the next thread has its address on the stack, perhaps without holding it";

const ADVICE: &str = "take these locks in the same order everywhere, or hold only one at a time";

/// Where the address of a lock is, while a thread waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is the futex.
    Futex,
    /// It is the futex, or four bytes before it.
    FutexPair,
    /// It is beside the futex.
    NearFutex,
}

/// Functions in which a thread waits for a lock: their pattern, what the lock is called, and where its address is.
const WAITS: [(&str, &str, Kind); 7] = [
    ("std::sys::*::Mutex::lock_contended", "Mutex", Kind::Futex),
    ("std::sys::*::RwLock::*_contended", "RwLock", Kind::FutexPair),
    ("*::raw_mutex::RawMutex::lock_slow", "Mutex", Kind::NearFutex),
    ("*::raw_rwlock::RawRwLock::lock_*_slow", "RwLock", Kind::NearFutex),
    ("*::raw_rwlock::RawRwLock::upgrade_slow", "RwLock", Kind::NearFutex),
    ("*::lock::RawRwLock::lock_*_slow", "RwLock", Kind::NearFutex),
    ("pthread_mutex_lock", "pthread mutex", Kind::Futex),
];

/// A thread that waits for a lock.
#[derive(Debug)]
struct Waiting<'c> {
    thread: &'c ThreadNow,
    /// The addresses that its lock may have.
    locks: Vec<u64>,
    /// What its lock is called.
    what: &'static str,
    /// The positions of the waiting threads that may hold it.
    holders: Vec<usize>,
    is_stuck: bool,
}

/// The cycles of threads, each once.
pub(super) fn cycles(census: &Census) -> Vec<WaitCycle> {
    let mut waiting: Vec<Waiting<'_>> = census.threads.iter().filter_map(Waiting::of).collect();
    find_holders(&mut waiting, &census.threads);
    let continues =
        |one: &Waiting<'_>, all: &[Waiting<'_>]| one.is_stuck && one.holders.iter().any(|of| !all[*of].is_stuck);
    // Each round finds one thread that continues.
    while let Some(free) = waiting.iter().position(|one| continues(one, &waiting)) {
        waiting[free].is_stuck = false;
    }
    let mut seen = vec![false; waiting.len()];
    (0..waiting.len()).filter_map(|start| cycle_from(start, &waiting, &mut seen)).collect()
}

impl<'c> Waiting<'c> {
    fn of(thread: &'c ThreadNow) -> Option<Self> {
        let frames = &*thread.stack.as_ref().ok()?.frames;
        let (what, kind) = wait(frames)?;
        let futex = thread.locks.futex?;
        let locks = match kind {
            Kind::Futex => vec![futex],
            Kind::FutexPair => vec![futex, futex.wrapping_sub(4)],
            Kind::NearFutex => thread.locks.near_futex.iter().flat_map(|near| [*near, near & !1]).collect(),
        };
        Some(Self { thread, locks, what, holders: Vec::new(), is_stuck: true })
    }

    /// The address of the lock that this thread waits for, and another one may hold.
    fn lock_held_by(&self, holder: &ThreadNow) -> Option<u64> {
        self.locks.iter().copied().find(|lock| holder.locks.on_stack.binary_search(lock).is_ok())
    }
}

/// The wait for a lock in which a thread is.
fn wait(frames: &[Frame]) -> Option<(&'static str, Kind)> {
    frames.iter().find_map(|frame| {
        let (_, what, kind) = WAITS.iter().find(|(pattern, ..)| object::matches(pattern, &frame.function))?;
        Some((*what, *kind))
    })
}

/// Notes who may hold what each thread waits for. A thread for whose lock nobody is found is not stuck, and neither is one
/// whose lock may be held by a thread that does not wait.
fn find_holders(waiting: &mut [Waiting<'_>], threads: &[ThreadNow]) {
    let positions: HashMap<i32, usize> =
        waiting.iter().enumerate().map(|(position, one)| (one.thread.tid, position)).collect();
    let mut all = Vec::new();
    for one in &*waiting {
        let waits_for_the_same = |other: &Waiting<'_>| other.locks.iter().any(|lock| one.locks.contains(lock));
        let holders =
            threads.iter().filter(|thread| thread.tid != one.thread.tid && one.lock_held_by(thread).is_some());
        let holders: Option<Vec<usize>> = holders
            .map(|thread| positions.get(&thread.tid).copied())
            .filter(|position| !position.is_some_and(|position| waits_for_the_same(&waiting[position])))
            .collect();
        all.push(holders.filter(|holders| !holders.is_empty()));
    }
    for (one, holders) in waiting.iter_mut().zip(all) {
        one.is_stuck = holders.is_some();
        one.holders = holders.unwrap_or_default();
    }
}

/// The cycle that the first holders lead to, if it is not seen yet.
fn cycle_from(start: usize, waiting: &[Waiting<'_>], seen: &mut [bool]) -> Option<WaitCycle> {
    let mut path = Vec::new();
    let mut at = start;
    while !seen[at] && waiting[at].is_stuck {
        seen[at] = true;
        path.push(at);
        at = *waiting[at].holders.first()?;
    }
    let first = path.iter().position(|position| *position == at)?;
    let mut cycle = path.split_off(first);
    let smallest = cycle.iter().enumerate().min_by_key(|(_, position)| waiting[**position].thread.tid)?.0;
    cycle.rotate_left(smallest);
    let before = cycle.iter().cycle().skip(cycle.len() - 1);
    let after = cycle.iter().cycle().skip(1);
    let steps: Vec<WaitStep> = cycle
        .iter()
        .zip(before.zip(after))
        .filter_map(|(position, (before, after))| {
            let (one, before, after) = (&waiting[*position], &waiting[*before], &waiting[*after]);
            Some(step(one, name(before, before.lock_held_by(one.thread)?), name(one, one.lock_held_by(after.thread)?)))
        })
        .collect();
    let in_cycle = |position: usize| cycle.contains(&position);
    let behind = |position: usize| {
        let one = &waiting[position];
        !in_cycle(position) && cycle.iter().any(|of| waiting[*of].locks.iter().any(|lock| one.locks.contains(lock)))
    };
    let behind = (0..waiting.len()).filter(|position| behind(*position)).count();
    Some(WaitCycle { steps, doubt: Some(DOUBT), behind, advice: ADVICE })
}

fn name(waiting: &Waiting<'_>, lock: u64) -> String {
    format!("the {} at {lock:#x}", waiting.what)
}

fn step(one: &Waiting<'_>, holds: String, waits_for: String) -> WaitStep {
    let thread = one.thread;
    let frames = thread.stack.as_ref().map_or(&[][..], |stack| &*stack.frames);
    let frame = find_culprit(frames).map(|culprit| culprit.frame);
    let place = frame.as_ref().and_then(|frame| Some(SourcePlace { file: frame.file.clone()?, line: frame.line? }));
    WaitStep {
        waiting: Waiter::Thread { tid: thread.tid, task: thread.task },
        function: frame.map_or_else(|| "an unknown function".to_owned(), |frame| frame.function.to_string()),
        place,
        holds: Some(holds),
        waits_for,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::census::ThreadLocks;
    use crate::model::stack::{CaptureMethod, Origin, Stack, StackUnavailable};

    const STD_MUTEX: &str = "std::sys::sync::mutex::futex::Mutex::lock_contended";
    const STD_WRITE: &str = "std::sys::sync::rwlock::futex::RwLock::write_contended";
    const PARKING_LOT: &str = "parking_lot::raw_mutex::RawMutex::lock_slow";

    fn thread(tid: i32, functions: &[&str], locks: ThreadLocks) -> ThreadNow {
        let frame = |name: &&str| Frame::new(*name, if name.starts_with("app::") { Origin::User } else { Origin::Std });
        let frames = functions.iter().map(frame).collect();
        let stack = Stack { frames, method: CaptureMethod::Passive, complete: true, taken_after: Duration::ZERO };
        ThreadNow {
            tid,
            name: String::new(),
            runs: false,
            runtime: None,
            task: None,
            block_on: false,
            block_on_future: None,
            stack: Ok(stack),
            locks,
            unknown: None,
        }
    }

    /// A thread that waits in `wait` at this futex.
    fn waits(tid: i32, wait: &str, futex: u64, on_stack: &[u64]) -> ThreadNow {
        let locks = ThreadLocks { futex: Some(futex), near_futex: Vec::new(), on_stack: on_stack.to_vec() };
        thread(tid, &["syscall", wait, "app::transfer"], locks)
    }

    fn computes(tid: i32, on_stack: &[u64]) -> ThreadNow {
        thread(tid, &["app::compute"], ThreadLocks { on_stack: on_stack.to_vec(), ..ThreadLocks::default() })
    }

    /// The threads of each cycle, and the number of threads behind it.
    fn found(threads: Vec<ThreadNow>) -> Vec<(Vec<i32>, usize)> {
        let tid = |step: &WaitStep| match step.waiting {
            Waiter::Thread { tid, .. } => tid,
            other => panic!("{other:?}"),
        };
        let cycles = cycles(&Census { threads, ..Census::default() });
        cycles.iter().map(|cycle| (cycle.steps.iter().map(tid).collect(), cycle.behind)).collect()
    }

    #[test]
    fn threads_that_lock_in_different_orders_are_a_cycle() {
        let cycle = cycles(&Census {
            threads: vec![waits(2, STD_MUTEX, 0x10_0000, &[0x20_0000]), waits(1, STD_MUTEX, 0x20_0000, &[0x10_0000])],
            ..Census::default()
        });
        let [cycle] = &*cycle else { panic!("{cycle:?}") };
        let texts: Vec<_> = cycle.steps.iter().map(|step| (step.holds.as_deref(), &*step.waits_for)).collect();
        let (first, second) = ("the Mutex at 0x100000", "the Mutex at 0x200000");
        assert_eq!(texts, [(Some(first), second), (Some(second), first)]);
        assert_eq!(cycle.steps[0].function, "app::transfer");
        assert!(cycle.doubt.is_some(), "it is a guess");
    }

    #[test]
    fn the_second_futex_of_a_lock_and_the_key_of_a_parked_thread_are_locks() {
        // A writer waits at the second futex. The thread that parks has the address beside its own futex.
        let mut parked = waits(2, PARKING_LOT, 0x90_0000, &[0x10_0000, 0x30_0000]);
        parked.locks.near_futex = vec![0x20_0001, 0x30_0000];
        let writer = waits(1, STD_WRITE, 0x10_0004, &[0x20_0000]);
        assert_eq!(found(vec![writer, parked]), [(vec![1, 2], 0)]);
    }

    #[test]
    fn locks_of_c_have_their_names_with_and_without_prefix() {
        for name in ["pthread_mutex_lock", "___pthread_mutex_lock", "__GI___pthread_mutex_lock"] {
            let crossed = vec![waits(1, name, 0x10_0000, &[0x20_0000]), waits(2, name, 0x20_0000, &[0x10_0000])];
            assert_eq!(found(crossed), [(vec![1, 2], 0)], "{name}");
        }
    }

    #[test]
    fn a_queue_behind_a_cycle_is_counted_and_is_none_itself() {
        let (a, b) = (0x10_0000, 0x20_0000);
        let threads = vec![
            waits(1, STD_MUTEX, a, &[a, b]),
            waits(2, STD_MUTEX, b, &[a, b]),
            waits(3, STD_MUTEX, a, &[a]),
            waits(4, STD_MUTEX, b, &[b]),
        ];
        assert_eq!(found(threads), [(vec![1, 2], 2)]);
    }

    #[test]
    fn a_thread_that_may_get_its_lock_is_in_no_cycle() {
        let (a, b) = (0x10_0000, 0x20_0000);
        let crossed = || vec![waits(1, STD_MUTEX, a, &[b]), waits(2, STD_MUTEX, b, &[a])];
        assert_eq!(found(crossed()).len(), 1);
        // A third thread may hold one of the locks, and it computes.
        assert_eq!(found(crossed().into_iter().chain([computes(3, &[b])]).collect()), []);
        // Both wait for the same lock.
        assert_eq!(found(vec![waits(1, STD_MUTEX, a, &[a, b]), waits(2, STD_MUTEX, a, &[a, b])]), []);
        // Nobody holds what the second one waits for.
        assert_eq!(found(vec![waits(1, STD_MUTEX, a, &[]), waits(2, STD_MUTEX, b, &[a])]), []);
        // They wait for something else than a lock.
        assert_eq!(found(vec![waits(1, "std::thread::park", a, &[b]), waits(2, "std::thread::park", b, &[a])]), []);
        let mut unseen = crossed();
        unseen[0].stack = Err(StackUnavailable::TooLate);
        assert_eq!(found(unseen), []);
    }
}
