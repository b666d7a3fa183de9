//! Says that the watchdog itself is stuck. A thread of the program can hold what the watchdog needs, such as the lock of the
//! program's allocator, and then no stall is noticed.
//!
//! The thread here allocates nothing, takes no lock, and does not use the program's subscriber.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::stalls::SamplingNow;
use crate::sys::{self, ThreadProbe};

/// The pause between two checks.
const CHECK: Duration = Duration::from_millis(500);

/// Only a stuck watchdog takes so long for a sample.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Room for the text. The rest of a longer one is left out.
const MAX_BYTES: usize = 512;

/// Checks the watchdog until it is stopped, and prints when it is stuck and when it goes on.
pub(crate) fn check_watchdog(watchdog: &ThreadProbe, now: &SamplingNow, stop: &AtomicBool) {
    let mut stuck_for = None;
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(CHECK);
        let lasts = now.lasts().filter(|lasts| *lasts >= STUCK_AFTER);
        match (stuck_for, lasts) {
            // On a busy machine the watchdog may be ready to run, and is not stuck.
            (None, Some(lasts)) if sleeps(watchdog) => {
                say(|text| write_stuck(text, lasts, now.looks_at()));
                stuck_for = Some(lasts);
            }
            (None, _) => {}
            (Some(_), Some(lasts)) => stuck_for = Some(lasts),
            (Some(lasted), None) => {
                say(|text| {
                    writeln!(text, "holdup: the watchdog runs again, after at least {:.1} s", lasted.as_secs_f64())
                });
                stuck_for = None;
            }
        }
    }
}

fn sleeps(watchdog: &ThreadProbe) -> bool {
    watchdog.stat().is_some_and(|stat| matches!(stat.state, 'S' | 'D'))
}

fn write_stuck(text: &mut &mut [u8], lasts: Duration, looks_at: Option<i32>) -> std::io::Result<()> {
    let seconds = lasts.as_secs_f64();
    write!(text, "holdup: the watchdog has waited for {seconds:.1} s in one sample, and notices no stall meanwhile")?;
    if let Some(tid) = looks_at {
        write!(text, "; the sample was of thread {tid}")?;
    }
    let pid = std::process::id();
    writeln!(
        text,
        "\n  A thread of the program holds what it needs, such as the lock of the program's allocator.\n  advice: read the \
         stacks from outside, with holdup dump --pid {pid} or gdb -p {pid}"
    )
}

/// Prints without an allocation. Standard error may be stuck too, and then nothing can be said.
fn say(write: impl FnOnce(&mut &mut [u8]) -> std::io::Result<()>) {
    let mut buffer = [0; MAX_BYTES];
    let mut rest = &mut buffer[..];
    let _cut = write(&mut rest);
    let length = MAX_BYTES - rest.len();
    let _closed = sys::write_to_standard_error(&buffer[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_fits_and_names_the_thread() {
        let mut buffer = [0; MAX_BYTES];
        let mut rest = &mut buffer[..];
        write_stuck(&mut rest, Duration::from_secs(86_400), Some(i32::MAX)).expect("it fits");
        let length = MAX_BYTES - rest.len();
        let text = std::str::from_utf8(&buffer[..length]).expect("it is text");
        assert!(text.starts_with("holdup: the watchdog has waited for 86400.0 s in one sample"), "{text}");
        assert!(text.contains("of thread 2147483647\n") && text.contains("holdup dump --pid "), "{text}");
    }
}
