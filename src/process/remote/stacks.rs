//! The threads of another process and their stacks. No code runs in the process, and nothing is injected.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::stops::Stops;
use crate::model::evidence::WaitSite;
use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
use crate::model::thread_stops::ThreadStops;
use crate::process::sleep::{self, Sleep};
use crate::sys::{self, KernelState, Process, StackCopy, StopError, ThreadProbe};
use crate::unwind::{Unwinder, Walk};

/// How long a running thread may take to stop. A scheduled thread stops within microseconds; any other waits for a CPU
/// anyway.
const CAPTURE_STOP_LIMIT: Duration = Duration::from_millis(100);

/// Attempts to capture a stack. A thread may change between running and sleeping during each attempt.
const CAPTURE_ATTEMPTS: usize = 4;

/// Between two attempts to find a thread asleep.
const LATER_SLEEP_PAUSE: Duration = Duration::from_millis(1);

/// The stacks of another process.
#[derive(Debug)]
pub(crate) struct RemoteStacks {
    process: Process,
    unwinder: Unwinder,
    copy: StackCopy,
    states: HashMap<i32, ThreadState>,
    stops: Stops,
    incarnation: Option<[u64; 3]>,
}

/// A thread of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteThread {
    pub(crate) tid: i32,
    /// At most 15 bytes, a limit of the kernel.
    pub(crate) name: Arc<str>,
}

/// What is kept of a thread between two captures.
#[derive(Debug)]
struct ThreadState {
    probe: ThreadProbe,
    /// The bounds of its stack; `None` before the first capture.
    stack: Option<Range<u64>>,
    /// Its last sleep and the stack of that sleep. The stack stays valid as long as the sleep lasts.
    asleep: Option<(Sleep, RawStack)>,
}

impl RemoteStacks {
    /// Reads the images that the process has loaded.
    ///
    /// # Errors
    /// When it does not exist or may not be read.
    pub(crate) fn open(process: Process, stops: Stops) -> io::Result<Self> {
        let unwinder = Unwinder::of(process)?;
        let (copy, states) = (StackCopy::default(), HashMap::new());
        let incarnation = process.incarnation();
        Ok(Self { process, unwinder, copy, states, stops, incarnation })
    }

    /// The current threads. Drops the state of ended threads.
    ///
    /// # Errors
    /// When the process has ended or runs another program.
    pub(crate) fn threads(&mut self) -> io::Result<Vec<RemoteThread>> {
        let tids = self.process.thread_ids()?;
        if self.process.incarnation() != self.incarnation {
            return Err(io::Error::other("the process began to run another program (exec)"));
        }
        if process_has_ended(self.process, &tids) {
            return Err(io::Error::other("the process ended"));
        }
        self.states.retain(|tid, _| tids.contains(tid));
        // A thread without a name has ended since.
        let named = tids.into_iter().filter_map(|tid| Some((tid, self.process.thread_name(tid)?)));
        Ok(named.map(|(tid, name)| RemoteThread { tid, name: name.into() }).collect())
    }

    /// The stops so far.
    pub(crate) fn stops(&self) -> ThreadStops {
        self.stops.so_far()
    }

    /// A thread's stack. The stack of a sleeping thread is read from memory without disturbing it. A running thread is
    /// stopped for the capture.
    pub(crate) fn capture_stack(&mut self, tid: i32) -> Result<RawStack, StackUnavailable> {
        let process = self.process;
        for _ in 0..CAPTURE_ATTEMPTS {
            let state = self.state(tid);
            match state.probe.kernel_state() {
                None if process.thread_name(tid).is_none() => return Err(StackUnavailable::Gone),
                None => return Err(StackUnavailable::Refused),
                Some(KernelState::Syscall { .. } | KernelState::Fault { .. }) => {
                    let sleep = Sleep::of(&state.probe);
                    if let Some((known, stack)) = &state.asleep
                        && sleep == Some(*known)
                        && known.is_unique()
                    {
                        return Ok(stack.clone());
                    }
                    if self.copy_sleeping(tid) {
                        let stack = sleep::walk(&mut self.unwinder, &self.copy).0;
                        // The copy belongs to this sleep if the sleep was the same before and after.
                        let state = self.state(tid);
                        state.asleep =
                            sleep.filter(|before| Sleep::of(&state.probe) == Some(*before)).zip(Some(stack.clone()));
                        return Ok(stack);
                    }
                }
                Some(KernelState::Running) => match self.copy_stopped(tid, |state| Sleep::of(&state.probe).is_none()) {
                    Ok(()) => return Ok(self.unwind_copy()),
                    Err(StopError::Slept) => {}
                    Err(StopError::Gone) => return Err(StackUnavailable::Gone),
                    Err(StopError::NoAnswer) => return Err(StackUnavailable::NoAnswer),
                    Err(StopError::Refused) => return Err(StackUnavailable::Refused),
                    Err(StopError::Forbidden) => return Err(StackUnavailable::NeverStop),
                },
            }
        }
        Err(StackUnavailable::TooLate)
    }

