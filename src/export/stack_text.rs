//! The stack of a stall as text, with the culprit marked and other crates' frames folded.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use super::text::{Style, milliseconds};
use crate::diagnose::poll_boundary;
use crate::model::plural::plural;
use crate::model::stack::{Frame, Origin};

/// If the culprit has called many functions, this many are shown at each end of them.
const CALLS_SHOWN: usize = 4;

/// The stack of a stall.
#[derive(Debug)]
pub(crate) struct StackView<'a> {
    pub(crate) frames: Cow<'a, [Frame]>,
    /// How it was captured.
    pub(crate) method: &'a str,
    pub(crate) complete: bool,
    /// How long the stall had been running when it was captured.
    pub(crate) taken_after: Duration,
}

/// How much of a stack is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackDetail {
    /// None of it.
    Hidden,
    /// The user's frames; the others are summed up by package.
    Folded,
    /// Every frame.
    Whole,
}

impl StackView<'_> {
    pub(super) fn quality(&self) -> String {
        let cut = if self.complete { "" } else { ", outer frames missing" };
        format!("taken after {}, {}{cut}", milliseconds(self.taken_after), self.method)
    }

    /// One line for a frame, or for frames that are folded.
    pub(super) fn lines(&self, out: &mut String, culprit: Option<&str>, detail: StackDetail, style: Style) {
        let culprit = culprit.and_then(|name| self.frames.iter().position(|frame| *frame.function == *name));
        let whole = detail == StackDetail::Whole;
        let boundary = if whole { self.frames.len() } else { poll_boundary(&self.frames) };
        let is_users = |frame: &Frame| matches!(frame.origin, Origin::User | Origin::Unknown);
        let folded = culprit.filter(|_| !whole).map_or(0..0, folded_calls);
        let mut depth = 0;
        while depth < boundary {
            let frame = &self.frames[depth];
            if folded.contains(&depth) {
                line(out, &style.faint(&format!("             … {}", fold(&self.frames[folded.clone()]))));
                depth = folded.end;
            } else if whole || is_users(frame) || culprit.is_some_and(|culprit| depth <= culprit) {
                line(out, &frame_line(frame, culprit == Some(depth), style));
                depth += 1;
            } else {
                let others = self.frames[depth..boundary].iter().take_while(|frame| !is_users(frame)).count();
                let others = &self.frames[depth..depth + others];
                line(out, &style.faint(&format!("             … {}", fold(others))));
                depth += others.len();
            }
        }
        if boundary < self.frames.len() {
            let outside = plural(self.frames.len() - boundary, "frame");
            line(out, &style.faint(&format!("             … {outside} from the poll to the start of the thread")));
        }
    }
}

/// The frames between the culprit and the innermost frames that are folded: none, unless there are many. The culprit is the
/// innermost function of the user, so they are other crates' functions.
fn folded_calls(culprit: usize) -> Range<usize> {
    if culprit > 3 * CALLS_SHOWN { CALLS_SHOWN..culprit - CALLS_SHOWN } else { 0..0 }
}

fn frame_line(frame: &Frame, culprit: bool, style: Style) -> String {
    let mark = if culprit { "→" } else { " " };
    let place = frame.location().or_else(|| frame.package.as_ref().map(ToString::to_string)).unwrap_or_default();
    let function = if culprit { style.strong(&frame.function) } else { frame.function.to_string() };
    format!("           {mark} {function}  {}", style.faint(&place)).trim_end().to_owned()
}

/// `12 frames of axum, tower, hyper`.
fn fold(frames: &[Frame]) -> String {
    let mut packages: Vec<&str> = Vec::new();
    for package in frames.iter().filter_map(|frame| frame.package.as_deref()) {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    let of = if packages.is_empty() { String::new() } else { format!(" of {}", packages.join(", ")) };
    format!("{}{of}", plural(frames.len(), "frame"))
}

pub(super) fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_frames_name_their_packages_once() {
        let frame = |package: &str| Frame {
            function: "f".into(),
            file: None,
            line: None,
            origin: Origin::Dependency,
            package: Some(package.into()),
        };
        assert_eq!(fold(&[frame("axum"), frame("tower"), frame("axum")]), "3 frames of axum, tower");
        assert_eq!(fold(&[frame("axum")]), "1 frame of axum");
    }

    #[test]
    fn many_calls_of_the_culprit_are_folded() {
        let frame = |function: &str, origin, package: &str| Frame {
            function: function.into(),
            file: None,
            line: None,
            origin,
            package: Some(package.into()),
        };
        let shown = |calls: usize, detail| {
            let mut frames: Vec<_> =
                (0..calls).map(|call| frame(&format!("call_{call}"), Origin::Std, "alloc")).collect();
            frames.push(frame("handler", Origin::User, "app"));
            let stack =
                StackView { frames: frames.into(), method: "by signal", complete: true, taken_after: Duration::ZERO };
            let mut text = String::new();
            stack.lines(&mut text, Some("handler"), detail, Style::Plain);
            text.lines().map(|line| line.trim_start().to_owned()).collect::<Vec<_>>()
        };
        let text = shown(20, StackDetail::Folded);
        assert_eq!(text.len(), 4 + 1 + 4 + 1, "{text:?}");
        assert_eq!(text[3..6], ["call_3  alloc", "… 12 frames of alloc", "call_16  alloc"]);
        assert_eq!(text[9], "→ handler  app");
        assert_eq!(shown(20, StackDetail::Whole).len(), 21);
        assert_eq!(shown(12, StackDetail::Folded).len(), 13, "a few calls are all shown");
    }
}
