//! Calls into C, and a program that gets many signals.
#![allow(unsafe_code, reason = "calls of C functions are what these cases are about")]

use std::hint::black_box;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::{Case, Scene};
use crate::truth::Cause;

/// Pause between two signals.
const MICROSECONDS: i64 = 1_000;

pub(super) const CASES: &[Case] = &[
    Case::stall("ffi", "usleep of libc", Cause::Sleeping, |scene| {
        Box::pin(async move {
            sleep_in_c(&scene);
            Ok(())
        })
    }),
    Case::stall("signals-asleep", "sleeps while 1000 signals a second arrive", Cause::Sleeping, |scene| {
        Box::pin(async move {
            let _handled = signal(SignalKind::alarm())?;
            let _shower = Shower::start();
            nap_in_shower(&scene);
            Ok(())
        })
    }),
    Case::stall("signals-busy", "computes while 1000 signals a second arrive", Cause::Computing, |scene| {
        Box::pin(async move {
            let _handled = signal(SignalKind::alarm())?;
            let _shower = Shower::start();
            count_in_shower(&scene);
            Ok(())
        })
    }),
];

#[inline(never)]
fn sleep_in_c(scene: &Scene) {
    let microseconds = u32::try_from(scene.length().as_micros()).unwrap_or(0);
    // SAFETY: `usleep` takes a number and touches no memory of ours.
    held!(scene.log, unsafe { libc::usleep(microseconds) });
}

#[inline(never)]
fn nap_in_shower(scene: &Scene) {
    held!(scene.log, std::thread::sleep(scene.length()));
}

#[inline(never)]
fn count_in_shower(scene: &Scene) {
    let (mut sum, length) = (0_u64, scene.length());
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    begun.end(line!());
}

/// Sends signals until it is dropped. Tokio's handler takes them.
struct Shower;

impl Shower {
    fn start() -> Self {
        set_timer(MICROSECONDS);
        Self
    }
}

impl Drop for Shower {
    fn drop(&mut self) {
        set_timer(0);
    }
}

fn set_timer(microseconds: i64) {
    let every = libc::timeval { tv_sec: 0, tv_usec: microseconds };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: `timer` is live during the call, and the old one is not requested.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}
