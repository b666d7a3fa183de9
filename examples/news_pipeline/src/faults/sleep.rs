//! `sleep`: the classic, a pause that was meant for the task and stops the worker.

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

// Not inlined: the report must name it. Returns the time, so that the sleep is not the last call.
#[inline(never)]
fn sleep_in_handler() -> Duration {
    let started = Instant::now();
    thread::sleep(HELD);
    started.elapsed()
}
