//! What holdup can see in this process: tested at start, and reported with the exact setting that would show more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::model::check::{Check, Coverage, SelfCheck};
use crate::model::own_thread;
use crate::model::remedy::BuildNames;
use crate::symbols::Symbolizer;
use crate::sys::{self, Breakpoint, KernelState, Process, Registers, StackCopy, StackSignal, ThreadProbe};
use crate::unwind::Unwinder;

/// The time limit for each test on the trial thread.
const TRIAL_LIMIT: Duration = Duration::from_millis(500);

/// How long a stack that can be read may be on its way into the sleep.
const FOLLOW_LIMIT: Duration = Duration::from_millis(50);

/// The results of the tests.
pub(crate) struct Tested {
    pub(crate) unwinder: Option<Unwinder>,
    /// Whether the stack of a sleeping thread can be read without a signal, or the reason why not.
    passive: Result<(), String>,
    /// Whether the stack of a sleeping thread can be followed to its end.
    followed: Followed,
    /// Whether a running thread copies its stack on a signal, or the reason why not.
    signal: Result<(), String>,
    /// Whether a breakpoint notices that a thread passes an instruction, or the reason why not.
    returns: Result<(), String>,
    sees_run_queue: bool,
    names: Option<BuildNames>,
}

/// How the stack of a sleeping thread can be followed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    Untouched,
    BySignal,
    Not,
}

/// The input of the self-check.
pub(crate) struct Seen<'a> {
    pub(crate) threshold: Duration,
    pub(crate) signal: Option<i32>,
    pub(crate) signal_refused: Option<String>,
    pub(crate) tested: &'a Tested,
    /// Knows the user's crates.
    pub(crate) symbolizer: &'a Symbolizer,
    #[cfg(feature = "http")]
    pub(crate) endpoint: Option<Check>,
    /// One line for each tokio-console.
    #[cfg(feature = "console")]
    pub(crate) consoles: Vec<Check>,
}

/// Captures stacks of a trial thread both ways. Only a trial proves that capturing works in this process.
pub(crate) fn try_out(signal: Option<&StackSignal>) -> Tested {
    let mut unwinder = Unwinder::of(Process::own()).ok();
    let names = unwinder.as_ref().and_then(|unwinder| unwinder.images().program()?.names());
    let trial = unwinder.as_mut().and_then(|unwinder| Trial::run(unwinder, signal));
    let trial = trial.unwrap_or_else(|| Trial {
        passive: Err(unsupported()),
        followed: Followed::Not,
        signal: Err(unsupported()),
        returns: Err(unsupported()),
        sees_run_queue: false,
    });
    let Trial { passive, followed, signal, returns, sees_run_queue } = trial;
    Tested { unwinder, passive, followed, signal, returns, sees_run_queue, names }
}

fn unsupported() -> String {
    if sys::SUPPORTED {
        "/proc/self/maps cannot be read".to_owned()
    } else {
        "stacks are taken on Linux on x86_64 only, so far".to_owned()
    }
}

struct Trial {
    passive: Result<(), String>,
    followed: Followed,
    signal: Result<(), String>,
    returns: Result<(), String>,
    sees_run_queue: bool,
}

impl Trial {
    /// The trial thread first sleeps in `recv`, then runs until `stop` is set.
    fn run(unwinder: &mut Unwinder, signal: Option<&StackSignal>) -> Option<Self> {
        let (ready, started) = mpsc::channel();
        let (wake, sleep) = mpsc::channel::<()>();
        let stop = AtomicBool::new(false);
        let stop = &stop;
        // `wake` moves in, so that the trial thread's `recv` returns however this closure ends.
        std::thread::scope(move |scope| {
            let body = move || {
                if ready.send((sys::current_tid(), sys::current_stack())).is_err() || sleep.recv().is_err() {
                    return;
                }
                let limit = Instant::now() + TRIAL_LIMIT;
                while !stop.load(Ordering::Relaxed) && Instant::now() < limit {
                    milestone();
                }
            };
            std::thread::Builder::new().name(own_thread::SELF_CHECK.into()).spawn_scoped(scope, body).ok()?;
            let (tid, stack) = started.recv_timeout(TRIAL_LIMIT).ok()?;
            let stack = stack?;
            let probe = ThreadProbe::open(Process::own(), tid);
            let passive = try_passive(unwinder, &probe, stack.end);
            let bounds = (stack.start, stack.end);
            let followed = match (&passive, signal) {
                (Ok(Followed::Untouched), _) => Followed::Untouched,
                // The signal comes while the thread sleeps.
                (_, Some(signal)) if try_signal(unwinder, signal, tid, bounds).is_ok() => Followed::BySignal,
                _ => Followed::Not,
            };
            let sees_run_queue = probe.sees_run_queue();
            let signal = match (wake.send(()), signal) {
                (Ok(()), Some(signal)) => try_signal(unwinder, signal, tid, bounds),
                _ => Err("no signal".to_owned()),
            };
            let returns = try_returns(tid);
            stop.store(true, Ordering::Relaxed);
            Some(Self { passive: passive.map(|_| ()), followed, signal, returns, sees_run_queue })
        })
    }
}

