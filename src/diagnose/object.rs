//! Finds the objects of a cause: what exactly the thread waited for, or where it was. How each is recognized is in the table
//! of `model/cause_object.rs`.
//!
//! A descriptor and a system call come from the kernel, and must account for half of the thread's own time, like a class. A
//! function comes from the stack: it must lie between the wait and the user's code, so that it called nothing of the user.

use std::time::Duration;

use super::culprit::{find_culprit, poll_boundary};
use crate::model::cause::CauseClass;
use crate::model::cause_object::{Access, CauseObject, FileKind, Sign};
use crate::model::evidence::{Evidence, StandardStream, SyscallKind, WaitSite};
use crate::model::stack::{Frame, Origin};

/// A lock that did not come for this long may be a deadlock.
const LONG: Duration = Duration::from_secs(2);

/// The objects of a cause of this class: at most one, and `Drop` after it. `ended` says that the wait is over.
pub(crate) fn objects(class: CauseClass, evidence: &Evidence, frames: &[Frame], ended: bool) -> Vec<CauseObject> {
    if matches!(class, CauseClass::NotScheduled | CauseClass::NameLookup | CauseClass::ChildProcess) {
        // The class says it all.
        return Vec::new();
    }
    let frames = &frames[..poll_boundary(frames)];
    let scene = Scene {
        class,
        call: Call::of(evidence, class),
        callees: &frames[..depth_of_user(frames)],
        frames,
        is_long: !ended && evidence.asleep >= LONG,
    };
    let (drop, others): (Vec<_>, Vec<_>) =
        CauseObject::ALL.into_iter().partition(|object| matches!(object.row().sign, Sign::Drop(_)));
    let is_seen = |object: &CauseObject| scene.shows(object.row().sign);
    others.into_iter().find(is_seen).into_iter().chain(drop.into_iter().filter(is_seen)).collect()
}

/// How many frames lie below the user's code; all of them without such code.
fn depth_of_user(frames: &[Frame]) -> usize {
    find_culprit(frames)
        .filter(|culprit| culprit.frame.origin == Origin::User)
        .map_or(frames.len(), |found| found.depth)
}

/// What is known of a stall.
struct Scene<'a> {
    class: CauseClass,
    call: Option<Call<'a>>,
    /// The frames of the poll below the user's code.
    callees: &'a [Frame],
    /// The frames of the poll.
    frames: &'a [Frame],
    is_long: bool,
}

/// The system call in which the thread spent at least half of its own time.
struct Call<'a> {
    name: &'a str,
    kind: SyscallKind,
    file: Option<&'a str>,
    stream: Option<StandardStream>,
}

impl Scene<'_> {
    fn shows(&self, sign: Sign) -> bool {
        match sign {
            Sign::Descriptor { access, file, streams } => self.call.as_ref().is_some_and(|call| {
                let is_stream = streams.is_empty() || call.stream.is_some_and(|stream| streams.contains(&stream));
                is_stream && call.access() == Some(access) && call.is_on(file)
            }),
            Sign::Call(class, names) => {
                self.class == class
                    && self.call.as_ref().is_some_and(|call| names.split(' ').any(|name| name == call.name))
            }
            Sign::Function(classes, names) => classes.contains(&self.class) && any_matches(self.callees, names),
            Sign::LongWait(classes, names) => {
                self.is_long && classes.contains(&self.class) && any_matches(self.callees, names)
            }
            Sign::Drop(names) => any_matches(self.frames, names) || self.frames.iter().any(is_drop),
        }
    }
}