    /// The stack of a thread inside a poll. A thread that waits for a lock is stopped too if its stack cannot be unwound
    /// without all registers. The kernel restarts that wait (futex(2)), which is not true of every system call.
    pub(crate) fn capture_stack_in_poll(&mut self, tid: i32) -> Result<RawStack, StackUnavailable> {
        let stack = self.capture_stack(tid)?;
        Ok(self.with_registers(tid, stack))
    }

    /// The whole stack of a thread that waits for a lock, if only a stop shows it.
    fn with_registers(&mut self, tid: i32, stack: RawStack) -> RawStack {
        let sleep = Sleep::of(&self.state(tid).probe);
        if stack.complete || stack.method != CaptureMethod::Passive || sleep.is_none() || !self.waits_for_lock(tid) {
            return stack;
        }
        let stopped = self.copy_stopped(tid, |state| Sleep::of(&state.probe) == sleep);
        let whole = stopped.ok().map(|()| self.unwind_copy()).filter(|stack| stack.complete);
        whole.unwrap_or(stack)
    }

    /// The stack of a thread that has slept since it had been put on a CPU this often. The thread is stopped only if it waits
    /// for a lock, and its stack cannot be unwound without all registers.
    pub(crate) fn capture_sleep(&mut self, tid: i32, slices: Option<u64>) -> Result<RawStack, StackUnavailable> {
        let copied = self.copy_sleeping(tid);
        // A thread in the same time slice has not run between the two counts.
        if !copied || Sleep::of(&self.state(tid).probe).is_none_or(|sleep| sleep.slices != slices) {
            let gone = self.process.thread_name(tid).is_none();
            return Err(if gone { StackUnavailable::Gone } else { StackUnavailable::TooLate });
        }
        let stack = sleep::walk(&mut self.unwinder, &self.copy).0;
        Ok(self.with_registers(tid, stack))
    }

    /// The stack of a thread in some sleep, if it sleeps soon. The thread is not stopped.
    pub(crate) fn capture_later_sleep(&mut self, tid: i32) -> Option<RawStack> {
        for attempt in 0..CAPTURE_ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(LATER_SLEEP_PAUSE);
            }
            if self.copy_sleeping(tid) {
                return Some(sleep::walk(&mut self.unwinder, &self.copy).0);
            }
        }
        None
    }

    /// The bytes that the last stack was read from.
    pub(super) fn last_copy(&self) -> &StackCopy {
        &self.copy
    }

    /// Unwinds a copy that was made just now.
    pub(super) fn walk(&mut self, copy: &StackCopy) -> Walk {
        self.unwinder.walk_now(copy)
    }

    /// The first address of the function that contains an address.
    pub(super) fn start_of_function(&self, address: u64) -> Option<u64> {
        self.unwinder.start_of_function(address)
    }

    fn waits_for_lock(&mut self, tid: i32) -> bool {
        let process = self.process;
        let Some(KernelState::Syscall { number, arguments, .. }) = self.state(tid).probe.kernel_state() else {
            return false;
        };
        matches!(sys::place(process, number, &arguments), WaitSite::Syscall { name, .. } if name == "futex")
    }

    /// Whether a thread is asleep.
    pub(crate) fn is_asleep(&mut self, tid: i32) -> bool {
        Sleep::of(&self.state(tid).probe).is_some()
    }

    /// The sleep that a stack belongs to, if the stack is the last one captured of this thread.
    pub(crate) fn sleep_of(&self, tid: i32, stack: &RawStack) -> Option<Sleep> {
        let (sleep, taken) = self.states.get(&tid)?.asleep.as_ref()?;
        (taken == stack && sleep.is_unique()).then_some(*sleep)
    }

    fn state(&mut self, tid: i32) -> &mut ThreadState {
        let process = self.process;
        self.states.entry(tid).or_insert_with(|| ThreadState {
            probe: ThreadProbe::open(process, tid),
            stack: None,
            asleep: None,
        })
    }

    fn copy_sleeping(&mut self, tid: i32) -> bool {
        let (process, mut copy) = (self.process, std::mem::take(&mut self.copy));
        let state = self.state(tid);
        let slept = sleep::copy(process, &state.probe, state.stack.clone(), &mut copy);
        self.copy = copy;
        self.learn_stack(tid);
        slept
    }

    /// Stops a thread and copies its stack, if the thread is `still` in the state that led to this decision.
    fn copy_stopped(&mut self, tid: i32, still: impl Fn(&ThreadState) -> bool + Sync) -> Result<(), StopError> {
        let (process, mut copy, stops) = (self.process, std::mem::take(&mut self.copy), self.stops.clone());
        let state = self.state(tid);
        let known = state.stack.clone();
        let copied = stops.hold(
            &[tid],
            CAPTURE_STOP_LIMIT,
            |_| still(state),
            |stopped| {
                let registers = stopped.first().map_or(Err(StopError::Gone), |thread| thread.registers)?;
                process.copy_stack(registers, known, &mut copy);
                Ok(())
            },
        );
        self.copy = copy;
        copied.map_err(|_| StopError::NoAnswer)?.0?;
        self.learn_stack(tid);
        Ok(())
    }

    fn unwind_copy(&mut self) -> RawStack {
        let walk = self.unwinder.walk_now(&self.copy);
        RawStack { addresses: walk.addresses, method: CaptureMethod::Stop, complete: walk.complete }
    }

    /// Remembers the bounds of a thread's stack. The list of mappings is long, so it is read once per thread.
    fn learn_stack(&mut self, tid: i32) {
        let (process, pointer) = (self.process, self.copy.registers.stack_pointer);
        let state = self.state(tid);
        if state.stack.as_ref().is_none_or(|stack| !stack.contains(&pointer)) {
            state.stack = sleep::mapping_of(process, pointer);
        }
    }
}

