//! What the future at the end of a path waits for.

use super::await_path::Walker;
use super::tasks;
use crate::dwarf::{Unknown, Value, Values};
use crate::model::census::WaitsFor;

/// How a leaf is explained.
type Explain = fn(&Walker<'_, '_, '_>, Value) -> Result<WaitsFor, Unknown>;

/// Futures that await no other, by the beginnings of their names, with what explains them.
const LEAVES: [(&str, Explain); 9] = [
    ("tokio::time::sleep::Sleep", timer),
    ("tokio::runtime::task::join::JoinHandle<", task),
    ("tokio::sync::batch_semaphore::Acquire", permits),
    ("tokio::sync::notify::Notified", |_, _| Ok(WaitsFor::Other("a notification (Notify)".to_owned()))),
    ("tokio::sync::notify::OwnedNotified", |_, _| Ok(WaitsFor::Other("a notification (Notify)".to_owned()))),
    ("tokio::sync::oneshot::Receiver<", |_, _| Ok(WaitsFor::Other("the value of a oneshot channel".to_owned()))),
    ("tokio::sync::broadcast::Recv<", |_, _| Ok(WaitsFor::Other("a message of a broadcast channel".to_owned()))),
    ("tokio::runtime::io::scheduled_io::Readiness", io),
    ("tokio::sync::mpsc::chan::Rx<", messages),
];

/// Whether a type is explained here.
pub(super) fn is_leaf(name: &str) -> bool {
    LEAVES.iter().any(|(prefix, _)| name.starts_with(prefix))
}

/// What a future of that type waits for; `None` where it is not known here.
pub(super) fn explain(walker: &Walker<'_, '_, '_>, value: Value, name: &str) -> Option<WaitsFor> {
    let (_, explain) = LEAVES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    Some(explain(walker, value).unwrap_or_else(|unknown| WaitsFor::Other(format!("unknown: {unknown}"))))
}

/// What a future that holds no other waits for: a socket that it reads or writes, where it holds one.
pub(super) fn explain_parts(walker: &Walker<'_, '_, '_>, value: Value) -> Option<WaitsFor> {
    let fd = source(walker.values, value, SOURCE_DEPTH)?;
    Some(WaitsFor::Io { fd: Some(fd), what: None })
}

fn timer(walker: &Walker<'_, '_, '_>, sleep: Value) -> Result<WaitsFor, Unknown> {
    let values = walker.values;
    let time = values
        .find(sleep, 10, &|ty| ty.name.ends_with("::Timespec"))
        .ok_or_else(|| Unknown::new("a timer without a time"))?;
    let seconds = values.scalar(values.member(time, "tv_sec")?)?;
    let nanoseconds = values.scalar(values.member(time, "tv_nsec")?)?;
    let at = i128::from(seconds.cast_signed()) * 1000 + i128::from(nanoseconds / 1_000_000);
    let now = i128::try_from(walker.now.as_millis()).unwrap_or(0);
    let in_ms = i64::try_from(at - now).map_err(|_| Unknown::new("a timer beyond all time"))?;
    Ok(WaitsFor::Timer { in_ms })
}

fn task(walker: &Walker<'_, '_, '_>, handle: Value) -> Result<WaitsFor, Unknown> {
    let header = walker.values.behind(handle)?;
    Ok(WaitsFor::Task(tasks::id_of(walker.values, walker.layout, header.address)?))
}

fn permits(walker: &Walker<'_, '_, '_>, acquire: Value) -> Result<WaitsFor, Unknown> {
    let values = walker.values;
    let semaphore = values.pointee(values.member(acquire, "semaphore")?)?;
    let wanted = values.member(acquire, "num_permits").and_then(|number| values.scalar(number)).unwrap_or(1);
    // The lowest bit tells that it is closed.
    let free = values.member(semaphore, "permits").and_then(|number| values.scalar(number)).ok();
    let free = free.map(|permits| permits >> 1);
    Ok(WaitsFor::Permits { address: semaphore.address, wanted, free, holders: Vec::new() })
}

fn messages(walker: &Walker<'_, '_, '_>, receiver: Value) -> Result<WaitsFor, Unknown> {
    let values = walker.values;
    let channel = values.behind(receiver)?;
    let channel = values.member(channel, "data").unwrap_or(channel);
    let senders = values.member(channel, "tx_count").and_then(|count| values.scalar(count));
    Ok(WaitsFor::Other(match senders {
        Ok(1) => "a message of an mpsc channel with 1 sender".to_owned(),
        Ok(count) => format!("a message of an mpsc channel with {count} senders"),
        Err(_) => "a message of an mpsc channel".to_owned(),
    }))
}

/// How deep in a future its socket is looked for.
const SOURCE_DEPTH: u32 = 20;

fn io(walker: &Walker<'_, '_, '_>, _readiness: Value) -> Result<WaitsFor, Unknown> {
    // The socket lies in one of the futures that lead here.
    let fd = walker.above().iter().rev().skip(1).find_map(|value| {
        let state = walker.values.active(*value).ok()?.content;
        source(walker.values, state, SOURCE_DEPTH)
    });
    Ok(WaitsFor::Io { fd, what: None })
}

/// The file descriptor of the socket or pipe that a value holds, or refers to.
fn source(values: &Values<'_, '_>, value: Value, depth: u32) -> Option<i32> {
    let depth = depth.checked_sub(1)?;
    let ty = values.ty(value).ok()?;
    if ty.name.starts_with("std::os::fd::owned::OwnedFd") {
        return i32::try_from(values.scalar(value).ok()?).ok();
    }
    match &ty.shape {
        crate::dwarf::Shape::Structure(_) => {
            // What it awaits is no part of it.
            let members = values.members(value).ok()?;
            let mut members = members.into_iter().filter(|(name, _)| &**name != "__awaitee");
            members.find_map(|(_, member)| source(values, member, depth))
        }
        crate::dwarf::Shape::Variants { .. } => source(values, values.active(value).ok()?.content, depth),
        crate::dwarf::Shape::Pointer(Some(target)) if refers_to_io(&values.program.name(*target)) => {
            source(values, values.pointee(value).ok()?, depth)
        }
        _ => None,
    }
}

/// Tokio's types that own a socket or pipe, also behind a buffer.
fn refers_to_io(name: &str) -> bool {
    const OWNERS: [&str; 5] = [
        "tokio::net::",
        "tokio::io::poll_evented::",
        "tokio::io::async_fd::",
        "tokio::io::util::buf_",
        "tokio::process::",
    ];
    OWNERS.iter().any(|owner| name.starts_with(owner))
}
