//! Objects: what exactly a stuck worker waited for, or in which code it was. One table holds how each is recognized and the
//! advice for it.
//!
//! The class of a cause follows from the kernel's numbers alone. A write to a full pipe and a read of a slow disk are both
//! `file`, but their remedies differ.

use std::fmt;

use super::cause_class::CauseClass::{self, Computing, File, Lock, Network, PageFaults, Sleeping};
use super::evidence::StandardStream::{self, Error, Input, Output};

/// What exactly a stuck worker waited for, or the code in which it was. It refines a [`CauseClass`], and decides the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CauseObject {
    /// A read of standard input.
    StandardInput,
    /// A pipe on standard output that is full.
    StandardOutputPipe,
    /// A pipe on standard error that is full.
    StandardErrorPipe,
    /// A terminal that takes no output.
    TerminalOutput,
    /// A terminal on which nobody types.
    TerminalInput,
    /// Standard output or error that is neither a pipe nor a terminal.
    StandardOutput,
    /// Another pipe that is full.
    PipeWrite,
    /// Another pipe that is empty.
    PipeRead,
    /// A lock of an SQLite database.
    SqliteLock,
    /// Other time inside SQLite.
    Sqlite,
    /// A sync to disk.
    DiskSync,
    /// The lock of a file.
    FileLock,
    /// The lock of Python's interpreter (GIL).
    PythonLock,
    /// A lock inside the memory allocator.
    AllocatorLock,
    /// The lock that the standard library holds while it writes to standard output or error.
    OutputLock,
    /// A shard of a `DashMap`.
    MapGuard,
    /// A connection of a blocking pool.
    ConnectionPool,
    /// A blocking HTTP client.
    BlockingHttp,
    /// Work of a rayon pool.
    RayonPool,
    /// A future that another executor's `block_on` polls.
    BlockOn,
    /// The end of a thread.
    ThreadJoin,
    /// A message of a blocking channel.
    ChannelReceive,
    /// Room in a blocking channel.
    ChannelSend,
    /// A value that another thread initializes.
    Initialization,
    /// A condition variable or a barrier.
    ConditionVariable,
    /// A call of `Thread::unpark`.
    ThreadPark,
    /// A mutex or a readers-writer lock that the thread has not got for seconds.
    StuckLock,
    /// Time inside a logger.
    Logger,
    /// Time inside the drop of a value.
    Drop,
}

