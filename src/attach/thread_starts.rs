//! Where the variables of each thread of another process begin.

use crate::census::ThreadStart;
use crate::process::FrozenThread;

/// The control blocks of the threads.
pub(crate) fn pointers(threads: &[FrozenThread]) -> impl Iterator<Item = u64> {
    threads.iter().filter_map(|thread| thread.thread_pointer)
}

/// Where each thread's variables of the program begin.
pub(crate) fn starts(threads: &[FrozenThread], before: Option<u64>) -> Vec<ThreadStart> {
    let start = |thread: &FrozenThread| ThreadStart {
        tid: thread.tid,
        name: thread.name.clone(),
        runs: thread.runs,
        thread_locals: thread.thread_pointer.and_then(|pointer| pointer.checked_sub(before?)),
        stack: thread.bounds.clone(),
    };
    threads.iter().map(start).collect()
}