/// Reads the stack of the sleeping thread until it can be followed to its end.
fn try_passive(unwinder: &mut Unwinder, probe: &ThreadProbe, high: u64) -> Result<Followed, String> {
    if !probe.sees_syscalls() {
        return Err("/proc/self/task/…/syscall cannot be opened".to_owned());
    }
    let mut limit = Instant::now() + TRIAL_LIMIT;
    let mut copy = StackCopy::default();
    let mut outcome = Err("the stack of a sleeping thread could not be read".to_owned());
    while Instant::now() < limit {
        if let Some(KernelState::Syscall { stack_pointer, instruction, .. }) = probe.kernel_state() {
            let registers = Registers { instruction, stack_pointer, frame_pointer: None };
            Process::own().copy_stack(registers, Some(stack_pointer..high), &mut copy);
            let walk = unwinder.walk(&copy);
            if walk.complete {
                return Ok(Followed::Untouched);
            }
            if outcome.is_err() && !walk.addresses.is_empty() && !copy.bytes.is_empty() {
                outcome = Ok(Followed::Not);
                limit = limit.min(Instant::now() + FOLLOW_LIMIT);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    outcome
}

/// The instruction that the trial thread passes while it runs.
#[inline(never)]
fn milestone() {
    std::hint::spin_loop();
    std::hint::black_box(());
}

fn try_returns(tid: i32) -> Result<(), String> {
    let watch = Breakpoint::set(tid, milestone as *const () as u64);
    let watch = watch.map_err(|error| format!("perf_event_open refuses a breakpoint ({error})"))?;
    let limit = Instant::now() + TRIAL_LIMIT;
    while Instant::now() < limit {
        if watch.passed() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("a breakpoint that was set was not noticed".to_owned())
}

fn try_signal(unwinder: &mut Unwinder, signal: &StackSignal, tid: i32, stack: (u64, u64)) -> Result<(), String> {
    let mut copy = StackCopy::default();
    match signal.copy_stack(tid, stack, TRIAL_LIMIT, &mut copy) {
        Ok(()) if unwinder.walk(&copy).complete => Ok(()),
        Ok(()) => Err("the stack of a running thread could not be walked to its end".to_owned()),
        Err(_) => Err(format!("a running thread did not answer signal {}", signal.number())),
    }
}

pub(crate) fn describe(seen: &Seen<'_>) -> SelfCheck {
    let mut checks = vec![polls(seen.threshold, seen.tested), running_stacks(seen), sleeping_stacks(seen.tested)];
    checks.push(names(seen));
    checks.push(causes(seen.tested));
    #[cfg(feature = "http")]
    checks.extend(seen.endpoint.clone());
    #[cfg(feature = "console")]
    checks.extend(seen.consoles.iter().cloned());
    SelfCheck { checks }
}

fn check(subject: &'static str, coverage: Coverage, detail: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { subject, coverage, detail: detail.into(), remedy: remedy.map(str::to_owned) }
}

fn polls(threshold: Duration, tested: &Tested) -> Check {
    let limit = format!("a poll longer than {threshold:?} is a stall");
    if cfg!(tokio_unstable) {
        return check(
            "task polls",
            Coverage::Full,
            format!("every poll of every task, by Tokio's task hooks; {limit}"),
            None,
        );
    }
    let instrumented = "this build has no task hooks: polls of futures given to holdup::spawn, .watched() or block_on are instrumented";
    let (uninstrumented, more) = match (tested.names, &tested.passive, &tested.returns) {
        (None | Some(BuildNames::None), _, _) => (
            "those of other tasks are not seen, because this program is stripped or cannot be read".to_owned(),
            "strip nothing",
        ),
        (_, _, Ok(())) => ("long polls of other tasks are inferred, without task and exact duration".to_owned(), ""),
        (_, Ok(()), Err(reason)) => (
            format!("long polls of other tasks are seen only if they sleep for that long at a time, because {reason}"),
            "allow perf_event_open (kernel.perf_event_paranoid at most 2, and no sandbox against it)",
        ),
        (_, Err(_), Err(reason)) => {
            (format!("those of other tasks are not seen, because {reason}"), "allow perf_event_open, and mount /proc")
        }
    };
    let remedy = "build with RUSTFLAGS=\"--cfg tokio_unstable\", or spawn tasks with holdup::spawn";
    let remedy = if more.is_empty() { remedy.to_owned() } else { format!("{remedy}, or {more}") };
    check("task polls", Coverage::Limited, format!("{instrumented}; {uninstrumented}; {limit}"), Some(&remedy))
}

fn running_stacks(seen: &Seen<'_>) -> Check {
    let subject = "stacks of running workers";
    match (seen.signal, &seen.tested.signal) {
        (Some(signal), Ok(())) => check(subject, Coverage::Full, format!("by real-time signal {signal}"), None),
        (Some(signal), Err(reason)) => check(
            subject,
            Coverage::Limited,
            format!("by real-time signal {signal}, but at start {reason}"),
            Some("check that nothing blocks that signal, or choose another with signal(…)"),
        ),
        (None, _) => {
            let reason = seen.signal_refused.clone().unwrap_or_else(unsupported);
            check(subject, Coverage::Missing, format!("none: {reason}"), Some("free a real-time signal"))
        }
    }
}

fn sleeping_stacks(tested: &Tested) -> Check {
    let subject = "stacks of sleeping workers";
    match &tested.passive {
        Ok(()) if tested.followed == Followed::Not => check(
            subject,
            Coverage::Missing,
            "a trial's stack could not be followed to its end; such stalls are reported without a culprit",
            Some("report this with the target and the C library of the program"),
        ),
        Ok(()) if tested.followed == Followed::BySignal => check(
            subject,
            Coverage::Limited,
            "by signal, which interrupts the system call they sleep in, because a trial's stack is ambiguous without it",
            None,
        ),
        Ok(()) => check(
            subject,
            Coverage::Full,
            "read from /proc and memory, without touching the thread; by signal where that is ambiguous",
            None,
        ),
        Err(reason) if tested.followed == Followed::Not => {
            check(subject, Coverage::Missing, format!("none, because {reason}"), Some("mount /proc"))
        }
        Err(reason) => check(
            subject,
            Coverage::Limited,
            format!("by signal, which interrupts the system call they sleep in, because {reason}"),
            Some("mount /proc, and after dropping privileges call prctl(PR_SET_DUMPABLE, 1)"),
        ),
    }
}

fn names(seen: &Seen<'_>) -> Check {
    let subject = "names";
    let remedy = seen.tested.names.and_then(BuildNames::remedy).map(|settings| format!("build with {settings}"));
    let limited = |which: &str| {
        let crates = seen.symbolizer.user_crates().join(", ");
        let detail = format!("{which}, but no files, lines or inlined calls; your crates are: {crates}");
        let further = "; name further crates of yours with user_crate(…)";
        check(subject, Coverage::Limited, detail, Some(&format!("{}{further}", remedy.as_deref().unwrap_or_default())))
    };
    match seen.tested.names {
        Some(BuildNames::Lines) => check(
            subject,
            Coverage::Full,
            "functions, inlined calls, files and lines; a build with debug = \"line-tables-only\" shortens the names of inlined functions",
            None,
        ),
        Some(BuildNames::V0) => limited("functions"),
        Some(BuildNames::Legacy) => limited("functions without the types of generic ones, such as request handlers"),
        None => check(
            subject,
            Coverage::Missing,
            "addresses only, because this user cannot read the program's file; its stacks cannot be walked either",
            Some("make the program's file readable for the user that runs it"),
        ),
        Some(BuildNames::None) => {
            check(subject, Coverage::Missing, "addresses only, because this program is stripped", remedy.as_deref())
        }
    }
}

fn causes(tested: &Tested) -> Check {
    let subject = "causes";
    if tested.passive.is_ok() && tested.sees_run_queue {
        return check(subject, Coverage::Full, "from CPU clocks, run-queue times, page faults and system calls", None);
    }
    let (mut missing, mut remedies) = (Vec::new(), Vec::new());
    if tested.passive.is_err() {
        missing.push("the system call that a worker sleeps in");
        remedies.push("let its stack be read, as above");
    }
    if !tested.sees_run_queue {
        missing.push("the time it was ready but not run (/proc/self/task/…/schedstat)");
        remedies.push("run on a kernel with CONFIG_SCHED_INFO");
    }
    let detail = format!("without {}", missing.join(" and without "));
    check(subject, Coverage::Limited, detail, Some(&remedies.join(", and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(passive: Result<(), String>, followed: Followed) -> Coverage {
        let tested = Tested {
            unwinder: None,
            passive,
            followed,
            signal: Ok(()),
            returns: Ok(()),
            sees_run_queue: true,
            names: None,
        };
        sleeping_stacks(&tested).coverage
    }

    #[test]
    fn sleeping_workers_are_seen_only_if_a_stack_was_followed_to_its_end() {
        assert_eq!(coverage(Ok(()), Followed::Untouched), Coverage::Full);
        assert_eq!(coverage(Ok(()), Followed::BySignal), Coverage::Limited);
        assert_eq!(coverage(Ok(()), Followed::Not), Coverage::Missing);
        assert_eq!(coverage(Err("no /proc".into()), Followed::BySignal), Coverage::Limited);
        assert_eq!(coverage(Err("no /proc".into()), Followed::Not), Coverage::Missing);
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
    #[test]
    fn the_trial_follows_the_stack_of_a_sleeping_thread() {
        assert_ne!(try_out(None).followed, Followed::Not);
    }
}
