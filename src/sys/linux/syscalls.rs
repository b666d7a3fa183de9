//! System calls: their names, the kind of wait, and the file they wait on.

use crate::model::evidence::{StandardStream, SyscallKind, WaitSite};
use crate::sys::Process;

use SyscallKind::{Child, File, Lock, Memory, Network, Other, Pipe, Sleep};

/// The wait of a thread that sleeps in system call `number` with these arguments.
pub(crate) fn place(process: Process, number: i64, arguments: &[u64; 6]) -> WaitSite {
    let Some(&(_, name, kind, descriptor)) = TABLE.iter().find(|(known, ..)| *known == number) else {
        return WaitSite::Syscall { name: format!("syscall {number}"), kind: Other, file: None, stream: None };
    };
    let descriptor = match descriptor {
        Descriptor::None => None,
        Descriptor::First => Some(arguments[0]),
        // `struct pollfd` begins with the descriptor, an int.
        Descriptor::Polled if arguments[1] > 0 => process.read_word(arguments[0]).map(|word| word & 0xffff_ffff),
        Descriptor::Polled => None,
    };
    let file = descriptor.and_then(|descriptor| describe(process, descriptor));
    let stream = descriptor.and_then(standard_stream);
    let kind = match (name, file.as_deref()) {
        ("fcntl", _) => fcntl_kind(arguments[1]),
        // Polling no descriptor is a sleep.
        ("poll" | "ppoll", None) if arguments[1] == 0 => Sleep,
        (_, Some(file)) => kind_on(kind, file),
        (_, None) => kind,
    };
    WaitSite::Syscall { name: name.to_owned(), kind, file, stream }
}

/// The argument with the file descriptor.
#[derive(Clone, Copy)]
enum Descriptor {
    None,
    First,
    Polled,
}

/// The kind of wait on a file, because the same call waits differently on different files.
fn kind_on(kind: SyscallKind, file: &str) -> SyscallKind {
    match kind {
        File | Network if file == "socket" => Network,
        File | Network if file == "pipe" => Pipe,
        File | Network if file.starts_with("anon_inode") => Other,
        _ => kind,
    }
}

fn standard_stream(descriptor: u64) -> Option<StandardStream> {
    match descriptor {
        0 => Some(StandardStream::Input),
        1 => Some(StandardStream::Output),
        2 => Some(StandardStream::Error),
        _ => None,
    }
}

fn fcntl_kind(command: u64) -> SyscallKind {
    let waits_for_lock = [libc::F_SETLKW, libc::F_OFD_SETLKW].iter().any(|lock| *lock as u64 == command);
    if waits_for_lock { Lock } else { File }
}

/// A descriptor's path, `socket`, `pipe`, or the kernel's name for another kind of file.
fn describe(process: Process, descriptor: u64) -> Option<String> {
    let descriptor = i32::try_from(descriptor).ok()?;
    let target = std::fs::read_link(process.file(&format!("fd/{descriptor}"))).ok()?;
    let target = target.to_string_lossy();
    // The number in `socket:[12345]` does not help a reader and would make equal waits differ.
    Some(match target.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => target.into_owned(),
    })
}

