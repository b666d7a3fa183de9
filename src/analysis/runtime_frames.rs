//! Leaves out frames of the runtime. These are frames from the start of a thread to a poll, polls that only call the next
//! poll, and other crates between two functions of the program. What the program's innermost function calls is kept. A stack
//! of the runtime alone becomes one frame. Weights do not change.

use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnose::is_poll_of_runtime;
use crate::model::profile::{Profile, ProfileFrame};
use crate::model::stack::{Frame, Origin};

/// The frame of a stack that is the runtime's alone.
pub(crate) const RUNTIME: &str = "[runtime]";

/// The frame of a stack whose innermost code of the runtime is holdup's.
pub(crate) const HOLDUP: &str = "[holdup]";

/// Packages that Tokio uses to wait and to be woken. Alone they are the runtime.
const OF_RUNTIME: [&str; 6] = ["mio", "parking_lot", "parking_lot_core", "lock_api", "socket2", "signal_hook_registry"];

/// The profile without runtime frames. Its quality is that of the whole stacks.
pub(crate) fn hidden(profile: &Profile) -> Profile {
    let mut shorter = Shorter { frames: profile.frames.clone(), called: HashMap::new(), alone: HashMap::new() };
    let stacks = profile.stacks.iter().map(|stack| shorter.stack(stack)).collect();
    Profile { frames: shorter.frames, stacks, ..profile.clone() }
}

struct Shorter {
    frames: Vec<ProfileFrame>,
    /// Copies of inlined frames as called ones, because their callers are left out.
    called: HashMap<u32, u32>,
    /// The frames that stand for whole stacks.
    alone: HashMap<&'static str, u32>,
}

impl Shorter {
    fn stack(&mut self, stack: &[u32]) -> Arc<[u32]> {
        let known: Vec<u32> =
            stack.iter().copied().filter(|frame| self.frames.get(*frame as usize).is_some()).collect();
        let shown = Shown::of(&known.iter().map(|frame| &self.frames[*frame as usize]).collect::<Vec<_>>());
        let innermost = shown.alone.map(|name| self.alone(name));
        let mut shorter: Vec<u32> = innermost.into_iter().collect();
        for (index, position) in shown.positions.iter().enumerate() {
            let caller_is_shown = shown.positions.get(index + 1) == Some(&(position + 1));
            let frame = known[*position];
            shorter.push(if caller_is_shown { frame } else { self.called(frame) });
        }
        shorter.into()
    }

    fn called(&mut self, frame: u32) -> u32 {
        let Some(inlined) = self.frames.get(frame as usize).filter(|frame| frame.inlined) else { return frame };
        let copy = ProfileFrame { inlined: false, ..inlined.clone() };
        *self.called.entry(frame).or_insert_with(|| push(&mut self.frames, copy))
    }

    fn alone(&mut self, name: &'static str) -> u32 {
        let mut frame = Frame::new(name, Origin::Runtime);
        frame.package = (name == HOLDUP).then(|| "holdup".into());
        *self.alone.entry(name).or_insert_with(|| push(&mut self.frames, ProfileFrame::of(frame)))
    }
}

fn push(frames: &mut Vec<ProfileFrame>, frame: ProfileFrame) -> u32 {
    frames.push(frame);
    u32::try_from(frames.len() - 1).unwrap_or(u32::MAX)
}

/// What is shown of a stack.
struct Shown {
    /// The frame for everything from the poll inward, if that is the runtime's alone.
    alone: Option<&'static str>,
    /// Positions of frames, innermost first.
    positions: Vec<usize>,
}

impl Shown {
    fn of(frames: &[&ProfileFrame]) -> Self {
        let parts = Parts::of(frames);
        let alone = parts.alone();
        let is_shown = |position: &usize| match alone {
            Some(_) => *position >= parts.inside && is_of_program(frames[*position]),
            None => parts.is_shown(*position),
        };
        let mut positions: Vec<usize> = (0..frames.len()).filter(is_shown).collect();
        leave_out_polls_of_polls(frames, &mut positions);
        Self { alone, positions }
    }
}

