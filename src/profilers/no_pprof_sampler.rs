//! Where `pprof` is not there, because it is not needed, not asked for or not made for the platform: the same
//! signatures, and nothing to be sampled.

use std::io;
use std::time::Duration;

use super::{Found, Window};
use crate::model::profile::Profile;
use crate::model::stack::Frame;

pub(crate) enum PprofSampler {}

impl PprofSampler {
    pub(crate) fn start(_rate: u32) -> io::Result<Self> {
        let reason = "threads have no CPU timers here, and pprof samples instead with the feature formats only, on \
                      Linux, macOS and FreeBSD";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }

    pub(crate) fn run(
        self,
        _window: &Window,
        _cpu_time: impl Fn() -> Option<Duration>,
        _name: impl FnMut(&Found<'_>) -> Frame,
    ) -> io::Result<Profile> {
        match self {}
    }
}
