//! Futures that live in a set of their own: `JoinSet`, and `FuturesUnordered` of `futures-util`.

use super::await_path::MAX_CHILDREN;
use crate::dwarf::{Unknown, Value, Values};

/// The members of a set, a few more than are shown; `None` where the type is no set that is known here.
pub(super) fn members(values: &Values<'_, '_>, value: Value, name: &str) -> Option<Vec<Value>> {
    let found = if name.starts_with("tokio::util::idle_notified_set::IdleNotifiedSet<") {
        idle_notified(values, value)
    } else if name.starts_with("futures_util::stream::futures_unordered::FuturesUnordered<") {
        unordered(values, value)
    } else {
        return None;
    };
    // A set that cannot be read shows as a future that awaits nothing.
    Some(found.unwrap_or_default())
}

/// A `JoinSet` keeps the handles of its tasks in two lists.
fn idle_notified(values: &Values<'_, '_>, set: Value) -> Result<Vec<Value>, Unknown> {
    let lists = values.behind(values.member(set, "lists")?)?;
    let inner = values.find_named(lists, 10, "tokio::util::idle_notified_set::ListsInner<")?;
    let mut found = Vec::new();
    for list in ["idle", "notified"] {
        let head = values.member(values.member(inner, list)?, "head")?;
        let mut next = values.address(head)?;
        if next == 0 {
            continue;
        }
        let ty = values.behind(head)?.ty;
        while next != 0 && found.len() <= MAX_CHILDREN {
            let entry = Value { ty, address: next };
            found.push(values.find_named(
                values.member(entry, "value")?,
                6,
                "tokio::runtime::task::join::JoinHandle<",
            )?);
            let pointers = values.member(entry, "pointers")?;
            let pointers = values.find_named(pointers, 6, "tokio::util::linked_list::PointersInner<")?;
            next = values.address(values.member(pointers, "next")?)?;
        }
    }
    Ok(found)
}

/// A list through all members, ready or not.
fn unordered(values: &Values<'_, '_>, set: Value) -> Result<Vec<Value>, Unknown> {
    let mut found = Vec::new();
    let head = values.member(set, "head_all")?;
    let mut next = values.address(head)?;
    let pointer = values.find(head, 8, &|ty| matches!(ty.shape, crate::dwarf::Shape::Pointer(_)));
    let entry = values.pointee(pointer.ok_or_else(|| Unknown::new("an empty set"))?)?;
    while next != 0 && found.len() <= MAX_CHILDREN {
        let entry = Value { ty: entry.ty, address: next };
        let future = values.find_named(values.member(entry, "future")?, 4, "core::option::Option<")?;
        let future = values.active(future)?;
        if future.name == "Some" {
            found.push(values.member(future.content, "__0")?);
        }
        next = values.address(values.member(entry, "next_all")?)?;
    }
    Ok(found)
}
