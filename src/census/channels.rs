//! Channels behind their ends.

use crate::dwarf::{Unknown, Value, Values};

/// The channel behind one of its ends.
///
/// # Errors
/// If the end was used up, or its memory is invalid.
pub(super) fn channel(values: &Values<'_, '_>, end: Value) -> Result<Value, Unknown> {
    let shared = values.dereference(end)?;
    if shared.address == 0 {
        return Err(Unknown::new("the channel is closed"));
    }
    // Without the two counts of an `Arc`.
    Ok(values.member(shared, "data").unwrap_or(shared))
}
