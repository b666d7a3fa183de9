//! Hides frames of the runtime: from the start of a thread to a poll, and of other crates between two functions of the
//! program. Everything that the program's innermost function calls is kept.

use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnose::is_poll_of_runtime;
use crate::model::profile::{Profile, ProfileFrame};
use crate::model::stack::{Frame, Origin};

/// The profile without runtime frames. Its quality is that of the whole stacks.
pub(crate) fn hidden(profile: &Profile) -> Profile {
    let mut shorter = Shorter { frames: profile.frames.clone(), called: HashMap::new() };
    let stacks = profile.stacks.iter().map(|stack| shorter.stack(stack)).collect();
    let mut shortened = Profile { frames: shorter.frames, stacks, ..profile.clone() };
    shortened.quality.notes.push("runtime frames are hidden".to_owned());
    shortened
}

struct Shorter {
    frames: Vec<ProfileFrame>,
    /// Copies of inlined frames as called ones, because their callers are hidden.
    called: HashMap<u32, u32>,
}

impl Shorter {
    fn stack(&mut self, stack: &[u32]) -> Arc<[u32]> {
        let known: Vec<u32> =
            stack.iter().copied().filter(|frame| self.frames.get(*frame as usize).is_some()).collect();
        let kept = keep(&known.iter().map(|frame| &self.frames[*frame as usize].frame).collect::<Vec<_>>());
        let mut shorter = Vec::with_capacity(known.len());
        for (position, frame) in known.iter().enumerate().filter(|(position, _)| kept[*position]) {
            let caller_is_kept = kept.get(position + 1).copied().unwrap_or_default();
            shorter.push(if caller_is_kept { *frame } else { self.called(*frame) });
        }
        shorter.into()
    }

    fn called(&mut self, frame: u32) -> u32 {
        let Some(inlined) = self.frames.get(frame as usize).filter(|frame| frame.inlined) else { return frame };
        let copy = ProfileFrame { inlined: false, ..inlined.clone() };
        *self.called.entry(frame).or_insert_with(|| {
            self.frames.push(copy);
            u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// For each frame, whether it is kept. The innermost one always is, because the self time is its.
fn keep(frames: &[&Frame]) -> Vec<bool> {
    let poll = frames.iter().position(|frame| is_poll_of_runtime(&frame.function));
    // A poll of the runtime that calls nothing is kept.
    let inside = poll.unwrap_or(frames.len()).max(1);
    let is_users = |frame: &&Frame| frame.origin == Origin::User;
    let inner = frames.iter().take(inside).position(is_users);
    // The stack of a thread without a poll, such as an idle worker, begins at its outermost function outside std and libc.
    let begins = match (inner, poll) {
        (None, None) => frames.iter().rposition(|frame| !is_of_the_system(frame)).unwrap_or(frames.len()) + 1,
        _ => inside,
    };
    let kept = |(position, frame): (usize, &&Frame)| {
        let is_called = inner.is_none_or(|inner| position <= inner) && !is_adaptor(frame);
        position == 0 || position < begins && (is_called || is_users(frame))
    };
    frames.iter().enumerate().map(kept).collect()
}

fn is_of_the_system(frame: &Frame) -> bool {
    matches!(frame.origin, Origin::Std | Origin::System)
}

/// Frames of the standard library between a function and its callee: polls of boxed and pinned futures, calls of
/// closures, and panic handling.
fn is_adaptor(frame: &Frame) -> bool {
    let function = &*frame.function;
    frame.origin == Origin::Std
        && (function.ends_with("Future>::poll")
            || ["::call_once", "::call_mut", "::call"].iter().any(|call| function.ends_with(call))
            || function.contains("catch_unwind")
            || function.starts_with("std::panicking::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Labels, ProfileBuilder, Sample, Unit, ValueType};

    fn kept(frames: &[(&str, Origin)]) -> Vec<String> {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("samples", Unit::Count)]);
        let frames: Vec<u32> = frames
            .iter()
            .map(|(function, origin)| builder.frame(ProfileFrame::of(Frame::new(*function, *origin))))
            .collect();
        let (stack, labels) = (builder.stack(&frames), builder.labels(Labels::default()));
        builder.add(Sample::new(None, stack, labels, [1, 0, 0, 0]));
        let shortened = hidden(&builder.build());
        shortened.stack(0).map(|frame| frame.frame.function.to_string()).collect()
    }

    const START: [(&str, Origin); 4] = [
        ("tokio::runtime::task::core::Core::poll", Origin::Runtime),
        ("tokio::runtime::scheduler::multi_thread::worker::run", Origin::Runtime),
        ("std::sys::backtrace::__rust_begin_short_backtrace", Origin::Std),
        ("start_thread", Origin::System),
    ];

    fn with_start(inside: &[(&'static str, Origin)]) -> Vec<String> {
        kept(&[inside, &START].concat())
    }

    #[test]
    fn callees_of_the_program_are_kept_and_frames_between_are_hidden() {
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
    fn a_poll_without_the_programs_functions_is_kept() {
        let inside = [
            ("writev", Origin::System),
            ("hyper::flush", Origin::Dependency),
            ("<core::pin::Pin as core::future::future::Future>::poll", Origin::Std),
            ("axum::serve", Origin::Dependency),
        ];
        assert_eq!(with_start(&inside), ["writev", "hyper::flush", "axum::serve"]);
        assert_eq!(with_start(&[]), ["tokio::runtime::task::core::Core::poll"]);
    }

    #[test]
    fn threads_without_a_poll_keep_their_frames() {
        let idle = [("epoll_wait", Origin::System), ("mio::poll", Origin::Dependency)];
        let run = START[1].0;
        assert_eq!(kept(&[&idle, &START[1..]].concat()), ["epoll_wait", "mio::poll", run]);
        let main = [("park", Origin::Std), ("tokio::park", Origin::Runtime), ("news::main", Origin::User)];
        assert_eq!(kept(&[&main, &START[2..]].concat()), ["park", "tokio::park", "news::main"]);
        assert_eq!(kept(&START[2..]).len(), 2, "all frames are of the system");
        assert!(kept(&[]).is_empty());
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
