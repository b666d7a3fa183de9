//! Where a stack enters a poll: told by the symbols of Tokio's own functions, before anything is named.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::{Once, OnceLock};

use object::read::ReadRef;
use object::{Object, ObjectSection};

use crate::images::{Image, Images, Reader};
use crate::model::stack::Address;

/// What a function of Tokio's is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It polls one task. There is one for each type of future.
    Poll,
    /// It belongs to a scheduler, and calls functions that poll, or is called by user code.
    Scheduler(Kind),
    /// It waits for something to do, also for timers and sockets.
    Park(Kind),
}

/// Whose a function of a scheduler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Worker,
    CurrentThread,
    /// Of both, or of none: the way into a runtime, a `LocalSet`.
    Other,
}

/// What a thread has to do with Tokio, by its stack.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// A worker of a multi-thread runtime.
    Worker,
    /// It runs a current-thread runtime.
    CurrentThread,
    /// It waits in `block_on`, or polls the future given to it.
    BlockOn,
}

/// Parts of the mangled names of `tokio::runtime::task::{raw, harness}::…::poll`, in both of Rust's manglings.
const POLLS: [&str; 2] = ["5tokio7runtime4task3raw4poll", "5tokio7runtime4task7harness"];

/// The same of schedulers: `tokio::runtime::{scheduler, runtime, context::runtime}` and `tokio::task::local`.
const SCHEDULERS: [&str; 4] =
    ["5tokio7runtime9scheduler", "5tokio7runtime7runtime", "5tokio7runtime7context7runtime", "5tokio4task5local"];

/// Parts of the names of Tokio's functions that wait: whatever parks, and `tokio::runtime::{driver, io::driver, time}`, which do it.
const PARKS: [&str; 6] =
    ["4park", "12park_timeout", "13park_internal", "7runtime6driver", "2io6driver", "7runtime4time"];

impl Part {
    fn of(symbol: &str) -> Option<Self> {
        if !symbol.contains("5tokio") {
            return None;
        }
        if symbol.contains("4poll") && POLLS.iter().any(|part| symbol.contains(part)) {
            return Some(Self::Poll);
        }
        let kind = match symbol {
            _ if symbol.contains("12multi_thread6worker") => Kind::Worker,
            _ if symbol.contains("14current_thread") => Kind::CurrentThread,
            _ => Kind::Other,
        };
        if symbol.contains("16CachedParkThread8block_on") {
            return Some(Self::Scheduler(Kind::Other));
        }
        if symbol.contains("5tokio7runtime") && PARKS.iter().any(|part| symbol.contains(part)) {
            return Some(Self::Park(kind));
        }
        SCHEDULERS.iter().any(|part| symbol.contains(part)).then_some(Self::Scheduler(kind))
    }

    fn is_scheduler(self) -> bool {
        matches!(self, Self::Scheduler(_) | Self::Park(_))
    }
}

/// Read once in a process: code does not move.
static FRAMES: OnceLock<PollFrames> = OnceLock::new();

/// The functions of Tokio in the image that holds this code: both are linked into the same one.
#[derive(Debug, Default)]
pub(crate) struct PollFrames {
    /// In order.
    functions: Vec<(Range<u64>, Part)>,
    /// Where in the variables of each thread Tokio keeps what the thread is busy with, `tokio::runtime::context::CONTEXT`, counted from
    /// the first of them.
    context: Option<Range<u64>>,
    /// From a thread's context to its control block.
    #[cfg(feature = "attach")]
    before: Option<u64>,
}

impl PollFrames {
    /// Reads them on a thread of its own, once: it takes some milliseconds, in which a watchdog would be blind.
    pub(crate) fn prepare() {
        static BEGUN: Once = Once::new();
        BEGUN.call_once(|| {
            let read = || {
                let mut images = Images::of(crate::sys::Process::own());
                if images.load_new().is_ok() {
                    let _first = FRAMES.set(Self::read(&images));
                }
            };
            // Without a thread, and until it is done, polls that do not tell stay unseen.
            let _thread = std::thread::Builder::new().name("holdup-symbols".into()).spawn(read);
        });
    }

