//! Fails a test whose runtime was held up, and says by what: function, file and line, cause, for how long, and the stack.
//!
//! ```
//! # fn main() {
//! // In a `#[test]`: a current-thread runtime of its own.
//! holdup::testing::block_on(async {
//!     tokio::task::yield_now().await;
//! });
//! # }
//! ```
//!
//! In a `#[tokio::test]`, whose runtime the macro builds, wrap what it does: `holdup::testing::guard(async { … }).await`.
//! Then the polls of that future are watched, and of what it starts with [`holdup::spawn`](crate::spawn) on the same
//! thread. With a builder of your own, [`Guard::block_on_with`] watches everything that the hooks show.
//!
//! A [`Guard`] has a threshold (50 ms unless set, because tests run unoptimised, many at a time), an optional budget for
//! many short holds, and exceptions: [`Guard::allow_function`], and [`allow`] around a block. An exception that never
//! applied is mentioned, so that it can be removed. A stall that the machine caused, by not running the thread, fails no
//! test. Tests that run at the same time in one process have guards of their own and do not disturb each other.
//!
//! Before the first guard starts, a self-test makes sure that a stall is noticed in this environment
//! ([`self_test`]): a guard that sees nothing would let every test pass.

/// Exceptions for a block.
mod allowed;

/// What is watched, and how strictly.
mod guard;

/// A future whose polls are guarded, in a runtime that somebody else built.
mod guarded;

/// Whether stalls are noticed here at all.
mod self_test;

/// What the stalls of a test amount to.
mod verdict;

pub use allowed::allow;
pub use guard::Guard;
pub use guarded::Guarded;
pub use self_test::self_test;
pub use verdict::HeldUp;

use std::future::Future;

/// Runs a test's future on a current-thread runtime of its own, with the default [`Guard`].
///
/// # Panics
/// When the runtime was held up for 50 ms or longer, with a message that says by what.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    Guard::new().block_on(future)
}

/// Guards a future inside a runtime that somebody else built, such as that of `#[tokio::test]`, with the default [`Guard`].
///
/// # Panics
/// When it is done, if it held up its thread for 50 ms or longer, with a message that says by what.
#[track_caller]
pub fn guard<F: Future>(future: F) -> Guarded<F> {
    Guard::new().guard(future)
}
