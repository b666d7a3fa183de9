//! Where reports go, besides `tracing` and the history.

use std::sync::Arc;

use crate::export::text::Style;
use crate::model::stall::StallEvent;

/// The user's callback.
pub(crate) type Callback = Arc<dyn Fn(&StallEvent<'_>) + Send + Sync>;

/// Who gets a report.
#[derive(Clone, Default)]
pub(crate) struct Sinks {
    /// Standard error, if reports are printed.
    pub(crate) print: Option<Style>,
    pub(crate) callback: Option<Callback>,
}
