//! Finds the cause of a stall from its evidence and its stack.
//!
//! The observed window is divided into the thread's own part (CPU time and waits by kind) and the machine's part (time in
//! which the thread could have run). Absolute times decide between the two: a poll whose own part exceeds the threshold is a
//! stall of the code, however long the machine did not run it. The class with at least half of the own part is the cause.
//! Without one, the cause is unknown.
//!
//! The stack adds what the kernel does not report: that a wait for a socket is a name lookup, that a wait for a pipe is
//! one for a child process, or that CPU time was spent in the kernel's file code.

use std::time::Duration;

use crate::model::cause::CauseClass;
use crate::model::evidence::{Evidence, SyscallKind, WaitSite};
use crate::model::stack::{Frame, Origin, StackUnavailable};

/// The number of innermost frames in which libc's wrapper of a system call is searched.
const TOP_FRAMES: usize = 3;

/// A thread on a CPU answers a signal within this time.
const ANSWERS_WITHIN: Duration = Duration::from_millis(20);

/// The duration of a poll, and the threshold that it crossed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollTime {
    pub(crate) threshold: Duration,
    pub(crate) lasted: Duration,
    pub(crate) ended: bool,
}

/// The class of the cause. `frames` is the stack, innermost first, or the reason why there is none.
pub(crate) fn classify(evidence: &Evidence, frames: Result<&[Frame], &StackUnavailable>, poll: PollTime) -> CauseClass {
    if evidence.window.is_zero() {
        return CauseClass::Unknown;
    }
    let unanswered = if poll.ended { Duration::ZERO } else { unanswered(evidence, frames) };
    if is_not_scheduled(evidence.window, evidence.machine_time() + unanswered, poll) {
        return CauseClass::NotScheduled;
    }
    let frames = frames.unwrap_or_default();
    if looks_up_name(frames) {
        return CauseClass::NameLookup;
    }
    own_cause(evidence, frames)
}

/// Whether the poll crossed the threshold only because the machine did not run its thread.
///
/// The time before the window counts like the window, up to a threshold: a longer one is a gap, in which the watchdog did not
/// run either. Less than a quarter of the machine makes no difference to a poll that is close to the threshold anyway. Until
/// the poll ends, its own part may still exceed the threshold.
fn is_not_scheduled(window: Duration, machine: Duration, poll: PollTime) -> bool {
    let machine = machine.min(window);
    let own = window - machine;
    let before = poll.lasted.saturating_sub(window).min(poll.threshold);
    let own_of_poll = own.mul_f64((window + before).as_secs_f64() / window.as_secs_f64());
    own_of_poll < poll.threshold && machine >= own / 3
}

/// CPU time that the thread did not have. It is on a CPU as far as the kernel knows, but a hypervisor has taken that CPU:
/// the thread does not answer a signal. The kernel corrects its CPU time only afterwards.
fn unanswered(evidence: &Evidence, frames: Result<&[Frame], &StackUnavailable>) -> Duration {
    let is_taken = frames == Err(&StackUnavailable::NoAnswer) && evidence.stolen.is_some() && evidence.waits.is_empty();
    if !is_taken {
        return Duration::ZERO;
    }
    ANSWERS_WITHIN.saturating_sub(evidence.machine_time()).min(evidence.on_cpu.unwrap_or_default())
}

/// The class with at least half of the thread's own part.
pub(crate) fn own_cause(evidence: &Evidence, frames: &[Frame]) -> CauseClass {
    let own = evidence.own_time();
    let on_cpu = evidence.on_cpu.unwrap_or_default();
    let mut shares = Shares::default();
    shares.add(class_on_cpu(evidence, frames), on_cpu);
    for wait in &evidence.waits {
        shares.add(class_of_place(&wait.site, frames), wait.time);
    }
    if evidence.waits.is_empty() && on_cpu < own / 2 {
        // The kernel does not report where the thread sleeps; its stack may show it.
        let asleep = own.saturating_sub(on_cpu);
        shares.add(top_syscall(frames).map_or(CauseClass::Unknown, |kind| class_of_kind(kind, frames)), asleep);
    }
    shares.largest_of_at_least(own / 2)
}