impl<'a> Call<'a> {
    fn of(evidence: &'a Evidence, class: CauseClass) -> Option<Self> {
        let longest = evidence.waits.first().filter(|wait| wait.time * 2 >= evidence.own_time())?;
        match &longest.site {
            WaitSite::Syscall { name, kind, file, stream } => {
                let call = Call { name, kind: *kind, file: file.as_deref(), stream: *stream };
                // The stack may have shown that the class is another one.
                let is_of_class = match class {
                    CauseClass::File => matches!(kind, SyscallKind::File | SyscallKind::Pipe),
                    CauseClass::Network => *kind == SyscallKind::Network,
                    CauseClass::Lock => *kind == SyscallKind::Lock,
                    _ => false,
                };
                is_of_class.then_some(call)
            }
            WaitSite::Fault => None,
        }
    }

    fn access(&self) -> Option<Access> {
        match self.name {
            "read" | "readv" | "pread64" | "preadv" | "recvfrom" | "recvmsg" | "recvmmsg" => Some(Access::Read),
            "write" | "writev" | "pwrite64" | "pwritev" | "sendto" | "sendmsg" | "sendmmsg" | "sendfile" => {
                Some(Access::Write)
            }
            // The kernel does not say which events are polled for. Nobody polls standard streams for the other direction.
            "poll" | "ppoll" => self.stream.map(|stream| match stream {
                StandardStream::Input => Access::Read,
                StandardStream::Output | StandardStream::Error => Access::Write,
            }),
            _ => None,
        }
    }

    fn is_on(&self, file: FileKind) -> bool {
        let is_terminal =
            |path: &str| ["/dev/pts/", "/dev/tty", "/dev/console"].iter().any(|start| path.starts_with(start));
        match file {
            FileKind::Any => true,
            FileKind::Pipe => self.kind == SyscallKind::Pipe,
            FileKind::Terminal => self.file.is_some_and(is_terminal),
        }
    }
}

fn any_matches(frames: &[Frame], patterns: &str) -> bool {
    frames.iter().any(|frame| patterns.split(' ').any(|pattern| matches(pattern, &frame.function)))
}

/// Whether a function is one of a pattern. A `*` stands for any text. A pattern without `::` is a function of C, which Rust
/// code may declare in any module. `<T as Trait>::method` is a function of `T`.
pub(super) fn matches(pattern: &str, function: &str) -> bool {
    let path = function.trim_start_matches(['<', '&']).trim_start_matches("mut ");
    let name = if pattern.contains("::") { path } else { function.rsplit("::").next().unwrap_or(function) };
    // glibc's own calls have a prefix, such as `__libc_malloc` and `__GI___libc_free`.
    let name = if pattern.contains("::") || pattern.starts_with('_') { name } else { without_prefix(name) };
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    pattern.ends_with('*') || rest.is_empty()
}

fn without_prefix(name: &str) -> &str {
    name.trim_start_matches('_').trim_start_matches("GI_").trim_start_matches('_').trim_start_matches("libc_")
}

