//! Other platforms: the same signatures, without any facts about threads. Stalls are still detected and timed.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::{
    KernelState, Mapping, PollWords, Process, Registers, SchedStat, SignalError, StackCopy, ThreadStat, TimerSample,
};
use crate::model::evidence::{SyscallKind, Throttling, WaitSite};

pub(crate) const SUPPORTED: bool = false;

pub(crate) fn current_tid() -> i32 {
    0
}

pub(crate) fn shorten_time_slices(_slice: Duration) -> bool {
    false
}

pub(crate) fn current_stack() -> Option<Range<u64>> {
    None
}

impl Process {
    pub(crate) fn mappings(self) -> io::Result<Vec<Mapping>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(feature = "cli")]
    pub(crate) fn memory_use(self) -> io::Result<Vec<super::MappingUse>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn read_memory(self, _address: u64, _into: &mut [u8]) -> usize {
        0
    }

    #[cfg(feature = "attach")]
    pub(crate) fn read_pages(self, addresses: &[u64], _into: &mut [u8]) -> Vec<u64> {
        addresses.to_vec()
    }

    #[cfg(feature = "attach")]
    pub(crate) fn read_words(self, addresses: &[u64], into: &mut Vec<Option<u64>>) {
        into.clear();
        into.resize(addresses.len(), None);
    }

    pub(crate) fn read_word(self, _address: u64) -> Option<u64> {
        None
    }

    pub(crate) fn copy_stack(self, _registers: Registers, _stack: Option<Range<u64>>, _into: &mut StackCopy) {}

    pub(crate) fn thread_ids(self) -> io::Result<Vec<i32>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(feature = "attach")]
    pub(crate) fn thread_count(self) -> Option<u64> {
        None
    }

    pub(crate) fn thread_name(self, _tid: i32) -> Option<String> {
        None
    }

    pub(crate) fn cpu_time(self) -> Option<Duration> {
        if !self.is_own() {
            return None;
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the result goes into a live struct; the system refuses an unknown clock with EINVAL.
        if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } != 0 {
            return None;
        }
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
}

#[cfg(feature = "attach")]
pub(crate) fn while_stopped<T: Send>(
    _tids: &[i32],
    _limit: Duration,
    _still: impl Fn(i32) -> bool + Send,
    _work: impl FnOnce(&[super::Stopped]) -> T + Send,
) -> io::Result<(T, Duration)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(feature = "attach")]
#[derive(Debug)]
pub(crate) struct PerfSampler;

#[cfg(feature = "attach")]
impl PerfSampler {
    pub(crate) fn new(_period: Duration) -> Self {
        Self
    }

    pub(crate) fn with_kernel(&self) -> bool {
        false
    }

    pub(crate) fn add_thread(&mut self, _tid: i32, _others: usize) -> io::Result<Option<PerfThread>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn deepen(&self, _tid: i32, _cut: &PerfThread) -> Option<PerfThread> {
        None
    }
}

#[cfg(feature = "attach")]
impl super::Permissions {
    pub(crate) fn own() -> Self {
        Self::default()
    }
}

#[cfg(feature = "attach")]
pub(crate) fn raise_file_limit() {}

#[cfg(feature = "attach")]
pub(crate) fn process_ids() -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(feature = "attach")]
impl Process {
    pub(crate) fn incarnation(self) -> Option<[u64; 3]> {
        None
    }

    pub(crate) fn status(self) -> Option<super::ProcessStatus> {
        None
    }
}

#[cfg(any(feature = "http", feature = "console"))]
impl super::PortOwner {
    pub(crate) fn of(_port: u16) -> Option<Self> {
        None
    }
}

#[cfg(feature = "attach")]
#[derive(Debug)]
pub(crate) struct PerfThread;

#[cfg(feature = "attach")]
impl PerfThread {
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        None
    }

    pub(crate) fn stack_bytes(&self) -> usize {
        0
    }

    pub(crate) fn drain(&mut self, _into: &mut StackCopy, _take: impl FnMut(super::PerfRecord, &StackCopy)) {}
}

pub(crate) fn place(_process: Process, number: i64, _arguments: &[u64; 6]) -> WaitSite {
    WaitSite::Syscall { name: format!("syscall {number}"), kind: SyscallKind::Other, file: None, stream: None }
}