#[derive(Default)]
struct Shares(Vec<(CauseClass, Duration)>);

impl Shares {
    fn add(&mut self, class: CauseClass, time: Duration) {
        if time.is_zero() {
            return;
        }
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
    let faults = evidence.fault_time.unwrap_or_default();
    // The least time of these faults. Those of a large allocation take up to twice as long, because no cache holds its pages.
    if !faults.is_zero() && faults >= on_cpu / 3 {
        return CauseClass::PageFaults;
    }
    // CPU time of a system call in the kernel, such as copying file data.
    match top_syscall(frames) {
        Some(kind @ (SyscallKind::File | SyscallKind::Network | SyscallKind::Pipe)) => class_of_kind(kind, frames),
        Some(SyscallKind::Memory) => CauseClass::PageFaults,
        None if !frames.is_empty() && is_mostly_faults(evidence, faults) => CauseClass::PageFaults,
        _ => CauseClass::Computing,
    }
}

/// Whether the thread spent most of its CPU time in the kernel without a system call, and has faults that explain it: a
/// virtual machine's fault takes ten times as long while the host provides the memory.
fn is_mostly_faults(evidence: &Evidence, faults: Duration) -> bool {
    let on_cpu = evidence.on_cpu.unwrap_or_default();
    evidence.in_kernel.is_some_and(|time| time * 4 >= on_cpu * 3) && !faults.is_zero() && faults >= on_cpu / 20
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

/// The kind of system call of the innermost frames, by the names of functions of libc and the standard library. Functions
/// of other crates with equal last names, such as `core::ptr::write`, do not count.
fn top_syscall(frames: &[Frame]) -> Option<SyscallKind> {
    frames.iter().take(TOP_FRAMES).find_map(|frame| match frame.origin {
        Origin::System => kind_of_function(&frame.function),
        // They use libc's `syscall`, so that its name does not show the system call.
        Origin::Std => FUTEX_WAITS.iter().any(|end| frame.function.ends_with(end)).then_some(SyscallKind::Lock),
        _ => None,
    })
}

/// The functions of the standard library that wait on a futex, by the ends of their names.
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
            site: WaitSite::Syscall { name: "call".into(), kind: *kind, file: None, stream: None },
            time: MS * *ms,
        };
        Evidence {
            window: MS * 100,
            samples: 10,
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

    /// The cause of a poll that has ended, with a threshold of 10 ms.
    fn cause(evidence: &Evidence, frames: Result<&[Frame], &StackUnavailable>) -> CauseClass {
        classify(evidence, frames, PollTime { threshold: MS * 10, lasted: evidence.window, ended: true })
    }

    /// The cause so far of a poll that has lasted for the window.
    fn cause_so_far(evidence: &Evidence, frames: Result<&[Frame], &StackUnavailable>) -> CauseClass {
        classify(evidence, frames, PollTime { threshold: MS * 10, lasted: evidence.window, ended: false })
    }

    /// The evidence of a window of this many milliseconds.
    fn within(ms: u32, evidence: Evidence) -> Evidence {
        Evidence { window: MS * ms, ..evidence }
    }

    #[test]
    fn the_class_with_half_of_the_own_part_is_the_cause() {
        use SyscallKind::{Child, File, Lock, Network, Sleep};
        for (scene, evidence, class) in [
            ("a busy loop", evidence(95, 3, &[]), CauseClass::Computing),
            ("a busy loop beside another", evidence(45, 55, &[]), CauseClass::Computing),
            ("a busy loop beside many others", evidence(15, 85, &[]), CauseClass::Computing),
            ("a crowded machine", evidence(5, 95, &[]), CauseClass::NotScheduled),
            ("thread::sleep", evidence(0, 0, &[(Sleep, 98)]), CauseClass::Sleeping),
            ("thread::sleep, and a busy CPU at its end", evidence(0, 70, &[(Sleep, 28)]), CauseClass::Sleeping),
            ("a mutex", evidence(1, 0, &[(Lock, 97)]), CauseClass::Lock),
            ("a mutex on a crowded machine", evidence(1, 60, &[(Lock, 39)]), CauseClass::Lock),
            ("fsync between writes", evidence(30, 0, &[(File, 60), (Lock, 5)]), CauseClass::File),
            ("a slow peer", evidence(0, 0, &[(Network, 99)]), CauseClass::Network),
            ("waitpid", evidence(0, 0, &[(Child, 99)]), CauseClass::ChildProcess),
            ("a bit of everything", evidence(30, 10, &[(File, 30), (Lock, 30)]), CauseClass::Unknown),
        ] {
            assert_eq!(cause(&evidence, Ok(&[])), class, "{scene}");
        }
    }

    #[test]
    fn a_poll_whose_own_part_is_below_the_threshold_is_the_machines() {
        for (scene, ms, evidence, class) in [
            ("7 of 12 ms", 12, evidence(7, 5, &[]), CauseClass::NotScheduled),
            ("10 of 15 ms", 15, evidence(10, 5, &[]), CauseClass::Computing),
            ("close to the threshold anyway", 11, evidence(10, 1, &[]), CauseClass::Computing),
            ("a short sleep", 14, evidence(0, 9, &[(SyscallKind::Sleep, 5)]), CauseClass::NotScheduled),
            ("a sync with its wake-ups", 60, evidence(6, 0, &[(SyscallKind::File, 54)]), CauseClass::File),
            ("a sync on a busy machine", 60, evidence(3, 40, &[(SyscallKind::File, 17)]), CauseClass::File),
            ("a sync on a crowded machine", 60, evidence(1, 52, &[(SyscallKind::File, 7)]), CauseClass::NotScheduled),
            ("a sleep of the threshold", 14, evidence(0, 4, &[(SyscallKind::Sleep, 10)]), CauseClass::Sleeping),
        ] {
            assert_eq!(cause(&within(ms, evidence), Ok(&[])), class, "{scene}");
        }
    }

    #[test]
    fn a_gap_before_the_window_is_not_the_codes() {
        let seen_late = within(8, evidence(2, 6, &[]));
        let poll = PollTime { threshold: MS * 10, lasted: MS * 92, ended: true };
        assert_eq!(classify(&seen_late, Ok(&[]), poll), CauseClass::NotScheduled);
        let busy = within(8, evidence(6, 2, &[]));
        assert_eq!(classify(&busy, Ok(&[]), poll), CauseClass::Computing, "with the time before, 13 ms are its own");
    }

    #[test]
    fn the_stack_refines_the_cause() {
        use SyscallKind::{Network, Pipe};
        let lookup = frames(&["poll", "__res_context_send", "getaddrinfo", "std::net::ToSocketAddrs"]);
        assert_eq!(cause(&evidence(1, 0, &[(Network, 95)]), Ok(&lookup)), CauseClass::NameLookup);
        let child = frames(&["read", "std::process::Command::output", "news::convert"]);
        assert_eq!(cause(&evidence(1, 0, &[(Pipe, 95)]), Ok(&child)), CauseClass::ChildProcess);
        let cached_file = frames(&["read", "std::fs::read", "news::load"]);
        assert_eq!(cause(&evidence(97, 0, &[]), Ok(&cached_file)), CauseClass::File);
        let not_a_call = frames(&["core::ptr::write", "write::fill", "news::fill"]);
        assert_eq!(cause(&evidence(97, 0, &[]), Ok(&not_a_call)), CauseClass::Computing);
        let hidden_lock = frames(&["syscall", "std::sys::sync::mutex::futex::Mutex::lock_contended"]);
        assert_eq!(cause(&evidence(1, 0, &[]), Ok(&hidden_lock)), CauseClass::Lock);
        let hidden_sleep = frames(&["clock_nanosleep", "std::thread::sleep"]);
        assert_eq!(cause(&evidence(1, 0, &[]), Ok(&hidden_sleep)), CauseClass::Sleeping);
    }

    #[test]
    fn time_in_which_the_machine_ran_neither_thread_is_not_scheduled() {
        let paused = Evidence { watchdog_late: MS * 95, ..evidence(1, 0, &[]) };
        assert_eq!(cause(&paused, Ok(&[])), CauseClass::NotScheduled);
        let asleep_anyway = Evidence { watchdog_late: MS * 95, ..evidence(1, 0, &[(SyscallKind::Lock, 97)]) };
        assert_eq!(cause(&asleep_anyway, Ok(&[])), CauseClass::Lock);
        let busy_meanwhile = Evidence { watchdog_late: MS * 95, ..evidence(95, 0, &[]) };
        assert_eq!(cause(&busy_meanwhile, Ok(&[])), CauseClass::Computing);
    }

    #[test]
    fn a_stolen_cpu_and_a_quota_are_not_scheduled() {
        let starved = Evidence { starved: MS * 65, ..evidence(5, 30, &[]) };
        assert_eq!(cause(&starved, Ok(&[])), CauseClass::NotScheduled);
        let stolen = Evidence { stolen: Some(MS * 92), ..evidence(5, 0, &[]) };
        assert_eq!(cause(&stolen, Ok(&[])), CauseClass::NotScheduled);
        let throttled = Evidence { throttled: Some(MS * 92), ..evidence(5, 0, &[]) };
        assert_eq!(cause(&throttled, Ok(&[])), CauseClass::NotScheduled);
        let computing = Evidence { throttled: Some(MS * 50), ..evidence(45, 0, &[]) };
        assert_eq!(cause(&computing, Ok(&[])), CauseClass::Computing, "without a quota it is a stall too");
    }

    #[test]
    fn cpu_time_without_an_answer_may_be_a_hypervisors() {
        let no_answer = Err(&StackUnavailable::NoAnswer);
        let virtual_machine = Evidence { stolen: Some(Duration::ZERO), ..within(28, evidence(28, 0, &[])) };
        assert_eq!(cause_so_far(&virtual_machine, no_answer), CauseClass::NotScheduled, "not counted yet");
        assert_eq!(cause(&virtual_machine, no_answer), CauseClass::Computing, "counted by now");
        let own_machine = within(28, evidence(28, 0, &[]));
        assert_eq!(cause_so_far(&own_machine, no_answer), CauseClass::Computing, "busy in the kernel");
    }

    #[test]
    fn touching_fresh_memory_is_page_faults() {
        let touching = Evidence { fault_time: Some(MS * 35), ..evidence(95, 0, &[]) };
        assert_eq!(cause(&touching, Ok(&[])), CauseClass::PageFaults);
        let computing = Evidence { fault_time: Some(MS * 30), ..evidence(95, 0, &[]) };
        assert_eq!(cause(&computing, Ok(&[])), CauseClass::Computing);
        assert_eq!(cause(&evidence(95, 0, &[]), Ok(&[])), CauseClass::Computing, "not measured");
        let slow_host = Evidence { in_kernel: Some(MS * 80), fault_time: Some(MS * 10), ..evidence(95, 0, &[]) };
        let fill = frames(&["news::fill"]);
        assert_eq!(cause(&slow_host, Ok(&fill)), CauseClass::PageFaults);
        assert_eq!(cause(&slow_host, Ok(&[])), CauseClass::Computing, "it may be in a system call");
        let in_call = frames(&["write", "std::fs::write"]);
        assert_eq!(cause(&slow_host, Ok(&in_call)), CauseClass::File, "a call explains the time in the kernel");
        for evidence in [
            Evidence { in_kernel: Some(MS * 60), ..slow_host.clone() },
            Evidence { fault_time: Some(MS * 2), ..slow_host },
        ] {
            assert_eq!(cause(&evidence, Ok(&fill)), CauseClass::Computing, "{evidence:?}");
        }
        let no_time = Evidence { fault_time: Some(Duration::ZERO), ..evidence(0, 0, &[(SyscallKind::Sleep, 95)]) };
        assert_eq!(cause(&no_time, Ok(&[])), CauseClass::Sleeping);
    }

    #[test]
    fn without_evidence_the_cause_is_unknown() {
        assert_eq!(cause(&Evidence::default(), Ok(&[])), CauseClass::Unknown);
    }
}
