//! Snapshots of Tokio's thread-local `CONTEXT` in another process: a thread's runtime, task and budget. The meaning of each
//! word is unknown here. A changed word means that the thread has begun other work.

use super::stops::Stops;
use super::thread_locals::ThreadLocals;
use crate::sys::Process;
use crate::unwind::PollFrames;

/// Reads the contexts of all threads.
#[derive(Debug)]
pub(super) struct ContextReader {
    process: Process,
    locals: ThreadLocals,
    /// Distance from a thread's context to its control block.
    before: u64,
    /// Words per context.
    length: usize,
    addresses: Vec<u64>,
    words: Vec<Option<u64>>,
}

/// The context of one thread.
#[derive(Debug, Default)]
pub(super) struct ThreadContext {
    address: Option<u64>,
    /// Words at the last sample.
    now: Vec<u64>,
    changed: Option<bool>,
    /// Words while the thread was parked.
    in_park: Vec<u64>,
    /// Whether the words have ever changed. The address was found by a pattern and may be wrong.
    alive: bool,
}

impl ContextReader {
    /// A reader for the program at this address; `None` if its symbols do not name the context.
    pub(super) fn of(process: Process, program: u64, stops: Stops, frames: &PollFrames) -> Option<Self> {
        let (before, size) = frames.context()?;
        let locals = ThreadLocals::of(process, program, stops);
        let (addresses, words) = (Vec::new(), Vec::new());
        Some(Self { process, locals, before, length: size / size_of::<u64>(), addresses, words })
    }

    /// Finds the contexts of new threads.
    pub(super) fn find<'c>(&mut self, threads: impl Iterator<Item = (i32, &'c mut ThreadContext)>) {
        // `UntypedWorkers` reports the end of the process when it lists threads.
        let _there = self.locals.refresh();
        let pointers = self.locals.pointers();
        for (tid, context) in threads {
            if context.address.is_none() {
                let known = pointers.iter().find(|(known, _)| *known == tid);
                context.address = known.and_then(|(_, pointer)| pointer.checked_sub(self.before));
            }
        }
    }

    /// Reads all contexts with a known address in one call.
    pub(super) fn read<'c>(&mut self, contexts: impl Iterator<Item = &'c mut ThreadContext>) {
        let found: Vec<_> = contexts.filter(|context| context.address.is_some()).collect();
        let length = self.length as u64;
        let words_of = |start: u64| (0..length).map(move |word| start.wrapping_add(word * 8));
        self.addresses.clear();
        self.addresses.extend(found.iter().filter_map(|context| context.address).flat_map(words_of));
        self.process.read_words(&self.addresses, &mut self.words);
        for (context, words) in found.into_iter().zip(self.words.chunks_exact(self.length.max(1))) {
            context.update(words.iter().copied().collect::<Option<_>>().unwrap_or_default());
        }
    }
}

impl ThreadContext {
    fn update(&mut self, now: Vec<u64>) {
        let both = !now.is_empty() && !self.now.is_empty();
        self.changed = both.then(|| now != self.now);
        self.alive |= self.changed == Some(true);
        self.now = now;
    }

    /// Whether the words changed between the last two samples.
    pub(super) fn changed(&self) -> Option<bool> {
        self.changed
    }

    /// Notes that the thread was parked when the words were read.
    pub(super) fn was_in_park(&mut self) {
        self.in_park.clone_from(&self.now);
    }

    /// Whether the words match those of a parked thread. Inside a poll they differ by the task or at least the budget.
    pub(super) fn is_in_park(&self) -> bool {
        self.alive && !self.now.is_empty() && self.now == self.in_park
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_reports_changes_between_samples() {
        let mut context = ThreadContext::default();
        assert_eq!((context.changed(), context.is_in_park()), (None, false));
        context.update(vec![1, 2]);
        assert_eq!((context.changed(), context.is_in_park()), (None, false), "nothing to compare with");
        context.update(vec![1, 2]);
        context.was_in_park();
        assert_eq!(
            (context.changed(), context.is_in_park()),
            (Some(false), false),
            "words that never change may be something else"
        );
        context.update(vec![1, 3]);
        assert_eq!((context.changed(), context.is_in_park()), (Some(true), false));
        context.update(vec![1, 2]);
        assert_eq!((context.changed(), context.is_in_park()), (Some(true), true));
        context.update(Vec::new());
        assert_eq!((context.changed(), context.is_in_park()), (None, false), "unreadable words prove nothing");
    }

    #[test]
    fn contexts_are_read_in_one_call() {
        let words = [7_u64, 8, 9, 10];
        let at = |index: usize| Some((&raw const words[index]).addr() as u64);
        let process = Process::own();
        let mut contexts = ContextReader {
            process,
            locals: ThreadLocals::of(process, 0, Stops::new(true)),
            before: 0,
            length: 2,
            addresses: Vec::new(),
            words: Vec::new(),
        };
        let with = |address| ThreadContext { address, ..ThreadContext::default() };
        let mut all = [with(at(2)), with(None), with(at(0)), with(Some(8))];
        contexts.read(all.iter_mut());
        assert_eq!(all.each_ref().map(|context| context.now.as_slice()), [&[9, 10][..], &[], &[7, 8], &[]]);
    }
}
