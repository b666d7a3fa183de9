//! Decides what a stuck worker was doing for most of the time it was looked at.
//!
//! The window is shared out: CPU time, time ready but not run, and waits by what they waited for. What has half of
//! the window or more is the cause; otherwise it is unknown, and the numbers are shown. The stack refines what the
//! kernel cannot tell: that a wait for a socket is a name lookup, that a lock stands for a child process, that CPU
//! time was spent inside the kernel's file code.

use std::time::Duration;

use crate::model::cause::CauseClass;
use crate::model::evidence::{Evidence, SyscallKind, WaitSite};
use crate::model::stack::{Frame, Origin, StackUnavailable};

/// A fault that reads nothing from disk takes about 1 µs in a virtual machine, most of it for clearing the page:
/// 3500 of them in 8.5 ms of touching fresh memory, of which the writing itself took the rest.
const MINOR_FAULT: Duration = Duration::from_micros(1);

/// How many innermost frames may stand between libc's wrapper of a system call and the top of the stack.
const TOP_FRAMES: usize = 3;

/// What the worker was doing. `frames` is its stack, innermost first, or why there is none.
pub(crate) fn classify(evidence: &Evidence, frames: Result<&[Frame], &StackUnavailable>) -> CauseClass {
    let half = evidence.window / 2;
    let counted = evidence.on_cpu.unwrap_or_default();
    // What is taken from a CPU is no loss to a thread that sleeps.
    let stolen = evidence.stolen.unwrap_or_default().min(counted + evidence.starved);
    let on_cpu = counted.saturating_sub(stolen);
    if frames == Err(&StackUnavailable::NoAnswer) && evidence.stolen.is_some() && evidence.waits.is_empty() {
        // A thread that is on a CPU answers a signal at once, unless a hypervisor has taken the CPU away. The
        // kernel learns of that only when it is back, and counts CPU time until then.
        return CauseClass::NotScheduled;
    }
    let frames = frames.unwrap_or_default();
    let not_run =
        (evidence.run_queue.unwrap_or_default() + evidence.starved.max(stolen)).max(late_without_us(evidence));
    if evidence.window.is_zero() {
        return CauseClass::Unknown;
    }
    if not_run >= half {
        return CauseClass::NotScheduled;
    }
    if looks_up_name(frames) {
        return CauseClass::NameLookup;
    }
    let mut shares = Shares::default();
    shares.add(class_on_cpu(evidence, frames), on_cpu);
    for wait in &evidence.waits {
        shares.add(class_of_place(&wait.site, frames), wait.time);
    }
    if evidence.waits.is_empty() && on_cpu < half {
        // The kernel does not tell where the thread sleeps; its stack may.
        let asleep = evidence.window.saturating_sub(on_cpu);
        shares.add(top_syscall(frames).map_or(CauseClass::Unknown, |kind| class_of_kind(kind, frames)), asleep);
    }
    shares.largest_of_at_least(half)
}

/// The watchdog was not run either, in time that the worker neither used nor is known to have slept: the machine ran
/// neither of them. A worker that sleeps is in no need of being run.
fn late_without_us(evidence: &Evidence) -> Duration {
    let slept: Duration = evidence.waits.iter().map(|wait| wait.time).sum();
    let unexplained = evidence.window.saturating_sub(evidence.on_cpu.unwrap_or(evidence.window)).saturating_sub(slept);
    evidence.watchdog_late.min(unexplained)
}

#[derive(Default)]
struct Shares(Vec<(CauseClass, Duration)>);

impl Shares {
    fn add(&mut self, class: CauseClass, time: Duration) {
        match self.0.iter_mut().find(|(known, _)| *known == class) {
            Some((_, sum)) => *sum += time,
            None => self.0.push((class, time)),
        }
    }

    fn largest_of_at_least(&self, least: Duration) -> CauseClass {
        let largest = self.0.iter().max_by_key(|(_, time)| *time);
        largest.filter(|(_, time)| *time >= least).map_or(CauseClass::Unknown, |(class, _)| *class)
    }
}

fn class_on_cpu(evidence: &Evidence, frames: &[Frame]) -> CauseClass {
    let on_cpu = evidence.on_cpu.unwrap_or_default();
    let faults = u32::try_from(evidence.minor_faults.unwrap_or_default()).unwrap_or(u32::MAX);
    if MINOR_FAULT.saturating_mul(faults) >= on_cpu / 3 && faults > 0 {
        return CauseClass::PageFaults;
    }
    // CPU time inside the kernel, on behalf of a system call: copying file data, for instance.
    match top_syscall(frames) {
        Some(kind @ (SyscallKind::File | SyscallKind::Network | SyscallKind::Pipe)) => class_of_kind(kind, frames),
        Some(SyscallKind::Memory) => CauseClass::PageFaults,
        _ => CauseClass::Computing,
    }
}

