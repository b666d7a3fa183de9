//! CPU time on platforms without CPU timers per thread. The package `pprof` samples and symbolizes.
//!
//! One timer for the whole process interrupts a thread that the system chooses. So shares between threads are less certain than
//! those of `cpu`, and the task that a worker polls is not known. The signal is SIGPROF. It is ignored once the window has ended:
//! a handler that the program had is lost.

use std::io;
use std::path::Path;
use std::time::Duration;

use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Symbol};

use super::{PprofFrame, Window};
use crate::model::own_thread;
use crate::model::profile::{
    Labels, MAX_VALUES, Profile, ProfileBuilder, ProfileFrame, Quality, Sample, Unit, ValueType,
};
use crate::model::stack::Frame;

/// Libraries that are not sampled: a function may hold a lock that the unwinder in the signal handler would wait for.
const NOT_INTERRUPTED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// The time between two checks whether the window must end early.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Samples the whole process by its CPU time. A process can have only one at a time.
pub(crate) struct PprofSampler {
    guard: ProfilerGuard<'static>,
    rate: u32,
}

impl PprofSampler {
    /// Starts the timer, at a rate in samples per second of CPU time.
    ///
    /// # Errors
    /// `ResourceBusy` if `pprof` is already sampling in this process. Other errors if the handler cannot be installed.
    pub(crate) fn start(rate: u32) -> io::Result<Self> {
        let frequency = i32::try_from(rate).map_err(io::Error::other)?;
        let builder = ProfilerGuardBuilder::default().frequency(frequency).blocklist(&NOT_INTERRUPTED);
        Ok(Self { guard: builder.build().map_err(io_error)?, rate })
    }

    /// Samples until the window ends. `name` makes the frames, and `cpu_time` returns the CPU time of the process.
    ///
    /// # Errors
    /// If the samples cannot be read back.
    pub(crate) fn run(
        self,
        window: &Window,
        cpu_time: impl Fn() -> Option<Duration>,
        mut name: impl FnMut(&PprofFrame<'_>) -> Frame,
    ) -> io::Result<Profile> {
        let before = cpu_time();
        while window.sleep(STOP_CHECK) {}
        let (duration, after) = (window.elapsed(), cpu_time());
        let report = self.guard.report().build().map_err(io_error)?;
        let period = Duration::from_secs(1) / self.rate.max(1);
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
        let mut builder = ProfileBuilder::new("cpu", values);
        let (mut samples, mut own_cpu) = (0_u64, Duration::ZERO);
        for (found, count) in report.data {
            let count = i64::try_from(count).unwrap_or_default();
            samples = samples.saturating_add(count.unsigned_abs());
            let nanoseconds = count.saturating_mul(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX));
            if own_thread::is_own(&found.thread_name_or_id()) {
                own_cpu += Duration::from_nanos(nanoseconds.unsigned_abs());
                continue;
            }
            add(&mut builder, &found, [count, nanoseconds, 0, 0], &mut name);
        }
        let profile = builder.profile();
        (profile.started_at, profile.duration) = (report.timing.start_time, duration);
        profile.rate = Some(self.rate);
        let used = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        profile.quality = Quality { own_cpu, ..quality(samples, period, used) };
        let mut profile = builder.build();
        profile.count_nameless();
        Ok(profile)
    }
}

fn io_error(error: pprof::Error) -> io::Error {
    match error {
        pprof::Error::Running => io::ErrorKind::ResourceBusy.into(),
        pprof::Error::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// The quality of the profile. Samples that were due by the process's CPU clock, but were not taken, are lost. The thread was
/// in a library that is not sampled, or another sample was being taken.
fn quality(samples: u64, period: Duration, used: Option<Duration>) -> Quality {
    let mut notes = vec![
        "sampled by pprof with one timer for the whole process: shares between threads are less certain, samples have no \
         task and no time, and threads are identified by name"
            .to_owned(),
    ];
    let Some(used) = used else { return Quality { notes, ..Quality::default() } };
    let due = u64::try_from(used.as_nanos() / period.as_nanos().max(1)).unwrap_or(u64::MAX);
    notes.push(format!(
        "the process used {:.2} s of CPU time, {:.2} s of it were sampled; {} are left out",
        used.as_secs_f64(),
        period.as_secs_f64() * samples as f64,
        NOT_INTERRUPTED.join(", ")
    ));
    Quality { lost: due.saturating_sub(samples), notes, ..Quality::default() }
}

fn add(
    builder: &mut ProfileBuilder,
    found: &Frames,
    values: [i64; MAX_VALUES],
    name: &mut impl FnMut(&PprofFrame<'_>) -> Frame,
) {
    let mut stack = Vec::new();
    for symbols in found.frames.iter().skip_while(|symbols| symbols.iter().any(is_of_the_sampler)) {
        for (index, symbol) in symbols.iter().enumerate() {
            let frame = ProfileFrame::of(frame_of(symbol, name));
            stack.push(builder.frame(ProfileFrame { inlined: index + 1 < symbols.len(), ..frame }));
        }
    }
    builder.trim(&mut stack);
    let stack = builder.stack(&stack);
    let thread = Some(found.thread_name_or_id().into());
    let labels = builder.labels(Labels { thread, ..Labels::default() });
    builder.add(Sample::new(None, stack, labels, values));
}

fn frame_of(symbol: &Symbol, name: &mut impl FnMut(&PprofFrame<'_>) -> Frame) -> Frame {
    let file = symbol.filename.as_deref().map(Path::to_string_lossy);
    let mangled = symbol.sys_name();
    name(&PprofFrame { mangled: &mangled, file: file.as_deref(), line: symbol.lineno })
}

/// Whether a frame belongs to the sampler. In builds without optimization such frames are the innermost ones.
fn is_of_the_sampler(symbol: &Symbol) -> bool {
    let name = symbol.name();
    let name = name.trim_start_matches('<');
    name.starts_with("backtrace::") || name.starts_with("pprof::")
}
