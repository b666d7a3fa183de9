//! The sampler for builds without the `pprof` package: the same signatures, and `start` always fails.
//!
//! The package is missing where threads have CPU timers, without the feature `formats`, and on unsupported platforms.

use std::io;
use std::time::Duration;

use super::{PprofFrame, Window};
use crate::model::profile::Profile;
use crate::model::stack::Frame;

pub(crate) enum PprofSampler {}

impl PprofSampler {
    pub(crate) fn start(_rate: u32) -> io::Result<Self> {
        let reason = "threads have no CPU timers on this platform; instead, pprof can sample with the feature `formats` on Linux, \
                      macOS and FreeBSD";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }

    pub(crate) fn run(
        self,
        _window: &Window,
        _cpu_time: impl Fn() -> Option<Duration>,
        _name: impl FnMut(&PprofFrame<'_>) -> Frame,
    ) -> io::Result<Profile> {
        match self {}
    }
}
