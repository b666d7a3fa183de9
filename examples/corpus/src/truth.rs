//! The truth of a case: time, thread, line and cause of each stall. The case measures it around the call that holds its
//! worker. This file is independent of any tool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::bystanders::{Bystanders, TrueVictim};
use crate::witness::{Witness, ready_times};

/// The first field of a truth file.
pub(crate) const FORMAT: &str = "stall-truth/1";

/// The cause of a stall. `README.md` documents it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    Computing,
    Sleeping,
    Lock,
    File,
    Network,
    NameLookup,
    ChildProcess,
    PageFaults,
}

impl Cause {
    /// The word for it in both formats.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Computing => "computing",
            Self::Sleeping => "sleeping",
            Self::Lock => "lock",
            Self::File => "file",
            Self::Network => "network",
            Self::NameLookup => "name_lookup",
            Self::ChildProcess => "child_process",
            Self::PageFaults => "page_faults",
        }
    }
}

/// The truth of one run of one case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Truth {
    pub(crate) format: String,
    pub(crate) case: String,
    /// The kind of runtime.
    pub(crate) flavor: String,
    /// The place in the runtime.
    pub(crate) place: String,
    /// The cause of its stalls. `None` if nothing stalls the runtime.
    pub(crate) cause: Option<Cause>,
    /// Every call that held a worker, in order.
    pub(crate) stalls: Vec<TrueStall>,
}

/// A call that held a worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TrueStall {
    /// Nanoseconds since 1970.
    pub(crate) start_ns: u64,
    /// The duration by the monotonic clock.
    pub(crate) duration_ns: u64,
    /// The kernel's thread id.
    pub(crate) thread: u64,
    /// The user's function that makes the call.
    pub(crate) function: String,
    pub(crate) file: String,
    /// The lines of the call: one, or those of a loop.
    pub(crate) first_line: u32,
    pub(crate) last_line: u32,
    pub(crate) cause: Cause,
    /// Time on a CPU, by the kernel's account of this thread.
    pub(crate) on_cpu_ns: u64,
    /// Time in the run queue, from the same account.
    pub(crate) run_queue_ns: u64,
    /// Steal time of all CPUs meanwhile, in steps of 10 ms.
    pub(crate) stolen_ns: u64,
    /// The largest delay meanwhile of a thread that wakes every millisecond.
    pub(crate) late_ns: u64,
    /// The longest time meanwhile that another thread of the process was in the run queue.
    pub(crate) others_ready_ns: u64,
    /// Tasks that were ready before its end and were not polled by then. `None` if unknown.
    #[serde(default)]
    pub(crate) victims: Option<Vec<TrueVictim>>,
}

/// A place in the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    /// The path of a function inside the function in question.
    pub(crate) inside: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// This place in the source.
macro_rules! here {
    () => {{
        fn inside() {}
        $crate::truth::Here { inside: std::any::type_name_of_val(&inside), file: file!(), line: line!() }
    }};
}

/// Makes a call and records it as a stall. The call is in the line of the macro.
macro_rules! held {
    ($log:expr, $call:expr) => {{
        let begun = $log.begin(here!());
        let outcome = $call;
        begun.end(line!());
        outcome
    }};
}

/// The stalls of a run so far.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    cause: Cause,
    witness: Arc<Witness>,
    bystanders: Arc<Bystanders>,
    stalls: Arc<Mutex<Vec<TrueStall>>>,
}

impl Log {
    /// An empty truth for a case with this cause.
    pub(crate) fn new(cause: Cause, witness: Arc<Witness>, bystanders: Arc<Bystanders>) -> Self {
        Self { cause, witness, bystanders, stalls: Arc::default() }
    }

    /// Spawns a task that is ready at once. If a stall delays its poll, it is one of the victims.
    pub(crate) fn spawn_ready(&self) {
        self.bystanders.spawn_ready();
    }

    /// Records the start of a stall.
    pub(crate) fn begin(&self, here: Here) -> Begun<'_> {
        let thread = current_thread();
        let (ready, stolen) = (ready_times(), stolen());
        self.witness.begin();
        self.bystanders.begin();
        let accounts = Accounts::read();
        Begun { log: self, here, thread, ready, accounts, stolen, at: SystemTime::now(), since: Instant::now() }
    }

    /// The recorded truth.
    pub(crate) fn stalls(&self) -> Vec<TrueStall> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A current stall.
#[must_use = "it ends with `end`"]
pub(crate) struct Begun<'l> {
    log: &'l Log,
    here: Here,
    thread: u64,
    ready: BTreeMap<u64, u64>,
    accounts: Accounts,
    stolen: Duration,
    at: SystemTime,
    since: Instant,
}

impl Begun<'_> {
    fn others_ready(&self) -> u64 {
        let before = |thread: u64| self.ready.get(&thread).copied().unwrap_or(0);
        let others = ready_times().into_iter().filter(|(thread, _)| *thread != self.thread);
        others.map(|(thread, ready)| ready.saturating_sub(before(thread))).max().unwrap_or(0)
    }

    /// Records its end, in this line.
    pub(crate) fn end(self, last_line: u32) {
        let duration = self.since.elapsed();
        let victims = self.log.bystanders.end();
        let late = self.log.witness.late();
        let accounts = Accounts::read();
        let stall = TrueStall {
            start_ns: nanoseconds(self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
            duration_ns: nanoseconds(duration),
            thread: self.thread,
            function: readable(self.here.inside.trim_end_matches("::inside")),
            file: self.here.file.to_owned(),
            first_line: self.here.line,
            last_line,
            cause: self.log.cause,
            on_cpu_ns: accounts.on_cpu.saturating_sub(self.accounts.on_cpu),
            run_queue_ns: accounts.run_queue.saturating_sub(self.accounts.run_queue),
            stolen_ns: nanoseconds(stolen().saturating_sub(self.stolen)),
            late_ns: nanoseconds(late),
            others_ready_ns: self.others_ready(),
            victims: Some(victims),
        };
        self.log.stalls.lock().unwrap_or_else(PoisonError::into_inner).push(stall);
    }
}

/// The name without the marks of closures and async bodies.
pub(crate) fn readable(function: &str) -> String {
    function.replace("::{{closure}}", "").replace("::{closure}", "")
}

/// Whole nanoseconds. Several centuries fit.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The kernel's id of this thread, or 0 if it is unavailable.
fn current_thread() -> u64 {
    let link = std::fs::read_link("/proc/thread-self").ok();
    link.and_then(|link| link.file_name()?.to_str()?.parse().ok()).unwrap_or(0)
}

/// The kernel's scheduler statistics of this thread, in nanoseconds since its start.
#[derive(Clone, Copy, Debug, Default)]
struct Accounts {
    on_cpu: u64,
    run_queue: u64,
}

impl Accounts {
    /// Zero without these statistics.
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
        Self { on_cpu: numbers.next().unwrap_or(0), run_queue: numbers.next().unwrap_or(0) }
    }
}

/// Steal time of all CPUs since boot: the eighth number of the first line.
fn stolen() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let steps = text.split_whitespace().nth(8).and_then(|number| number.parse().ok()).unwrap_or(0);
    Duration::from_millis(10).saturating_mul(steps)
}
