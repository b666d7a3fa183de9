//! Other processes, observed from outside: their tasks, stalls and profiles.
//!
//! Nothing of the process is run or changed, and it needs no holdup inside. Linux on `x86_64` only. The `holdup` command
//! (feature `cli`) is built on this module.
//!
//! ```no_run
//! let process = holdup::attach::Process::open(4242)?;
//! println!("{}", process.dump()?);
//! # Ok::<(), holdup::attach::AttachError>(())
//! ```

/// A program of known tasks.
#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
#[path = "../../tests/support/awaiting.rs"]
mod awaiting;

/// Readers against damaged memory and damaged debug information.
#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod corruption_tests;

/// The cost of a census of many tasks at one lock.
#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod long_queue_tests;

/// What is known of a program's types and names.
mod debug_info;

/// Why a process cannot be observed.
mod error;

/// Tasks that no runtime lists, found in memory.
mod heap_tasks;

/// Reads tasks while the process runs on.
mod live_reader;

/// A process that exists and may be read.
mod open_process;

/// The memory of a process by kind.
#[cfg(feature = "cli")]
mod memory;

/// What may be used to read a process.
mod options;

/// The type of a task by the stack of its poll.
mod polled_task_type;

/// The public face of a process.
mod process;

/// The processes of this machine that run Tokio.
mod process_list;

/// Profiles of a process.
mod profiles;

/// What holdup lacks, and how to get it.
mod remedies;

/// The peak of a process that has ended.
#[cfg(feature = "cli")]
mod saved_peak;

/// The watchdog on a process.
mod stall_watch;

/// Stalls of a process.
mod stalls;

/// A cache of debug information on disk.
mod symbol_cache;

/// Debug information in a file of holdup's own format.
mod symbol_file;

/// A census that was just taken.
mod taken_census;

/// Every task at one moment.
mod task_dump;

/// The same without descriptions of types.
mod task_dump_untyped;

/// Where the variables of each thread begin.
mod thread_starts;

/// What a process does, window by window.
mod top;

/// A running watch.
mod watching;

/// Finds workers by debug information.
mod worker_finder;

pub use error::AttachError;
pub use options::Options;
pub use process::{Process, TaskDump};
pub use profiles::{Mode, ParseModeError};
pub use stalls::WatchedStalls;

#[cfg(feature = "cli")]
pub(crate) use memory::memory_of;
#[cfg(feature = "cli")]
pub(crate) use process_list::Processes;
#[cfg(feature = "cli")]
pub(crate) use saved_peak::{holds_peak, read_peak};
#[cfg(feature = "cli")]
pub(crate) use symbol_file::extract;
