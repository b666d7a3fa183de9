//! Finds the frame in the user's code that leads to a stall, and where a stack leaves the poll for the runtime.

use std::sync::Arc;

use crate::model::stack::{Frame, Origin};
use crate::model::stall::Culprit;

/// The innermost frame in the user's own code. Where there is none, the innermost one of a dependency; the standard
/// library, the runtime and system libraries are never to blame.
pub(crate) fn find_culprit(frames: &[Frame]) -> Option<Culprit> {
    let inside = &frames[..poll_boundary(frames)];
    let innermost = |origin| inside.iter().position(|frame| frame.origin == origin);
    let written = || inside.iter().position(|frame| frame.origin == Origin::User && !is_derived(&frame.function));
    let depth = written()
        .or_else(|| innermost(Origin::User))
        .or_else(|| innermost(Origin::Dependency))
        .or_else(|| innermost(Origin::Unknown))?;
    let frame = frames[depth].clone();
    let call = depth.checked_sub(1).map(|callee| Arc::clone(&frames[callee].function));
    Some(Culprit { frame, depth, call })
}

/// Code that a macro wrote for a type, as serde's derives do: it lies in the user's crate, at the line of the type, and
/// whoever called it is to blame.
fn is_derived(function: &str) -> bool {
    function.starts_with('<') && (function.contains(" as serde_core::") || function.contains(" as serde::"))
}

/// How many frames lie inside the poll: what follows is the runtime's own way from the thread's start to it.
pub(crate) fn poll_boundary(frames: &[Frame]) -> usize {
    frames.iter().position(|frame| is_poll_of_runtime(&frame.function)).unwrap_or(frames.len())
}

/// The functions of Tokio that poll a task, or the future given to `block_on`. Others of Tokio's lie on the user's
/// side too: a poll may be stuck in spawning or waking.
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

/// Whether the poll had handed its worker on: what runs inside `block_in_place` holds nobody up. Unless it is a poll of
/// another runtime that was entered there, which has a worker of its own.
pub(crate) fn handed_on(frames: &[Frame]) -> bool {
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
    fn the_innermost_frame_of_the_user_is_the_culprit_and_what_it_called_stands_beside() {
        let mut frames = vec![
            frame("clock_nanosleep", Origin::System),
            frame("std::thread::sleep", Origin::Std),
            frame("news::nap", Origin::User),
            frame("news::handler", Origin::User),
            frame("axum::serve", Origin::Dependency),
        ];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("there is one");
        assert_eq!((&*culprit.frame.function, culprit.depth), ("news::nap", 2));
        assert_eq!(culprit.call.as_deref(), Some("std::thread::sleep"));
    }

    #[test]
    fn a_dependency_is_the_culprit_only_where_no_caller_is_the_users() {
        let mut frames = vec![frame("memcpy", Origin::System), frame("zstd::encode", Origin::Dependency)];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("there is one");
        assert_eq!(&*culprit.frame.function, "zstd::encode", "main lies outside the poll");
    }

    #[test]
    fn own_computation_has_no_call_beside_it() {
        let frames = [frame("news::compare", Origin::User)];
        assert_eq!(find_culprit(&frames).expect("there is one").call, None);
        assert_eq!(find_culprit(&[]), None);
    }

    #[test]
    fn who_calls_derived_code_is_to_blame() {
        let visitor = "<<api::Article as serde_core::de::Deserialize>::deserialize::Visitor as serde_core::de::Visitor>::visit_map";
        let mut frames = vec![
            frame("serde_json::de::from_slice", Origin::Dependency),
            frame(visitor, Origin::User),
            frame("serde_json::de::from_str", Origin::Dependency),
            frame("api::parse", Origin::User),
        ];
        frames.extend(runtime_start());
        let culprit = find_culprit(&frames).expect("there is one");
        assert_eq!(
            (&*culprit.frame.function, culprit.call.as_deref()),
            ("api::parse", Some("serde_json::de::from_str"))
        );
        let only = [frame(visitor, Origin::User), frame("serde_json::de::from_str", Origin::Dependency)];
        assert_eq!(find_culprit(&only).map(|culprit| culprit.depth), Some(0), "better than nothing");
    }

    #[test]
    fn block_in_place_hands_the_worker_on() {
        let mut frames = vec![
            frame("news::compress", Origin::User),
            frame("tokio::runtime::scheduler::multi_thread::worker::block_in_place", Origin::Runtime),
        ];
        assert!(handed_on(&frames));
        frames.pop();
        assert!(!handed_on(&frames));
    }
}
