//! Finds the culprit of a stall, and the border between the poll and the runtime in a stack.

use std::sync::Arc;

use crate::model::stack::{Frame, Origin};
use crate::model::stall::Culprit;

/// The innermost frame in the user's code; without one, the innermost frame of a dependency. The standard library, the
/// runtime and system libraries are never culprits.
pub(crate) fn find_culprit(frames: &[Frame]) -> Option<Culprit> {
    let inside = &frames[..poll_boundary(frames)];
    let innermost =
        |origin| inside.iter().position(|frame| frame.origin == origin && !only_polls_inner(&frame.function));
    let written = || inside.iter().position(|frame| frame.origin == Origin::User && !is_called_unseen(&frame.function));
    let depth = written()
        .or_else(|| innermost(Origin::User))
        .or_else(|| innermost(Origin::Dependency))
        .or_else(|| innermost(Origin::Unknown))?;
    let frame = frames[depth].clone();
    let call = depth.checked_sub(1).map(|callee| Arc::clone(&frames[callee].function));
    Some(Culprit { frame, depth, call })
}

/// Code of the user's crate that no call in its source names: its caller is the culprit. A derive macro, such as serde's,
/// generates code at the line of the type, and every allocation calls a global allocator.
fn is_called_unseen(function: &str) -> bool {
    let traits = [" as serde_core::", " as serde::", " as core::alloc::global::GlobalAlloc>::"];
    function.starts_with('<') && traits.iter().any(|of| function.contains(of))
}

/// The future in which Tokio wraps every task with its feature `tracing`, and with which programs trace futures. All of its time is
/// that of the future inside.
fn only_polls_inner(function: &str) -> bool {
    function.trim_start_matches('<').starts_with("tracing::instrument::Instrumented") && function.ends_with("::poll")
}

/// The number of frames inside the poll. The frames after it lead from the start of the thread to the poll.
pub(crate) fn poll_boundary(frames: &[Frame]) -> usize {
    frames.iter().position(|frame| is_poll_of_runtime(&frame.function)).unwrap_or(frames.len())
}

/// Whether the innermost poll on a stack is that of a task, and not that of the future given to `block_on`.
pub(crate) fn is_in_task(frames: &[Frame]) -> bool {
    let poll = frames.get(poll_boundary(frames));
    poll.is_some_and(|frame| frame.function.trim_start_matches('<').starts_with("tokio::runtime::task::"))
}

/// Whether the innermost poll on a stack is by a `LocalSet`, which polls its tasks in a row.
pub(crate) fn is_in_local_set(frames: &[Frame]) -> bool {
    let is_set = |frame: &&Frame| frame.function.trim_start_matches('<').starts_with("tokio::task::local::");
    let is_runtime = |frame: &&Frame| is_poll_of_runtime(&frame.function) && !is_in_task(std::slice::from_ref(*frame));
    let mut callers = frames.iter().skip(poll_boundary(frames));
    is_in_task(frames) && callers.find(|frame| is_set(frame) || is_runtime(frame)).as_ref().is_some_and(is_set)
}

/// Whether a function of Tokio polls a task, or the future given to `block_on`. Other functions of Tokio can be inside a
/// poll, such as those that spawn and wake tasks.
pub(crate) fn is_poll_of_runtime(function: &str) -> bool {
    let inside = function.trim_start_matches('<').strip_prefix("tokio::runtime::");
    let Some(path) = inside else { return false };
    let Some((part, _)) = path.split_once("::") else { return false };
    match part {
        "task" => path.ends_with("::poll") || path.contains("poll_future"),
        "park" | "scheduler" => path.ends_with("::block_on") || path.ends_with("::run_task"),
        _ => false,
    }
}

