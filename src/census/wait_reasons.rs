//! What the last future of an await path waits for.

use std::time::Duration;

use super::channels::channel;
use super::task_layout::TaskLayout;
use crate::dwarf::{Shape, Unknown, Value, Values};
use crate::model::census::WaitsFor;
use crate::model::plural::plural;
use crate::tokio_internals::debug_info as names;

/// The maximum depth of the search for a future's socket.
const MAX_SOCKET_DEPTH: u32 = 20;

/// The surroundings of a future.
pub(super) struct Context<'c, 'a, 'd> {
    pub(super) values: &'c Values<'a, 'd>,
    pub(super) layout: &'c TaskLayout,
    /// The monotonic clock.
    pub(super) now: Duration,
    /// The futures that lead to this one. The last is the future itself.
    pub(super) path: &'c [Value],
}

/// A function that explains one type of future.
type Explain = fn(&Context<'_, '_, '_>, Value) -> Result<WaitsFor, Unknown>;

/// Futures that await no other future, by the prefix of their names, with the functions that explain them.
const LEAVES: [(&str, Explain); 9] = [
    (names::SLEEP, timer),
    (names::JOIN_HANDLE, task),
    (names::ACQUIRE, permits),
    (names::NOTIFIED, |_, _| Ok(WaitsFor::Other("a notification (Notify)".to_owned()))),
    (names::OWNED_NOTIFIED, |_, _| Ok(WaitsFor::Other("a notification (Notify)".to_owned()))),
    (names::ONESHOT_RECEIVER, one_value),
    (names::BROADCAST_RECV, |_, _| Ok(WaitsFor::Other("a message of a broadcast channel".to_owned()))),
    (names::IO_READINESS, io),
    (names::MPSC_RECEIVER, messages),
];

/// Whether futures of this type are explained here.
pub(super) fn is_leaf(type_name: &str) -> bool {
    LEAVES.iter().any(|(prefix, _)| type_name.starts_with(prefix))
}

/// What a future waits for. `None` if its type is not explained here.
pub(super) fn explain(context: &Context<'_, '_, '_>, future: Value, type_name: &str) -> Option<WaitsFor> {
    let (_, explain) = LEAVES.iter().find(|(prefix, _)| type_name.starts_with(prefix))?;
    Some(explain(context, future).unwrap_or_else(|unknown| WaitsFor::Other(format!("unknown: {unknown}"))))
}

/// What a future without inner futures waits for: the socket that it contains, if there is one.
pub(super) fn explain_socket(values: &Values<'_, '_>, future: Value) -> Option<WaitsFor> {
    let fd = descriptor(values, future, MAX_SOCKET_DEPTH)?;
    Some(WaitsFor::Io { fd: Some(fd), what: None })
}

fn timer(context: &Context<'_, '_, '_>, sleep: Value) -> Result<WaitsFor, Unknown> {
    let values = context.values;
    let time = values
        .find(sleep, 10, &|ty| ty.name.ends_with("::Timespec"))
        .ok_or_else(|| Unknown::new("a timer without a deadline"))?;
    let seconds = values.scalar(values.member(time, "tv_sec")?)?;
    let nanoseconds = values.scalar(values.member(time, "tv_nsec")?)?;
    let deadline = i128::from(seconds.cast_signed()) * 1000 + i128::from(nanoseconds / 1_000_000);
    let now = i128::try_from(context.now.as_millis()).unwrap_or(0);
    let in_ms = i64::try_from(deadline - now).map_err(|_| Unknown::new("a timer with an invalid deadline"))?;
    Ok(WaitsFor::Timer { in_ms })
}

fn task(context: &Context<'_, '_, '_>, handle: Value) -> Result<WaitsFor, Unknown> {
    let header = context.values.dereference(handle)?;
    Ok(WaitsFor::Task(context.layout.task_id(context.values, header.address)?))
}

fn permits(context: &Context<'_, '_, '_>, acquire: Value) -> Result<WaitsFor, Unknown> {
    let values = context.values;
    let semaphore = values.pointee(values.member(acquire, "semaphore")?)?;
    let wanted = values.member(acquire, "num_permits").and_then(|number| values.scalar(number)).unwrap_or(1);
    // The lowest bit marks a closed semaphore.
    let free = values.member(semaphore, "permits").and_then(|number| values.scalar(number)).ok();
    let free = free.map(|permits| permits >> 1);
    let queued = values.member(acquire, "queued").and_then(|queued| values.scalar(queued)).unwrap_or(0) & 0xff != 0;
    let missing = values.member(acquire, "node").and_then(|node| values.scalar(values.member(node, "state")?)).ok();
    let missing = missing.filter(|_| queued);
    Ok(WaitsFor::Permits { address: semaphore.address, wanted, missing, free, holders: Vec::new() })
}

fn one_value(context: &Context<'_, '_, '_>, receiver: Value) -> Result<WaitsFor, Unknown> {
    let what = "the value of a oneshot channel".to_owned();
    // A channel that was used up has no memory to point to.
    Ok(match channel(context.values, receiver) {
        Ok(channel) => WaitsFor::Message { channel: channel.address, senders: 1, what },
        Err(_) => WaitsFor::Other(what),
    })
}

fn messages(context: &Context<'_, '_, '_>, receiver: Value) -> Result<WaitsFor, Unknown> {
    let values = context.values;
    let channel = channel(values, receiver)?;
    let senders = values.member(channel, "tx_count").and_then(|count| values.scalar(count));
    Ok(match senders {
        Ok(senders) => {
            let what = format!("a message of an mpsc channel with {}", plural(senders, "sender"));
            WaitsFor::Message { channel: channel.address, senders, what }
        }
        Err(_) => WaitsFor::Other("a message of an mpsc channel".to_owned()),
    })
}

fn io(context: &Context<'_, '_, '_>, _readiness: Value) -> Result<WaitsFor, Unknown> {
    // One of the futures that lead to this one has the socket.
    let fd = context.path.iter().rev().skip(1).find_map(|future| {
        let state = context.values.active_variant(*future).ok()?.content;
        descriptor(context.values, state, MAX_SOCKET_DEPTH)
    });
    Ok(WaitsFor::Io { fd, what: None })
}

/// The file descriptor of the socket or pipe that a value contains or refers to.
fn descriptor(values: &Values<'_, '_>, value: Value, depth: u32) -> Option<i32> {
    let depth = depth.checked_sub(1)?;
    let ty = values.ty(value).ok()?;
    if ty.name.starts_with("std::os::fd::owned::OwnedFd") {
        return i32::try_from(values.scalar(value).ok()?).ok();
    }
    match &ty.shape {
        Shape::Structure(_) => {
            // The awaited future is checked on its own.
            let members = values.members(value).ok()?;
            let mut members = members.into_iter().filter(|(name, _)| &**name != "__awaitee");
            members.find_map(|(_, member)| descriptor(values, member, depth))
        }
        Shape::Variants { .. } => descriptor(values, values.active_variant(value).ok()?.content, depth),
        Shape::Pointer(Some(target)) if owns_descriptor(&values.program.name(*target)) => {
            descriptor(values, values.pointee(value).ok()?, depth)
        }
        _ => None,
    }
}

/// Whether this is one of Tokio's types that own a socket or pipe, directly or through a buffer.
fn owns_descriptor(type_name: &str) -> bool {
    names::DESCRIPTOR_OWNERS.iter().any(|owner| type_name.starts_with(owner))
}
