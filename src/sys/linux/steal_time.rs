//! CPU time that a hypervisor has taken from this machine: the `steal` column of `/proc/stat`, as described in proc(5).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The unit of `/proc/stat` on every architecture: 1/100 s.
const TICK: Duration = Duration::from_millis(10);

/// Bytes that are read at most: the lines of a few hundred CPUs.
const MAX_BYTES: usize = 32 * 1024;

/// How long a read is used again. Each read makes the kernel format a line for every CPU and interrupt, and the values
/// change in larger steps.
const MAX_AGE: Duration = Duration::from_millis(5);

/// Reads the time, on machines on which a hypervisor has ever taken any.
#[derive(Debug)]
pub(crate) struct StealTime {
    stat: File,
    buffer: Vec<u8>,
    length: usize,
    read_at: Option<Instant>,
}

impl StealTime {
    /// `None` on a physical machine, and if the hypervisor does not report the time.
    pub(crate) fn open() -> Option<Self> {
        let mut steal =
            Self { stat: File::open("/proc/stat").ok()?, buffer: vec![0; MAX_BYTES], length: 0, read_at: None };
        let taken = steal.line("cpu ").and_then(stolen)?;
        (!taken.is_zero()).then_some(steal)
    }

    /// The time taken from a CPU so far, in steps of 10 ms. The kernel adds it when the CPU runs again.
    pub(crate) fn of_processor(&mut self, processor: u32) -> Option<Duration> {
        self.line(&format!("cpu{processor} ")).and_then(stolen)
    }

    fn line(&mut self, start: &str) -> Option<&str> {
        if self.read_at.is_none_or(|at| at.elapsed() > MAX_AGE) {
            self.length = self.stat.read_at(&mut self.buffer, 0).ok()?;
            self.read_at = Some(Instant::now());
        }
        let text = std::str::from_utf8(&self.buffer[..self.length]).ok()?;
        text.lines().find(|line| line.starts_with(start))
    }
}

/// Parses `cpu0 user nice system idle iowait irq softirq steal …`.
fn stolen(line: &str) -> Option<Duration> {
    let ticks: u32 = line.split_ascii_whitespace().nth(8)?.parse().ok()?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighth_column_is_read() {
        assert_eq!(stolen("cpu1 156067 27913 18979 404716 8610 0 995 19661 0 0"), Some(TICK * 19_661));
        assert_eq!(stolen("cpu1 1 2 3"), None);
    }
}
