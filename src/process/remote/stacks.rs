//! Another process: its threads and their stacks. Nothing of it is run, and nothing is injected.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::model::evidence::WaitSite;
use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
use crate::process::sleep::{self, Sleep};
use crate::sys::{self, KernelState, Process, StackCopy, StopError, ThreadProbe};
use crate::unwind::Unwinder;

/// How long a running thread may take to stand still. It does so within microseconds once the machine runs it; until then
/// it waits for a CPU anyway.
const STOP_LIMIT: Duration = Duration::from_millis(100);

/// A thread may change between running and sleeping faster than it can be looked at, so often in a row.
const TRIES: usize = 4;

/// Another process, and what was opened to look at it.
#[derive(Debug)]
pub(crate) struct RemoteStacks {
    process: Process,
    unwinder: Unwinder,
    copy: StackCopy,
    looks: HashMap<i32, ThreadLook>,
    longest_stop: Duration,
    incarnation: Option<[u64; 3]>,
}

/// One thread of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    pub(crate) tid: i32,
    /// At most 15 bytes, as the kernel keeps it.
    pub(crate) name: Arc<str>,
}

/// What is kept of a thread between two looks.
#[derive(Debug)]
struct ThreadLook {
    probe: ThreadProbe,
    /// Where its stack lies, once it was seen.
    stack: Option<Range<u64>>,
    /// The stack of its last sleep, which is that of now as long as it is the same sleep.
    asleep: Option<(Sleep, RawStack)>,
}

impl RemoteStacks {
    /// Reads what the process has loaded.
    ///
    /// # Errors
    /// When it does not exist or may not be looked at.
    pub(crate) fn open(process: Process) -> io::Result<Self> {
        let unwinder = Unwinder::of(process)?;
        let (copy, looks) = (StackCopy::default(), HashMap::new());
        let incarnation = process.incarnation();
        Ok(Self { process, unwinder, copy, looks, longest_stop: Duration::ZERO, incarnation })
    }

    /// Its threads at this moment. What was kept of those that ended is dropped.
    ///
    /// # Errors
    /// When it has ended, or runs another program.
    pub(crate) fn threads(&mut self) -> io::Result<Vec<Thread>> {
        let tids = self.process.thread_ids()?;
        if self.process.incarnation() != self.incarnation {
            return Err(io::Error::other("the process began to run another program (exec)"));
        }
        if is_over(self.process, &tids) {
            return Err(io::Error::other("the process ended"));
        }
        self.looks.retain(|tid, _| tids.contains(tid));
        // A thread that has no name any more has ended since.
        let named = tids.into_iter().filter_map(|tid| Some((tid, self.process.thread_name(tid)?)));
        Ok(named.map(|(tid, name)| Thread { tid, name: name.into() }).collect())
    }

    /// The longest time that a thread was made to stand still.
    pub(crate) fn longest_stop(&self) -> Duration {
        self.longest_stop
    }

    /// A thread's stack: read from memory where the thread sleeps, which is not disturbed; otherwise while it is made to
    /// stand still.
    pub(crate) fn capture_stack(&mut self, tid: i32) -> Result<RawStack, StackUnavailable> {
        let process = self.process;
        for _ in 0..TRIES {
            let look = self.look(tid);
            match look.probe.kernel_state() {
                None if process.thread_name(tid).is_none() => return Err(StackUnavailable::Gone),
                None => return Err(StackUnavailable::Refused),
                Some(KernelState::Syscall { .. } | KernelState::Fault { .. }) => {
                    let sleep = Sleep::of(&look.probe);
                    if let Some((known, stack)) = &look.asleep
                        && sleep == Some(*known)
                        && known.is_unique()
                    {
                        return Ok(stack.clone());
                    }
                    if self.copy_sleeping(tid) {
                        let stack = sleep::walk(&mut self.unwinder, &self.copy).0;
                        // The copy is of this sleep, if it was this before and after.
                        let look = self.look(tid);
                        look.asleep =
                            sleep.filter(|before| Sleep::of(&look.probe) == Some(*before)).zip(Some(stack.clone()));
                        return Ok(stack);
                    }
                }
                Some(KernelState::Running) => match self.copy_stopped(tid, |look| Sleep::of(&look.probe).is_none()) {
                    Ok(()) => return Ok(self.walk_copy()),
                    Err(StopError::Slept) => {}
                    Err(StopError::Gone) => return Err(StackUnavailable::Gone),
                    Err(StopError::NoAnswer) => return Err(StackUnavailable::NoAnswer),
                    Err(StopError::Refused) => return Err(StackUnavailable::Refused),
                },
            }
        }
        Err(StackUnavailable::TooLate)
    }

    /// The stack of a thread inside a poll. One that waits for a lock is stopped too, where not all registers are told of it and its
    /// stack cannot be walked without: that wait goes on by itself (futex(2) is restarted), which not every wait does.
    pub(crate) fn capture_stack_in_poll(&mut self, tid: i32) -> Result<RawStack, StackUnavailable> {
        let stack = self.capture_stack(tid)?;
        let sleep = Sleep::of(&self.look(tid).probe);
        if stack.complete || stack.method != CaptureMethod::Passive || sleep.is_none() || !self.waits_for_lock(tid) {
            return Ok(stack);
        }
        let stopped = self.copy_stopped(tid, |look| Sleep::of(&look.probe) == sleep);
        let whole = stopped.ok().map(|()| self.walk_copy()).filter(|stack| stack.complete);
        Ok(whole.unwrap_or(stack))
    }