/// System calls in which threads sleep. The names are those of the kernel's tables (libc's `SYS_…`).
const TABLE: &[(libc::c_long, &str, SyscallKind, Descriptor)] = &[
    (libc::SYS_nanosleep, "nanosleep", Sleep, Descriptor::None),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", Sleep, Descriptor::None),
    (libc::SYS_pause, "pause", Sleep, Descriptor::None),
    (libc::SYS_futex, "futex", Lock, Descriptor::None),
    (SYS_FUTEX_WAITV, "futex_waitv", Lock, Descriptor::None),
    (SYS_FUTEX_WAIT, "futex_wait", Lock, Descriptor::None),
    (libc::SYS_flock, "flock", Lock, Descriptor::First),
    (libc::SYS_semtimedop, "semtimedop", Lock, Descriptor::None),
    (libc::SYS_semop, "semop", Lock, Descriptor::None),
    (libc::SYS_fcntl, "fcntl", File, Descriptor::First),
    (libc::SYS_read, "read", File, Descriptor::First),
    (libc::SYS_write, "write", File, Descriptor::First),
    (libc::SYS_readv, "readv", File, Descriptor::First),
    (libc::SYS_writev, "writev", File, Descriptor::First),
    (libc::SYS_pread64, "pread64", File, Descriptor::First),
    (libc::SYS_pwrite64, "pwrite64", File, Descriptor::First),
    (libc::SYS_preadv, "preadv", File, Descriptor::First),
    (libc::SYS_pwritev, "pwritev", File, Descriptor::First),
    (libc::SYS_open, "open", File, Descriptor::None),
    (libc::SYS_openat, "openat", File, Descriptor::None),
    (libc::SYS_close, "close", File, Descriptor::First),
    (libc::SYS_stat, "stat", File, Descriptor::None),
    (libc::SYS_fstat, "fstat", File, Descriptor::First),
    (libc::SYS_lstat, "lstat", File, Descriptor::None),
    (libc::SYS_statx, "statx", File, Descriptor::None),
    (libc::SYS_newfstatat, "newfstatat", File, Descriptor::None),
    (libc::SYS_getdents64, "getdents64", File, Descriptor::First),
    (libc::SYS_fsync, "fsync", File, Descriptor::First),
    (libc::SYS_fdatasync, "fdatasync", File, Descriptor::First),
    (libc::SYS_sync, "sync", File, Descriptor::None),
    (libc::SYS_syncfs, "syncfs", File, Descriptor::First),
    (libc::SYS_sync_file_range, "sync_file_range", File, Descriptor::First),
    (libc::SYS_msync, "msync", File, Descriptor::None),
    (libc::SYS_ftruncate, "ftruncate", File, Descriptor::First),
    (libc::SYS_truncate, "truncate", File, Descriptor::None),
    (libc::SYS_fallocate, "fallocate", File, Descriptor::First),
    (libc::SYS_copy_file_range, "copy_file_range", File, Descriptor::First),
    (libc::SYS_sendfile, "sendfile", File, Descriptor::First),
    (libc::SYS_rename, "rename", File, Descriptor::None),
    (libc::SYS_renameat, "renameat", File, Descriptor::None),
    (libc::SYS_renameat2, "renameat2", File, Descriptor::None),
    (libc::SYS_unlink, "unlink", File, Descriptor::None),
    (libc::SYS_unlinkat, "unlinkat", File, Descriptor::None),
    (libc::SYS_mkdir, "mkdir", File, Descriptor::None),
    (libc::SYS_mkdirat, "mkdirat", File, Descriptor::None),
    (libc::SYS_rmdir, "rmdir", File, Descriptor::None),
    (libc::SYS_access, "access", File, Descriptor::None),
    (libc::SYS_faccessat, "faccessat", File, Descriptor::None),
    (libc::SYS_readlink, "readlink", File, Descriptor::None),
    (libc::SYS_readlinkat, "readlinkat", File, Descriptor::None),
    (libc::SYS_recvfrom, "recvfrom", Network, Descriptor::First),
    (libc::SYS_recvmsg, "recvmsg", Network, Descriptor::First),
    (libc::SYS_recvmmsg, "recvmmsg", Network, Descriptor::First),
    (libc::SYS_sendto, "sendto", Network, Descriptor::First),
    (libc::SYS_sendmsg, "sendmsg", Network, Descriptor::First),
    (libc::SYS_sendmmsg, "sendmmsg", Network, Descriptor::First),
    (libc::SYS_connect, "connect", Network, Descriptor::First),
    (libc::SYS_accept, "accept", Network, Descriptor::First),
    (libc::SYS_accept4, "accept4", Network, Descriptor::First),
    (libc::SYS_poll, "poll", Network, Descriptor::Polled),
    (libc::SYS_ppoll, "ppoll", Network, Descriptor::Polled),
    (libc::SYS_select, "select", Network, Descriptor::None),
    (libc::SYS_pselect6, "pselect6", Network, Descriptor::None),
    (libc::SYS_epoll_wait, "epoll_wait", Network, Descriptor::None),
    (libc::SYS_epoll_pwait, "epoll_pwait", Network, Descriptor::None),
    (libc::SYS_epoll_pwait2, "epoll_pwait2", Network, Descriptor::None),
    (libc::SYS_wait4, "wait4", Child, Descriptor::None),
    (libc::SYS_waitid, "waitid", Child, Descriptor::None),
    (libc::SYS_vfork, "vfork", Child, Descriptor::None),
    (libc::SYS_clone, "clone", Child, Descriptor::None),
    (libc::SYS_clone3, "clone3", Child, Descriptor::None),
    (libc::SYS_mmap, "mmap", Memory, Descriptor::None),
    (libc::SYS_munmap, "munmap", Memory, Descriptor::None),
    (libc::SYS_mremap, "mremap", Memory, Descriptor::None),
    (libc::SYS_mprotect, "mprotect", Memory, Descriptor::None),
    (libc::SYS_madvise, "madvise", Memory, Descriptor::None),
    (libc::SYS_brk, "brk", Memory, Descriptor::None),
    (libc::SYS_ioctl, "ioctl", Other, Descriptor::First),
    (libc::SYS_io_uring_enter, "io_uring_enter", Other, Descriptor::None),
    (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", Other, Descriptor::None),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend", Other, Descriptor::None),
    (libc::SYS_sched_yield, "sched_yield", Other, Descriptor::None),
    (libc::SYS_membarrier, "membarrier", Other, Descriptor::None),
    (libc::SYS_getrandom, "getrandom", Other, Descriptor::None),
];

/// System calls that are missing in libc.
const SYS_FUTEX_WAITV: libc::c_long = 449;
const SYS_FUTEX_WAIT: libc::c_long = 455;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn kind(number: libc::c_long, arguments: [u64; 6]) -> SyscallKind {
        match place(Process::own(), number, &arguments) {
            WaitSite::Syscall { kind, .. } => kind,
            WaitSite::Fault => unreachable!("a system call is no fault"),
        }
    }

    #[test]
    fn the_file_determines_the_kind_of_wait() {
        let file = std::fs::File::open("/proc/self/maps").expect("/proc is mounted");
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let (pipe, _writer) = std::io::pipe().expect("pipe");
        let on = |descriptor: i32| [descriptor as u64, 0, 0, 0, 0, 0];
        assert_eq!(kind(libc::SYS_read, on(file.as_raw_fd())), File);
        assert_eq!(kind(libc::SYS_read, on(socket.as_raw_fd())), Network);
        assert_eq!(kind(libc::SYS_read, on(pipe.as_raw_fd())), Pipe);
        assert_eq!(kind(libc::SYS_poll, [0, 0, 100, 0, 0, 0]), Sleep);
        let polled = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
        let address = std::ptr::from_ref(&polled).expose_provenance() as u64;
        assert_eq!(kind(libc::SYS_poll, [address, 1, 0, 0, 0, 0]), Network);
        assert_eq!(kind(libc::SYS_futex, on(0)), Lock);
        assert_eq!(kind(9_999, on(0)), Other);
    }

    #[test]
    fn names_are_unique() {
        for (index, (number, name, ..)) in TABLE.iter().enumerate() {
            let twice = TABLE[index + 1..].iter().any(|(other, other_name, ..)| other == number || other_name == name);
            assert!(!twice, "{name} is in the table twice");
        }
    }
}
