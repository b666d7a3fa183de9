//! `holdup record --pid` with a process of known behavior, which does not use holdup.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code, reason = "sends signals to children, and reads the CPU clocks that profiles are held against")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/deep.rs"]
mod deep;

#[path = "../support/perf_events.rs"]
mod perf_events;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use holdup::Profile;
use support::alone;
use support::cpu_load::{cpu_in, cpu_of, load, passes_through};
use support::observed::{KnownProgram, file, finished, holds_perf_events, record};

/// The bursts of the known program.
const PART: Duration = Duration::from_micros(2_300);

/// The ordinary user of these tests.
const NOBODY: &str = "65534";

/// The observed program: two threads with known shares of a load, until the end of its input.
#[test]
#[ignore = "the program that the other tests observe"]
fn known_program() {
    let threads: Vec<_> = ["load-a", "load-b"]
        .into_iter()
        .map(|name| {
            let body = || loop {
                load(PART, Duration::from_millis(1), Duration::from_secs(1));
            };
            std::thread::Builder::new().name(name.into()).spawn(body).expect("a thread starts")
        })
        .collect();
    println!("\nready");
    for line in std::io::stdin().lines() {
        match line.expect("is text").as_str() {
            "used" => println!("used {}", process_cpu().as_nanos()),
            "exec" => {
                use std::os::unix::process::CommandExt;
                let error = Command::new("sleep").arg("600").exec();
                panic!("{error}");
            }
            _ => break,
        }
    }
    // The threads end with the process.
    drop(threads);
}

/// The observed program: a thread that computes on a stack of 48 KiB, and one on a stack of 160 KiB.
#[test]
#[ignore = "the program that the other tests observe"]
fn deep_program() {
    for (name, depth) in [("deep", 48 << 10), ("deeper", 160 << 10)] {
        let mut loaded = || {
            load(PART, Duration::ZERO, Duration::from_secs(600));
        };
        let body = move || deep::at_depth(depth, &mut loaded);
        std::thread::Builder::new().name(name.into()).spawn(body).expect("a thread starts");
    }
    println!("\nready");
    let _ended = std::io::stdin().lines().next();
}

fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result goes into a live struct.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("is below a second"))
}

/// CPU time of the known program so far.
fn used(program: &mut KnownProgram) -> Duration {
    let line = program.ask("used");
    Duration::from_nanos(line.strip_prefix("used ").expect("is the answer").parse().expect("is a number"))
}

fn profile_in(path: &Path) -> Profile {
    Profile::read(&std::fs::read(path).expect("it is written")).expect("it is a profile")
}

fn check_shares(profile: &Profile) {
    let (one, two) = (cpu_in(profile, "one_part"), cpu_in(profile, "two_parts"));
    let share = one / (one + two);
    println!("{} samples, share {share:.3}, {:?}", profile.sample_count(), profile.quality);
    // The tolerance is four points, or three sigma if the machine gave so little CPU time that chance exceeds them.
    let chance = 3.0 * (2.0 / 9.0 / profile.samples.len() as f64).sqrt();
    assert!((share - 1.0 / 3.0).abs() < chance.max(0.04), "the share of one_part is {share}, chance is {chance}");
    assert!(profile.quality.truncated * 50 < profile.sample_count(), "{:?}", profile.quality);
}

#[test]
fn shares_totals_and_labels_of_another_process() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let mut program = KnownProgram::start(&[], "known_program");
    let path = file("shares.json");
    let output = path.to_str().expect("is text");
    let before = used(&mut program);
    let recording = record(&[], &["--pid", &program.pid(), "-d", "8", "-r", "499", "-o", output]).spawn();
    let (code, stdout, stderr) = finished(recording.expect("starts"));
    let used = used(&mut program) - before;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let profile = profile_in(&path);
    check_shares(&profile);
    assert_eq!(profile.pid, program.id());
    let total = cpu_of(&profile, |_| true);
    // The program runs on while functions are named. So its clock is read in the recording, and here only as a bound.
    let note = profile.quality.notes.iter().find_map(|note| note.strip_prefix("the process used "));
    let by_clock: f64 = note.and_then(|note| note.split(' ').next()?.parse().ok()).expect("it says what was used");
    assert!((total / 1e9 / by_clock - 1.0).abs() < 0.05, "{total} ns of {by_clock} s");
    assert!(by_clock > 0.5 && by_clock < used.as_secs_f64(), "{by_clock} s of {used:?}");
    let labelled = |name: &str| {
        cpu_of(&profile, |sample| {
            profile
                .labels_of(sample)
                .is_some_and(|labels| labels.thread.as_deref() == Some(name) && labels.tid.is_some())
        })
    };
    let (a, b) = (labelled("load-a"), labelled("load-b"));
    assert!(a + b > total * 0.98 && a > total * 0.3 && b > total * 0.3, "{a} and {b} of {total}");
    let to_the_first_function = cpu_of(&profile, |sample| passes_through(&profile, sample, "thread_start"))
        + cpu_of(&profile, |sample| passes_through(&profile, sample, "start_thread"));
    println!("through the thread's first functions: {:.3}", to_the_first_function / total);
}

