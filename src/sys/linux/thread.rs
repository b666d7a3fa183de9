//! Threads: their ids, stacks and CPU clocks, and their files in `/proc/PID/task`.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::unix::fs::FileExt;
#[cfg(feature = "attach")]
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::sys::{KernelState, Process, SchedStat, ThreadStat};

/// The kernel's id of the calling thread.
pub(crate) fn current_tid() -> i32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

/// The bounds of the calling thread's stack.
pub(crate) fn current_stack() -> Option<Range<u64>> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: pthread_self has no preconditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the calling thread exists, and this call initializes `attributes`.
    if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the call above initialized `attributes`, and both results go into live variables.
    let answer = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size) };
    // SAFETY: `attributes` was initialized above and is not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    let low = low.expose_provenance() as u64;
    (answer == 0).then(|| low..low + size as u64)
}

/// Reads the kernel's files about one thread. The files stay open, so a sample costs one `pread` per file.
#[derive(Debug)]
pub(crate) struct ThreadProbe {
    /// Only for our own threads. The kernel does not offer the clocks of other processes' threads.
    clock: Option<libc::clockid_t>,
    schedstat: Option<File>,
    stat: Option<File>,
    syscall: Option<File>,
    recent: Option<ThreadStat>,
}

/// How long a read of the thread's `stat` file is used again.
const STAT_MAX_AGE: Duration = Duration::from_millis(4);

/// The unit of CPU times in `stat`.
const TICK: Duration = Duration::from_millis(10);

impl ThreadProbe {
    pub(crate) fn open(process: Process, tid: i32) -> Self {
        let open = |name: &str| File::open(process.file(&format!("task/{tid}/{name}"))).ok();
        Self {
            clock: process.is_own().then(|| thread_cpu_clock(tid)),
            schedstat: open("schedstat"),
            stat: open("stat"),
            syscall: open("syscall"),
            recent: None,
        }
    }

    /// Whether the system call of a sleeping thread can be read. It cannot if the process is not dumpable.
    pub(crate) fn sees_syscalls(&self) -> bool {
        self.syscall.is_some()
    }

    /// Whether run-queue times can be read.
    pub(crate) fn sees_run_queue(&self) -> bool {
        self.schedstat().is_some_and(|stat| stat.slices > 0)
    }

    /// CPU time of the thread so far. For another process's thread, it is the time at the last tick or sleep, when the kernel
    /// adds it up.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        match self.clock {
            Some(thread) => clock(thread),
            None => self.schedstat().map(|stat| stat.on_cpu),
        }
    }

    /// The content of `schedstat`: time on a CPU, time ready but not run, and how often the thread was put on a CPU.
    pub(crate) fn schedstat(&self) -> Option<SchedStat> {
        let mut buffer = [0; 96];
        let text = read_text(self.schedstat.as_ref()?, &mut buffer).ok()?;
        let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
        let mut next = || fields.next()?;
        let (on_cpu, run_queue) = (Duration::from_nanos(next()?), Duration::from_nanos(next()?));
        Some(SchedStat { on_cpu, run_queue, slices: next()? })
    }

    /// Parts of `stat`: scheduler state, faults and processor. Fields 3, 10, 12, 14, 15 and 39 in
    /// proc(5).
    pub(crate) fn stat(&self) -> Option<ThreadStat> {
        let mut buffer = [0; 512];
        let text = read_text(self.stat.as_ref()?, &mut buffer).ok()?;
        // The name in field 2 may contain spaces and brackets. The last bracket ends it.
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(ThreadStat {
            at: Instant::now(),
            on_cpu: self.cpu_time(),
            state: fields.next()?.chars().next()?,
            minor_faults: fields.nth(6)?.parse().ok()?,
            major_faults: fields.nth(1)?.parse().ok()?,
            in_user: TICK * fields.nth(1)?.parse().ok()?,
            in_kernel: TICK * fields.next()?.parse().ok()?,
            processor: fields.nth(23)?.parse().ok()?,
        })
    }

    /// Parts of `stat`, at most a few milliseconds old, because this file costs the kernel most. `asleep` is the state in
    /// another file; if it differs, `stat` is read again.
    pub(crate) fn recent_stat(&mut self, asleep: Option<bool>) -> Option<ThreadStat> {
        let fits = |stat: &ThreadStat| asleep.is_none_or(|asleep| asleep == (stat.state != 'R'));
        if let Some(stat) = self.recent
            && stat.at.elapsed() < STAT_MAX_AGE
            && fits(&stat)
        {
            return Some(stat);
        }
        let stat = self.stat()?;
        self.recent = Some(stat);
        Some(stat)
    }

    /// The content of `syscall`: the system call in which the thread sleeps, its stack pointer and instruction pointer.
    pub(crate) fn kernel_state(&self) -> Option<KernelState> {
        let mut buffer = [0; 256];
        parse_syscall(read_text(self.syscall.as_ref()?, &mut buffer).ok()?)
    }
}

