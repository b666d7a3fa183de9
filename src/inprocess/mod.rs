//! The wiring inside the watched process: what the parts of a watch share, and what the endpoint may ask.

/// Collects profiles over a window.
mod profile_collection;

/// Empty tasks whose stacks show where polls return to.
mod poll_examples;

/// Which profile to collect.
mod profile_options;

/// Where the endpoint and tokio-console listen, or why they do not.
#[cfg(any(feature = "http", feature = "console"))]
mod endpoint_check;

/// Profiles of the heap.
#[cfg(feature = "heap")]
mod heap_profiles;

/// What a guarded test allocates.
#[cfg(all(feature = "heap", feature = "testing"))]
mod test_heap;

/// Numbers of the last minutes.
#[cfg(feature = "http")]
mod number_history;

/// Reads these numbers.
#[cfg(feature = "http")]
mod number_sampler;

/// Requests of the endpoint that are no profile over a window.
#[cfg(feature = "http")]
mod profile_requests;

/// Profiles that are being collected.
mod profile_sessions;

/// Blocking work behind a future.
mod own_thread;

/// Watched runtimes and their handles.
mod runtime;

/// What holdup can see, tested at start.
pub(crate) mod self_check;

/// Shutdowns that wait.
mod shutdown;

/// What the parts of a watch share.
mod state;

/// Windows in which polls are counted.
mod task_window;

#[cfg(feature = "console")]
pub(crate) use endpoint_check::console as console_check;
#[cfg(feature = "http")]
pub(crate) use endpoint_check::{
    closed as closed_endpoint_check, endpoint as endpoint_check, socket as endpoint_socket_check,
};
#[cfg(feature = "http")]
pub(crate) use number_sampler::{INTERVAL as NUMBERS_INTERVAL, NumberSampler};
pub(crate) use own_thread::on_own_thread;
pub(crate) use poll_examples::run_local_set;
pub use profile_options::{ProfileError, ProfileMode, ProfileOptions};
pub(crate) use profile_sessions::Stop;
pub use runtime::{Handle, Runtime};
pub(crate) use state::WatchState;
#[cfg(all(feature = "heap", feature = "testing"))]
pub(crate) use test_heap::TestHeap;