/// Whether a process has ended: only its main thread is left, as a zombie that waits for its parent.
pub(super) fn process_has_ended(process: Process, tids: &[i32]) -> bool {
    let first = i32::try_from(process.id()).unwrap_or_default();
    let stat = || ThreadProbe::open(process, first).stat();
    tids.iter().all(|tid| *tid == first) && stat().is_none_or(|stat| sys::has_ended(stat.state))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use super::*;
    use crate::symbols::{Origins, Symbolizer};

    #[inline(never)]
    fn sleeps_here() {
        std::thread::sleep(Duration::from_secs(600));
        std::hint::black_box(());
    }

    /// On a stack that is deeper than a copy. Each call has a frame of a little more than 4 KiB.
    #[inline(never)]
    fn sleeps_deeply(calls: usize) {
        let mut frame = [0_u8; 4096];
        std::hint::black_box(&mut frame);
        match calls {
            0 => sleeps_here(),
            _ => sleeps_deeply(calls - 1),
        }
        std::hint::black_box(&mut frame);
    }

    #[inline(never)]
    fn spins_here() {
        let mut value = 1_u64;
        loop {
            value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005));
        }
    }

    #[inline(never)]
    fn waits_for_input() {
        let mut byte = [0];
        let _ended = std::io::stdin().read(&mut byte);
        std::hint::black_box(());
    }

    #[test]
    #[ignore = "the program that the other tests observe"]
    fn known_program() {
        std::thread::Builder::new().name("sleeper".into()).spawn(sleeps_here).expect("a thread starts");
        std::thread::Builder::new().name("deep".into()).spawn(|| sleeps_deeply(100)).expect("a thread starts");
        std::thread::Builder::new().name("spinner".into()).spawn(spins_here).expect("a thread starts");
        println!("\nready");
        // The other threads end with the process.
        waits_for_input();
    }

    /// The name of the test above, as the test harness knows it.
    fn known_program_name() -> String {
        let module = module_path!().split_once("::").expect("the module lies in this crate").1;
        format!("{module}::known_program")
    }

    struct KnownProgram(Child);

    impl KnownProgram {
        fn start() -> Self {
            let mut child = Command::new(std::env::current_exe().expect("is running"))
                .args(["--exact", &known_program_name(), "--ignored", "--nocapture", "--test-threads=2"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts");
            let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
            assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")), "it is ready");
            Self(child)
        }

        fn process(&self) -> Process {
            Process::with_id(self.0.id())
        }
    }

    impl Drop for KnownProgram {
        fn drop(&mut self) {
            let _gone = self.0.kill();
            let _status = self.0.wait();
        }
    }

    fn thread(process: &mut RemoteStacks, name: &str) -> i32 {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let threads = process.threads().expect("it lives");
            if let Some(thread) = threads.iter().find(|thread| &*thread.name == name) {
                return thread.tid;
            }
            assert!(Instant::now() < limit, "{threads:?}");
        }
    }

    /// Captures the stack until it contains the function, which the thread may not have reached yet.
    fn stack_through(process: &mut RemoteStacks, tid: i32, function: &str) -> RawStack {
        let mut names = Symbolizer::of(process.process, Origins::default());
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            // A thread that is not scheduled for long does not stop in time.
            let taken = process.capture_stack(tid);
            let Ok(stack) = taken else {
                assert!(Instant::now() < limit && taken == Err(StackUnavailable::NoAnswer), "{taken:?}");
                continue;
            };
            let frames = names.frames(&stack.addresses);
            if stack.complete && frames.iter().any(|frame| frame.function.ends_with(function)) {
                return stack;
            }
            assert!(Instant::now() < limit, "{frames:#?}");
        }
    }

    #[test]
    fn stacks_of_another_process_contain_the_expected_functions() {
        let program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process(), Stops::new(true)).expect("it is our own child");
        let (sleeper, spinner) = (thread(&mut process, "sleeper"), thread(&mut process, "spinner"));
        assert_eq!(stack_through(&mut process, sleeper, "sleeps_here").method, CaptureMethod::Passive);
        assert_eq!(process.stops().threads, 0, "a sleeping thread is not stopped");
        assert_eq!(stack_through(&mut process, spinner, "spins_here").method, CaptureMethod::Stop);
        println!("{:?}", process.stops());
        assert!(process.stops().longest > Duration::ZERO);
        // The harness names a test's thread after the test; the kernel keeps 15 bytes.
        let reader = thread(&mut process, &known_program_name()[..15]);
        assert_eq!(stack_through(&mut process, reader, "waits_for_input").method, CaptureMethod::Passive);
    }

    #[test]
    fn a_running_thread_is_not_stopped_if_that_is_forbidden() {
        let program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process(), Stops::new(false)).expect("it is our own child");
        let (sleeper, spinner) = (thread(&mut process, "sleeper"), thread(&mut process, "spinner"));
        assert_eq!(stack_through(&mut process, sleeper, "sleeps_here").method, CaptureMethod::Passive);
        assert_eq!(process.capture_stack(spinner), Err(StackUnavailable::NeverStop));
        assert!(process.stops().renounced && process.stops().threads == 0);
    }

    #[test]
    fn the_stack_of_a_sleeping_thread_that_does_not_fit_is_cut_at_its_outer_end() {
        let program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process(), Stops::new(true)).expect("it is our own child");
        let deep = thread(&mut process, "deep");
        let mut names = Symbolizer::of(process.process, Origins::default());
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let stack = process.capture_stack(deep);
            let frames = stack.as_ref().map(|stack| names.frames(&stack.addresses)).unwrap_or_default();
            let calls = frames.iter().filter(|frame| frame.function.ends_with("sleeps_deeply")).count();
            // It sleeps in the innermost call of `sleeps_here`.
            if frames.iter().any(|frame| frame.function.ends_with("sleeps_here")) {
                assert!((20..100).contains(&calls), "{calls} calls");
                assert!(stack.is_ok_and(|stack| !stack.complete && stack.method == CaptureMethod::Passive));
                return;
            }
            assert!(Instant::now() < limit, "{frames:#?}");
        }
    }

    #[test]
    fn a_thread_goes_on_after_it_was_stopped() {
        let program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process(), Stops::new(true)).expect("it is our own child");
        let spinner = thread(&mut process, "spinner");
        for _ in 0..20 {
            let taken = process.capture_stack(spinner);
            assert!(taken.is_ok() || taken == Err(StackUnavailable::NoAnswer), "{taken:?}");
        }
        let probe = ThreadProbe::open(program.process(), spinner);
        let limit = Instant::now() + Duration::from_secs(20);
        let before = probe.cpu_time().expect("it lives");
        while probe.cpu_time().expect("it lives") < before + Duration::from_millis(20) {
            assert!(Instant::now() < limit, "it uses no CPU time any more");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_process_that_ended_has_no_threads_and_no_stacks() {
        let mut program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process(), Stops::new(true)).expect("it is our own child");
        let spinner = thread(&mut process, "spinner");
        program.0.kill().expect("it is our own child");
        program.0.wait().expect("it ended");
        assert!(process.threads().is_err());
        assert_eq!(process.capture_stack(spinner), Err(StackUnavailable::Gone));
        assert!(RemoteStacks::open(program.process(), Stops::new(true)).is_err());
    }
}
