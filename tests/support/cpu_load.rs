//! A load with known shares: two functions that use CPU time 1:2, and their clock.
#![allow(unsafe_code, reason = "reads the CPU clocks that profiles are held against")]

use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holdup::Profile;
use holdup::profile::Sample;

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result goes into a live struct.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("is below a second"))
}

/// Computes until this thread has used this much CPU time.
#[inline(always)]
pub(crate) fn use_cpu(time: Duration) {
    let until = thread_cpu() + time;
    let mut value = 1_u64;
    while thread_cpu() < until {
        for _ in 0..2_000 {
            value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

#[inline(never)]
pub(crate) fn one_part(time: Duration) {
    use_cpu(time);
    std::hint::black_box(());
}

#[inline(never)]
pub(crate) fn two_parts(time: Duration) {
    use_cpu(time * 2);
    std::hint::black_box(());
}

/// Runs bursts of one part and two parts for this time. Returns the used CPU time.
pub(crate) fn load(part: Duration, pause: Duration, time: Duration) -> Duration {
    let (start, before) = (Instant::now(), thread_cpu());
    while start.elapsed() < time {
        one_part(part);
        two_parts(part);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    thread_cpu() - before
}

/// CPU nanoseconds of samples that satisfy a condition.
pub(crate) fn cpu_of(profile: &Profile, condition: impl Fn(&Sample) -> bool) -> f64 {
    let cpu = profile.values.iter().position(|value| &*value.name == "cpu").expect("has CPU time");
    profile.samples.iter().filter(|sample| condition(sample)).map(|sample| sample.values[cpu] as f64).sum()
}

pub(crate) fn passes_through(profile: &Profile, sample: &Sample, function: &str) -> bool {
    profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(function))
}

pub(crate) fn cpu_in(profile: &Profile, function: &str) -> f64 {
    cpu_of(profile, |sample| passes_through(profile, sample, function))
}

/// Threads with the load, ready to start. Each returns its CPU time.
pub(crate) struct LoadedThreads {
    ready: Arc<Barrier>,
    threads: Vec<JoinHandle<Duration>>,
}

impl LoadedThreads {
    pub(crate) fn new(threads: usize, part: Duration, pause: Duration, time: Duration) -> Self {
        let ready = Arc::new(Barrier::new(threads + 1));
        let start = |number| {
            let ready = Arc::clone(&ready);
            let body = move || {
                ready.wait();
                load(part, pause, time)
            };
            std::thread::Builder::new().name(format!("load-{number}")).spawn(body).expect("a thread starts")
        };
        let threads = (0..threads).map(start).collect();
        Self { ready, threads }
    }

    /// Starts them, waits for their end, and returns their CPU time.
    pub(crate) fn run(self) -> Duration {
        self.ready.wait();
        self.threads.into_iter().map(|thread| thread.join().expect("the load ends")).sum()
    }
}
