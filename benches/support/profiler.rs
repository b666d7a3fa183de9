//! Flamegraphs of benches: `cargo bench --bench NAME -- --profile-time 5` leaves `profile/flamegraph.svg` in each
//! bench's folder below `target/criterion`.
//!
//! pprof's own integration needs an older version of criterion.

use std::fs::File;
use std::path::Path;

use criterion::profiler::Profiler;
use pprof::flamegraph::Options;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

/// Requested samples per second of CPU time. The kernel gives at most one per tick, often 250 per second.
const RATE_HZ: i32 = 997;

/// Libraries that are not unwound. Their functions may hold a lock that the unwinder in the signal handler would wait for.
const NOT_UNWOUND: &[&str] = &["libc", "libgcc", "pthread", "vdso"];

/// Samples the CPU time of all threads of a benchmark and draws a flamegraph.
pub(crate) struct Flamegraph {
    running: Option<ProfilerGuard<'static>>,
}

impl Flamegraph {
    pub(crate) fn new() -> Self {
        Self { running: None }
    }
}

impl Profiler for Flamegraph {
    fn start_profiling(&mut self, bench: &str, _folder: &Path) {
        let guard = ProfilerGuardBuilder::default().frequency(RATE_HZ).blocklist(NOT_UNWOUND).build();
        self.running = Some(guard.unwrap_or_else(|error| panic!("{bench} cannot be profiled: {error}")));
    }

    fn stop_profiling(&mut self, bench: &str, folder: &Path) {
        let Some(guard) = self.running.take() else { return };
        let report = guard.report().build().unwrap_or_else(|error| panic!("{bench} cannot be reported: {error}"));
        let samples: isize = report.data.values().sum();
        if samples == 0 {
            eprintln!("{bench}: no samples, so no flamegraph");
            return;
        }
        std::fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{} cannot be made: {error}", folder.display()));
        let path = folder.join("flamegraph.svg");
        let mut options = Options::default();
        options.title = format!("{bench}: CPU time of all threads, {samples} samples");
        File::create(&path)
            .map_err(pprof::Error::from)
            .and_then(|file| report.flamegraph_with_options(file, &mut options))
            .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
        println!("{bench}: wrote {}", path.display());
    }
}