/// How an object is recognized. Names are separated by spaces.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sign {
    /// The wait is a read or a write of such a file. No stream in the list means any descriptor.
    Descriptor { access: Access, file: FileKind, streams: &'static [StandardStream] },
    /// The wait is one of these system calls, in a stall of this class.
    Call(CauseClass, &'static str),
    /// One of these functions lies between the wait and the user's code, in a stall of these classes.
    Function(&'static [CauseClass], &'static str),
    /// The same, and the thread has slept in one wait for seconds, without an end so far.
    LongWait(&'static [CauseClass], &'static str),
    /// One of these functions, or a `Drop::drop`, is inside the poll, around the user's code or below it.
    Drop(&'static str),
}

/// The direction of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The kind of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Any,
    Pipe,
    Terminal,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    word: &'static str,
    title: &'static str,
    seen: &'static str,
    advice: &'static str,
    pub(crate) sign: Sign,
}

const fn reads(file: FileKind, streams: &'static [StandardStream]) -> Sign {
    Sign::Descriptor { access: Access::Read, file, streams }
}

const fn writes(file: FileKind, streams: &'static [StandardStream]) -> Sign {
    Sign::Descriptor { access: Access::Write, file, streams }
}

impl CauseObject {
    /// Every object. Of several that are recognized, the first decides the advice.
    pub const ALL: [Self; 29] = [
        Self::StandardInput,
        Self::StandardOutputPipe,
        Self::StandardErrorPipe,
        Self::TerminalOutput,
        Self::TerminalInput,
        Self::StandardOutput,
        Self::PipeWrite,
        Self::PipeRead,
        Self::SqliteLock,
        Self::Sqlite,
        Self::DiskSync,
        Self::FileLock,
        Self::PythonLock,
        Self::AllocatorLock,
        Self::OutputLock,
        Self::MapGuard,
        Self::ConnectionPool,
        Self::BlockingHttp,
        Self::RayonPool,
        Self::BlockOn,
        Self::ThreadJoin,
        Self::ChannelReceive,
        Self::ChannelSend,
        Self::Initialization,
        Self::ConditionVariable,
        Self::ThreadPark,
        Self::Logger,
        Self::StuckLock,
        Self::Drop,
    ];

    pub(crate) const fn row(self) -> Row {
        match self {
            Self::StandardInput => Row {
                word: "stdin",
                title: "reading standard input",
                seen: "The wait is a read of descriptor 0.",
                advice: "Read standard input on its own thread, and send the lines through a tokio channel. tokio::io::stdin() delays the shutdown of the runtime until the next input.",
                sign: reads(FileKind::Any, &[Input]),
            },
            Self::StandardOutputPipe => Row {
                word: "stdout_pipe",
                title: "writing to a full pipe on standard output",
                seen: "The wait is a write to descriptor 1, which is a pipe.",
                advice: "The pipe is full: the program that reads this program's standard output is slow or has stopped. Check it. Write from a thread of its own, for logs with tracing_appender::non_blocking, which drops lines when its queue is full.",
                sign: writes(FileKind::Pipe, &[Output]),
            },
            Self::StandardErrorPipe => Row {
                word: "stderr_pipe",
                title: "writing to a full pipe on standard error",
                seen: "The wait is a write to descriptor 2, which is a pipe.",
                advice: "The pipe is full: the program that reads this program's standard error is slow or has stopped. Check it. Write from a thread of its own, for logs with tracing_appender::non_blocking, which drops lines when its queue is full.",
                sign: writes(FileKind::Pipe, &[Error]),
            },
            Self::TerminalOutput => Row {
                word: "terminal_output",
                title: "writing to a terminal",
                seen: "The wait is a write to a terminal (/dev/pts or /dev/tty).",
                advice: "A terminal draws slowly, and takes nothing while its output is paused (Ctrl-S) or its connection is stuck. Write from a thread of its own, for logs with tracing_appender::non_blocking.",
                sign: writes(FileKind::Terminal, &[]),
            },
            Self::TerminalInput => Row {
                word: "terminal_input",
                title: "reading from a terminal",
                seen: "The wait is a read of a terminal on another descriptor than 0, such as /dev/tty.",
                advice: "Ask for input before the runtime starts, or in tokio::task::spawn_blocking: nobody may ever type an answer.",
                sign: reads(FileKind::Terminal, &[]),
            },
            Self::StandardOutput => Row {
                word: "stdout",
                title: "writing to standard output or error",
                seen: "The wait is a write to descriptor 1 or 2, which is no pipe and no terminal: a socket, as of journald, or a file.",
                advice: "What receives the output is slow, such as journald or a disk. Check it. Write from a thread of its own, for logs with tracing_appender::non_blocking.",
                sign: writes(FileKind::Any, &[Output, Error]),
            },
            Self::PipeWrite => Row {
                word: "pipe_write",
                title: "writing to a full pipe",
                seen: "The wait is a write to a pipe on another descriptor.",
                advice: "The reader of the pipe is slow or has stopped. Use tokio::net::unix::pipe, or tokio::process for the pipe of a child. If a child also writes to this process, read and write at the same time: both may wait for each other.",
                sign: writes(FileKind::Pipe, &[]),
            },
            Self::PipeRead => Row {
                word: "pipe_read",
                title: "reading from an empty pipe",
                seen: "The wait is a read of a pipe on another descriptor than 0.",
                advice: "The writer of the pipe has sent nothing. Use tokio::net::unix::pipe, or tokio::process for the pipe of a child, and .await the data.",
                sign: reads(FileKind::Pipe, &[]),
            },
            Self::SqliteLock => Row {
                word: "sqlite_lock",
                title: "waiting for a lock of SQLite",
                seen: "A function of SQLite sleeps or waits for a lock.",
                advice: "Another connection or thread uses the database, and SQLite sleeps until it may go on. Keep transactions short, and run queries in tokio::task::spawn_blocking or with an async client such as sqlx or tokio-rusqlite.",
                sign: Sign::Function(&[Sleeping, Lock], "sqlite3* rusqlite::*"),
            },
            Self::Sqlite => Row {
                word: "sqlite",
                title: "in a call of SQLite",
                seen: "A function of SQLite computes, or reads or writes its file.",
                advice: "Run the query in tokio::task::spawn_blocking, or use an async client such as sqlx or tokio-rusqlite. A missing index, or one transaction for each row, makes SQLite slow.",
                sign: Sign::Function(&[Computing, File, PageFaults], "sqlite3* rusqlite::*"),
            },
            Self::DiskSync => Row {
                word: "disk_sync",
                title: "syncing to disk",
                seen: "The wait is fsync, fdatasync, msync, syncfs, sync or sync_file_range.",
                advice: "A sync takes as long as the disk needs for everything that was written before. Run it in tokio::task::spawn_blocking, once for many writes.",
                sign: Sign::Call(File, "fsync fdatasync msync syncfs sync sync_file_range"),
            },
            Self::FileLock => Row {
                word: "file_lock",
                title: "waiting for a file lock",
                seen: "The wait is flock, or fcntl with a lock.",
                advice: "Another process or thread holds the lock of the file. Try the lock without waiting (File::try_lock) and tokio::time::sleep in between, or lock in tokio::task::spawn_blocking.",
                sign: Sign::Call(Lock, "flock fcntl"),
            },
            Self::PythonLock => Row {
                word: "python_lock",
                title: "waiting for Python's interpreter lock",
                seen: "A function of Python that takes the interpreter's lock (GIL), such as PyGILState_Ensure or PyEval_RestoreThread, waits for a lock.",
                advice: "Another thread runs Python code, or holds the interpreter's lock while it waits. Call Python in tokio::task::spawn_blocking, and release the lock around waits with Python::detach (before PyO3 0.26: allow_threads).",
                sign: Sign::Function(
                    &[Lock],
                    "PyGILState_Ensure PyEval_RestoreThread PyEval_AcquireThread PyEval_AcquireLock PyThreadState_Attach take_gil pyo3::gil::GILGuard::acquire* pyo3::internal::state::AttachGuard::*",
                ),
            },
            Self::AllocatorLock => Row {
                word: "allocator_lock",
                title: "waiting for a lock of the allocator",
                seen: "A function of the allocator (malloc, free, jemalloc, mimalloc, tcmalloc, a GlobalAlloc of the program) waits for a lock.",
                advice: "Several threads allocate or free memory at the same time. Reuse buffers here, or use an allocator with caches per thread, such as jemalloc or mimalloc.",
                sign: Sign::Function(
                    &[Lock],
                    "malloc calloc realloc free cfree memalign aligned_alloc posix_memalign _int_malloc _int_free* arena_get* malloc_consolidate systrim* tcache_* je_* _rjem_* malloc_mutex_lock_slow mi_* tc_malloc* tcmalloc::* snmalloc::* alloc::alloc::* *core::alloc::global::GlobalAlloc>::* __rg_* __rust_alloc* __rust_dealloc __rust_realloc",
                ),
            },
            Self::OutputLock => Row {
                word: "output_lock",
                title: "waiting for the lock of standard output or error",
                seen: "A function of the standard library's Stdout, Stderr or print! waits for a lock.",
                advice: "Another thread holds the lock, perhaps while its own write waits: see the other stalls. Write from one thread of its own, for logs with tracing_appender::non_blocking.",
                sign: Sign::Function(
                    &[Lock],
                    "std::io::stdio::Stdout* std::io::stdio::Stderr* std::io::stdio::_print std::io::stdio::_eprint std::io::stdio::print_to*",
                ),
            },
            Self::MapGuard => Row {
                word: "map_guard",
                title: "waiting for a shard of a DashMap",
                seen: "A function of the crate dashmap waits for a lock.",
                advice: "A guard of the same shard (Ref, RefMut, Entry, an iterator) is held. The holder is not known; it may be a caller of this function, or a task that keeps the guard across an .await. Clone the value out of the guard, and drop the guard first.",
                sign: Sign::Function(&[Lock], "dashmap::*"),
            },
            Self::ConnectionPool => Row {
                word: "connection_pool",
                title: "waiting for a connection of a pool",
                seen: "A function of the crate r2d2 waits for a lock.",
                advice: "All connections are in use. Use an async pool such as deadpool, bb8 or sqlx, or get the connection in tokio::task::spawn_blocking. A task that holds one connection and asks for another may wait forever.",
                sign: Sign::Function(&[Lock], "r2d2::*"),
            },
            Self::BlockingHttp => Row {
                word: "blocking_http",
                title: "waiting for a blocking HTTP client",
                seen: "A function of reqwest::blocking, ureq, attohttpc or minreq waits.",
                advice: "Use an async client, such as reqwest without its module `blocking`, or send the request in tokio::task::spawn_blocking. Set a timeout.",
                sign: Sign::Function(&[Lock, Network], "reqwest::blocking::* ureq::* attohttpc::* minreq::*"),
            },
            Self::RayonPool => Row {
                word: "rayon_pool",
                title: "waiting for a rayon pool",
                seen: "A function of the crate rayon-core waits for a lock.",
                advice: "Start the work with rayon::spawn, send its result through tokio::sync::oneshot, and .await that.",
                sign: Sign::Function(&[Lock], "rayon_core::*"),
            },
            Self::BlockOn => Row {
                word: "block_on",
                title: "waiting for a future in a nested block_on",
                seen: "block_on of another executor (futures, pollster, futures-lite, async-io, smol, async-std) waits for its future.",
                advice: "Use .await instead. The held worker may be the one that has to finish the future. A future of Tokio may also stay pending there for good, because nobody renews its cooperative budget.",
                sign: Sign::Function(
                    &[Lock, Network],
                    "futures_executor::* pollster::* futures_lite::future::block_on* async_io::* smol::* async_std::task::* async_global_executor::*",
                ),
            },
            Self::ThreadJoin => Row {
                word: "thread_join",
                title: "waiting for the end of a thread",
                seen: "JoinHandle::join, thread::scope or pthread_join waits.",
                advice: "Join the thread in tokio::task::spawn_blocking, or let it send its result through tokio::sync::oneshot.",
                sign: Sign::Function(
                    &[Lock],
                    "std::thread::JoinHandle::join std::thread::JoinInner::join std::thread::scoped::* std::thread::lifecycle::* std::thread::scope pthread_join pthread_timedjoin* __pthread_clockjoin_ex crossbeam_utils::thread::*",
                ),
            },
            Self::ChannelReceive => Row {
                word: "channel_receive",
                title: "waiting for a message of a channel",
                seen: "recv of a blocking channel (std, crossbeam, flume, kanal) waits.",
                advice: "Use a channel of tokio::sync, and .await the message. The sender may be a task that needs this worker.",
                sign: Sign::Function(
                    &[Lock],
                    "std::sync::mpsc::Receiver::recv* std::sync::mpsc::Iter* std::sync::mpsc::IntoIter* std::sync::mpmc::*::recv* crossbeam_channel::*::recv* crossbeam_channel::select::* flume::*::recv* flume::*::wait_recv* kanal::*::recv*",
                ),
            },
            Self::ChannelSend => Row {
                word: "channel_send",
                title: "waiting for room in a channel",
                seen: "send of a blocking channel (std, crossbeam, flume, kanal) waits.",
                advice: "The receiver is slow, or needs this worker. Use a channel of tokio::sync and .await the send, or drop what does not fit (try_send).",
                sign: Sign::Function(
                    &[Lock],
                    "std::sync::mpsc::SyncSender::send* std::sync::mpmc::*::send* crossbeam_channel::*::send* flume::*::send* flume::*::wait_send* kanal::*::send*",
                ),
            },
            Self::Initialization => Row {
                word: "initialization",
                title: "waiting for an initialization",
                seen: "Once, OnceLock, LazyLock or once_cell waits for a lock.",
                advice: "Another thread computes the value. Initialize it before the runtime starts, or use tokio::sync::OnceCell. An initialization that needs its own value may wait forever.",
                sign: Sign::Function(
                    &[Lock],
                    "std::sys::sync::once::* std::sync::once::* std::sync::poison::once::* once_cell::*",
                ),
            },
            Self::ConditionVariable => Row {
                word: "condition_variable",
                title: "waiting for a condition variable",
                seen: "Condvar::wait or Barrier::wait waits.",
                advice: "Use tokio::sync::Notify, tokio::sync::watch or tokio::sync::Barrier, and .await the change. The thread that changes the condition may be a task that needs this worker.",
                sign: Sign::Function(
                    &[Lock],
                    "std::sync::Condvar::wait* std::sys::sync::condvar::* std::sync::barrier::* parking_lot::condvar::* pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait",
                ),
            },
            Self::ThreadPark => Row {
                word: "thread_park",
                title: "waiting for an unpark",
                seen: "thread::park waits.",
                advice: "Another thread has to unpark this one. Use tokio::sync::Notify or tokio::sync::oneshot, and .await it. In an optimized build it may be block_on of another executor: use .await instead.",
                sign: Sign::Function(&[Lock], "std::thread::park*"),
            },
            Self::StuckLock => Row {
                word: "stuck_lock",
                title: "waiting for a lock that it does not get",
                seen: "A mutex or readers-writer lock has kept the thread asleep in one wait for 2 s or longer, and still does.",
                advice: "This may be a deadlock: holdup dump --pid shows threads that wait for each other's locks. Or this very thread holds the lock, here or in a caller. Or a task keeps its guard across an .await. Drop the guard before the call and before .await, and take locks in one order.",
                sign: Sign::LongWait(
                    &[Lock],
                    "std::sync::Mutex::lock std::sync::RwLock::* std::sync::reentrant_lock::* std::sys::sync::mutex::* std::sys::sync::rwlock::* parking_lot::* lock_api::* pthread_mutex_lock pthread_mutex_*lock pthread_rwlock_*lock",
                ),
            },
            Self::Logger => Row {
                word: "logger",
                title: "in a logger",
                seen: "A logger (tracing-subscriber, tracing-appender, env_logger, log4rs, fern, flexi_logger, simplelog) waits for a file or a lock.",
                advice: "The log is written on the worker. Give the logger a writer with a thread of its own, such as tracing_appender::non_blocking.",
                sign: Sign::Function(
                    &[File, Lock],
                    "tracing_subscriber::* tracing_appender::* env_logger::* log4rs::* fern::* flexi_logger::* simplelog::*",
                ),
            },
            Self::Drop => Row {
                word: "drop",
                title: "in a drop",
                seen: "A Drop::drop, or the drop of fields or elements, was running when the stack was captured.",
                advice: "The stack was captured inside the drop of a value, which cannot .await. Drop the value in tokio::task::spawn_blocking, or end its work first with an async function.",
                sign: Sign::Drop("core::ptr::drop_in_place core::ptr::drop_glue"),
            },
        }
    }

    /// The word in JSON, in `tracing` events and on the command line, such as `stdout_pipe`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().word
    }

    /// The words in reports, such as `writing to a full pipe on standard output`.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// How it is recognized.
    #[must_use]
    pub fn seen(self) -> &'static str {
        self.row().seen
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        self.row().advice
    }

    /// Whether it says where the worker was, and not what it waited for. Its title then follows that of the class.
    pub(crate) fn is_place(self) -> bool {
        matches!(self, Self::Sqlite | Self::Logger | Self::Drop)
    }
}