/// Parses the line of `/proc/…/syscall`: `running`, `-1 SP PC`, or `NR ARG1 … ARG6 SP PC`.
fn parse_syscall(line: &str) -> Option<KernelState> {
    let line = line.trim_end();
    if line == "running" {
        return Some(KernelState::Running);
    }
    let (number, rest) = line.split_once(' ')?;
    let number: i64 = number.parse().ok()?;
    let values: Vec<u64> = rest
        .split(' ')
        .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16))
        .collect::<Result<_, _>>()
        .ok()?;
    match *values.as_slice() {
        [stack_pointer, instruction] => Some(KernelState::Fault { stack_pointer, instruction }),
        [a, b, c, d, e, f, stack_pointer, instruction] => {
            Some(KernelState::Syscall { number, arguments: [a, b, c, d, e, f], stack_pointer, instruction })
        }
        _ => None,
    }
}

fn read_text<'b>(file: &File, buffer: &'b mut [u8]) -> io::Result<&'b str> {
    let length = file.read_at(buffer, 0)?;
    std::str::from_utf8(&buffer[..length]).map_err(io::Error::other)
}

impl Process {
    /// The ids of its threads.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or the process does not exist.
    pub(crate) fn thread_ids(self) -> io::Result<Vec<i32>> {
        let entries = std::fs::read_dir(self.file("task"))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// The number of its threads, without listing them. Their folder has one link per thread, and two as every folder.
    #[cfg(feature = "attach")]
    pub(crate) fn thread_count(self) -> Option<u64> {
        std::fs::metadata(self.file("task")).ok()?.nlink().checked_sub(2)
    }

    /// The kernel's name of a thread, at most 15 bytes.
    pub(crate) fn thread_name(self, tid: i32) -> Option<String> {
        let name = std::fs::read(self.file(&format!("task/{tid}/comm"))).ok()?;
        Some(String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned())
    }

    /// CPU time of all its threads, including ended ones.
    pub(crate) fn cpu_time(self) -> Option<Duration> {
        match i32::try_from(self.id()) {
            _ if self.is_own() => clock(libc::CLOCK_PROCESS_CPUTIME_ID),
            Ok(pid) => clock(process_cpu_clock(pid)),
            Err(_) => None,
        }
    }
}

/// The monotonic clock, which samples use for their time.
pub(crate) fn monotonic_time() -> Duration {
    clock(libc::CLOCK_MONOTONIC).unwrap_or_default()
}

/// CPU time of one of our own threads so far.
pub(crate) fn thread_cpu_time(tid: i32) -> Option<Duration> {
    clock(thread_cpu_clock(tid))
}

fn clock(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result goes into a live struct; the kernel refuses an unknown clock with EINVAL.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// The clock id that the kernel derives from a thread id (`CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED`, as
/// pthread_getcpuclockid(3) computes it).
pub(super) fn thread_cpu_clock(tid: i32) -> libc::clockid_t {
    (!tid << 3) | 6
}

/// The clock id of a whole process (`CPUCLOCK_SCHED`), as clock_getcpuclockid(3) computes it.
fn process_cpu_clock(pid: i32) -> libc::clockid_t {
    (!pid << 3) | 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_a_syscall_line_are_parsed() {
        assert_eq!(parse_syscall("running\n"), Some(KernelState::Running));
        assert_eq!(
            parse_syscall("-1 0x7ffe10 0x5587\n"),
            Some(KernelState::Fault { stack_pointer: 0x7ffe10, instruction: 0x5587 })
        );
        assert_eq!(
            parse_syscall("230 0x1 0x0 0x7f 0x7f 0x0 0x0 0x7fe0 0x7fa1\n"),
            Some(KernelState::Syscall {
                number: 230,
                arguments: [1, 0, 0x7f, 0x7f, 0, 0],
                stack_pointer: 0x7fe0,
                instruction: 0x7fa1
            })
        );
        for bad in ["", "0", "0 0x1", "x 0x1 0x2", "1 0x1 zz"] {
            assert_eq!(parse_syscall(bad), None, "{bad:?}");
        }
    }

    #[cfg(feature = "attach")]
    #[test]
    fn threads_are_counted_without_listing_them() {
        let counted = || Process::own().thread_count();
        // Threads of other tests start and end meanwhile.
        let listed = || Process::own().thread_ids().ok().map(|threads| threads.len() as u64);
        let agree = || (0..1000).any(|_| counted() == listed());
        assert!(agree(), "{:?} and {:?}", counted(), listed());
        let more: Vec<_> = (0..4).map(|_| std::thread::spawn(std::thread::park)).collect();
        assert!(counted() > Some(4) && agree(), "{:?} and {:?}", counted(), listed());
        for thread in more {
            thread.thread().unpark();
            thread.join().expect("the thread ends");
        }
        assert_eq!(Process::with_id(u32::MAX).thread_count(), None);
    }

    #[test]
    fn the_calling_thread_can_be_read() {
        let probe = ThreadProbe::open(Process::own(), current_tid());
        // The thread is inside `pread64` while it reads the file.
        let state = probe.kernel_state();
        assert!(matches!(state, Some(KernelState::Syscall { number: libc::SYS_pread64, .. })), "{state:?}");
        assert_eq!(probe.stat().map(|stat| stat.state), Some('R'));
        let before = probe.cpu_time().expect("a live thread has a CPU clock");
        let sum: u64 = (0..2_000_000_u64).map(std::hint::black_box).sum();
        assert!(sum > 0 && probe.cpu_time().expect("still alive") > before);
        let here = std::ptr::from_ref(&before).addr() as u64;
        assert!(current_stack().expect("has a stack").contains(&here));
    }
}
