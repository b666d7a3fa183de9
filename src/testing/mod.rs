//! Fails a test that stalls its runtime, and reports the function, file and line, cause, duration and stack.
//!
//! ```
//! # fn main() {
//! // In a `#[test]`: a new current-thread runtime.
//! holdup::testing::block_on(async {
//!     tokio::task::yield_now().await;
//! });
//! # }
//! ```
//!
//! In a `#[tokio::test]` the macro builds the runtime, so wrap the body: `holdup::testing::guard(async { … }).await`.
//! This watches the polls of that future, and of tasks started with [`holdup::spawn`](crate::spawn) on the same
//! thread. [`Guard::block_on_with`] takes your own runtime builder and watches every task that the hooks see.
//!
//! A [`Guard`] has a threshold, an optional budget for many short stalls, and exceptions: [`Guard::allow_function`], and
//! [`allow`] around a block. The default threshold is 50 ms, because tests run unoptimized and many at a time. An exception
//! that never applied gives a warning, so that it can be removed. A stall fails no test if the operating system caused it by
//! not running the thread. Tests that run at the same time in one process have separate guards.
//!
//! With the feature `heap` and [`Allocator`](crate::heap::Allocator) as the global allocator of the test program, a guard also
//! limits memory: `Guard::allocates_at_most`, `Guard::leaks_at_most` and `Guard::poll_allocates_at_most`.
//!
//! Before the first guard starts, a [`self_test`] checks that stalls are noticed in this environment. Without it, a guard that
//! sees nothing would let every test pass.

/// Blocks that are allowed to stall.
mod allowed;

/// Allowed functions and blocks.
mod exceptions;

/// Judges the memory of a test.
#[cfg(feature = "heap")]
mod memory;

/// The public guard and its rules.
mod guard;

/// A future that is guarded inside an existing runtime.
mod guarded;

/// Whether stalls are noticed in this environment.
mod self_test;

/// One guarded test.
mod session;

/// Judges the stalls of a test.
mod verdict;

pub use allowed::allow;
pub use guard::Guard;
pub use guarded::Guarded;
pub use self_test::self_test;
pub use verdict::HeldUp;

use std::future::Future;

/// Runs a test's future on a new current-thread runtime, with the default [`Guard`].
///
/// # Panics
/// If a poll took 50 ms or longer. The message names its culprit and cause.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    Guard::new().block_on(future)
}

/// Guards a future inside an existing runtime, such as that of `#[tokio::test]`, with the default [`Guard`].
///
/// # Panics
/// When the future is ready, if a poll took 50 ms or longer. The message names its culprit and cause.
#[track_caller]
pub fn guard<F: Future>(future: F) -> Guarded<F> {
    Guard::new().guard(future)
}
