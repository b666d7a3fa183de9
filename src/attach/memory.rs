//! The memory of a process by kind, once or over time. It is read from `/proc`, so any program can be looked at.

use std::time::{Duration, Instant};

use super::error::AttachError;
use super::open_process::check;
use crate::inprocess::Stop;
use crate::model::memory::{MemoryHistory, MemoryKind, ProcessMemory};
use crate::program_path::ProgramPath;
use crate::sys::{self, MappingUse, Permissions, Process};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two checks whether to end early.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// The pages below a stack that may not be touched are at most this large. An arena of glibc's allocator may also follow
/// such pages, but rarely so few.
const MAX_GUARD: u64 = 64 << 10;

/// The name of a stack, where glibc gives one (`glibc.mem.decorate_maps`).
const GLIBC_STACK: &str = "[anon: glibc: pthread";

/// The name of holdup's region, where the kernel shows names of anonymous memory, and its smallest size elsewhere.
const REGION: &str = "[anon:holdup]";
const REGION_SIZE: std::ops::Range<u64> = (1 << 30) - (1 << 21)..(1 << 30) + (1 << 21);

/// Looks at the memory of a process, and once a second for `duration` again. `show` gets each look with its time.
///
/// # Errors
/// When the process does not exist or may not be read.
pub(crate) fn memory_of(
    pid: u32,
    duration: Option<Duration>,
    stop: &Stop,
    show: &mut dyn FnMut(Duration, &ProcessMemory),
) -> Result<MemoryHistory, AttachError> {
    if !sys::SUPPORTED {
        return Err(AttachError::Unsupported);
    }
    let process = Process::with_id(pid);
    check(process, &Permissions::own())?;
    let incarnation = process.incarnation();
    let program = ProgramPath::of(process).name().to_string();
    let first = now(process).map_err(|error| AttachError::of_read(process, error))?;
    let started = Instant::now();
    let mut history = MemoryHistory { pid, program, first, last: first, elapsed: Duration::ZERO, gone: false };
    show(Duration::ZERO, &first);
    let end = duration.unwrap_or_default();
    while history.elapsed < end {
        let next = (history.elapsed + INTERVAL).min(end);
        while started.elapsed() < next && !stop.is_set() {
            std::thread::sleep(STOP_CHECK.min(next.saturating_sub(started.elapsed())));
        }
        if stop.is_set() {
            break;
        }
        let looked = now(process).ok().filter(|_| process.incarnation() == incarnation);
        let Some(last) = looked else {
            history.gone = true;
            break;
        };
        (history.last, history.elapsed) = (last, started.elapsed());
        show(history.elapsed, &last);
    }
    Ok(history)
}

fn now(process: Process) -> std::io::Result<ProcessMemory> {
    let mappings = process.memory_use()?;
    if mappings.is_empty() {
        // The process has ended, and its parent has not read its status yet.
        return Err(std::io::ErrorKind::NotFound.into());
    }
    Ok(by_kind(&mappings))
}

fn by_kind(mappings: &[MappingUse]) -> ProcessMemory {
    let mut memory = ProcessMemory::default();
    let mut below: Option<&MappingUse> = None;
    for mapping in mappings {
        memory.add(kind(mapping, below), mapping.of);
        below = Some(mapping);
    }
    memory
}

/// What a mapping is used for. `below` is the one with the next lower addresses.
fn kind(mapping: &MappingUse, below: Option<&MappingUse>) -> MemoryKind {
    let MappingUse { path, .. } = mapping;
    let is_guarded = || {
        below.is_some_and(|below| {
            below.end == mapping.start && !below.accessible && below.path.is_empty() && below.of.size <= MAX_GUARD
        })
    };
    if path == REGION || (path.is_empty() && mapping.reserved_only && REGION_SIZE.contains(&mapping.of.size)) {
        MemoryKind::Holdup
    } else if mapping.shared {
        MemoryKind::Shared
    } else if path.starts_with('/') {
        MemoryKind::Files
    } else if path == "[heap]" {
        MemoryKind::Heap
    } else if path.starts_with("[stack")
        || path.starts_with(GLIBC_STACK)
        || (path.is_empty() && mapping.accessible && is_guarded())
    {
        MemoryKind::Stacks
    } else if path.is_empty() || path.starts_with("[anon") {
        MemoryKind::Anonymous
    } else {
        MemoryKind::Kernel
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::memory::MemoryUse;

    fn mapping(start: u64, size: u64, path: &str) -> MappingUse {
        MappingUse {
            start,
            end: start + size,
            accessible: true,
            shared: false,
            reserved_only: false,
            path: path.to_owned(),
            of: MemoryUse { mappings: 1, size, ..MemoryUse::default() },
        }
    }

    #[test]
    fn mappings_have_kinds() {
        let guard = |start, size| MappingUse { accessible: false, ..mapping(start, size, "") };
        let all = [
            (mapping(0x1000, 0x1000, "/usr/bin/service"), MemoryKind::Files),
            (mapping(0x2000, 0x1000, "[heap]"), MemoryKind::Heap),
            (mapping(0x1_0000, 0x1000, ""), MemoryKind::Anonymous),
            (guard(0x2_0000, 0x1000), MemoryKind::Anonymous),
            (mapping(0x2_1000, 0x8000, ""), MemoryKind::Stacks),
            // What is left of an arena's reservation lies below another arena.
            (guard(0x100_0000, 0x10_0000), MemoryKind::Anonymous),
            (mapping(0x110_0000, 0x1000, ""), MemoryKind::Anonymous),
            (MappingUse { shared: true, ..mapping(0x200_0000, 0x1000, "/dev/shm/a") }, MemoryKind::Shared),
            (MappingUse { reserved_only: true, ..mapping(0x300_0000, (1 << 30) - 4096, "") }, MemoryKind::Holdup),
            (mapping(0x7000_0000, 1 << 30, ""), MemoryKind::Anonymous),
            (mapping(0xf000_0000, 0x1000, "[stack]"), MemoryKind::Stacks),
            (mapping(0xf100_0000, 0x1000, "[vdso]"), MemoryKind::Kernel),
            (mapping(0xf200_0000, 0x1000, "[anon:other]"), MemoryKind::Anonymous),
            (mapping(0xf300_0000, 0x1000, "[anon:holdup]"), MemoryKind::Holdup),
        ];
        let mut below = None;
        for (mapping, expected) in &all {
            assert_eq!(kind(mapping, below), *expected, "{mapping:?}");
            below = Some(mapping);
        }
        let memory = by_kind(&all.map(|(mapping, _)| mapping));
        assert_eq!((memory.of(MemoryKind::Stacks).mappings, memory.total().mappings), (2, 14));
    }
}
