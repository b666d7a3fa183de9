//! Names of Tokio's types in debug information, and the bits of a task's state.
//!
//! `scripts/tokio_versions.sh` runs the named tests with every supported version of Tokio. `tests/attach/dump.rs` fails if one of
//! these members has another name:
//!
//! | type | members |
//! |---|---|
//! | `task::core::Header` | `state`, `vtable`, `owner_id` |
//! | `task::raw::Vtable` | `poll`, `trailer_offset`, `id_offset` |
//! | `task::core::{Cell, Core, Trailer}` | `core`, `trailer`; `scheduler`, `spawned_at`; `owned` |
//! | `context::Context` | `current`, `current_task_id`, `runtime`, `scheduler`, `budget` |
//! | `scheduler::multi_thread::worker::{Context, Worker, Core}` | `worker`, `core`; `index`; `tick` |
//! | `util::linked_list::{LinkedList, PointersInner}` | `head`; `next` |
//! | `util::idle_notified_set` | `lists`, `idle`, `notified`, `value`, `pointers` |
//! | `sync::batch_semaphore::{Acquire, Waiter, Semaphore}` | `semaphore`, `num_permits`, `queued`, `node`; `state`; `permits`, `waiters` |
//! | `sync::mpsc::chan::Chan` | `tx_count`, `semaphore` |

/// The oldest version of Tokio that the tests cover.
///
/// Test: `scripts/tokio_versions.sh`.
pub(crate) const OLDEST_VERSION: &str = "1.35";

/// Bits of a task's state, from Tokio's `runtime/task/state.rs`. Debug information does not describe them.
///
/// Test: `every_task_has_the_path_that_its_source_shows` in `tests/attach/dump.rs`.
pub(crate) mod task_state {
    pub(crate) const RUNNING: u64 = 1;
    pub(crate) const COMPLETE: u64 = 1 << 1;
    pub(crate) const NOTIFIED: u64 = 1 << 2;
    /// A `JoinHandle` exists, which is one of the references.
    pub(crate) const JOIN_INTEREST: u64 = 1 << 3;
    pub(crate) const CANCELLED: u64 = 1 << 5;
    /// The number of bits below the reference count.
    pub(crate) const REFERENCES_SHIFT: u32 = 6;
}

/// The number of functions at the start of a task's vtable. The distances to its trailer, scheduler and id follow.
///
/// Test: `programs_with_symbols_or_less_have_tasks_with_states` in `tests/attach/dump_tiers.rs`.
pub(crate) const VTABLE_FUNCTIONS: usize = 7;

/// The alignment of tasks.
///
/// Test: `programs_with_symbols_or_less_have_tasks_with_states` in `tests/attach/dump_tiers.rs`.
pub(crate) const TASK_ALIGNMENT: u64 = 128;

/// The start of a task.
///
/// Test of this and of all following names: `tests/attach/dump.rs`.
pub(crate) const HEADER: &str = "tokio::runtime::task::core::Header";
pub(crate) const VTABLE: &str = "tokio::runtime::task::raw::Vtable";
pub(crate) const TRAILER: &str = "tokio::runtime::task::core::Trailer";

/// A whole task. The types of its future and scheduler follow.
pub(crate) const CELL: &str = "tokio::runtime::task::core::Cell<";

/// The part of a task that contains its future.
pub(crate) const STAGE: &str = "tokio::runtime::task::core::Stage<";

/// The list of a runtime's tasks.
pub(crate) const OWNED_TASKS: &str = "tokio::runtime::task::list::OwnedTasks<";

/// The lists in [`OWNED_TASKS`], in newer versions of Tokio.
pub(crate) const SHARDED_LIST: &str = "tokio::util::sharded_list::ShardedList<";
pub(crate) const LINKED_LIST: &str = "tokio::util::linked_list::LinkedList<";
pub(crate) const LINKED_LIST_POINTERS: &str = "tokio::util::linked_list::PointersInner<";

/// The module with the generic functions of tasks.
pub(crate) const RAW_TASK: &str = "tokio::runtime::task::raw";

/// The function in [`RAW_TASK`] that polls a task.
pub(crate) const POLL_TASK: &str = "poll<";

/// The module with the functions [`BLOCK_ON`].
pub(crate) const RUNTIME: &str = "tokio::runtime";

/// The functions that poll a future on the calling thread.
pub(crate) const BLOCK_ON: &str = "block_on<";

/// The thread-local variable with a thread's [`CONTEXT`].
pub(crate) const CONTEXT_VARIABLE: &str = "tokio::runtime::context::CONTEXT";
pub(crate) const CONTEXT: &str = "tokio::runtime::context::Context";

