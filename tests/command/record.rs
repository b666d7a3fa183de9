//! `holdup record` with the endpoint of a running service.
#![cfg(feature = "cli")]
#![allow(unsafe_code, reason = "sends the signal of Ctrl-C")]

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdup::{Profile, Watch};
use support::{DEADLINE, Events, alone};

fn record(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.arg("record").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("record");
    std::fs::create_dir_all(&folder).expect("a folder for files");
    folder.join(name)
}

fn finished(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("is text");
    (status.code(), text(stdout), text(stderr))
}

#[inline(never)]
fn busy_function(stop: &AtomicBool) -> u64 {
    let mut value = 1_u64;
    while !stop.load(Ordering::Relaxed) {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    value
}

/// A service with one busy thread.
struct Service {
    watch: Watch,
    stop: Arc<AtomicBool>,
}

impl Service {
    fn start() -> Self {
        let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        std::thread::spawn(move || busy_function(&ends));
        Self { watch, stop }
    }

    fn url(&self) -> String {
        self.watch.endpoint().expect("it listens").to_string()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_extension_decides_the_format() {
    let _alone = alone();
    let service = Service::start();
    let path = file("cpu.svg");
    let output = path.to_str().expect("is text");
    let child = record(&[&service.url(), "-d", "1s", "-o", output]).spawn().expect("starts");
    let (code, stdout, stderr) = finished(child);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(&format!("Wrote flamegraph to '{output}'. Samples: ")), "{stdout}");
    assert!(stdout.contains("Lost: ") && stdout.contains("browser"), "{stdout}");
    let svg = std::fs::read_to_string(&path).expect("it is written");
    assert!(svg.contains("<svg") && svg.contains("busy_function"), "the busy function is in the picture");
    // In a pipe, standard output contains only the profile.
    let folded = record(&[&service.url(), "-d", "500ms", "--format", "folded", "-o", "-"]).spawn().expect("starts");
    let (code, stdout, stderr) = finished(folded);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.lines().any(|line| line.contains("busy_function")), "{stdout}");
    assert!(
        stdout.lines().all(|line| line.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok())),
        "{stdout}"
    );
}

#[test]
fn ctrl_c_ends_a_recording_early_and_writes_the_samples() {
    let _alone = alone();
    let service = Service::start();
    let path = file("interrupted.pb.gz");
    let child = record(&[&service.url(), "-d", "250", "-o", path.to_str().expect("is text")]).spawn().expect("starts");
    let pid = i32::try_from(child.id()).expect("fits");
    let start = Instant::now();
    // Before the handler is installed, the signal would end the command.
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap_or(0) & (1 << (libc::SIGINT - 1)) != 0
    };
    support::wait_until("it catches Ctrl-C", caught);
    // The recording has begun when the thread of its sampler exists.
    let recording = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("is there").flatten();
        tasks.into_iter().any(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "holdup-profiler")
        })
    };
    support::wait_until("the profile is being collected", recording);
    std::thread::sleep(Duration::from_millis(500));
    // SAFETY: the child has not been waited for, so its id is not reused.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let (code, stdout, stderr) = finished(child);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(start.elapsed() < DEADLINE * 3, "it ended early");
    let profile = Profile::read(&std::fs::read(&path).expect("it is written")).expect("it is a profile");
    assert!(profile.sample_count() > 0 && profile.duration < Duration::from_secs(200), "{:?}", profile.duration);
}

#[test]
fn errors_have_a_reason_and_exit_code_2() {
    let _alone = alone();
    let service = Service::start();
    let url = service.url();
    let svg = file("never.svg");
    let svg = svg.to_str().expect("is text");
    for (arguments, part) in [
        (vec![url.as_str(), "-m", "memory", "-o", svg], "cpu, wall, stalled, heap"),
        (vec![&url, "-m", "heap", "-o", svg], "the heap is not sampled: the program"),
        (vec![&url, "-r", "5000", "-o", svg], "1 to 1000"),
        (vec![&url, "-d", "1000", "-o", svg], "300 s"),
        (vec![&url, "-o", "/nonexistent/x.svg"], "there is no folder /nonexistent"),
        (vec![&url, "-o", "cpu.xyz"], "--format"),
        (vec!["127.0.0.1:1", "-o", svg], "does not answer"),
    ] {
        let (code, stdout, stderr) = finished(record(&arguments).spawn().expect("starts"));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(part), "{arguments:?}: {stderr}");
    }
    assert!(!std::path::Path::new(svg).exists(), "nothing was written");
}

#[test]
fn a_profile_without_samples_has_exit_code_1() {
    let _alone = alone();
    let service = Service::start();
    let path = file("stalled.folded");
    let arguments = [&service.url(), "-m", "stalled", "-d", "300ms", "-o", path.to_str().expect("is text")];
    let (code, stdout, stderr) = finished(record(&arguments).spawn().expect("starts"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains("Samples: 0"), "{stdout}");
}