    /// What was read; `None` before.
    pub(crate) fn get() -> Option<&'static Self> {
        FRAMES.get()
    }

    fn read(images: &Images) -> Self {
        let here = Self::read as *const () as u64;
        images.find(here).map_or_else(Self::default, Self::of)
    }

    /// Reads the symbols: none of a stripped program.
    pub(crate) fn of(image: &Image) -> Self {
        let found = image.read(Symbols { bias: image.bias }).unwrap_or_default();
        #[cfg(feature = "attach")]
        let found = {
            let start = found.context.as_ref().map(|context| context.start);
            let before = image.thread_locals().zip(start).and_then(|(all, start)| all.checked_sub(start));
            Self { before, ..found }
        };
        found
    }

    /// Where Tokio keeps what a thread is busy with: how far before its control block, and how many bytes.
    #[cfg(feature = "attach")]
    pub(crate) fn context(&self) -> Option<(u64, usize)> {
        let context = self.context.as_ref()?;
        Some((self.before?, usize::try_from(context.end - context.start).ok()?))
    }

    /// Whether a poll could be told at all.
    #[cfg(any(test, feature = "attach"))]
    pub(crate) fn any(&self) -> bool {
        self.functions.iter().any(|(_, part)| *part == Part::Poll)
    }

    /// What the thread of this stack has to do with Tokio; `None` where it runs no scheduler.
    #[cfg(feature = "attach")]
    pub(crate) fn role(&self, stack: &[Address]) -> Option<Role> {
        let mut role = None;
        for part in stack.iter().filter_map(|address| self.part_at(address.0)) {
            match part {
                Part::Scheduler(Kind::Worker) | Part::Park(Kind::Worker) => return Some(Role::Worker),
                Part::Scheduler(Kind::CurrentThread) | Part::Park(Kind::CurrentThread) => {
                    return Some(Role::CurrentThread);
                }
                Part::Scheduler(Kind::Other) | Part::Park(Kind::Other) => role = Some(Role::BlockOn),
                Part::Poll => {}
            }
        }
        role
    }

    /// Whether a thread that sleeps with this stack does so in the future given to `block_on`: the innermost function of Tokio's is one
    /// that runs futures, and not one that waits for something to do.
    #[cfg(feature = "attach")]
    pub(crate) fn sleeps_in_block_on(&self, stack: &[Address]) -> bool {
        let waits_by_itself = |(_, part): &(Range<u64>, Part)| matches!(part, Part::Park(_));
        let innermost = stack.iter().find_map(|address| self.part_at(address.0));
        matches!(innermost, Some(Part::Scheduler(_))) && self.functions.iter().any(waits_by_itself)
    }

    /// Whether a scheduler is on the stack, so that what it polls would be on it too.
    pub(crate) fn reaches_scheduler(&self, stack: &[Address]) -> bool {
        stack.iter().any(|address| self.part_at(address.0).is_some_and(Part::is_scheduler))
    }

    /// The address to which the poll returns that a stack, innermost first, lies in: that of a task, called by the
    /// innermost scheduler on the stack. `None` where the innermost scheduler polls nothing: it looks for work, or was
    /// called by a task, as `block_in_place` is.
    pub(crate) fn return_address(&self, stack: &[Address]) -> Option<u64> {
        let caller = stack.get(self.poll_in(stack)? + 1)?;
        // What is looked up for a caller is the last byte of its call.
        Some(caller.0 + 1)
    }

    /// Where the functions begin by which Tokio polls the task that a stack lies in a poll of. Most are there once for each type
    /// of task. None where the stack lies in no poll.
    #[cfg(feature = "attach")]
    pub(crate) fn poll_functions(&self, stack: &[Address]) -> Vec<u64> {
        let of_poll = self.poll_in(stack).and_then(|outermost| stack.get(..=outermost)).unwrap_or_default();
        let polls = of_poll.iter().filter_map(|address| self.function_at(address.0));
        let mut starts: Vec<u64> = polls.map(|(range, _)| range.start).collect();
        starts.dedup();
        starts
    }

    /// How deep in a stack this poll begins.
    fn poll_in(&self, stack: &[Address]) -> Option<usize> {
        let mut poll = None;
        for (depth, address) in stack.iter().enumerate() {
            match self.part_at(address.0) {
                Some(Part::Poll) => poll = Some(depth),
                Some(Part::Scheduler(_) | Part::Park(_)) => break,
                None => {}
            }
        }
        poll.filter(|poll| self.part_after(stack, *poll))
    }

    /// Whether a scheduler is among the callers.
    fn part_after(&self, stack: &[Address], poll: usize) -> bool {
        stack.iter().skip(poll + 1).any(|address| self.part_at(address.0).is_some_and(Part::is_scheduler))
    }

    fn part_at(&self, address: u64) -> Option<Part> {
        self.function_at(address).map(|(_, part)| *part)
    }

    fn function_at(&self, address: u64) -> Option<&(Range<u64>, Part)> {
        let behind = self.functions.partition_point(|(range, _)| range.start <= address);
        self.functions.get(behind.checked_sub(1)?).filter(|(range, _)| range.contains(&address))
    }
}

