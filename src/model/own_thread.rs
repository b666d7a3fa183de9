//! The threads of holdup's own, by name. Profiles leave them out. `holdup-callback` is not one of them: it runs code of
//! the program.

/// Notices stalls.
pub(crate) const WATCHDOG: &str = "holdup-watchdog";

/// Reports stalls.
pub(crate) const REPORTER: &str = "holdup-reporter";

/// Sees that the watchdog is stuck.
pub(crate) const WATCHDOG_CHECK: &str = "holdup-check";

/// Writes reports to standard error.
pub(crate) const PRINTER: &str = "holdup-stderr";

/// Sends reports to the program's `tracing` subscriber.
pub(crate) const SUBSCRIBER: &str = "holdup-tracing";

/// Calls the program's callback, which is code of the program.
pub(crate) const CALLBACK: &str = "holdup-callback";

/// Serves the endpoint.
pub(crate) const ENDPOINT: &str = "holdup-endpoint";

/// Collects a profile for a request.
pub(crate) const PROFILER: &str = "holdup-profiler";

/// Tries what the self-check reports.
pub(crate) const SELF_CHECK: &str = "holdup-self-check";

/// Reads symbols.
pub(crate) const SYMBOLS: &str = "holdup-symbols";

/// Stops threads of another process.
pub(crate) const STOPPER: &str = "holdup-stop";

/// Serves tokio-console.
pub(crate) const CONSOLE: &str = "holdup-console";

/// Notices a runtime whose shutdown waits.
pub(crate) const SHUTDOWN: &str = "holdup-shutdown";

/// Reads what the allocator has sampled.
pub(crate) const HEAP: &str = "holdup-heap";

/// Writes the peak of the heap to a file.
pub(crate) const PEAK: &str = "holdup-peak";

/// Every name, in every build: another process may have other features.
const ALL: [&str; 14] = [
    WATCHDOG,
    WATCHDOG_CHECK,
    REPORTER,
    PRINTER,
    SUBSCRIBER,
    ENDPOINT,
    PROFILER,
    SELF_CHECK,
    SYMBOLS,
    STOPPER,
    CONSOLE,
    SHUTDOWN,
    HEAP,
    PEAK,
];

/// The kernel's limit of a thread's name, in bytes.
const MAX_NAME: usize = 15;

/// Whether a thread of this name is holdup's own.
pub(crate) fn is_own(name: &str) -> bool {
    ALL.iter().any(|own| *own == name || own.get(..MAX_NAME) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognized_as_the_kernel_cuts_them() {
        for name in [WATCHDOG, SELF_CHECK, "holdup-self-che", "holdup-console", "holdup-endpoint"] {
            assert!(is_own(name), "{name}");
        }
        for name in ["holdup", "holdup-", "holdup-watchdogs", "holdup-test", "tokio-rt-worker", ""] {
            assert!(!is_own(name), "{name}");
        }
    }
}
