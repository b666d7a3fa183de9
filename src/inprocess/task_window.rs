//! Windows in which polls are counted. A window is a guard: it ends when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use super::profile_sessions::Stop;
use crate::error::Error;
use crate::model::task_stats::TaskStats;
use crate::probe::{MAX_WINDOWS, Registry};
use crate::profilers::Window;

/// How often a window checks whether it was stopped.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// An open window. Workers count their polls while it lives.
#[derive(Debug)]
pub(crate) struct TaskWindow {
    registry: Arc<Registry>,
    number: u64,
}

impl TaskWindow {
    pub(crate) fn open(registry: Arc<Registry>) -> Result<Self, Error> {
        let number = registry.open_window().ok_or(Error::TooManyWindows { limit: MAX_WINDOWS })?;
        Ok(Self { registry, number })
    }

    /// Blocks the thread for the length of the window, or until it is stopped, and returns the statistics.
    pub(crate) fn finish_after(self, length: Duration, stop: &Stop) -> TaskStats {
        let window = Window::begin(length, stop.flag());
        while window.sleep(STOP_CHECK) {}
        self.finish()
    }

    /// Closes the window and returns the statistics.
    pub(crate) fn finish(self) -> TaskStats {
        self.registry.close_window(self.number).unwrap_or_default()
    }
}

impl Drop for TaskWindow {
    fn drop(&mut self) {
        let _not_wanted = self.registry.close_window(self.number);
    }
}
