//! A runtime whose shutdown waits, as text and as an event.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::news::News;
use super::stall_log::StallLog;
use crate::diagnose::{find_culprit, poll_boundary};
use crate::model::evidence::{StandardStream, WaitSite};
use crate::model::plural::plural;
use crate::model::stack::{Frame, Origin, RawStack};

/// The limit of lines about threads. Further ones are counted.
const MAX_LINES: usize = 8;

const ADVICE: &str = "Tokio cannot cancel a blocking function, and waits for it: let it end, or use shutdown_timeout or \
                      shutdown_background";

const INPUT_ADVICE: &str = "a read of standard input cannot be cancelled: read it on a thread of your own, or use \
                            shutdown_timeout or shutdown_background";

/// A thread that a shutdown waits for.
#[derive(Debug)]
pub(crate) struct WaitedFor {
    pub(crate) tid: i32,
    /// A worker that is still in a poll. Otherwise the thread runs a blocking function.
    pub(crate) in_poll: bool,
    pub(crate) sleeps_in: Option<WaitSite>,
    pub(crate) stack: Option<RawStack>,
}

/// A shutdown that waits.
#[derive(Debug)]
pub(crate) struct ShutdownReport {
    runtime: Arc<str>,
    waited: Duration,
    blocking: usize,
    polls: usize,
    /// What threads do, and how many do it.
    doings: Vec<(String, Vec<i32>)>,
    reads_standard_input: bool,
}

impl ShutdownReport {
    pub(crate) fn new(
        runtime: Arc<str>,
        waited: Duration,
        threads: Vec<WaitedFor>,
        more: usize,
        log: &StallLog,
    ) -> Self {
        let polls = threads.iter().filter(|thread| thread.in_poll).count();
        let blocking = threads.len() - polls + more;
        let reads_standard_input = threads.iter().any(reads_standard_input);
        let mut doings: Vec<(String, Vec<i32>)> = Vec::new();
        for thread in threads {
            // The lock is held for one stack at a time, because the reporter waits for it.
            let frames = thread.stack.as_ref().map(|stack| log.symbolizer().frames(&stack.addresses));
            let doing = doing(&thread, frames.as_deref());
            match doings.iter_mut().find(|(known, _)| *known == doing) {
                Some((_, ids)) => ids.push(thread.tid),
                None => doings.push((doing, vec![thread.tid])),
            }
        }
        Self { runtime, waited, blocking, polls, doings, reads_standard_input }
    }

    /// What is said of it.
    pub(crate) fn news(&self) -> News {
        News::Shutdown {
            runtime: Arc::clone(&self.runtime),
            waited: self.waited,
            waits_for: Some((self.blocking, self.polls)),
            text: self.text(),
        }
    }

    /// What is said when it has ended.
    pub(crate) fn ended(runtime: Arc<str>, waited: Duration) -> News {
        let text = format!("shutdown of runtime \"{runtime}\" ended after {:.1} s", waited.as_secs_f64());
        News::Shutdown { runtime, waited, waits_for: None, text }
    }

    fn text(&self) -> String {
        let Self { runtime, waited, .. } = self;
        let mut out = format!(
            "shutdown of runtime \"{runtime}\" has waited for {} for {:.1} s\n",
            self.waited_for(),
            waited.as_secs_f64()
        );
        for (doing, ids) in self.doings.iter().take(MAX_LINES) {
            let ids = match ids.as_slice() {
                [one] => format!("thread {one}"),
                [first, ..] => format!("{}, such as {first}", plural(ids.len(), "thread")),
                [] => continue,
            };
            let _infallible = writeln!(out, "  {ids}: {doing}");
        }
        if let Some(more @ 1..) = self.doings.len().checked_sub(MAX_LINES) {
            let _infallible = writeln!(out, "  {} more", plural(more, "kind"));
        }
        let advice = if self.reads_standard_input { INPUT_ADVICE } else { ADVICE };
        let _infallible = write!(out, "  advice: {advice}");
        out
    }