#[test]
fn deep_stacks_are_seen_as_far_as_the_kernel_copies_them() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let program = KnownProgram::start(&[], "deep_program");
    let path = file("deep.json");
    let output = path.to_str().expect("is text");
    let arguments = ["--pid", &program.pid(), "-d", "4", "-r", "99", "-o", output];
    let (code, stdout, stderr) = finished(record(&[], &arguments).spawn().expect("starts"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let profile = profile_in(&path);
    let calls_of = |name: &str| -> Vec<usize> {
        let is_its = |sample: &&holdup::profile::Sample| {
            profile.labels_of(sample).is_some_and(|labels| labels.thread.as_deref() == Some(name))
        };
        let calls = |sample| deep::calls_in(profile.frames_of(sample).map(|frame| &frame.frame));
        profile.samples.iter().filter(is_its).map(calls).collect()
    };
    let (deep, deeper) = (calls_of("deep"), calls_of("deeper"));
    println!("{deep:?} of {}, {deeper:?} of {}", deep::calls(48 << 10), deep::calls(160 << 10));
    // The first samples show that the stack is deeper than the usual copy.
    let whole = deep.iter().filter(|calls| **calls == deep::calls(48 << 10)).count();
    assert!(whole >= 5 && deep.len() - whole < 10, "{whole} of {} samples", deep.len());
    assert!(deeper.len() >= 5 && deeper.iter().all(|calls| *calls < deep::calls(160 << 10)), "{deeper:?}");
    assert!(deeper.iter().filter(|calls| **calls >= 14).count() > deeper.len() / 2, "{deeper:?}");
    let cut = u64::try_from(deeper.len()).expect("is small");
    assert!((cut..cut + 20).contains(&profile.quality.truncated), "{:?}", profile.quality);
}

#[test]
fn an_ordinary_user_records_own_processes_and_no_others() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("an ordinary user runs the tests already, and the other tests cover it");
        return;
    }
    let prefix = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    for file in [std::env::current_exe().expect("is running"), env!("CARGO_BIN_EXE_holdup").into()] {
        let answer = Command::new(prefix[0]).args(&prefix[1..]).args(["test", "-x"]).arg(&file).status();
        if !answer.is_ok_and(|status| status.success()) {
            println!(
                "another user cannot be tried here: {} is not for everybody, or there is no setpriv",
                file.display()
            );
            return;
        }
    }
    let program = KnownProgram::start(&prefix, "known_program");
    let arguments = ["--pid", &program.pid(), "-d", "4", "-r", "199", "--format", "json", "-o", "-"];
    let Output { status, stdout, stderr } = record(&prefix, &arguments).output().expect("runs");
    let stderr = String::from_utf8(stderr).expect("is text");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
    let profile = Profile::read(&stdout).expect("it is a profile");
    check_shares(&profile);
    // A process of root.
    let own = std::process::id().to_string();
    let refused = record(&prefix, &["--pid", &own, "-d", "1", "-o", "/tmp/never.json"]).spawn().expect("starts");
    let (code, stdout, stderr) = finished(refused);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("belongs to root; run holdup as root"), "{stderr}");
}

#[test]
fn a_program_with_a_deleted_file_is_named() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let copy = file("deleted");
    std::fs::copy(std::env::current_exe().expect("is running"), &copy).expect("it is copied");
    let mut program = KnownProgram::start_file(&copy, &[], "known_program");
    std::fs::remove_file(&copy).expect("it was there");
    let path = file("deleted.json");
    let output = path.to_str().expect("is text");
    let recording = record(&[], &["--pid", &program.pid(), "-d", "200", "-o", output]).spawn().expect("starts");
    support::wait_until("it samples", || holds_perf_events(recording.id()));
    let before = used(&mut program);
    support::wait_until("the load has run", || used(&mut program) > before + Duration::from_secs(1));
    drop(program);
    let (code, stdout, stderr) = finished(recording);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let profile = profile_in(&path);
    assert!(cpu_in(&profile, "one_part") > 0.0 && cpu_in(&profile, "two_parts") > 0.0, "{stdout}");
    assert_eq!(&*profile.program, "deleted");
}