/// The size of an entry of the symbol table, and the type of a function: `Elf64_Sym` and `STT_FUNC` of the System V ABI.
const ENTRY: usize = 24;
const FUNCTION: u8 = 2;

/// `STT_TLS`, and part of the name of Tokio's variable, in both manglings.
const THREAD_LOCAL: u8 = 6;
const CONTEXT: &str = "5tokio7runtime7context7CONTEXT";

/// What is kept there is no larger.
const MAX_CONTEXT: u64 = 1024;

struct Symbols {
    bias: u64,
}

impl Reader for Symbols {
    type Output = PollFrames;

    /// Reads both sections as a whole: `object` would go to the file for every single name.
    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let section = |name: &str| file.section_by_name(name).and_then(|section| section.data().ok());
        let (Some(table), Some(names), true) = (section(".symtab"), section(".strtab"), file.is_64()) else {
            return PollFrames::default();
        };
        let mut found = PollFrames::default();
        for symbol in table.chunks_exact(ENTRY).filter_map(|entry| Symbol::of(entry, names)) {
            let start = symbol.value.wrapping_add(self.bias);
            match symbol.kind {
                FUNCTION => {
                    let range = start.checked_add(symbol.size).map(|end| start..end);
                    found.functions.extend(range.zip(Part::of(symbol.name)));
                }
                _ if symbol.name.contains(CONTEXT) && symbol.size <= MAX_CONTEXT => {
                    found.context = symbol.value.checked_add(symbol.size).map(|end| symbol.value..end);
                }
                _ => {}
            }
        }
        found.functions.sort_by_key(|(range, _)| range.start);
        found
    }
}

