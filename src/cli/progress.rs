//! A progress bar for recordings.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

const WIDTH: usize = 30;

/// A progress bar on standard error, if that is a terminal.
pub(super) struct Progress {
    started: Instant,
    whole: Duration,
    mode: String,
    shown: bool,
}

impl Progress {
    pub(super) fn new(whole: Duration, mode: &str) -> Self {
        Self { started: Instant::now(), whole, mode: mode.to_owned(), shown: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&self, stopped: bool) {
        if self.shown {
            eprint!("\r\x1b[K{}", self.line(self.started.elapsed(), stopped));
        }
    }

    pub(super) fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }

    fn line(&self, elapsed: Duration, stopped: bool) -> String {
        let (elapsed, whole) = (elapsed.min(self.whole).as_secs_f64(), self.whole.as_secs_f64());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to WIDTH")]
        let filled = ((elapsed / whole * WIDTH as f64) as usize).min(WIDTH);
        let hint = match (stopped, elapsed < whole) {
            (true, _) => "ending early",
            (false, true) => "Ctrl-C ends early and keeps the samples",
            (false, false) => "naming functions",
        };
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(WIDTH - filled));
        format!("recording {} {bar} {elapsed:.1} of {whole:.1} s  {hint}", self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_the_elapsed_share() {
        let bar =
            Progress { started: Instant::now(), whole: Duration::from_secs(10), mode: "cpu".into(), shown: false };
        let half = bar.line(Duration::from_secs(5), false);
        assert_eq!(half.matches('█').count(), WIDTH / 2);
        assert!(half.contains("5.0 of 10.0 s") && half.contains("Ctrl-C"), "{half}");
        let late = bar.line(Duration::from_secs(12), false);
        assert_eq!((late.matches('█').count(), late.contains("10.0 of 10.0 s")), (WIDTH, true));
    }
}
