//! Allocations with one stack, as text.

use std::fmt::Write as _;
use std::time::Duration;

use super::stack_text::{StackDetail, StackView, line};
use super::text::{Style, bytes};
use crate::model::plural::plural;
use crate::model::stack::{Frame, Origin};

/// Allocations with one stack.
#[derive(Clone, Debug)]
pub(crate) struct AllocationsView {
    /// Innermost first, without the allocator.
    pub(crate) frames: Vec<Frame>,
    pub(crate) bytes: i64,
    pub(crate) allocations: i64,
    /// The task that was polled: its name, and where it was spawned.
    pub(crate) task: Option<String>,
}

impl AllocationsView {
    /// The innermost frame of the program's own code, or else of any code.
    pub(crate) fn culprit(&self) -> Option<&Frame> {
        // A stack that could not be copied is a note in brackets.
        let is_code = |frame: &&Frame| !frame.function.starts_with('(');
        self.frames.iter().find(|frame| frame.origin == Origin::User).or_else(|| self.frames.first().filter(is_code))
    }

    /// `24.0 KiB in 3 allocations`.
    pub(crate) fn amount(bytes_of: i64, allocations: i64) -> String {
        format!("{} in {}", bytes(bytes_of), plural(allocations.unsigned_abs(), "allocation"))
    }

    /// The amount, the task and the stack.
    pub(crate) fn report(&self) -> String {
        let mut out = String::new();
        line(&mut out, &format!("  memory   {}", Self::amount(self.bytes, self.allocations)));
        if let Some(task) = &self.task {
            line(&mut out, &format!("  task     {task}"));
        }
        let stack =
            StackView { frames: (&self.frames).into(), method: "", complete: true, taken_after: Duration::ZERO };
        let culprit = self.culprit().map(|frame| &*frame.function);
        let mut lines = String::new();
        stack.lines(&mut lines, culprit, StackDetail::Folded, Style::Plain);
        // Writing to a String cannot fail.
        let _infallible = write!(out, "  stack  {}", lines.get("  stack  ".len()..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_function_is_marked_and_others_are_folded() {
        let frame = |name: &str, origin, package: &str| {
            let mut frame = Frame::new(name, origin);
            frame.package = Some(package.into());
            frame
        };
        let frames = vec![
            frame("bytes::BytesMut::reserve", Origin::Dependency, "bytes"),
            frame("shop::render", Origin::User, "shop"),
            frame("axum::call", Origin::Dependency, "axum"),
            frame("shop::main", Origin::User, "shop"),
        ];
        let view = AllocationsView { frames, bytes: 3072, allocations: 1, task: Some("GET /cart".into()) };
        assert_eq!(view.culprit().map(|frame| &*frame.function), Some("shop::render"));
        let text = view.report();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["  memory   3.0 KiB in 1 allocation", "  task     GET /cart"]);
        assert_eq!(lines[2].trim_end(), "  stack      bytes::BytesMut::reserve  bytes", "{text}");
        assert!(lines[3].contains("→ shop::render") && lines[4].contains("1 frame of axum"), "{text}");
    }
}