/// Whether the poll has handed over its worker with `block_in_place`, and so holds up no task. A poll of another runtime
/// inside `block_in_place` does hold up that runtime.
pub(crate) fn worker_handed_over(frames: &[Frame]) -> bool {
    frames[..poll_boundary(frames)].iter().any(|frame| {
        matches!(
            &*frame.function,
            "tokio::runtime::scheduler::multi_thread::worker::block_in_place" | "tokio::task::blocking::block_in_place"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, origin: Origin) -> Frame {
        Frame { function: function.into(), file: None, line: None, origin, package: None }
    }

    fn runtime_start() -> Vec<Frame> {
        vec![
            frame("tokio::runtime::task::core::Core::poll", Origin::Runtime),
            frame("std::sys::backtrace::__rust_begin_short_backtrace", Origin::Std),
            frame("main", Origin::User),
        ]
    }

    #[test]
    fn the_innermost_user_frame_is_the_culprit_with_its_call() {
        let mut frames = vec![
            frame("clock_nanosleep", Origin::System),
            frame("std::thread::sleep", Origin::Std),
            frame("news::nap", Origin::User),
            frame("news::handler", Origin::User),
            frame("axum::serve", Origin::Dependency),
        ];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("a culprit is found");
        assert_eq!((&*culprit.frame.function, culprit.depth), ("news::nap", 2));
        assert_eq!(culprit.call.as_deref(), Some("std::thread::sleep"));
    }

    #[test]
    fn a_dependency_is_the_culprit_only_without_a_user_frame() {
        let mut frames = vec![frame("memcpy", Origin::System), frame("zstd::encode", Origin::Dependency)];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("a culprit is found");
        assert_eq!(&*culprit.frame.function, "zstd::encode", "main is outside the poll");
    }

    #[test]
    fn a_future_that_only_traces_another_is_no_culprit() {
        let traced = "<tracing::instrument::Instrumented as core::future::future::Future>::poll";
        let mut frames = vec![frame("read", Origin::System), frame("std::io::Stdin::read", Origin::Std)];
        frames.push(frame(traced, Origin::Dependency));
        frames.extend(runtime_start());
        assert_eq!(find_culprit(&frames), None);
        frames.insert(2, frame("zstd::encode", Origin::Dependency));
        assert_eq!(find_culprit(&frames).map(|culprit| culprit.depth), Some(2));
    }

    #[test]
    fn a_computing_culprit_has_no_call() {
        let frames = [frame("news::compare", Origin::User)];
        assert_eq!(find_culprit(&frames).expect("a culprit is found").call, None);
        assert_eq!(find_culprit(&[]), None);
    }

    #[test]
    fn the_caller_of_derived_code_is_the_culprit() {
        let visitor = "<<api::Article as serde_core::de::Deserialize>::deserialize::Visitor as serde_core::de::Visitor>::visit_map";
        let mut frames = vec![
            frame("serde_json::de::from_slice", Origin::Dependency),
            frame(visitor, Origin::User),
            frame("serde_json::de::from_str", Origin::Dependency),
            frame("api::parse", Origin::User),
        ];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("a culprit is found");
        assert_eq!(
            (&*culprit.frame.function, culprit.call.as_deref()),
            ("api::parse", Some("serde_json::de::from_str"))
        );
        let only = [frame(visitor, Origin::User), frame("serde_json::de::from_str", Origin::Dependency)];
        assert_eq!(find_culprit(&only).map(|culprit| culprit.depth), Some(0), "without a caller, the derived code");
    }

    #[test]
    fn the_caller_of_the_programs_allocator_is_the_culprit() {
        let mut frames = vec![
            frame("std::sync::Mutex::lock", Origin::Std),
            frame("<app::Counting as core::alloc::global::GlobalAlloc>::alloc", Origin::User),
            frame("alloc::alloc::alloc", Origin::Std),
            frame("app::handler", Origin::User),
        ];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("a culprit is found");
        assert_eq!((&*culprit.frame.function, culprit.depth), ("app::handler", 3));
    }

    #[test]
    fn the_innermost_poll_is_that_of_a_task_or_of_block_on() {
        let of = |functions: &[&str]| functions.iter().map(|name| frame(name, Origin::Runtime)).collect::<Vec<_>>();
        let block_on = "tokio::runtime::scheduler::multi_thread::MultiThread::block_on";
        let task = "tokio::runtime::task::raw::poll";
        assert!(is_in_task(&of(&["news::nap", task, "tokio::task::local::LocalSet::tick", block_on])));
        assert!(!is_in_task(&of(&["news::load", "tokio::runtime::park::CachedParkThread::block_on", block_on, task])));
        assert!(!is_in_task(&of(&["news::load", "main"])) && !is_in_task(&[]));
    }

    #[test]
    fn the_innermost_poll_is_by_a_local_set_or_by_a_runtime() {
        let is_in = |functions: &[&str]| {
            is_in_local_set(&functions.iter().map(|name| frame(name, Origin::Runtime)).collect::<Vec<_>>())
        };
        let block_on = "tokio::runtime::scheduler::multi_thread::MultiThread::block_on";
        let (harness, task) = ("tokio::runtime::task::harness::Harness<T,S>::poll", "tokio::runtime::task::raw::poll");
        let (tick, run_until) = (
            "tokio::task::local::LocalSet::tick",
            "<tokio::task::local::RunUntil<T> as core::future::future::Future>::poll",
        );
        assert!(is_in(&["news::nap", harness, task, tick, run_until, block_on]));
        assert!(!is_in(&["news::nap", run_until, block_on]), "the future beside the tasks of the set");
        let worker = "tokio::runtime::scheduler::multi_thread::worker::Context::run_task";
        assert!(!is_in(&["news::nap", harness, task, worker, tick, block_on]), "a runtime inside a task of the set");
        assert!(!is_in(&["news::nap", "main"]) && !is_in(&[]));
    }

    #[test]
    fn block_in_place_hands_over_the_worker() {
        let mut frames = vec![
            frame("news::compress", Origin::User),
            frame("tokio::runtime::scheduler::multi_thread::worker::block_in_place", Origin::Runtime),
        ];
        assert!(worker_handed_over(&frames));
        frames.pop();
        assert!(!worker_handed_over(&frames));
    }
}
