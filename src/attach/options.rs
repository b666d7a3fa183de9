//! What may be used to read another process.

use std::path::PathBuf;

/// What may be used to read another process.
///
/// # Examples
/// ```
/// let options = holdup::attach::Options::new().cache(false).symbols("my-service.symbols");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether debug information is cached on disk: yes unless set.
    pub(crate) cache: bool,
    /// A file that `holdup symbols extract` has written.
    pub(crate) symbols: Option<PathBuf>,
    /// Whether no thread of the process may be stopped: no unless set.
    pub(crate) never_stop: bool,
}

impl Options {
    /// The defaults: a cache, and no symbol file.
    #[must_use]
    pub fn new() -> Self {
        Self { cache: true, symbols: None, never_stop: false }
    }

    /// Whether debug information is cached in `$XDG_CACHE_HOME/holdup` or `~/.cache/holdup`: at most 512 MiB.
    #[must_use]
    pub fn cache(mut self, cache: bool) -> Self {
        self.cache = cache;
        self
    }

    /// Whether no thread of the process may be stopped, not even for microseconds. Stacks of running threads are then missing,
    /// and a task dump is of no single moment. [`Mode::Wall`](super::Mode::Wall) is refused.
    #[must_use]
    pub fn never_stop(mut self, never_stop: bool) -> Self {
        self.never_stop = never_stop;
        self
    }

    /// Uses a file that `holdup symbols extract` has written, for a stripped program.
    #[must_use]
    pub fn symbols(mut self, file: impl Into<PathBuf>) -> Self {
        self.symbols = Some(file.into());
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
