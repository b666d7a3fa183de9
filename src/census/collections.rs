//! Collections of futures: `JoinSet`, and `FuturesUnordered` of `futures-util`.

use crate::dwarf::{Unknown, Value, Values};
use crate::tokio_internals::debug_info::{JOIN_HANDLE, JOIN_SET, JOIN_SET_LISTS, LINKED_LIST_POINTERS};

/// The maximum number of futures that are shown of one collection, or of one future that polls several.
pub(super) const MAX_CHILDREN: usize = 100;

/// The collection of `futures-util`.
const FUTURES_UNORDERED: &str = "futures_util::stream::futures_unordered::FuturesUnordered<";

/// Whether this is the name of a collection of futures.
pub(super) fn is_collection(type_name: &str) -> bool {
    type_name.starts_with(JOIN_SET) || type_name.starts_with(FUTURES_UNORDERED)
}

/// The futures in a collection, up to a few more than are shown. `None` if the type is not a known collection.
pub(super) fn members(values: &Values<'_, '_>, value: Value, type_name: &str) -> Option<Vec<Value>> {
    let found = if type_name.starts_with(JOIN_SET) {
        join_set(values, value)
    } else if type_name.starts_with(FUTURES_UNORDERED) {
        futures_unordered(values, value)
    } else {
        return None;
    };
    // A collection that cannot be read is shown as a future that awaits nothing.
    Some(found.unwrap_or_default())
}

/// The handles in a `JoinSet`, which has two lists.
fn join_set(values: &Values<'_, '_>, set: Value) -> Result<Vec<Value>, Unknown> {
    let lists = values.dereference(values.member(set, "lists")?)?;
    let inner = values.find_named(lists, 10, JOIN_SET_LISTS)?;
    let mut found = Vec::new();
    for list in ["idle", "notified"] {
        let head = values.member(values.member(inner, list)?, "head")?;
        let mut next = values.address(head)?;
        if next == 0 {
            continue;
        }
        let ty = values.dereference(head)?.ty;
        while next != 0 && found.len() <= MAX_CHILDREN {
            let entry = Value { ty, address: next };
            found.push(values.find_named(values.member(entry, "value")?, 6, JOIN_HANDLE)?);
            let pointers = values.member(entry, "pointers")?;
            let pointers = values.find_named(pointers, 6, LINKED_LIST_POINTERS)?;
            next = values.address(values.member(pointers, "next")?)?;
        }
    }
    Ok(found)
}

/// The futures in a `FuturesUnordered`, which has one list of all futures.
fn futures_unordered(values: &Values<'_, '_>, set: Value) -> Result<Vec<Value>, Unknown> {
    let mut found = Vec::new();
    let head = values.member(set, "head_all")?;
    let mut next = values.address(head)?;
    let pointer = values.find_pointer(head, 8);
    let entry = values.pointee(pointer.ok_or_else(|| Unknown::new("an empty set"))?)?;
    while next != 0 && found.len() <= MAX_CHILDREN {
        let entry = Value { ty: entry.ty, address: next };
        let future = values.find_named(values.member(entry, "future")?, 4, "core::option::Option<")?;
        let future = values.active_variant(future)?;
        if &*future.name == "Some" {
            found.push(values.member(future.content, "__0")?);
        }
        next = values.address(values.member(entry, "next_all")?)?;
    }
    Ok(found)
}
