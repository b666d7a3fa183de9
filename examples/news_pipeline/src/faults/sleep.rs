//! `sleep`: the classic mistake, `std::thread::sleep` in async code, which blocks the worker.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{Commit, HELD};

pub(super) fn arm() -> io::Result<Commit> {
    Ok(Box::new(|_| {
        sleep_in_handler();
        Ok(())
    }))
}

// Not inlined, because the report must name it. It returns the time, so that the sleep is not a tail call.
#[inline(never)]
fn sleep_in_handler() -> Duration {
    let started = Instant::now();
    thread::sleep(HELD);
    started.elapsed()
}