fn class_of_place(place: &WaitSite, frames: &[Frame]) -> CauseClass {
    match place {
        WaitSite::Fault => CauseClass::PageFaults,
        WaitSite::Syscall { kind, .. } => class_of_kind(*kind, frames),
    }
}

fn class_of_kind(kind: SyscallKind, frames: &[Frame]) -> CauseClass {
    match kind {
        SyscallKind::Sleep => CauseClass::Sleeping,
        _ if waits_for_child(frames) => CauseClass::ChildProcess,
        SyscallKind::Child => CauseClass::ChildProcess,
        SyscallKind::Lock => CauseClass::Lock,
        SyscallKind::File | SyscallKind::Pipe => CauseClass::File,
        SyscallKind::Network => CauseClass::Network,
        SyscallKind::Memory => CauseClass::PageFaults,
        SyscallKind::Other => CauseClass::Unknown,
    }
}

fn looks_up_name(frames: &[Frame]) -> bool {
    let resolver = |frame: &Frame| {
        let name = frame.function.trim_start_matches('_');
        ["getaddrinfo", "gethostbyname", "gethostbyname_r", "res_search", "res_query"].contains(&name)
    };
    frames.iter().any(resolver)
}

fn waits_for_child(frames: &[Frame]) -> bool {
    let starts_or_waits = |frame: &Frame| {
        let name = &*frame.function;
        name.starts_with("std::process::Child::") || name.starts_with("std::process::Command::")
    };
    frames.iter().any(starts_or_waits)
}

/// What the innermost frames wait for, by the names of libc's functions and of those of the standard library that
/// stand for one. Rust's `core::ptr::write` is none of them.
fn top_syscall(frames: &[Frame]) -> Option<SyscallKind> {
    frames.iter().take(TOP_FRAMES).find_map(|frame| match frame.origin {
        Origin::System => kind_of_function(&frame.function),
        // They make the system call through libc's `syscall`, whose name says nothing.
        Origin::Std => FUTEX_WAITS.iter().any(|end| frame.function.ends_with(end)).then_some(SyscallKind::Lock),
        _ => None,
    })
}

/// Where the standard library waits on a futex.
const FUTEX_WAITS: [&str; 5] =
    ["::futex_wait", "::lock_contended", "::read_contended", "::write_contended", "::Thread::park"];

