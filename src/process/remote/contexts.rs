//! What Tokio keeps of what each thread of another process is busy with: its runtime, its task, its budget. Nothing tells which
//! word means what; that they change tells that something else has begun.

use crate::process::ThreadLocals;
use crate::sys::Process;
use crate::unwind::PollFrames;

/// Where that lies.
#[derive(Debug)]
pub(in crate::process) struct Contexts {
    process: Process,
    locals: ThreadLocals,
    /// From a thread's context to its control block.
    before: u64,
    /// How many words each has.
    length: usize,
    addresses: Vec<u64>,
    words: Vec<Option<u64>>,
}

/// One thread's.
#[derive(Debug, Default)]
pub(in crate::process) struct Context {
    address: Option<u64>,
    /// As it was at the last look.
    now: Vec<u64>,
    moved: Option<bool>,
    /// As it was read while the thread waited for something to do.
    in_park: Vec<u64>,
    /// It has changed at all: where a thread keeps its variables was found by their shape, and may be another place.
    alive: bool,
}

impl Contexts {
    /// `None` where the program does not tell.
    pub(in crate::process) fn of(process: Process, program: u64, frames: &PollFrames) -> Option<Self> {
        let (before, size) = frames.context()?;
        let locals = ThreadLocals::of(process, program);
        let (addresses, words) = (Vec::new(), Vec::new());
        Some(Self { process, locals, before, length: size / size_of::<u64>(), addresses, words })
    }

    /// Finds those of new threads.
    pub(in crate::process) fn find<'c>(&mut self, threads: impl Iterator<Item = (i32, &'c mut Context)>) {
        // That the process is over is noticed by whoever lists its threads.
        let _there = self.locals.refresh();
        let pointers = self.locals.pointers();
        for (tid, context) in threads {
            if context.address.is_none() {
                let known = pointers.iter().find(|(known, _)| *known == tid);
                context.address = known.and_then(|(_, pointer)| pointer.checked_sub(self.before));
            }
        }
    }

    /// Reads all that were found, in one call.
    pub(in crate::process) fn read<'c>(&mut self, contexts: impl Iterator<Item = &'c mut Context>) {
        let found: Vec<_> = contexts.filter(|context| context.address.is_some()).collect();
        let length = self.length as u64;
        let words_of = |start: u64| (0..length).map(move |word| start.wrapping_add(word * 8));
        self.addresses.clear();
        self.addresses.extend(found.iter().filter_map(|context| context.address).flat_map(words_of));
        self.process.read_words(&self.addresses, &mut self.words);
        for (context, words) in found.into_iter().zip(self.words.chunks_exact(self.length.max(1))) {
            context.look(words.iter().copied().collect::<Option<_>>().unwrap_or_default());
        }
    }
}

impl Context {
    fn look(&mut self, now: Vec<u64>) {
        let both = !now.is_empty() && !self.now.is_empty();
        self.moved = both.then(|| now != self.now);
        self.alive |= self.moved == Some(true);
        self.now = now;
    }

    /// Whether it changed between the last two looks.
    pub(in crate::process) fn moved(&self) -> Option<bool> {
        self.moved
    }

    /// The thread waits for something to do, and did when this was read.
    pub(in crate::process) fn was_in_park(&mut self) {
        self.in_park.clone_from(&self.now);
    }

    /// Whether it is as it was then: in a poll it would not be, because that has a task, or at least a budget.
    pub(in crate::process) fn is_in_park(&self) -> bool {
        self.alive && !self.now.is_empty() && self.now == self.in_park
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_tells_what_has_changed_since_it_was_read() {
        let mut context = Context::default();
        assert_eq!((context.moved(), context.is_in_park()), (None, false));
        context.look(vec![1, 2]);
        assert_eq!((context.moved(), context.is_in_park()), (None, false), "nothing to compare with");
        context.look(vec![1, 2]);
        context.was_in_park();
        assert_eq!(
            (context.moved(), context.is_in_park()),
            (Some(false), false),
            "what never changes may be something else"
        );
        context.look(vec![1, 3]);
        assert_eq!((context.moved(), context.is_in_park()), (Some(true), false));
        context.look(vec![1, 2]);
        assert_eq!((context.moved(), context.is_in_park()), (Some(true), true));
        context.look(Vec::new());
        assert_eq!((context.moved(), context.is_in_park()), (None, false), "what cannot be read tells nothing");
    }

    #[test]
    fn contexts_are_read_in_one_call() {
        let words = [7_u64, 8, 9, 10];
        let at = |index: usize| Some((&raw const words[index]).addr() as u64);
        let process = Process::own();
        let mut contexts = Contexts {
            process,
            locals: ThreadLocals::of(process, 0),
            before: 0,
            length: 2,
            addresses: Vec::new(),
            words: Vec::new(),
        };
        let with = |address| Context { address, ..Context::default() };
        let mut all = [with(at(2)), with(None), with(at(0)), with(Some(8))];
        contexts.read(all.iter_mut());
        assert_eq!(all.each_ref().map(|context| context.now.as_slice()), [&[9, 10][..], &[], &[7, 8], &[]]);
    }
}
