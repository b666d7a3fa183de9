//! Samples of the CPU time of an observed process.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use crate::model::profile::Labels;
use crate::model::stack::RawStack;

/// A source of CPU samples.
pub(crate) trait CpuSource {
    /// Passes on the samples taken since the previous call. Call it once per
    /// [`collect_interval`](Self::collect_interval).
    ///
    /// # Errors
    /// When the process's threads can no longer be listed.
    fn collect(&mut self, take: &mut dyn FnMut(CpuSample)) -> io::Result<()>;

    /// CPU time that no sample accounts for.
    fn unsampled_cpu(&self) -> UnsampledCpu;

    /// Why no more samples will come; `None` while the process runs.
    fn end_reason(&self) -> Option<&'static str> {
        None
    }

    /// Limits of the samples, as notes for the profile.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The interval between two calls of `collect`.
    fn collect_interval(&self) -> Duration;

    /// Steps per sampling period.
    fn steps_per_period(&self) -> u32;

    /// Samples that found no free buffer.
    fn lost_samples(&self) -> u64;

    /// Threads that could not be sampled.
    fn unsampled_threads(&self) -> u64;

    /// CPU time of the whole process since its start.
    fn process_cpu_time(&self) -> Option<Duration>;
}

/// One sample of CPU time.
#[derive(Debug)]
pub(crate) struct CpuSample {
    /// Time since the source was started.
    pub(crate) at: Duration,
    /// Steps of CPU time since the thread's previous sample.
    pub(crate) steps: u32,
    pub(crate) labels: Labels,
    pub(crate) stack: RawStack,
}

/// Steps of CPU time that no sample accounts for.
#[derive(Debug, Default)]
pub(crate) struct UnsampledCpu {
    /// Steps since the last sample of each live thread, by thread id.
    pub(crate) living: HashMap<i32, u64>,
    /// The sum for all ended threads.
    pub(crate) ended: u64,
}
