//! Polls and schedulers in a stack, recognized by the symbols of Tokio's functions. No address is symbolized for it.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::{Once, OnceLock};

use object::read::ReadRef;
use object::{Object, ObjectSection};

use crate::images::{Image, Images, ObjectReader};
use crate::model::own_thread;
use crate::model::stack::Address;
use crate::tokio_internals::symbols;

/// What a function of Tokio does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokioFunction {
    /// Polls one task. Most of these functions exist once per type of future.
    Poll,
    /// Belongs to a scheduler. It calls functions that poll, or user code calls it.
    Scheduler(SchedulerKind),
    /// Parks the thread until there is work, a timer fires or a socket is ready.
    Park(SchedulerKind),
}

/// The scheduler that a function belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SchedulerKind {
    Worker,
    CurrentThread,
    LocalSet,
    /// Both runtimes or neither: the way into a runtime.
    Other,
}

/// A thread's role in a runtime, by its stack.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ThreadRole {
    /// A worker of a multi-thread runtime.
    Worker,
    /// A thread that runs a current-thread runtime.
    CurrentThread,
    /// A thread inside `block_on` of a multi-thread runtime.
    BlockOn,
}

impl TokioFunction {
    fn of(symbol: &str) -> Option<Self> {
        if !symbol.contains(symbols::TOKIO) {
            return None;
        }
        if symbol.contains(symbols::POLL) && symbols::TASK_POLLS.iter().any(|part| symbol.contains(part)) {
            return Some(Self::Poll);
        }
        let kind = match symbol {
            _ if symbol.contains(symbols::MULTI_THREAD_WORKER) => SchedulerKind::Worker,
            _ if symbol.contains(symbols::CURRENT_THREAD) => SchedulerKind::CurrentThread,
            _ if symbol.contains(symbols::LOCAL_SET) => SchedulerKind::LocalSet,
            _ => SchedulerKind::Other,
        };
        if symbol.contains(symbols::PARKER_BLOCK_ON) {
            return Some(Self::Scheduler(SchedulerKind::Other));
        }
        if symbol.contains(symbols::RUNTIME) && symbols::PARKS.iter().any(|part| symbol.contains(part)) {
            return Some(Self::Park(kind));
        }
        symbols::SCHEDULERS.iter().any(|part| symbol.contains(part)).then_some(Self::Scheduler(kind))
    }

    fn is_scheduler(self) -> bool {
        matches!(self, Self::Scheduler(_) | Self::Park(_))
    }
}

/// Read once per process, because code does not move.
static FRAMES: OnceLock<PollFrames> = OnceLock::new();

/// The functions of Tokio in one image.
#[derive(Debug, Default)]
pub(crate) struct PollFrames {
    /// In the order of their addresses.
    functions: Vec<(Range<u64>, TokioFunction)>,
    /// The offsets of `tokio::runtime::context::CONTEXT` in the thread-local variables. It holds a thread's runtime, task and
    /// budget.
    context: Option<Range<u64>>,
    /// Distance from a thread's context to its control block.
    #[cfg(feature = "attach")]
    before: Option<u64>,
}

impl PollFrames {
    /// Starts to read our own process's functions on another thread, once. It takes milliseconds, during which a watchdog
    /// would take no samples.
    pub(crate) fn prepare() {
        static BEGUN: Once = Once::new();
        BEGUN.call_once(|| {
            let read = || {
                let mut images = Images::of(crate::sys::Process::own());
                if images.load_new().is_ok() {
                    let _first = FRAMES.set(Self::read(&images));
                }
            };
            // Without the thread, and until it is done, uninstrumented polls are not seen.
            let _thread = std::thread::Builder::new().name(own_thread::SYMBOLS.into()).spawn(read);
        });
    }