impl fmt::Display for CauseObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for CauseObject {
    type Err = ParseObjectError;

    fn from_str(word: &str) -> Result<Self, ParseObjectError> {
        Self::ALL.into_iter().find(|object| object.as_str() == word).ok_or(ParseObjectError)
    }
}

/// The error for a word that names no [`CauseObject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseObjectError;

impl fmt::Display for ParseObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = CauseObject::ALL.iter().map(|object| object.as_str()).collect();
        write!(f, "not an object; the objects are {}", names.join(", "))
    }
}

impl std::error::Error for ParseObjectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_unique_texts_and_parses_from_its_word() {
        for object in CauseObject::ALL {
            assert_eq!(object.as_str().parse(), Ok(object));
            assert!(object.as_str().parse::<CauseClass>().is_err(), "{object}: a class has this word");
            assert!(object.seen().ends_with('.') && object.advice().ends_with('.'), "{object}: these are sentences");
            assert_eq!(object.is_place(), object.title().starts_with("in "), "{object}");
            for other in CauseObject::ALL.into_iter().filter(|other| *other != object) {
                assert!(object.title() != other.title() && object.advice() != other.advice(), "{object} and {other}");
            }
        }
        assert_eq!("file".parse::<CauseObject>(), Err(ParseObjectError));
    }
}