    fn waited_for(&self) -> String {
        let blocking = plural(self.blocking, "blocking function");
        match (self.blocking, self.polls) {
            (0, 0) => "no thread that is known".to_owned(),
            (_, 0) => blocking,
            (0, polls) => plural(polls, "poll"),
            (_, polls) => format!("{blocking} and {}", plural(polls, "poll")),
        }
    }
}

/// `shop::upload at src/shop.rs:12, in read on pipe`.
fn doing(thread: &WaitedFor, frames: Option<&[Frame]>) -> String {
    let inside = frames.map_or(&[][..], |frames| &frames[..poll_boundary(frames)]);
    let culprit = frames.and_then(find_culprit).filter(|culprit| culprit.frame.origin != Origin::Unknown);
    let named = |origin| inside.iter().find(|frame| frame.origin == origin).cloned();
    let frame = culprit.map(|culprit| culprit.frame).or_else(|| named(Origin::Std)).or_else(|| named(Origin::Runtime));
    let place = match &thread.sleeps_in {
        Some(site) => format!("waits in {site}"),
        None => "runs, or is ready to run".to_owned(),
    };
    let function = frame.as_ref().map_or_else(|| "a function that is not known".to_owned(), described);
    format!("{function} {place}")
}

/// Whether it sleeps in a read of standard input.
fn reads_standard_input(thread: &WaitedFor) -> bool {
    let input = Some(StandardStream::Input);
    let is_read = |name: &str| matches!(name, "read" | "readv");
    matches!(&thread.sleeps_in, Some(WaitSite::Syscall { name, stream, .. }) if *stream == input && is_read(name))
}

fn described(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{} at {file}:{line}", frame.function),
        _ => frame.function.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::SyscallKind;

    fn thread(tid: i32, stream: Option<StandardStream>) -> WaitedFor {
        let (name, kind, file) = ("read".into(), SyscallKind::Pipe, Some("pipe".into()));
        let read = WaitSite::Syscall { name, kind, file, stream };
        WaitedFor { tid, in_poll: false, sleeps_in: Some(read), stack: None }
    }

    fn report(doings: Vec<(String, Vec<i32>)>, blocking: usize, polls: usize) -> ShutdownReport {
        let waited = Duration::from_millis(1040);
        ShutdownReport { runtime: "api".into(), waited, blocking, polls, doings, reads_standard_input: true }
    }

    #[test]
    fn a_user_frame_is_named_and_otherwise_the_standard_library() {
        let frame = |function: &str, origin| Frame::new(function, origin);
        let read = [frame("read", Origin::System), frame("std::io::Stdin::read", Origin::Std)];
        let upload = [read[0].clone(), read[1].clone(), frame("shop::upload", Origin::User)];
        let (of_input, of_pipe) = (thread(1, Some(StandardStream::Input)), thread(1, None));
        let said = doing(&of_input, Some(&read));
        assert_eq!(said, "std::io::Stdin::read waits in read on pipe (standard input)");
        assert_eq!(doing(&of_pipe, Some(&upload)), "shop::upload waits in read on pipe");
        assert!(reads_standard_input(&of_input) && !reads_standard_input(&of_pipe));
        let runs = WaitedFor { sleeps_in: None, ..of_pipe };
        assert_eq!(doing(&runs, None), "a function that is not known runs, or is ready to run");
    }

    #[test]
    fn equal_threads_share_a_line_and_lines_are_bounded() {
        let mut doings = vec![("shop::upload waits in read".to_owned(), vec![7, 8])];
        let text = report(doings.clone(), 2, 0).text();
        let first = "shutdown of runtime \"api\" has waited for 2 blocking functions for 1.0 s\n";
        assert_eq!(
            text,
            format!("{first}  2 threads, such as 7: shop::upload waits in read\n  advice: {INPUT_ADVICE}")
        );
        doings.extend((0..10).map(|number| (format!("f{number} waits"), vec![number])));
        let text = report(doings, 12, 1).text();
        assert!(text.contains("12 blocking functions and 1 poll") && text.contains("3 kinds more"), "{text}");
        assert_eq!(text.lines().count(), 1 + MAX_LINES + 2);
    }
}
