//! CPU time where threads have no timers of their own: the package `pprof` samples, and names what it found.
//!
//! One timer for the whole process interrupts whichever thread the system chooses, so shares between threads are less
//! sure than those of `cpu`, and nothing tells what task a worker polls. Its signal is SIGPROF, which is ignored once
//! the window is over: a handler that the program had for it is gone.

use std::io;
use std::path::Path;
use std::time::Duration;

use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Symbol};

use super::{Found, Window};
use crate::model::profile::{
    Labels, MAX_VALUES, Profile, ProfileBuilder, ProfileFrame, Quality, Sample, Unit, ValueType,
};
use crate::model::stack::Frame;

/// Libraries whose functions may hold a lock that the unwinder, in the signal handler, would wait for.
const NOT_INTERRUPTED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// How often it looks whether the window shall end early.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Samples the whole process by its CPU time. One in a process at a time.
pub(crate) struct PprofSampler {
    guard: ProfilerGuard<'static>,
    rate: u32,
}

impl PprofSampler {
    /// Starts the timer, at a rate in samples per second of CPU time.
    ///
    /// # Errors
    /// `ResourceBusy` when `pprof` samples already, for whomever; when the handler cannot be installed.
    pub(crate) fn start(rate: u32) -> io::Result<Self> {
        let frequency = i32::try_from(rate).map_err(io::Error::other)?;
        let builder = ProfilerGuardBuilder::default().frequency(frequency).blocklist(&NOT_INTERRUPTED);
        Ok(Self { guard: builder.build().map_err(io_error)?, rate })
    }

    /// Samples until the window is over. `name` makes frames of what was found, `cpu_time` tells that of the process.
    ///
    /// # Errors
    /// When what was sampled cannot be read back.
    pub(crate) fn run(
        self,
        window: &Window,
        cpu_time: impl Fn() -> Option<Duration>,
        mut name: impl FnMut(&Found<'_>) -> Frame,
    ) -> io::Result<Profile> {
        let before = cpu_time();
        while window.sleep(STOP_CHECK) {}
        let (duration, after) = (window.elapsed(), cpu_time());
        let report = self.guard.report().build().map_err(io_error)?;
        let period = Duration::from_secs(1) / self.rate.max(1);
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
        let mut builder = ProfileBuilder::new("cpu", values);
        let mut samples = 0_u64;
        for (found, count) in report.data {
            let count = i64::try_from(count).unwrap_or_default();
            samples = samples.saturating_add(count.unsigned_abs());
            let nanoseconds = count.saturating_mul(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX));
            add(&mut builder, &found, [count, nanoseconds, 0, 0], &mut name);
        }
        let profile = builder.profile();
        (profile.started_at, profile.duration) = (report.timing.start_time, duration);
        profile.rate = Some(self.rate);
        let used = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        profile.quality = quality(samples, period, used);
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

/// What was due by the process's own clock and is not there was not sampled: in a library that is not interrupted, or
/// while another sample was taken.
fn quality(samples: u64, period: Duration, used: Option<Duration>) -> Quality {
    let mut notes = vec![
        "sampled by pprof with one timer for the whole process: shares between threads are less sure, samples have no \
         task and no time, and threads are told by name"
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
    name: &mut impl FnMut(&Found<'_>) -> Frame,
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

fn frame_of(symbol: &Symbol, name: &mut impl FnMut(&Found<'_>) -> Frame) -> Frame {
    let file = symbol.filename.as_deref().map(Path::to_string_lossy);
    let mangled = symbol.sys_name();
    name(&Found { mangled: &mangled, file: file.as_deref(), line: symbol.lineno })
}

/// In builds without optimization the functions that take the stack are the innermost frames of it.
fn is_of_the_sampler(symbol: &Symbol) -> bool {
    let name = symbol.name();
    let name = name.trim_start_matches('<');
    name.starts_with("backtrace::") || name.starts_with("pprof::")
}
