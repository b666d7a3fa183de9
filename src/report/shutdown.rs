//! A runtime whose shutdown waits, as text and as an event.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::news::News;
use super::shutdown_waits::ShutdownWaits;
use super::stall_log::StallLog;
use crate::diagnose::{find_culprit, poll_boundary};
use crate::model::evidence::{StandardStream, WaitSite};
use crate::model::plural::plural;
use crate::model::stack::{Frame, Origin, RawStack};
use crate::tokio_internals::symbols::{drops_tasks, is_worker_loop};

/// The limit of lines about threads. Further ones are counted.
const MAX_LINES: usize = 8;

const ADVICE: &str = "Tokio cannot cancel a blocking function, and waits for it: let it end, or use shutdown_timeout or \
                      shutdown_background";

const DROP_ADVICE: &str = "Tokio drops the tasks that are left and waits for their values: close them before the shutdown, or let \
                           their Drop hand the work to a thread of your own";

const INPUT_ADVICE: &str = "a read of standard input cannot be cancelled: read it on a thread of your own, or use \
                            shutdown_timeout or shutdown_background";

/// A thread that a shutdown may wait for.
#[derive(Debug)]
pub(crate) struct WaitedFor {
    pub(crate) tid: i32,
    pub(crate) work: KnownWork,
    pub(crate) sleeps_in: Option<WaitSite>,
    pub(crate) stack: Option<RawStack>,
}

/// What is known of a thread before its stack is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownWork {
    /// A worker that is in an instrumented poll.
    Poll,
    /// A thread of the blocking pool, on which workers run too.
    Pool,
    /// The thread that shuts the runtime down. Without workers, it drops the tasks.
    Caller,
}

/// What the shutdown waits for in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    BlockingFunction,
    Poll,
    TaskDrop,
}

impl Work {
    /// `None` for a thread that only waits for the others.
    fn of(known: KnownWork, frames: &[Frame]) -> Option<Self> {
        let position = |is: fn(&str) -> bool| frames.iter().position(|frame| is(&frame.function));
        let worker = position(is_worker_loop);
        if position(drops_tasks).is_some_and(|drops| worker.is_none_or(|worker| drops < worker)) {
            return Some(Self::TaskDrop);
        }
        match known {
            KnownWork::Caller => None,
            KnownWork::Poll => Some(Self::Poll),
            // Outside the worker's loop is the blocking function that runs it.
            KnownWork::Pool if worker.is_some_and(|worker| poll_boundary(frames) < worker) => Some(Self::Poll),
            KnownWork::Pool => Some(Self::BlockingFunction),
        }
    }

    fn count(self, waits: &mut ShutdownWaits) {
        match self {
            Self::BlockingFunction => waits.blocking += 1,
            Self::Poll => waits.polls += 1,
            Self::TaskDrop => waits.drops += 1,
        }
    }
}

/// A shutdown that waits.
#[derive(Debug)]
pub(crate) struct ShutdownReport {
    runtime: Arc<str>,
    waited: Duration,
    waits_for: ShutdownWaits,
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
        let reads_standard_input = threads.iter().any(reads_standard_input);
        let mut waits_for = ShutdownWaits { blocking: more, ..ShutdownWaits::default() };
        let mut doings: Vec<(String, Vec<i32>)> = Vec::new();
        for thread in threads {
            // The lock is held for one stack at a time, because the reporter waits for it.
            let frames = thread.stack.as_ref().map(|stack| log.symbolizer().frames(&stack.addresses));
            let Some(work) = Work::of(thread.work, frames.as_deref().unwrap_or_default()) else { continue };
            work.count(&mut waits_for);
            let doing = doing(&thread, frames.as_deref());
            match doings.iter_mut().find(|(known, _)| *known == doing) {
                Some((_, ids)) => ids.push(thread.tid),
                None => doings.push((doing, vec![thread.tid])),
            }
        }
        Self { runtime, waited, waits_for, doings, reads_standard_input }
    }

    /// What is said of it.
    pub(crate) fn news(&self) -> News {
        News::Shutdown {
            runtime: Arc::clone(&self.runtime),
            waited: self.waited,
            waits_for: Some(self.waits_for),
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
            self.waits_for,
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
        let _infallible = write!(out, "  advice: {}", self.advice());
        out
    }

    fn advice(&self) -> &'static str {
        match self.waits_for {
            _ if self.reads_standard_input => INPUT_ADVICE,
            ShutdownWaits { blocking: 0, polls: 0, drops: 1.. } => DROP_ADVICE,
            _ => ADVICE,
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
        WaitedFor { tid, work: KnownWork::Pool, sleeps_in: Some(read), stack: None }
    }

    fn report(doings: Vec<(String, Vec<i32>)>, blocking: usize, polls: usize) -> ShutdownReport {
        let (waited, waits_for) = (Duration::from_millis(1040), ShutdownWaits { blocking, polls, drops: 0 });
        ShutdownReport { runtime: "api".into(), waited, waits_for, doings, reads_standard_input: true }
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
    fn a_stack_shows_whether_a_thread_of_the_pool_is_a_worker() {
        let frames =
            |names: &[&str]| -> Vec<Frame> { names.iter().map(|name| Frame::new(*name, Origin::Runtime)).collect() };
        let pool = ["tokio::runtime::task::harness::Harness<T,S>::poll", "tokio::runtime::blocking::pool::Inner::run"];
        let worker = "tokio::runtime::scheduler::multi_thread::worker::Context::run";
        let blocking = frames(&[&["shop::upload"], &pool[..]].concat());
        assert_eq!(Work::of(KnownWork::Pool, &blocking), Some(Work::BlockingFunction));
        assert_eq!(Work::of(KnownWork::Pool, &[]), Some(Work::BlockingFunction), "the stack is not known");
        let poll = "tokio::runtime::task::raw::poll";
        let in_poll = frames(&[&["shop::price", poll, worker], &pool[..]].concat());
        assert_eq!(Work::of(KnownWork::Pool, &in_poll), Some(Work::Poll));
        let list = "tokio::runtime::task::list::OwnedTasks<S>::close_and_shutdown_all";
        let dropping = frames(&[&["shop::Guard::drop", list, worker], &pool[..]].concat());
        assert_eq!(Work::of(KnownWork::Pool, &dropping), Some(Work::TaskDrop));
        assert_eq!(Work::of(KnownWork::Caller, &dropping[..2]), Some(Work::TaskDrop), "a current-thread runtime");
        assert_eq!(Work::of(KnownWork::Caller, &frames(&["std::sync::Condvar::wait"])), None);
    }

    #[test]
    fn the_advice_for_a_drop_is_about_drops() {
        let drops = ShutdownReport { reads_standard_input: false, ..report(Vec::new(), 0, 0) };
        let drops = ShutdownReport { waits_for: ShutdownWaits { drops: 2, ..ShutdownWaits::default() }, ..drops };
        let text = drops.text();
        assert!(text.contains("waited for the drop of 2 tasks for 1.0 s") && text.ends_with(DROP_ADVICE), "{text}");
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