    fn waits_for_lock(&mut self, tid: i32) -> bool {
        let process = self.process;
        let Some(KernelState::Syscall { number, arguments, .. }) = self.look(tid).probe.kernel_state() else {
            return false;
        };
        matches!(sys::place(process, number, &arguments), WaitSite::Syscall { name, .. } if name == "futex")
    }

    /// Whether a thread sleeps now.
    pub(crate) fn sleeps(&mut self, tid: i32) -> bool {
        Sleep::of(&self.look(tid).probe).is_some()
    }

    /// The sleep that a stack is of, if that is the last one that was taken of this thread.
    pub(crate) fn sleep_of(&self, tid: i32, stack: &RawStack) -> Option<Sleep> {
        let (sleep, taken) = self.looks.get(&tid)?.asleep.as_ref()?;
        (taken == stack && sleep.is_unique()).then_some(*sleep)
    }

    fn look(&mut self, tid: i32) -> &mut ThreadLook {
        let process = self.process;
        self.looks.entry(tid).or_insert_with(|| ThreadLook {
            probe: ThreadProbe::open(process, tid),
            stack: None,
            asleep: None,
        })
    }

    fn copy_sleeping(&mut self, tid: i32) -> bool {
        let (process, mut copy) = (self.process, std::mem::take(&mut self.copy));
        let look = self.look(tid);
        let slept = sleep::copy(process, &look.probe, look.stack.clone(), &mut copy);
        self.copy = copy;
        self.learn_stack(tid);
        slept
    }

    /// Copies the stack of a thread that stands, if it is `still` as it was when that was decided.
    fn copy_stopped(&mut self, tid: i32, still: impl Fn(&ThreadLook) -> bool + Sync) -> Result<(), StopError> {
        let (process, mut copy) = (self.process, std::mem::take(&mut self.copy));
        let look = self.look(tid);
        let known = look.stack.clone();
        let copied = sys::while_stopped(
            &[tid],
            STOP_LIMIT,
            |_| still(look),
            |stopped| {
                let registers = stopped.first().map_or(Err(StopError::Gone), |thread| thread.registers)?;
                process.copy_stack(registers, known, &mut copy);
                Ok(())
            },
        );
        self.copy = copy;
        let (copied, pause) = copied.map_err(|_| StopError::NoAnswer)?;
        copied?;
        self.longest_stop = self.longest_stop.max(pause);
        self.learn_stack(tid);
        Ok(())
    }

    fn walk_copy(&mut self) -> RawStack {
        let walk = self.unwinder.walk_now(&self.copy);
        RawStack { addresses: walk.addresses, method: CaptureMethod::Stop, complete: walk.complete }
    }

    /// The list of mappings is long, and read once for each thread.
    fn learn_stack(&mut self, tid: i32) {
        let (process, pointer) = (self.process, self.copy.registers.stack_pointer);
        let look = self.look(tid);
        if look.stack.as_ref().is_none_or(|stack| !stack.contains(&pointer)) {
            look.stack = sleep::mapping_of(process, pointer);
        }
    }
}

/// Nothing is left of a process but its first thread, which waits for the parent to ask how it ended.
pub(in crate::process) fn is_over(process: Process, tids: &[i32]) -> bool {
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
    #[ignore = "the program that the other tests look at"]
    fn known_program() {
        std::thread::Builder::new().name("sleeper".into()).spawn(sleeps_here).expect("a thread starts");
        std::thread::Builder::new().name("spinner".into()).spawn(spins_here).expect("a thread starts");
        println!("\nready");
        // The other threads end with the process.
        waits_for_input();
    }

    struct KnownProgram(Child);

    impl KnownProgram {
        fn start() -> Self {
            let mut child = Command::new(std::env::current_exe().expect("is running"))
                .args(["--exact", "target::process::tests::known_program", "--ignored", "--nocapture"])
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

    /// Takes the stack until it passes through the function, which the thread may not have reached yet.
    fn stack_through(process: &mut RemoteStacks, tid: i32, function: &str) -> RawStack {
        let mut names = Symbolizer::of(process.process, Origins::default());
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            // A thread that gets no CPU for long does not stop.
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
    fn stacks_of_another_process_are_those_that_are_known() {
        let program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process()).expect("it is our own child");
        let (sleeper, spinner) = (thread(&mut process, "sleeper"), thread(&mut process, "spinner"));
        assert_eq!(stack_through(&mut process, sleeper, "sleeps_here").method, CaptureMethod::Passive);
        assert_eq!(process.longest_stop(), Duration::ZERO, "a sleeping thread is not stopped");
        assert_eq!(stack_through(&mut process, spinner, "spins_here").method, CaptureMethod::Stop);
        println!("longest stop: {:?}", process.longest_stop());
        assert!(process.longest_stop() > Duration::ZERO);
        let reader = thread(&mut process, "target::process");
        assert_eq!(stack_through(&mut process, reader, "waits_for_input").method, CaptureMethod::Passive);
    }

    #[test]
    fn a_thread_goes_on_after_it_was_stopped() {
        let program = KnownProgram::start();
        let mut process = RemoteStacks::open(program.process()).expect("it is our own child");
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
        let mut process = RemoteStacks::open(program.process()).expect("it is our own child");
        let spinner = thread(&mut process, "spinner");
        program.0.kill().expect("it is our own child");
        program.0.wait().expect("it ended");
        assert!(process.threads().is_err());
        assert_eq!(process.capture_stack(spinner), Err(StackUnavailable::Gone));
        assert!(RemoteStacks::open(program.process()).is_err());
    }
}
