//! A bounded queue to a thread that may be stuck in the program's subscriber, in its callback, or in a pipe that nobody
//! reads. Who hands over never waits for that thread.
//!
//! The lock is held for single steps of the queue. Meanwhile nothing runs that belongs to the program, and nothing is
//! allocated or freed: a stuck thread may hold the allocator's lock.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::threads::{Ended, join_until, spawn_thread};

/// A queue and its thread.
#[derive(Debug)]
pub(crate) struct Handover<T> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// It has room for `limit` items from the start.
    waiting: VecDeque<T>,
    limit: usize,
    /// What the thread works on, unless it was taken back.
    in_hand: Option<T>,
    /// When the thread took the item that it works on.
    busy_since: Option<Instant>,
    closed: bool,
}

impl<T: Clone + Send + 'static> Handover<T> {
    /// Starts the thread. It calls `deliver` for each item, which returns whether the program wanted the item. `unwanted`
    /// gets the others, unless they were taken back.
    pub(crate) fn start(
        name: &str,
        limit: usize,
        mut deliver: impl FnMut(&T) -> bool + Send + 'static,
        mut unwanted: impl FnMut(T) + Send + 'static,
    ) -> io::Result<Self> {
        let waiting = VecDeque::with_capacity(limit);
        let state = State { waiting, limit, in_hand: None, busy_since: None, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let run = move || {
            while let Some(item) = of_thread.take() {
                let wanted = deliver(&item);
                if let Some(item) = of_thread.claim().filter(|_| !wanted) {
                    unwanted(item);
                }
                of_thread.lock().busy_since = None;
            }
        };
        Ok(Self { thread: Mutex::new(Some(spawn_thread(name, run)?)), shared })
    }

    /// Hands an item over. `false` if the queue is full or closed.
    pub(crate) fn offer(&self, item: T) -> bool {
        let mut state = self.shared.lock();
        if state.closed || state.waiting.len() >= state.limit {
            // The item is freed after the lock.
            drop(state);
            return false;
        }
        state.waiting.push_back(item);
        drop(state);
        self.shared.changed.notify_all();
        true
    }

    /// How long the thread has been working on one item.
    pub(crate) fn busy_for(&self) -> Option<Duration> {
        self.shared.lock().busy_since.map(|since| since.elapsed())
    }

    /// Whether its thread is the calling one, as in a callback that drops the watch.
    pub(crate) fn is_current_thread(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id())
    }

    /// Whether everything was delivered.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.waiting.is_empty() && state.busy_since.is_none()
    }

    /// Takes back the oldest item that the thread has not finished. Each item is taken back once.
    pub(crate) fn take_back(&self) -> Option<T> {
        let mut state = self.shared.lock();
        let in_hand = state.in_hand.take();
        in_hand.or_else(|| state.waiting.pop_front())
    }

    /// Accepts nothing more. The thread ends after the last item.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Waits for the thread of a closed queue to end. A second call returns at once.
    pub(crate) fn end_by(&self, deadline: Instant) -> Ended {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.map_or(Ended::Yes, |thread| join_until(thread, deadline))
    }
}

/// The thread of a forgotten queue ends too.
impl<T> Drop for Handover<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The item that the thread works on, unless it was taken back.
    fn claim(&self) -> Option<T> {
        self.lock().in_hand.take()
    }
}

impl<T: Clone> Shared<T> {
    /// The next item. `None` when the queue is closed and empty.
    fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.waiting.pop_front() {
                state.in_hand = Some(item.clone());
                state.busy_since = Some(Instant::now());
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn wait_until(condition: impl Fn() -> bool) {
        let limit = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < limit, "not in {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A thread that is stuck in its first item until the sender is dropped, and what it delivers.
    fn stuck() -> (Handover<u32>, std::sync::mpsc::Sender<()>, Receiver<u32>) {
        let (free, until) = channel::<()>();
        let (send, delivered) = channel();
        let deliver = move |item: &u32| {
            let _freed = until.recv();
            send.send(*item).is_ok()
        };
        let handover = Handover::start("stuck", 2, deliver, drop).expect("starts");
        assert!(handover.offer(1));
        wait_until(|| handover.busy_for().is_some());
        (handover, free, delivered)
    }

    #[test]
    fn who_hands_over_never_waits_and_learns_that_there_is_no_room() {
        let (handover, free, delivered) = stuck();
        let offered: Vec<bool> = (2..6).map(|item| handover.offer(item)).collect();
        assert_eq!(offered, [true, true, false, false]);
        assert!(!handover.is_idle());
        drop(free);
        let received: Vec<_> = delivered.iter().take(3).collect();
        assert_eq!(received, [1, 2, 3]);
        wait_until(|| handover.is_idle());
        handover.close();
        assert_eq!(handover.end_by(Instant::now() + LIMIT), Ended::Yes);
        assert!(!handover.offer(6), "it is closed");
    }

    #[test]
    fn what_a_stuck_thread_holds_is_taken_back_once() {
        let (handover, free, delivered) = stuck();
        assert!(handover.offer(2));
        let back: Vec<u32> = std::iter::from_fn(|| handover.take_back()).collect();
        assert_eq!(back, [1, 2]);
        handover.close();
        let before = Instant::now();
        assert_eq!(handover.end_by(before + Duration::from_millis(20)), Ended::No);
        assert!(before.elapsed() < LIMIT, "the wait is bounded");
        drop(free);
        assert_eq!(delivered.iter().collect::<Vec<_>>(), [1], "the second one is not delivered twice");
    }

    #[test]
    fn what_the_program_does_not_want_goes_elsewhere() {
        let (send, unwanted) = channel();
        let elsewhere = move |item| assert!(send.send(item).is_ok());
        let handover = Handover::start("picky", 2, |item: &u32| *item == 1, elsewhere).expect("starts");
        assert!(handover.offer(1) && handover.offer(2));
        assert_eq!(unwanted.recv_timeout(LIMIT), Ok(2));
        drop(handover);
    }
}
