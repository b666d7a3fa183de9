//! A window in which polls are counted. It is a guard, so that a caller that goes away ends it.

use std::sync::Arc;

use crate::error::Error;
use crate::model::task_stats::TaskStats;
use crate::probe::{MAX_WINDOWS, Registry};

/// Workers count their polls as long as this lives.
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

    /// Ends the window and returns its statistics.
    pub(crate) fn finish(self) -> TaskStats {
        self.registry.close_window(self.number).unwrap_or_default()
    }
}

impl Drop for TaskWindow {
    fn drop(&mut self) {
        let _not_wanted = self.registry.close_window(self.number);
    }
}