    /// Our own process's functions; `None` until they are read.
    pub(crate) fn get() -> Option<&'static Self> {
        FRAMES.get()
    }

    /// Tokio is linked into the same image as this crate.
    fn read(images: &Images) -> Self {
        let here = Self::read as *const () as u64;
        images.find(here).map_or_else(Self::default, Self::of)
    }

    /// Reads the functions of an image. A stripped program has none.
    pub(crate) fn of(image: &Image) -> Self {
        let found = image.read(ReadTokioSymbols { bias: image.bias }).unwrap_or_default();
        #[cfg(feature = "attach")]
        let found = {
            let start = found.context.as_ref().map(|context| context.start);
            let before = image.thread_locals().zip(start).and_then(|(all, start)| all.checked_sub(start));
            Self { before, ..found }
        };
        found
    }

    /// The distance from a thread's context to its control block, and the context's size in bytes.
    #[cfg(feature = "attach")]
    pub(crate) fn context(&self) -> Option<(u64, usize)> {
        let context = self.context.as_ref()?;
        Some((self.before?, usize::try_from(context.end - context.start).ok()?))
    }

    /// Whether any function is known to poll tasks.
    #[cfg(any(test, feature = "attach"))]
    pub(crate) fn has_polls(&self) -> bool {
        self.functions.iter().any(|(_, part)| *part == TokioFunction::Poll)
    }

    /// The role of the thread with this stack; `None` if it runs no scheduler.
    #[cfg(feature = "attach")]
    pub(crate) fn role(&self, stack: &[Address]) -> Option<ThreadRole> {
        let mut role = None;
        for part in stack.iter().filter_map(|address| self.kind_at(address.0)) {
            match part {
                TokioFunction::Scheduler(SchedulerKind::Worker) | TokioFunction::Park(SchedulerKind::Worker) => {
                    return Some(ThreadRole::Worker);
                }
                TokioFunction::Scheduler(SchedulerKind::CurrentThread)
                | TokioFunction::Park(SchedulerKind::CurrentThread) => {
                    return Some(ThreadRole::CurrentThread);
                }
                TokioFunction::Scheduler(SchedulerKind::LocalSet | SchedulerKind::Other)
                | TokioFunction::Park(SchedulerKind::LocalSet | SchedulerKind::Other) => {
                    role = Some(ThreadRole::BlockOn);
                }
                TokioFunction::Poll => {}
            }
        }
        role
    }

    /// Whether a sleeping thread with this stack is inside the `block_on` future. Its innermost function of Tokio belongs to
    /// a scheduler and does not park.
    #[cfg(feature = "attach")]
    pub(crate) fn sleeps_in_block_on(&self, stack: &[Address]) -> bool {
        let parks = |(_, part): &(Range<u64>, TokioFunction)| matches!(part, TokioFunction::Park(_));
        let innermost = stack.iter().find_map(|address| self.kind_at(address.0));
        matches!(innermost, Some(TokioFunction::Scheduler(_))) && self.functions.iter().any(parks)
    }

    /// Whether a scheduler is on the stack. A poll by that scheduler would be on it too.
    pub(crate) fn reaches_scheduler(&self, stack: &[Address]) -> bool {
        stack.iter().any(|address| self.kind_at(address.0).is_some_and(TokioFunction::is_scheduler))
    }

    /// The return address of the poll that a stack, innermost first, is inside of. The innermost scheduler on the stack made
    /// that poll. `None` if that scheduler polls nothing: it searches for work, or a task called it (`block_in_place`).
    pub(crate) fn return_address(&self, stack: &[Address]) -> Option<u64> {
        self.returns_from(stack, self.outermost_poll(stack)?)
    }

    /// The same if that scheduler is a `LocalSet`.
    pub(crate) fn return_address_to_local_set(&self, stack: &[Address]) -> Option<u64> {
        let poll = self.outermost_poll(stack)?;
        let is_local_set = self.scheduler_after(stack, poll) == Some(TokioFunction::Scheduler(SchedulerKind::LocalSet));
        is_local_set.then(|| self.returns_from(stack, poll))?
    }

    /// The address to which the poll at this depth returns. A caller's address is that of the last byte of its call.
    fn returns_from(&self, stack: &[Address], poll: usize) -> Option<u64> {
        Some(stack.get(poll + 1)?.0 + 1)
    }

    /// The first addresses of the functions that poll the task of this stack. Most of them exist once per type of task. Empty
    /// outside of a poll.
    #[cfg(feature = "attach")]
    pub(crate) fn poll_functions(&self, stack: &[Address]) -> Vec<u64> {
        let of_poll = self.outermost_poll(stack).and_then(|outermost| stack.get(..=outermost)).unwrap_or_default();
        let polls = of_poll.iter().filter_map(|address| self.function_at(address.0));
        let mut starts: Vec<u64> = polls.map(|(range, _)| range.start).collect();
        starts.dedup();
        starts
    }

    /// The depth of the outermost function of that poll.
    fn outermost_poll(&self, stack: &[Address]) -> Option<usize> {
        let mut poll = None;
        for (depth, address) in stack.iter().enumerate() {
            match self.kind_at(address.0) {
                Some(TokioFunction::Poll) => poll = Some(depth),
                Some(TokioFunction::Scheduler(_) | TokioFunction::Park(_)) => break,
                None => {}
            }
        }
        poll.filter(|poll| self.scheduler_after(stack, *poll).is_some())
    }

    /// The innermost scheduler among the callers of a poll.
    fn scheduler_after(&self, stack: &[Address], poll: usize) -> Option<TokioFunction> {
        let mut callers = stack.iter().skip(poll + 1).filter_map(|address| self.kind_at(address.0));
        callers.find(|part| part.is_scheduler())
    }

    fn kind_at(&self, address: u64) -> Option<TokioFunction> {
        self.function_at(address).map(|(_, part)| *part)
    }

    fn function_at(&self, address: u64) -> Option<&(Range<u64>, TokioFunction)> {
        let count = self.functions.partition_point(|(range, _)| range.start <= address);
        self.functions.get(count.checked_sub(1)?).filter(|(range, _)| range.contains(&address))
    }
}

