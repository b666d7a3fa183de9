//! Detects that a thread or process was started on this machine: the last field of `/proc/loadavg`, as in proc(5).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most recently started thread in our PID namespace.
#[derive(Debug)]
pub(crate) struct NewestThread {
    file: Option<File>,
    last: Option<u32>,
}

impl NewestThread {
    pub(crate) fn open() -> Self {
        Self { file: File::open("/proc/loadavg").ok(), last: None }
    }

    /// Whether a thread was started since the previous call. Also true if that is unknown.
    pub(crate) fn changed(&mut self) -> bool {
        let now = self.read();
        let changed = now.is_none() || now != self.last;
        self.last = now;
        changed
    }

    fn read(&self) -> Option<u32> {
        let mut buffer = [0; 96];
        let length = self.file.as_ref()?.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).ok()?;
        text.split_ascii_whitespace().next_back()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_thread_is_noticed() {
        let mut newest = NewestThread::open();
        assert!(newest.changed(), "the first call knows no previous thread");
        for _ in 0..3 {
            std::thread::spawn(|| {}).join().expect("it ends");
            assert!(newest.changed());
        }
    }
}
