//! What holdup lacks to observe another process, and how to get it. Every such text stands here.

use std::io;

use crate::model::process::DebugTier;
use crate::sys::Permissions;

/// The profile setting that describes types, as it appears in every remedy.
macro_rules! full_debug_info {
    () => {
        "`debug = 2` in `[profile.release]`, or with CARGO_PROFILE_RELEASE_DEBUG=2"
    };
}

/// Where perf events are refused and polls that compute therefore stay unseen.
pub(crate) const NO_BREAKPOINTS: &str = "only polls that sleep are seen, not those that compute: perf events are forbidden here; allow them with \
                              `sudo sysctl kernel.perf_event_paranoid=2`, start a container with `--cap-add PERFMON`, or run \
                              holdup as root";

/// Why the kernel does not show the memory map of a process of our own user.
pub(crate) fn closed_process(one_user: bool, rights: &Permissions) -> &'static str {
    if rights.user == 0 {
        "holdup runs as root, but without the capability CAP_SYS_PTRACE, or a security module forbids it"
    } else if one_user {
        "it made itself unreadable (not dumpable), or has capabilities that holdup lacks; run holdup as root"
    } else {
        "it changed its user while it ran; run holdup as root"
    }
}

/// Why memory cannot be read although the memory map can: ptrace(2), "Ptrace access mode checking", and the Yama
/// documentation of Linux.
pub(crate) fn closed_memory(rights: &Permissions) -> String {
    match rights.ptrace_scope {
        Some(3) => {
            "its memory may not be read: kernel.yama.ptrace_scope is 3, which only a restart of the machine changes"
                .to_owned()
        }
        Some(scope @ 1..) => format!(
            "its memory may not be read: kernel.yama.ptrace_scope is {scope}; run holdup as root, or allow it with \
             `sudo sysctl kernel.yama.ptrace_scope=0`"
        ),
        _ => "its memory may not be read: a filter of system calls forbids process_vm_readv, as containers have (start \
              holdup's container with `--cap-add SYS_PTRACE`), or the process has capabilities that holdup lacks; run holdup \
              as root"
            .to_owned(),
    }
}

/// Why the kernel refuses perf events for a process of our own user.
pub(crate) fn no_sampling(error: &io::Error, rights: &Permissions) -> String {
    match (error.kind(), rights.perf_paranoid) {
        (io::ErrorKind::PermissionDenied, Some(paranoid @ 3..)) if !rights.samples_all => format!(
            "perf events are forbidden on this machine (kernel.perf_event_paranoid is {paranoid}); allow them with \
             `sudo sysctl kernel.perf_event_paranoid=2`, or run holdup as root"
        ),
        (io::ErrorKind::PermissionDenied, _) => {
            "a filter of system calls forbids perf_event_open, as containers have; start holdup's container with \
             `--cap-add PERFMON` or `--security-opt seccomp=unconfined`, or run holdup outside of it"
                .to_owned()
        }
        (io::ErrorKind::OutOfMemory, _) => {
            "samples need locked memory, and its limit is reached; raise `ulimit -l`, or run holdup as root".to_owned()
        }
        (io::ErrorKind::Unsupported, _) => "this kernel has no perf events (CONFIG_PERF_EVENTS)".to_owned(),
        _ => error.to_string(),
    }
}

/// What a program lacks whose tasks and workers cannot be read.
pub(crate) fn without_types(program: &str, tier: DebugTier) -> String {
    let (is, besides) = match tier {
        DebugTier::None => ("was stripped", ", and without `strip`, or keep what is stripped beside it as FILE.debug"),
        _ => ("was built without descriptions of types", ""),
    };
    format!(concat!("{} {}. Build it with ", full_debug_info!(), "{}"), program, is, besides)
}

/// What stalls of a program without types lack.
pub(crate) fn stalls_without_types(program: &str, tier: DebugTier) -> String {
    let lines = if tier < DebugTier::Lines { ", nor lines" } else { "" };
    format!(
        concat!(
            "{} was built without descriptions of types: stalls are inferred from stacks, which show a task's type and not its \
             number{}, and polls that compute in the future given to block_on are not seen; build it with ",
            full_debug_info!()
        ),
        program, lines
    )
}

/// What a task dump of a program without types lacks. `described` where some packages have types.
pub(crate) fn dump_without_types(program: &str, tier: DebugTier, described: bool) -> String {
    if described {
        return format!(
            concat!(
                "{} describes types for some of its packages only; what other tasks await is not known: build all of it with ",
                full_debug_info!()
            ),
            program
        );
    }
    let has = match tier {
        DebugTier::None => {
            "is stripped: tasks have number and state, stacks have addresses, and no function has a name"
        }
        DebugTier::Symbols => "has symbols, but no lines and no descriptions of types",
        DebugTier::Lines | DebugTier::Full => "has lines, but no descriptions of types",
    };
    let setting = match tier {
        DebugTier::None => {
            "keep what is stripped (`objcopy --only-keep-debug`) beside the program as FILE.debug, of a build with `debug = 2`"
        }
        _ => concat!("build with ", full_debug_info!()),
    };
    format!("{program} {has}; what tasks await is not known: {setting}")
}