/// The handle of the runtime that a thread entered, in its [`CONTEXT`].
pub(crate) const CURRENT_HANDLE: &str = "core::option::Option<tokio::runtime::scheduler::Handle>";

/// Whether a thread is inside a runtime, in its [`CONTEXT`].
pub(crate) const ENTER_RUNTIME: &str = "tokio::runtime::context::runtime::EnterRuntime";

/// The scheduler of a `LocalSet`.
pub(crate) const LOCAL_SET: &str = "tokio::task::local::Shared";

/// The module of the blocking pool's scheduler.
pub(crate) const BLOCKING_POOL: &str = "tokio::runtime::blocking::schedule::";

/// The future that wraps a function given to `spawn_blocking`.
pub(crate) const BLOCKING_TASK: &str = "tokio::runtime::blocking::task::BlockingTask<";

/// The module of functions that run workers. Workers run on threads of the blocking pool.
pub(crate) const WORKERS: &str = "tokio::runtime::scheduler::";

/// The set inside a `JoinSet`.
pub(crate) const JOIN_SET: &str = "tokio::util::idle_notified_set::IdleNotifiedSet<";
pub(crate) const JOIN_SET_LISTS: &str = "tokio::util::idle_notified_set::ListsInner<";

pub(crate) const SLEEP: &str = "tokio::time::sleep::Sleep";
pub(crate) const JOIN_HANDLE: &str = "tokio::runtime::task::join::JoinHandle<";
pub(crate) const SEMAPHORE: &str = "tokio::sync::batch_semaphore::Semaphore";
pub(crate) const ACQUIRE: &str = "tokio::sync::batch_semaphore::Acquire";
pub(crate) const NOTIFIED: &str = "tokio::sync::notify::Notified";
pub(crate) const OWNED_NOTIFIED: &str = "tokio::sync::notify::OwnedNotified";
pub(crate) const ONESHOT_RECEIVER: &str = "tokio::sync::oneshot::Receiver<";
pub(crate) const BROADCAST_RECV: &str = "tokio::sync::broadcast::Recv<";
pub(crate) const IO_READINESS: &str = "tokio::runtime::io::scheduled_io::Readiness";
pub(crate) const MPSC_RECEIVER: &str = "tokio::sync::mpsc::chan::Rx<";
pub(crate) const MPSC_SENDER: &str = "tokio::sync::mpsc::chan::Tx<";
pub(crate) const ONESHOT_SENDER: &str = "tokio::sync::oneshot::Sender<";

/// Guards and permits. Each points to its [`SEMAPHORE`], or to a lock that contains one.
pub(crate) const MUTEX_GUARDS: [&str; 4] = [
    "tokio::sync::mutex::MutexGuard<",
    "tokio::sync::mutex::OwnedMutexGuard<",
    "tokio::sync::mutex::MappedMutexGuard<",
    "tokio::sync::mutex::OwnedMappedMutexGuard<",
];
pub(crate) const READ_GUARDS: [&str; 2] = [
    "tokio::sync::rwlock::read_guard::RwLockReadGuard<",
    "tokio::sync::rwlock::owned_read_guard::OwnedRwLockReadGuard<",
];
pub(crate) const WRITE_GUARDS: [&str; 4] = [
    "tokio::sync::rwlock::write_guard::RwLockWriteGuard<",
    "tokio::sync::rwlock::owned_write_guard::OwnedRwLockWriteGuard<",
    "tokio::sync::rwlock::write_guard_mapped::RwLockMappedWriteGuard<",
    "tokio::sync::rwlock::owned_write_guard_mapped::OwnedRwLockMappedWriteGuard<",
];
pub(crate) const PERMITS: [&str; 2] =
    ["tokio::sync::semaphore::SemaphorePermit", "tokio::sync::semaphore::OwnedSemaphorePermit"];
pub(crate) const RESERVED_ROOM: [&str; 2] =
    ["tokio::sync::mpsc::bounded::Permit<", "tokio::sync::mpsc::bounded::OwnedPermit<"];

/// Types that own a socket or pipe, directly or through a buffer.
pub(crate) const DESCRIPTOR_OWNERS: [&str; 5] =
    ["tokio::net::", "tokio::io::poll_evented::", "tokio::io::async_fd::", "tokio::io::util::buf_", "tokio::process::"];

/// Source files of macros that combine several futures, with the names of the macros.
pub(crate) const MACROS: [(&str, &str); 4] = [
    ("/src/macros/join.rs", "join!"),
    ("/src/macros/try_join.rs", "try_join!"),
    ("/src/macros/select.rs", "select!"),
    ("/src/macros/pin.rs", "pin!"),
];