fn kind_of_function(name: &str) -> Option<SyscallKind> {
    let name = name.trim_start_matches('_').trim_start_matches("libc_").trim_start_matches("GI_");
    Some(match name {
        "nanosleep" | "clock_nanosleep" | "usleep" | "sleep" => SyscallKind::Sleep,
        "lll_lock_wait"
        | "lll_lock_wait_private"
        | "futex_wait"
        | "pthread_cond_wait"
        | "pthread_cond_timedwait"
        | "pthread_mutex_lock"
        | "pthread_rwlock_rdlock"
        | "pthread_rwlock_wrlock"
        | "sem_wait"
        | "flock" => SyscallKind::Lock,
        "read" | "write" | "pread64" | "pwrite64" | "readv" | "writev" | "open" | "open64" | "openat" | "openat64"
        | "fsync" | "fdatasync" | "ftruncate64" | "getdents64" | "readdir64" | "statx" | "rename" | "unlink"
        | "copy_file_range" | "sendfile64" | "fallocate64" | "close" | "lseek64" => SyscallKind::File,
        "recv" | "recvfrom" | "recvmsg" | "send" | "sendto" | "sendmsg" | "connect" | "accept" | "accept4" | "poll"
        | "ppoll" | "select" => SyscallKind::Network,
        "wait4" | "waitpid" | "waitid" => SyscallKind::Child,
        "mmap" | "mmap64" | "munmap" | "mremap" | "madvise" | "mprotect" => SyscallKind::Memory,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::WaitTime;

    const MS: Duration = Duration::from_millis(1);

    fn evidence(on_cpu_ms: u32, run_queue_ms: u32, waits: &[(SyscallKind, u32)]) -> Evidence {
        let wait = |(kind, ms): &(SyscallKind, u32)| WaitTime {
            site: WaitSite::Syscall { name: "call".into(), kind: *kind, file: None },
            time: MS * *ms,
        };
        Evidence {
            window: MS * 100,
            looks: 10,
            on_cpu: Some(MS * on_cpu_ms),
            run_queue: Some(MS * run_queue_ms),
            waits: waits.iter().map(wait).collect(),
            ..Evidence::default()
        }
    }

    fn frames(names: &[&str]) -> Vec<Frame> {
        let frame = |name: &&str| {
            let origin = if name.contains("::") { Origin::Std } else { Origin::System };
            Frame { function: (*name).into(), file: None, line: None, origin, package: None }
        };
        names.iter().map(frame).collect()
    }

    #[test]
    fn the_larger_half_is_the_cause() {
        use SyscallKind::{Child, File, Lock, Network, Sleep};
        for (what, evidence, class) in [
            ("a busy loop", evidence(95, 3, &[]), CauseClass::Computing),
            ("a crowded machine", evidence(45, 55, &[]), CauseClass::NotScheduled),
            ("thread::sleep", evidence(0, 0, &[(Sleep, 98)]), CauseClass::Sleeping),
            ("a mutex", evidence(1, 0, &[(Lock, 97)]), CauseClass::Lock),
            ("fsync between writes", evidence(30, 0, &[(File, 60), (Lock, 5)]), CauseClass::File),
            ("a slow peer", evidence(0, 0, &[(Network, 99)]), CauseClass::Network),
            ("waitpid", evidence(0, 0, &[(Child, 99)]), CauseClass::ChildProcess),
            ("a bit of everything", evidence(30, 10, &[(File, 30), (Lock, 30)]), CauseClass::Unknown),
        ] {
            assert_eq!(classify(&evidence, Ok(&[])), class, "{what}");
        }
    }

    #[test]
    fn the_stack_tells_what_the_kernel_cannot() {
        use SyscallKind::{Network, Pipe};
        let lookup = frames(&["poll", "__res_context_send", "getaddrinfo", "std::net::ToSocketAddrs"]);
        assert_eq!(classify(&evidence(1, 0, &[(Network, 95)]), Ok(&lookup)), CauseClass::NameLookup);
        let child = frames(&["read", "std::process::Command::output", "news::convert"]);
        assert_eq!(classify(&evidence(1, 0, &[(Pipe, 95)]), Ok(&child)), CauseClass::ChildProcess);
        let cached_file = frames(&["read", "std::fs::read", "news::load"]);
        assert_eq!(classify(&evidence(97, 0, &[]), Ok(&cached_file)), CauseClass::File);
        let not_a_call = frames(&["core::ptr::write", "write::fill", "news::fill"]);
        assert_eq!(classify(&evidence(97, 0, &[]), Ok(&not_a_call)), CauseClass::Computing);
        let hidden_lock = frames(&["syscall", "std::sys::sync::mutex::futex::Mutex::lock_contended"]);
        assert_eq!(classify(&evidence(1, 0, &[]), Ok(&hidden_lock)), CauseClass::Lock);
        let hidden_sleep = frames(&["clock_nanosleep", "std::thread::sleep"]);
        assert_eq!(classify(&evidence(1, 0, &[]), Ok(&hidden_sleep)), CauseClass::Sleeping);
    }

    #[test]
    fn a_machine_that_ran_nobody_is_to_blame() {
        let paused = Evidence { watchdog_late: MS * 95, ..evidence(1, 0, &[]) };
        assert_eq!(classify(&paused, Ok(&[])), CauseClass::NotScheduled);
        let asleep_anyway = Evidence { watchdog_late: MS * 95, ..evidence(1, 0, &[(SyscallKind::Lock, 97)]) };
        assert_eq!(classify(&asleep_anyway, Ok(&[])), CauseClass::Lock);
        let busy_meanwhile = Evidence { watchdog_late: MS * 95, ..evidence(95, 0, &[]) };
        assert_eq!(classify(&busy_meanwhile, Ok(&[])), CauseClass::Computing);
    }

    #[test]
    fn a_cpu_that_was_taken_away_is_the_machines_doing() {
        let starved = Evidence { starved: MS * 60, ..evidence(5, 30, &[]) };
        assert_eq!(classify(&starved, Ok(&[])), CauseClass::NotScheduled);
        let stolen = Evidence { stolen: Some(MS * 70), ..evidence(95, 0, &[]) };
        assert_eq!(classify(&stolen, Ok(&[])), CauseClass::NotScheduled, "it was counted as CPU time");
        let asleep = Evidence { stolen: Some(MS * 70), ..evidence(5, 0, &[(SyscallKind::Lock, 95)]) };
        assert_eq!(classify(&asleep, Ok(&[])), CauseClass::Lock, "it would not have run anyway");
        let silent = Evidence { stolen: Some(Duration::ZERO), ..evidence(95, 0, &[]) };
        assert_eq!(classify(&silent, Err(&StackUnavailable::NoAnswer)), CauseClass::NotScheduled, "not known yet");
        let own_machine = evidence(95, 0, &[]);
        assert_eq!(
            classify(&own_machine, Err(&StackUnavailable::NoAnswer)),
            CauseClass::Computing,
            "busy in the kernel"
        );
    }

    #[test]
    fn touching_fresh_memory_is_not_computing() {
        let touching = Evidence { minor_faults: Some(120_000), ..evidence(95, 0, &[]) };
        assert_eq!(classify(&touching, Ok(&[])), CauseClass::PageFaults);
        let computing = Evidence { minor_faults: Some(200), ..evidence(95, 0, &[]) };
        assert_eq!(classify(&computing, Ok(&[])), CauseClass::Computing);
    }

    #[test]
    fn without_evidence_nothing_is_claimed() {
        assert_eq!(classify(&Evidence::default(), Ok(&[])), CauseClass::Unknown);
    }
}