#[test]
fn wall_profiles_show_threads_on_and_off_cpu() {
    let _alone = alone();
    let mut program = KnownProgram::start(&[], "known_program");
    let path = file("wall.json");
    let output = path.to_str().expect("is text");
    let before = used(&mut program);
    let arguments = ["--pid", &program.pid(), "-m", "wall", "-d", "3", "-r", "50", "-o", output];
    let (code, stdout, stderr) = finished(record(&[], &arguments).spawn().expect("starts"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let profile = profile_in(&path);
    println!("{} samples, {:?}", profile.sample_count(), profile.quality);
    let time = |thread: &str, state: &str, function: &str| -> f64 {
        let of = |sample: &&holdup::profile::Sample| {
            let labels = profile.labels_of(sample);
            labels.is_some_and(|labels| {
                labels.thread.as_deref().is_some_and(|name| name.starts_with(thread))
                    && labels.state.as_deref() == Some(state)
            }) && (function.is_empty() || passes_through(&profile, sample, function))
        };
        profile.samples.iter().filter(of).map(|sample| sample.values[1] as f64 / 1e9).sum()
    };
    // The thread that waits for input has the name of its test.
    let (waits, whole) = (time("known_program", "off-cpu", "known_program"), time("known_program", "off-cpu", ""));
    assert!(whole > 2.0 && waits > whole * 0.9, "{waits} of {whole} s");
    assert_eq!(time("known_program", "on-cpu", ""), 0.0);
    let (runs, sleeps) = (time("load-", "on-cpu", ""), time("load-", "off-cpu", "sleep"));
    assert!(runs > 0.3 && sleeps > 0.05, "{runs} s on the CPU or in its queue, {sleeps} s asleep");
    assert!(time("load-", "on-cpu", "_part") > 0.0, "some of them were stopped long enough to be sampled");
    assert!(used(&mut program) > before, "the program goes on");
}

#[test]
fn the_end_or_exec_of_the_process_ends_the_recording() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    for (way, said) in [("end", "the process ended"), ("exec", "another program")] {
        let mut program = KnownProgram::start(&[], "known_program");
        let path = file(&format!("{way}.json"));
        let output = path.to_str().expect("is text");
        let start = Instant::now();
        let recording = record(&[], &["--pid", &program.pid(), "-d", "200", "-o", output]).spawn().expect("starts");
        let sampled = || holds_perf_events(recording.id());
        support::wait_until("it samples", sampled);
        // A second of CPU time on a shared machine, so that there are samples.
        let before = used(&mut program);
        support::wait_until("the load has run", || used(&mut program) > before + Duration::from_secs(1));
        program.send(way);
        let (code, stdout, stderr) = finished(recording);
        assert_eq!(code, Some(0), "{way}: {stdout}{stderr}");
        assert!(start.elapsed() < Duration::from_secs(100), "{way}: it ended early");
        assert!(stdout.contains(said), "{way}: {stdout}");
        let profile = profile_in(&path);
        assert!(cpu_in(&profile, "one_part") > 0.0 && cpu_in(&profile, "two_parts") > 0.0, "{way}: {stdout}");
    }
}

#[test]
fn ctrl_c_ends_the_recording_and_writes_the_profile() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let mut program = KnownProgram::start(&[], "known_program");
    let path = file("interrupted.pb.gz");
    let output = path.to_str().expect("is text");
    let recording = record(&[], &["--pid", &program.pid(), "-d", "200", "-o", output]).spawn().expect("starts");
    support::wait_until("it samples", || holds_perf_events(recording.id()));
    let before = used(&mut program);
    support::wait_until("the load has run", || used(&mut program) > before + Duration::from_secs(1));
    // SAFETY: the child has not been waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(recording.id().cast_signed(), libc::SIGINT) }, 0);
    let (code, stdout, stderr) = finished(recording);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let profile = profile_in(&path);
    assert!(profile.sample_count() > 10 && profile.duration < Duration::from_secs(150), "{stdout}");
    assert!(used(&mut program) > before, "the program goes on");
}

#[test]
fn unobservable_processes_are_refused_with_exit_code_2() {
    let _alone = alone();
    // A program without Tokio. This test program contains Tokio, and its types may be described.
    let mut program = Command::new("sleep").arg("600").spawn().expect("it is installed");
    let pid = program.id().to_string();
    let path = file("never.svg");
    let output = path.to_str().expect("is text");
    for (arguments, part) in [
        (vec!["--pid", "4194303", "-o", output], "there is no process 4194303"),
        (vec!["--pid", "2", "-o", output], "a thread of the kernel"),
        (vec!["--pid", "0", "-o", output], "invalid value '0'"),
        (vec!["--pid", &pid, "-m", "stalled", "-o", output], "no Tokio runtime is known in process"),
        (vec!["--pid", &pid, "-r", "5000", "-o", output], "1 to 1000"),
        (vec!["--pid", &pid, "http://127.0.0.1:6060", "-o", output], "cannot be used with"),
    ] {
        let (code, stdout, stderr) = finished(record(&[], &arguments).spawn().expect("starts"));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(part), "{arguments:?}: {stderr}");
    }
    assert!(!path.exists(), "nothing was written");
    program.kill().and_then(|()| program.wait()).expect("it runs");
}