/// The parts of a stack.
struct Parts<'a> {
    frames: &'a [&'a ProfileFrame],
    /// The number of frames inside the poll; without a poll, of all frames that are no label.
    inside: usize,
    is_polled: bool,
    /// The program's innermost function inside.
    user: Option<usize>,
    /// The innermost frame inside that is not the runtime's.
    of_crate: Option<usize>,
    /// The outermost frame inside that is not std's or libc's.
    outermost: Option<usize>,
}

impl<'a> Parts<'a> {
    fn of(frames: &'a [&'a ProfileFrame]) -> Self {
        let poll = frames.iter().position(|frame| is_poll_of_runtime(&frame.frame.function));
        let labels = frames.iter().rev().take_while(|frame| frame.is_label()).count();
        let inside = poll.unwrap_or(frames.len() - labels);
        let parts = &frames[..inside];
        Self {
            frames,
            inside,
            is_polled: poll.is_some(),
            user: parts.iter().position(|frame| frame.frame.origin == Origin::User),
            of_crate: parts.iter().position(|frame| !is_of_runtime(frame)),
            outermost: parts.iter().rposition(|frame| !is_of_system(frame)),
        }
    }

    /// The frame for everything inside, if that is the runtime's alone.
    fn alone(&self) -> Option<&'static str> {
        let innermost = self.frames[..self.inside].iter().find(|frame| frame.frame.origin == Origin::Runtime);
        if self.of_crate.is_some() || innermost.is_none() && !self.is_polled {
            return None;
        }
        let is_holdup = innermost.is_some_and(|frame| frame.frame.package.as_deref() == Some("holdup"));
        Some(if is_holdup { HOLDUP } else { RUNTIME })
    }

    /// Whether a frame is shown. The innermost one always is, because the self time is its.
    fn is_shown(&self, position: usize) -> bool {
        let frame = self.frames[position];
        let is_inside = || position < self.inside && !is_adaptor(&frame.frame);
        position == 0 || is_of_program(frame) || is_inside() && self.is_callee(position)
    }

    /// Whether a frame is called by the program's innermost function. In a stack without one, such as a connection of
    /// hyper: whether it is of another crate, or called by the innermost frame of one.
    fn is_callee(&self, position: usize) -> bool {
        match (self.user, self.of_crate) {
            (Some(user), _) => position < user,
            (None, Some(of_crate)) => position <= of_crate || !is_of_runtime(self.frames[position]),
            (None, None) => self.outermost.is_none_or(|outermost| position <= outermost),
        }
    }
}

fn is_of_runtime(frame: &ProfileFrame) -> bool {
    let package = || frame.frame.package.as_deref().unwrap_or_default().replace('-', "_");
    match frame.frame.origin {
        Origin::Runtime => !frame.is_note(),
        Origin::Std | Origin::System => true,
        Origin::Dependency => OF_RUNTIME.contains(&&*package()),
        Origin::User | Origin::Unknown => false,
    }
}

fn is_of_program(frame: &ProfileFrame) -> bool {
    frame.frame.origin == Origin::User || frame.is_label()
}

fn is_of_system(frame: &ProfileFrame) -> bool {
    matches!(frame.frame.origin, Origin::Std | Origin::System)
}

/// Leaves out polls of a crate between two polls of the same crate: they only call the next one.
fn leave_out_polls_of_polls(frames: &[&ProfileFrame], positions: &mut Vec<usize>) {
    let is_chain = |a: usize, b: usize| {
        let (a, b) = (&frames[a].frame, &frames[b].frame);
        is_poll(a) && is_poll(b) && a.origin == b.origin && a.package == b.package
    };
    let is_between =
        |around: &[usize]| matches!(*around, [inner, own, outer] if is_chain(inner, own) && is_chain(own, outer));
    let left_out: Vec<bool> = positions.windows(3).map(is_between).collect();
    let mut index = 0_usize;
    positions.retain(|_| {
        index += 1;
        index < 2 || !left_out.get(index - 2).copied().unwrap_or_default()
    });
}