/// The size of a symbol table entry (`Elf64_Sym` of the System V ABI).
const SYMBOL_ENTRY_BYTES: usize = 24;

/// The type of a function (`STT_FUNC`).
const FUNCTION: u8 = 2;

/// The type of a thread-local variable (`STT_TLS`).
const THREAD_LOCAL: u8 = 6;

/// Reads the symbols of Tokio.
struct ReadTokioSymbols {
    bias: u64,
}

impl ObjectReader for ReadTokioSymbols {
    type Output = PollFrames;

    /// Reads both sections as a whole, because `object` would read the file for every name.
    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let section = |name: &str| file.section_by_name(name).and_then(|section| section.data().ok());
        let (Some(table), Some(names), true) = (section(".symtab"), section(".strtab"), file.is_64()) else {
            return PollFrames::default();
        };
        let mut found = PollFrames::default();
        for symbol in table.chunks_exact(SYMBOL_ENTRY_BYTES).filter_map(|entry| Symbol::of(entry, names)) {
            let start = symbol.value.wrapping_add(self.bias);
            match symbol.kind {
                FUNCTION => {
                    let range = start.checked_add(symbol.size).map(|end| start..end);
                    found.functions.extend(range.zip(TokioFunction::of(symbol.name)));
                }
                _ if symbol.name.contains(symbols::CONTEXT) && symbol.size <= symbols::MAX_CONTEXT_BYTES => {
                    found.context = symbol.value.checked_add(symbol.size).map(|end| symbol.value..end);
                }
                _ => {}
            }
        }
        found.functions.sort_by_key(|(range, _)| range.start);
        found
    }
}

/// A function or a thread-local variable.
struct Symbol<'n> {
    kind: u8,
    name: &'n str,
    value: u64,
    size: u64,
}