/// A function, or a variable that each thread has.
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
    fn functions_are_told_by_their_mangled_names() {
        for (symbol, part) in [
            ("_ZN5tokio7runtime4task3raw4poll17h219038c10c4efc75E", Some(Part::Poll)),
            ("_ZN5tokio7runtime4task7harness20Harness$LT$T$C$S$GT$4poll17h0000000000000000E", Some(Part::Poll)),
            ("_RINvNtNtNtCs9ltgdHTiPiY_5tokio7runtime4task3raw4pollNtB2_1XEB2_", Some(Part::Poll)),
            ("_ZN5tokio7runtime4task3raw7dealloc17h219038c10c4efc75E", None),
            (
                "_ZN5tokio7runtime9scheduler12multi_thread6worker7Context8run_task17h0E",
                Some(Part::Scheduler(Kind::Worker)),
            ),
            ("_ZN5tokio4task5local8LocalSet4tick17h0E", Some(Part::Scheduler(Kind::Other))),
            (
                "_ZN5tokio7runtime9scheduler14current_thread9CoreGuard8block_on17h0E",
                Some(Part::Scheduler(Kind::CurrentThread)),
            ),
            ("_ZN5tokio7runtime9scheduler14current_thread7Context4park17h0E", Some(Part::Park(Kind::CurrentThread))),
            ("_ZN5tokio7runtime4park5Inner4park17h0E", Some(Part::Park(Kind::Other))),
            ("_ZN5tokio7runtime4park16CachedParkThread8block_on17h0E", Some(Part::Scheduler(Kind::Other))),
            ("_ZN5tokio7runtime2io6driver6Driver4turn17h0E", Some(Part::Park(Kind::Other))),
            ("_ZN4news4park17h0E", None),
            ("_ZN5tokio4time5sleep17h0E", None),
            ("_ZN4news7harness4poll17h0E", None),
        ] {
            assert_eq!(Part::of(symbol), part, "{symbol}");
        }
    }

    #[test]
    fn a_stack_is_in_a_poll_where_its_innermost_scheduler_polls() {
        let frames = PollFrames {
            functions: vec![(100..200, Part::Poll), (200..300, Part::Scheduler(Kind::Worker))],
            ..PollFrames::default()
        };
        let returns = |stack: &[u64]| {
            let stack: Vec<_> = stack.iter().copied().map(Address).collect();
            frames.return_address(&stack)
        };
        let (user, poll, scheduler, thread) = (10, 150, 250, 999);
        assert_eq!(returns(&[user, poll, scheduler, poll, thread]), Some(251), "as every worker's");
        assert_eq!(returns(&[user, poll, poll, scheduler, thread]), Some(251), "the outermost of two");
        assert_eq!(returns(&[user, poll, 11, scheduler]), Some(12), "whatever calls the poll");
        assert_eq!(returns(&[user, scheduler, poll, thread]), None, "a worker that looks for work");
        assert_eq!(returns(&[user, scheduler, user, poll, scheduler]), None, "block_in_place");
        assert_eq!(returns(&[user, poll, thread]), None, "spawn_blocking");
        assert_eq!(returns(&[user]), None);
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
    fn a_thread_is_what_runs_its_futures() {
        let frames = PollFrames {
            functions: vec![
                (100..200, Part::Poll),
                (200..300, Part::Scheduler(Kind::Worker)),
                (300..400, Part::Scheduler(Kind::Other)),
                (400..500, Part::Scheduler(Kind::CurrentThread)),
                (500..600, Part::Park(Kind::Other)),
            ],
            ..PollFrames::default()
        };
        let stack = |stack: &[u64]| stack.iter().copied().map(Address).collect::<Vec<_>>();
        let (user, poll, worker, other, current, park) = (10, 150, 250, 350, 450, 550);
        assert_eq!(frames.role(&stack(&[user, poll, worker, other, poll])), Some(Role::Worker));
        assert_eq!(frames.role(&stack(&[park, current, other, user])), Some(Role::CurrentThread));
        assert_eq!(frames.role(&stack(&[user, other, user])), Some(Role::BlockOn));
        assert_eq!(frames.role(&stack(&[user, poll, user])), None, "spawn_blocking");
        assert!(frames.sleeps_in_block_on(&stack(&[user, other, user])));
        assert!(!frames.sleeps_in_block_on(&stack(&[user, park, other, user])), "it waits for something to do");
        assert!(!frames.sleeps_in_block_on(&stack(&[user, poll, current, user])), "a task's poll");
    }

    #[test]
    fn this_program_polls_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { tokio::spawn(async {}).await.expect("it ends") });
        let mut images = Images::of(crate::sys::Process::own());
        images.load_new().expect("/proc is mounted");
        let frames = PollFrames::read(&images);
        assert!(frames.any());
        #[cfg(feature = "attach")]
        assert!(frames.context().is_some_and(|(before, size)| before >= 32 && size >= 32), "{:?}", frames.context());
    }
}