/// Whether another crate's function polls: `<Conn as Future>::poll`, `poll_read`.
fn is_poll(frame: &Frame) -> bool {
    let name = frame.function.rsplit("::").find(|name| *name != "{closure}").unwrap_or_default();
    frame.origin != Origin::User && (name == "poll" || name.starts_with("poll_"))
}

/// Frames of the standard library between a function and its callee: polls of boxed and pinned futures, calls of
/// closures, and panic handling.
fn is_adaptor(frame: &Frame) -> bool {
    let function = &*frame.function;
    frame.origin == Origin::Std
        && (function.ends_with("Future>::poll")
            || ["::call_once", "::call_mut", "::call"].iter().any(|call| function.ends_with(call))
            || function.contains("catch_unwind")
            || function.contains("__rust_begin_short_backtrace")
            || function.starts_with("std::panicking::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Labels, ProfileBuilder, Sample, Unit, ValueType};

    type Named = (&'static str, Origin);

    fn frame((function, origin): Named) -> ProfileFrame {
        let mut frame = Frame::new(function, origin);
        frame.package = function.trim_start_matches('<').split_once("::").map(|(package, _)| package.into());
        ProfileFrame { address: 1, ..ProfileFrame::of(frame) }
    }

    fn shown(frames: &[ProfileFrame]) -> Vec<String> {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("samples", Unit::Count)]);
        let frames: Vec<u32> = frames.iter().map(|frame| builder.frame(frame.clone())).collect();
        let (stack, labels) = (builder.stack(&frames), builder.labels(Labels::default()));
        builder.add(Sample::new(None, stack, labels, [7, 0, 0, 0]));
        let whole = builder.build();
        let shortened = hidden(&whole);
        assert_eq!(shortened.total(0), whole.total(0), "no weight is lost");
        let twice = hidden(&shortened);
        let names = |profile: &Profile| profile.stack(0).map(|frame| frame.frame.function.to_string()).collect();
        let names: [Vec<String>; 2] = [names(&shortened), names(&twice)];
        assert_eq!(names[0], names[1], "nothing is left to leave out");
        names[0].clone()
    }

    fn kept(frames: &[Named]) -> Vec<String> {
        shown(&frames.iter().copied().map(frame).collect::<Vec<_>>())
    }

    const START: [Named; 4] = [
        ("tokio::runtime::task::core::Core::poll", Origin::Runtime),
        ("tokio::runtime::scheduler::multi_thread::worker::run", Origin::Runtime),
        ("std::sys::backtrace::__rust_begin_short_backtrace", Origin::Std),
        ("start_thread", Origin::System),
    ];

    fn with_start(inside: &[Named]) -> Vec<String> {
        kept(&[inside, &START].concat())
    }

    #[test]
    fn callees_of_the_program_are_kept_and_frames_between_are_left_out() {
        let inside = [
            ("memcpy", Origin::System),
            ("<alloc::boxed::Box as core::ops::function::FnOnce>::call_once", Origin::Std),
            ("serde_json::ser::to_vec", Origin::Dependency),
            ("news::answer", Origin::User),
            ("<core::pin::Pin as core::future::future::Future>::poll", Origin::Std),
            ("axum::handler::call", Origin::Dependency),
            ("news::watched", Origin::User),
            ("hyper::dispatch", Origin::Dependency),
        ];
        assert_eq!(with_start(&inside), ["memcpy", "serde_json::ser::to_vec", "news::answer", "news::watched"]);
    }

    #[test]
    fn a_poll_without_the_programs_functions_shows_other_crates() {
        let inside = [
            ("writev", Origin::System),
            ("tokio::net::TcpStream::poll_write", Origin::Runtime),
            ("hyper::flush", Origin::Dependency),
            ("<core::pin::Pin as core::future::future::Future>::poll", Origin::Std),
            ("tokio::task::coop::budget", Origin::Runtime),
            ("axum::serve", Origin::Dependency),
        ];
        let names = ["writev", "tokio::net::TcpStream::poll_write", "hyper::flush", "axum::serve"];
        assert_eq!(with_start(&inside), names);
    }

    #[test]
    fn the_runtime_alone_is_one_frame() {
        assert_eq!(with_start(&[]), [RUNTIME]);
        let idle = [("epoll_wait", Origin::System), ("mio::poll", Origin::Dependency)];
        assert_eq!(kept(&[&idle, &START[1..]].concat()), [RUNTIME]);
        let dropped = [("free", Origin::System), ("tokio::runtime::task::drop", Origin::Runtime)];
        assert_eq!(with_start(&dropped), [RUNTIME]);
        let watched = [("holdup::probe::hooks::after_poll", Origin::Runtime)];
        assert_eq!(with_start(&watched), [HOLDUP]);
        let main =
            [("tokio::runtime::park::CachedParkThread::block_on", Origin::Runtime), ("news::main", Origin::User)];
        assert_eq!(kept(&[&idle, &main[..], &START[2..]].concat()), [RUNTIME, "news::main"]);
    }

    #[test]
    fn notes_and_threads_of_other_code_keep_their_frames() {
        let note = ProfileFrame::of(Frame::new("(parked)", Origin::Runtime));
        assert_eq!(shown(&[note]), ["(parked)"]);
        let main = [("park", Origin::Std), ("tokio::park", Origin::Runtime), ("news::main", Origin::User)];
        assert_eq!(kept(&[&main, &START[2..]].concat()), ["park", "tokio::park", "news::main"]);
        let kafka = [("poll", Origin::System), ("rdkafka_sys::main", Origin::Dependency)];
        assert_eq!(kept(&[&kafka, &START[2..]].concat()), ["poll", "rdkafka_sys::main"]);
        assert_eq!(kept(&START[3..]), ["start_thread"], "all frames are of the system");
        assert_eq!(kept(&[("0x55d0", Origin::Unknown), START[1]]), ["0x55d0"], "it may be the program's");
        assert!(kept(&[]).is_empty());
    }

    #[test]
    fn labels_stay_outermost() {
        let label = || ProfileFrame::of(Frame::new("task: fetch (17)", Origin::Unknown));
        let stack = |inside: &[Named]| -> Vec<ProfileFrame> {
            inside.iter().chain(&START).copied().map(frame).chain([label()]).collect()
        };
        assert_eq!(shown(&stack(&[("news::answer", Origin::User)])), ["news::answer", "task: fetch (17)"]);
        assert_eq!(shown(&stack(&[])), [RUNTIME, "task: fetch (17)"]);
    }

    #[test]
    fn polls_that_only_call_the_next_poll_are_left_out() {
        let inside = [
            ("writev", Origin::System),
            ("<hyper::Buffered as hyper::Write>::poll_flush", Origin::Dependency),
            ("hyper::Conn::poll_flush", Origin::Dependency),
            ("hyper::Dispatcher::poll_inner", Origin::Dependency),
            ("hyper::Dispatcher::poll_catch", Origin::Dependency),
            ("<hyper::Connection as core::future::future::Future>::poll", Origin::Dependency),
            ("axum::serve::handle", Origin::Dependency),
            ("news::poll_all", Origin::User),
        ];
        let names = [
            "writev",
            "<hyper::Buffered as hyper::Write>::poll_flush",
            "<hyper::Connection as core::future::future::Future>::poll",
            "axum::serve::handle",
            "news::poll_all",
        ];
        assert_eq!(with_start(&inside), names);
    }

    #[test]
    fn an_inlined_function_without_its_caller_becomes_a_called_one() {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("samples", Unit::Count)]);
        let inlined = |frame| ProfileFrame { inlined: true, ..ProfileFrame::of(frame) };
        let frames = [
            builder.frame(inlined(Frame::new("news::answer", Origin::User))),
            builder.frame(inlined(Frame::new("news::latest", Origin::User))),
            builder.frame(ProfileFrame::of(Frame::new("axum::call", Origin::Dependency))),
        ];
        builder.stack(&frames);
        let shortened = hidden(&builder.build());
        let inlined: Vec<bool> = shortened.stack(0).map(|frame| frame.inlined).collect();
        assert_eq!(inlined, [true, false]);
    }
}