impl<'n> Symbol<'n> {
    fn of(entry: &[u8], names: &'n [u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_ne_bytes(entry.get(at..at + 8)?.try_into().ok()?));
        let (value, size) = (word(8)?, word(16)?);
        let kind = entry.get(4)? & 0xf;
        if !matches!(kind, FUNCTION | THREAD_LOCAL) || size == 0 {
            return None;
        }
        let name = usize::try_from(u32::from_ne_bytes(entry.get(..4)?.try_into().ok()?)).ok()?;
        let name = CStr::from_bytes_until_nul(names.get(name..)?).ok()?.to_str().ok()?;
        Some(Self { kind, name, value, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_recognized_by_their_mangled_names() {
        for (symbol, part) in [
            ("_ZN5tokio7runtime4task3raw4poll17h219038c10c4efc75E", Some(TokioFunction::Poll)),
            (
                "_ZN5tokio7runtime4task7harness20Harness$LT$T$C$S$GT$4poll17h0000000000000000E",
                Some(TokioFunction::Poll),
            ),
            ("_RINvNtNtNtCs9ltgdHTiPiY_5tokio7runtime4task3raw4pollNtB2_1XEB2_", Some(TokioFunction::Poll)),
            ("_ZN5tokio7runtime4task3raw7dealloc17h219038c10c4efc75E", None),
            (
                "_ZN5tokio7runtime9scheduler12multi_thread6worker7Context8run_task17h0E",
                Some(TokioFunction::Scheduler(SchedulerKind::Worker)),
            ),
            ("_ZN5tokio4task5local8LocalSet4tick17h0E", Some(TokioFunction::Scheduler(SchedulerKind::LocalSet))),
            (
                "_ZN5tokio7runtime9scheduler14current_thread9CoreGuard8block_on17h0E",
                Some(TokioFunction::Scheduler(SchedulerKind::CurrentThread)),
            ),
            (
                "_ZN5tokio7runtime9scheduler14current_thread7Context4park17h0E",
                Some(TokioFunction::Park(SchedulerKind::CurrentThread)),
            ),
            ("_ZN5tokio7runtime4park5Inner4park17h0E", Some(TokioFunction::Park(SchedulerKind::Other))),
            (
                "_ZN5tokio7runtime4park16CachedParkThread8block_on17h0E",
                Some(TokioFunction::Scheduler(SchedulerKind::Other)),
            ),
            ("_ZN5tokio7runtime2io6driver6Driver4turn17h0E", Some(TokioFunction::Park(SchedulerKind::Other))),
            ("_ZN4news4park17h0E", None),
            ("_ZN5tokio4time5sleep17h0E", None),
            ("_ZN4news7harness4poll17h0E", None),
        ] {
            assert_eq!(TokioFunction::of(symbol), part, "{symbol}");
        }
    }

    #[test]
    fn a_stack_is_in_a_poll_where_its_innermost_scheduler_polls() {
        let frames = PollFrames {
            functions: vec![
                (100..200, TokioFunction::Poll),
                (200..300, TokioFunction::Scheduler(SchedulerKind::Worker)),
                (300..400, TokioFunction::Scheduler(SchedulerKind::LocalSet)),
            ],
            ..PollFrames::default()
        };
        let stack = |stack: &[u64]| stack.iter().copied().map(Address).collect::<Vec<_>>();
        let returns = |addresses: &[u64]| frames.return_address(&stack(addresses));
        let returns_to_set = |addresses: &[u64]| frames.return_address_to_local_set(&stack(addresses));
        let (user, poll, scheduler, thread) = (10, 150, 250, 999);
        assert_eq!(returns(&[user, poll, scheduler, poll, thread]), Some(251), "as every worker's");
        assert_eq!(returns(&[user, poll, poll, scheduler, thread]), Some(251), "the outermost of two");
        assert_eq!(returns(&[user, poll, 11, scheduler]), Some(12), "whatever calls the poll");
        assert_eq!(returns(&[user, scheduler, poll, thread]), None, "a worker that searches for work");
        assert_eq!(returns(&[user, scheduler, user, poll, scheduler]), None, "block_in_place");
        assert_eq!(returns(&[user, poll, thread]), None, "spawn_blocking");
        assert_eq!(returns(&[user]), None);
        let (set, run_until) = (350, 360);
        assert_eq!(returns(&[user, poll, set, run_until, scheduler]), Some(351), "a task of a `LocalSet`");
        assert_eq!(returns_to_set(&[user, poll, 11, set, run_until, scheduler]), Some(12));
        assert_eq!(returns_to_set(&[user, run_until, scheduler]), None, "the future beside the tasks of the set");
        assert_eq!(returns_to_set(&[user, poll, scheduler, set]), None, "a runtime inside a task of the set");
        #[cfg(feature = "attach")]
        {
            let functions = |stack: &[u64]| {
                let stack: Vec<_> = stack.iter().copied().map(Address).collect();
                frames.poll_functions(&stack)
            };
            assert_eq!(functions(&[user, poll, poll + 7, scheduler, poll, thread]), [100]);
            assert!(functions(&[user, scheduler, user, poll, scheduler]).is_empty(), "block_in_place");
        }
        let reaches = |stack: &[u64]| {
            let stack: Vec<_> = stack.iter().copied().map(Address).collect();
            frames.reaches_scheduler(&stack)
        };
        assert!(reaches(&[user, scheduler]) && reaches(&[user, poll, scheduler, thread]));
        assert!(!reaches(&[user, poll]), "the walk ended too early");
    }

    #[cfg(feature = "attach")]
    #[test]
    fn a_stack_shows_the_role_of_its_thread() {
        let frames = PollFrames {
            functions: vec![
                (100..200, TokioFunction::Poll),
                (200..300, TokioFunction::Scheduler(SchedulerKind::Worker)),
                (300..400, TokioFunction::Scheduler(SchedulerKind::Other)),
                (400..500, TokioFunction::Scheduler(SchedulerKind::CurrentThread)),
                (500..600, TokioFunction::Park(SchedulerKind::Other)),
            ],
            ..PollFrames::default()
        };
        let stack = |stack: &[u64]| stack.iter().copied().map(Address).collect::<Vec<_>>();
        let (user, poll, worker, other, current, park) = (10, 150, 250, 350, 450, 550);
        assert_eq!(frames.role(&stack(&[user, poll, worker, other, poll])), Some(ThreadRole::Worker));
        assert_eq!(frames.role(&stack(&[park, current, other, user])), Some(ThreadRole::CurrentThread));
        assert_eq!(frames.role(&stack(&[user, other, user])), Some(ThreadRole::BlockOn));
        assert_eq!(frames.role(&stack(&[user, poll, user])), None, "spawn_blocking");
        assert!(frames.sleeps_in_block_on(&stack(&[user, other, user])));
        assert!(!frames.sleeps_in_block_on(&stack(&[user, park, other, user])), "the thread is parked");
        assert!(!frames.sleeps_in_block_on(&stack(&[user, poll, current, user])), "a task's poll");
    }

    #[test]
    fn this_program_polls_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { tokio::spawn(async {}).await.expect("it ends") });
        let mut images = Images::of(crate::sys::Process::own());
        images.load_new().expect("/proc is mounted");
        let frames = PollFrames::read(&images);
        assert!(frames.has_polls());
        #[cfg(feature = "attach")]
        assert!(frames.context().is_some_and(|(before, size)| before >= 32 && size >= 32), "{:?}", frames.context());
    }
}