/// `<app::Session as core::ops::drop::Drop>::drop`.
fn is_drop(frame: &Frame) -> bool {
    frame.function.ends_with(" as core::ops::drop::Drop>::drop")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::WaitTime;

    const MS: Duration = Duration::from_millis(1);

    /// A wait of 100 ms for this call.
    fn wait(name: &str, kind: SyscallKind, file: Option<&str>, stream: Option<StandardStream>) -> Evidence {
        let site = WaitSite::Syscall { name: name.into(), kind, file: file.map(Into::into), stream };
        let waits = vec![WaitTime { site, time: MS * 98 }];
        Evidence { window: MS * 100, on_cpu: Some(MS), waits, asleep: MS * 98, ..Evidence::default() }
    }

    fn lock() -> Evidence {
        wait("futex", SyscallKind::Lock, None, None)
    }

    fn long_lock() -> Evidence {
        Evidence { window: MS * 2600, asleep: MS * 2590, ..lock() }
    }

    /// Frames with the user's function `app::handler` outside, in the poll of a task.
    fn stack(inner: &[&str]) -> Vec<Frame> {
        let frame = |name: &&str| {
            let origin = match *name {
                name if name.contains("app::") => Origin::User,
                name if name.contains("std::") || name.contains("core::") => Origin::Std,
                name if name.contains("::") => Origin::Dependency,
                _ => Origin::System,
            };
            Frame::new(*name, origin)
        };
        let outer = [
            "app::handler",
            "tokio::runtime::task::core::Core::poll",
            "std::sys::backtrace::__rust_begin_short_backtrace",
        ];
        inner.iter().chain(&outer).map(frame).collect()
    }

    fn found(class: CauseClass, evidence: &Evidence, inner: &[&str]) -> Vec<CauseObject> {
        objects(class, evidence, &stack(inner), false)
    }

    #[test]
    fn descriptors_and_calls_show_objects() {
        use CauseClass::{File, Lock, Network};
        use CauseObject as O;
        use SyscallKind as K;
        let (input, output, error) =
            (Some(StandardStream::Input), Some(StandardStream::Output), Some(StandardStream::Error));
        for (object, class, evidence) in [
            (O::StandardInput, File, wait("read", K::Pipe, Some("pipe"), input)),
            (O::StandardInput, File, wait("read", K::File, Some("/dev/pts/3"), input)),
            (O::StandardInput, Network, wait("poll", K::Network, Some("socket"), input)),
            (O::StandardOutputPipe, File, wait("write", K::Pipe, Some("pipe"), output)),
            (O::StandardOutputPipe, File, wait("poll", K::Pipe, Some("pipe"), output)),
            (O::StandardErrorPipe, File, wait("writev", K::Pipe, Some("pipe"), error)),
            (O::TerminalOutput, File, wait("write", K::File, Some("/dev/pts/3"), output)),
            (O::TerminalOutput, File, wait("write", K::File, Some("/dev/tty"), None)),
            (O::TerminalInput, File, wait("read", K::File, Some("/dev/tty"), None)),
            (O::StandardOutput, Network, wait("write", K::Network, Some("socket"), error)),
            (O::StandardOutput, File, wait("write", K::File, Some("/var/log/app.log"), output)),
            (O::PipeWrite, File, wait("write", K::Pipe, Some("pipe"), None)),
            (O::PipeRead, File, wait("read", K::Pipe, Some("pipe"), None)),
            (O::DiskSync, File, wait("fdatasync", K::File, Some("/data/wal"), None)),
            (O::FileLock, Lock, wait("flock", K::Lock, Some("/data/lock"), None)),
        ] {
            assert_eq!(found(class, &evidence, &[]), [object], "{evidence:?}");
        }
        for (class, evidence) in [
            (File, wait("read", K::File, Some("/data/index"), None)),
            (Network, wait("recvfrom", K::Network, Some("socket"), None)),
            (File, wait("poll", K::Pipe, Some("pipe"), None)),
            (Lock, lock()),
        ] {
            assert_eq!(found(class, &evidence, &[]), [], "the class says all: {evidence:?}");
        }
    }

    #[test]
    fn a_call_counts_with_half_of_the_own_time_and_its_class() {
        let mut pipe = wait("write", SyscallKind::Pipe, Some("pipe"), Some(StandardStream::Output));
        assert_eq!(found(CauseClass::ChildProcess, &pipe, &[]), [], "the pipe of a child");
        assert_eq!(found(CauseClass::Computing, &pipe, &[]), []);
        pipe.waits[0].time = MS * 40;
        assert_eq!(found(CauseClass::File, &pipe, &[]), []);
    }

    #[test]
    fn functions_below_the_users_code_show_objects() {
        use CauseClass::{Computing, File, Lock, Network, Sleeping};
        use CauseObject as O;
        for (object, class, frames) in [
            (
                O::SqliteLock,
                Sleeping,
                &["clock_nanosleep", "unixSleep", "sqlite3_step", "rusqlite::Statement::step"][..],
            ),
            (O::Sqlite, Computing, &["sqlite3VdbeExec", "sqlite3_step"]),
            (O::Sqlite, File, &["fdatasync", "sqlite3_step", "rusqlite::Connection::execute"]),
            (O::PythonLock, Lock, &["pthread_cond_timedwait", "take_gil", "PyGILState_Ensure"]),
            (O::PythonLock, Lock, &["pthread_cond_timedwait", "PyEval_RestoreThread", "pyo3::marker::Python::detach"]),
            (O::PythonLock, Lock, &["0x7f00", "pyo3_ffi::PyGILState_Ensure"]),
            (O::PythonLock, Lock, &["0x7f00", "pyo3::internal::state::AttachGuard::attach"]),
            (O::AllocatorLock, Lock, &["__lll_lock_wait_private", "malloc", "alloc::alloc::alloc"]),
            (O::AllocatorLock, Lock, &["__lll_lock_wait_private", "__libc_free"]),
            (O::AllocatorLock, Lock, &["__GI___lll_lock_wait", "arena_get2.part.0"]),
            (O::AllocatorLock, Lock, &["_rjem_je_malloc_mutex_lock_slow", "_rjem_je_arena_choose_hard"]),
            (O::AllocatorLock, Lock, &["pthread_mutex_lock", "mi_malloc_aligned"]),
            (
                O::AllocatorLock,
                Lock,
                &[
                    "std::sync::Mutex::lock",
                    "<app::Counting as core::alloc::global::GlobalAlloc>::alloc",
                    "alloc::alloc::alloc",
                ],
            ),
            (O::AllocatorLock, Lock, &["std::sync::Mutex::lock", "__rustc::__rg_alloc"]),
            (O::OutputLock, Lock, &["syscall", "<std::io::stdio::Stdout as std::io::Write>::write_all"]),
            (
                O::OutputLock,
                Lock,
                &["syscall", "<&std::io::stdio::Stdout as std::io::Write>::write_fmt", "std::io::stdio::_print"],
            ),
            (
                O::MapGuard,
                Lock,
                &["syscall", "dashmap::lock::RawRwLock::lock_exclusive_slow", "dashmap::DashMap::insert"],
            ),
            (O::ConnectionPool, Lock, &["syscall", "std::sync::Condvar::wait_timeout", "r2d2::Pool::get_timeout"]),
            (O::BlockingHttp, Lock, &["syscall", "std::thread::park", "reqwest::blocking::wait::timeout"]),
            (
                O::BlockingHttp,
                Network,
                &[
                    "recv",
                    "<ureq::unversioned::transport::tcp::TcpTransport as ureq::unversioned::transport::Transport>::await_input",
                ],
            ),
            (O::RayonPool, Lock, &["syscall", "std::sync::Condvar::wait", "rayon_core::latch::LockLatch::wait"]),
            (O::BlockOn, Lock, &["syscall", "std::thread::park", "futures_executor::local_pool::block_on"]),
            (O::BlockOn, Lock, &["syscall", "std::sync::Condvar::wait", "pollster::block_on"]),
            (O::ThreadJoin, Lock, &["__pthread_clockjoin_ex", "std::thread::JoinHandle::join"]),
            (O::ChannelReceive, Lock, &["syscall", "std::thread::park", "std::sync::mpmc::list::Channel::recv"]),
            (O::ChannelReceive, Lock, &["syscall", "std::thread::park", "crossbeam_channel::channel::Receiver::recv"]),
            (O::ChannelSend, Lock, &["syscall", "std::thread::park", "std::sync::mpsc::SyncSender::send"]),
            (O::ChannelSend, Lock, &["syscall", "std::sync::mpmc::array::Channel::send"]),
            (O::Initialization, Lock, &["syscall", "std::sys::sync::once::futex::Once::call"]),
            (
                O::ConditionVariable,
                Lock,
                &["syscall", "std::sys::sync::condvar::futex::Condvar::wait", "std::sync::Condvar::wait"],
            ),
            (O::ConditionVariable, Lock, &["pthread_cond_wait"]),
            (O::ConditionVariable, Lock, &["syscall", "std::sys::sync::condvar::futex::Condvar::wait"]),
            (O::ThreadPark, Lock, &["syscall", "std::thread::park"]),
            (
                O::Logger,
                File,
                &["write", "<std::fs::File as std::io::Write>::write_all", "tracing_subscriber::fmt::Layer::on_event"],
            ),
        ] {
            assert_eq!(found(class, &lock(), frames), [object], "{frames:?}");
            assert_eq!(found(CauseClass::NotScheduled, &lock(), frames), [], "it did not run");
        }
        for frames in [&["syscall", "std::sync::Mutex::lock"][..], &["malloc_usable_size"], &["app::malloc", "free"]] {
            assert_eq!(found(Computing, &lock(), frames), [], "no wait for an allocator: {frames:?}");
        }
        let called_back = ["syscall", "std::sync::Mutex::lock", "app::callback", "PyGILState_Ensure"];
        assert_eq!(found(Lock, &lock(), &called_back), [], "the user's own code waits");
    }

    #[test]
    fn the_descriptor_goes_before_the_function() {
        let pipe = wait("write", SyscallKind::Pipe, Some("pipe"), Some(StandardStream::Output));
        let logger = [
            "write",
            "<std::io::stdio::Stdout as std::io::Write>::write_all",
            "tracing_subscriber::fmt::Layer::on_event",
        ];
        assert_eq!(found(CauseClass::File, &pipe, &logger), [CauseObject::StandardOutputPipe]);
    }

    #[test]
    fn a_lock_that_does_not_come_for_seconds_is_stuck() {
        let frames = ["syscall", "std::sys::sync::mutex::futex::Mutex::lock_contended", "std::sync::Mutex::lock"];
        assert_eq!(found(CauseClass::Lock, &long_lock(), &frames), [CauseObject::StuckLock]);
        assert_eq!(found(CauseClass::Lock, &lock(), &frames), [], "too early");
        assert_eq!(objects(CauseClass::Lock, &long_lock(), &stack(&frames), true), [], "it came");
        let of_logger = [&frames[..], &["tracing_subscriber::fmt::Layer::on_event"]].concat();
        assert_eq!(found(CauseClass::Lock, &long_lock(), &of_logger), [CauseObject::Logger], "not the user's lock");
        let many = Evidence { asleep: MS * 3, ..long_lock() };
        assert_eq!(found(CauseClass::Lock, &many, &frames), [], "many short waits");
        for inner in ["parking_lot::raw_mutex::RawMutex::lock_slow", "pthread_rwlock_wrlock"] {
            assert_eq!(found(CauseClass::Lock, &long_lock(), &["syscall", inner]), [CauseObject::StuckLock], "{inner}");
        }
    }

    #[test]
    fn a_drop_is_told_beside_what_it_waits_for() {
        let of_user = [
            "clock_nanosleep",
            "std::thread::sleep",
            "app::flush",
            "<app::Session as core::ops::drop::Drop>::drop",
            "core::ptr::drop_in_place",
        ];
        let sleep = wait("clock_nanosleep", SyscallKind::Sleep, None, None);
        assert_eq!(found(CauseClass::Sleeping, &sleep, &of_user), [CauseObject::Drop]);
        let elements = ["free", "core::ptr::drop_in_place"];
        assert_eq!(found(CauseClass::Computing, &Evidence::default(), &elements), [CauseObject::Drop]);
        let join =
            ["__pthread_clockjoin_ex", "std::thread::JoinHandle::join", "<app::Worker as core::ops::drop::Drop>::drop"];
        assert_eq!(found(CauseClass::Lock, &lock(), &join), [CauseObject::ThreadJoin, CauseObject::Drop]);
        let outside = objects(CauseClass::Lock, &lock(), &[stack(&["syscall"]), stack(&elements)].concat(), false);
        assert_eq!(outside, [], "around the poll");
    }
}
