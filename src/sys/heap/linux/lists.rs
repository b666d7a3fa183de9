//! Lock-free lists of small numbers. Their links lie in arrays that exist as long as the program.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The end of a list. A number is stored plus one.
const END: u32 = 0;

/// Numbers below `N` that are free. The one given back last is taken first, so that few pages are touched.
pub(super) struct Pool<const N: usize> {
    /// The first free number, and above it the number of changes. With it a thread notices that the list changed while it
    /// read a link.
    head: AtomicU64,
    /// Numbers from here on were never taken.
    fresh: AtomicU32,
    next: [AtomicU32; N],
}

impl<const N: usize> Pool<N> {
    pub(super) const fn new() -> Self {
        Self { head: AtomicU64::new(0), fresh: AtomicU32::new(0), next: [const { AtomicU32::new(END) }; N] }
    }

    /// A free number below `limit`, if there is one. Numbers are given back only if they were taken.
    pub(super) fn take(&self, limit: usize) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        while let Some(first) = first_of(head) {
            let next = self.next.get(first as usize)?.load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, changed(head, next), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
        let within = |fresh: u32| ((fresh as usize) < limit.min(N)).then(|| fresh + 1);
        self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok()
    }

    /// Gives a taken number back.
    pub(super) fn give(&self, number: u32) {
        let Some(link) = self.next.get(number as usize) else { return };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link.store(head as u32, Ordering::Relaxed);
            let new = changed(head, number + 1);
            match self.head.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

fn first_of(head: u64) -> Option<u32> {
    (head as u32).checked_sub(1)
}

/// The head with another first number and one more change.
fn changed(head: u64, first: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(first)
}

/// Numbers below `N` on their way to one reader. Any thread posts, and the reader takes all of them at once.
pub(super) struct Mailbox<const N: usize> {
    head: AtomicU32,
    next: [AtomicU32; N],
}

impl<const N: usize> Mailbox<N> {
    pub(super) const fn new() -> Self {
        Self { head: AtomicU32::new(END), next: [const { AtomicU32::new(END) }; N] }
    }

    /// Posts a number that is not in the mailbox.
    pub(super) fn post(&self, number: u32) {
        let Some(link) = self.next.get(number as usize) else { return };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, number + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Empties the mailbox. The numbers may be posted again as soon as they are passed on.
    pub(super) fn take_all(&self) -> impl Iterator<Item = u32> + '_ {
        let mut rest = self.head.swap(END, Ordering::Acquire);
        std::iter::from_fn(move || {
            let number = rest.checked_sub(1)?;
            rest = self.next.get(number as usize).map_or(END, |link| link.load(Ordering::Relaxed));
            Some(number)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_number_is_taken_by_one_thread_at_a_time() {
        static POOL: Pool<64> = Pool::new();
        static USERS: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
        static MAIL: Mailbox<64> = Mailbox::new();
        let posted: usize = std::thread::scope(|scope| {
            let work = || {
                let mut posted = 0;
                for round in 0..20_000 {
                    let Some(number) = POOL.take(64) else { continue };
                    assert_eq!(USERS[number as usize].fetch_add(1, Ordering::SeqCst), 0, "{number} is taken twice");
                    USERS[number as usize].fetch_sub(1, Ordering::SeqCst);
                    if round % 3 == 0 {
                        MAIL.post(number);
                        posted += 1;
                    } else {
                        POOL.give(number);
                    }
                    if round % 64 == 0 {
                        MAIL.take_all().for_each(|number| POOL.give(number));
                    }
                }
                posted
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).sum()
        });
        assert!(posted > 64, "numbers went through the mailbox");
        MAIL.take_all().for_each(|number| POOL.give(number));
        let all: HashSet<u32> = std::iter::from_fn(|| POOL.take(64)).collect();
        assert_eq!(all.len(), 64, "no number is lost");
        assert_eq!(POOL.take(64), None);
    }

    #[test]
    fn a_pool_respects_its_limit() {
        static POOL: Pool<8> = Pool::new();
        assert_eq!((POOL.take(2), POOL.take(2), POOL.take(2)), (Some(0), Some(1), None));
        POOL.give(0);
        assert_eq!((POOL.take(2), POOL.take(9)), (Some(0), Some(2)));
    }
}