pub(crate) fn minor_fault_cost() -> Option<Duration> {
    None
}

pub(crate) fn thread_cpu_time(_tid: i32) -> Option<Duration> {
    None
}

pub(crate) fn monotonic_time() -> Duration {
    Duration::ZERO
}

/// No signal is sent on these platforms, so none is blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockedSignals;

impl BlockedSignals {
    pub(crate) const NONE: Self = Self;

    pub(crate) fn bits(self) -> u64 {
        0
    }

    pub(crate) fn from_bits(_bits: u64) -> Self {
        Self
    }

    pub(crate) fn and(self, _other: Self) -> Self {
        self
    }

    pub(crate) fn release(self) {}
}

pub(crate) fn block_sample_signal() -> BlockedSignals {
    BlockedSignals
}

pub(crate) fn block_stack_signal() -> BlockedSignals {
    BlockedSignals
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ThreadNumber;

pub(crate) struct CpuSampler;

impl CpuSampler {
    pub(crate) fn start(_step: Duration, _steps: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn add_thread(
        &mut self,
        _tid: i32,
        _first: Duration,
        _passed: u32,
        _waited: u32,
    ) -> io::Result<Option<ThreadNumber>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set_stack(&mut self, _thread: ThreadNumber, _stack: Range<u64>, _verified: bool) {}

    pub(crate) fn deepen(&mut self, _thread: ThreadNumber) {}

    pub(crate) fn set_poll(&mut self, _thread: ThreadNumber, _poll: Option<&'static PollWords>) {}

    pub(crate) fn passed(&self, _thread: ThreadNumber) -> u32 {
        0
    }

    pub(crate) fn remove_thread(&mut self, _thread: ThreadNumber) {}

    pub(crate) fn drain(&mut self, _into: &mut StackCopy, _take: impl FnMut(&TimerSample, &StackCopy)) {}

    pub(crate) fn lost(&self) -> u64 {
        0
    }
}

#[derive(Debug)]
pub(crate) struct Breakpoint;

#[derive(Debug)]
pub(crate) struct KeepPerfWarm;

impl KeepPerfWarm {
    pub(crate) fn keep() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Breakpoint {
    pub(crate) fn set(_tid: i32, _address: u64) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn passed(&self) -> bool {
        true
    }
}

#[derive(Debug)]
pub(crate) struct StackSignal;

impl StackSignal {
    pub(crate) fn install(_wanted: Option<i32>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn number(&self) -> i32 {
        0
    }

    pub(crate) fn copy_stack(
        &self,
        _tid: i32,
        _stack: (u64, u64),
        _limit: Duration,
        _into: &mut StackCopy,
    ) -> Result<(), SignalError> {
        Err(SignalError::NotInstalled)
    }
}

#[derive(Debug)]
pub(crate) struct NewestThread;

impl NewestThread {
    pub(crate) fn open() -> Self {
        Self
    }

    pub(crate) fn changed(&mut self) -> bool {
        true
    }
}

#[derive(Debug)]
pub(crate) struct CpuQuota;

impl CpuQuota {
    pub(crate) fn open(_process: Process) -> Option<Self> {
        None
    }

    pub(crate) fn throttling(&mut self) -> Option<Throttling> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct StealTime;

impl StealTime {
    pub(crate) fn open() -> Option<Self> {
        None
    }

    pub(crate) fn of_processor(&mut self, _processor: u32) -> Option<Duration> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct ThreadProbe;

impl ThreadProbe {
    pub(crate) fn open(_process: Process, _tid: i32) -> Self {
        Self
    }

    pub(crate) fn sees_syscalls(&self) -> bool {
        false
    }

    pub(crate) fn sees_run_queue(&self) -> bool {
        false
    }

    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        None
    }

    pub(crate) fn schedstat(&self) -> Option<SchedStat> {
        None
    }

    pub(crate) fn stat(&self) -> Option<ThreadStat> {
        None
    }

    pub(crate) fn recent_stat(&mut self, _sleeps: Option<bool>) -> Option<ThreadStat> {
        None
    }

    pub(crate) fn kernel_state(&self) -> Option<KernelState> {
        None
    }
}
