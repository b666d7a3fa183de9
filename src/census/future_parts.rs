//! The futures inside a future or a variable.
//!
//! A future that is not a coroutine contains the futures that it polls, by value, in a `Box` or behind `Pin<&mut …>`. A
//! closure contains them behind a reference. The debug information shows which types are futures: those with a poll function.

use super::collections::{self, MAX_CHILDREN};
use super::wait_reasons;
use crate::dwarf::{Shape, Type, TypeId, Unknown, Value, Values, last_segment};

/// The maximum depth of the search in a future.
const MAX_DEPTH: u32 = 48;

/// What is asked about types; see [`Values::fact`].
const IS_COROUTINE: u8 = 0;
const IS_FUTURE: u8 = 1;
const HAS_NONE: u8 = 2;
pub(super) const HOLDS_THINGS: u8 = 3;

/// Adapters of streams in `futures-util`.
const STREAM_ADAPTERS: &str = "futures_util::stream::";

/// Which pointers the search follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointers {
    /// `&mut` references only.
    Mutable,
    /// The next pointer too, because it is the pointer of a `Pin` or `Box`.
    Owned,
    /// The next pointer too, at any depth, because a closure captured it.
    Captured,
}

impl Pointers {
    /// Which pointers are followed inside a part of this type.
    fn inside(self, ty: &Type, owned: bool) -> Self {
        match self {
            Self::Captured => Self::Captured,
            _ if ty.name.contains("{closure_env") => Self::Captured,
            _ if owned => Self::Owned,
            _ => Self::Mutable,
        }
    }
}

/// The futures that a future polls. The future is not a coroutine.
pub(super) fn parts(values: &Values<'_, '_>, future: Value) -> Result<Vec<Value>, Unknown> {
    let mut found = Vec::new();
    let ty = values.ty(future)?;
    if !add_collection(values, future, &ty, &mut found) {
        search_inside(values, future, &ty, (MAX_DEPTH - 1, Pointers::Mutable), &mut found)?;
    }
    Ok(found)
}

/// The future of an item, if a stream adapter such as `ForEach` has one. The adapter then does not poll its stream.
pub(super) fn item_future(values: &Values<'_, '_>, adapter: Value, ty: &Type) -> Option<Value> {
    if !ty.name.starts_with(STREAM_ADAPTERS) {
        return None;
    }
    values.member(adapter, "stream").ok()?;
    let future = values.member(adapter, "future").or_else(|_| values.member(adapter, "pending_fut")).ok()?;
    let future = values.active_variant(future).ok().filter(|future| &*future.name == "Some")?;
    values.member(future.content, "__0").ok()
}

/// The futures that a variable is or owns.
pub(super) fn futures_in(values: &Values<'_, '_>, variable: Value) -> Result<Vec<Value>, Unknown> {
    let mut found = Vec::new();
    if has_none(values, variable.ty, MAX_DEPTH) {
        return Ok(found);
    }
    search(values, variable, (MAX_DEPTH, Pointers::Mutable), &mut found)?;
    // For a trait object, the concrete future.
    Ok(found.into_iter().map(|future| concrete(values, future)).collect())
}

/// Whether no value of this type contains a future, whatever is in memory: plain data, and pointers that are not followed.
fn has_none(values: &Values<'_, '_>, id: TypeId, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    values.fact(id, HAS_NONE, || {
        let Some(ty) = values.program.ty(id) else { return false };
        let ends = is_future(values, id, &ty) || is_wrapper(&ty) || is_trait_object(&ty);
        if ends || collections::is_collection(&ty.name) || ty.name.contains("{closure_env") {
            return false;
        }
        match &ty.shape {
            Shape::Structure(members) => members.iter().all(|member| has_none(values, member.ty, depth)),
            Shape::Variants { variants, .. } => {
                variants.iter().all(|variant| has_none(values, variant.content.ty, depth))
            }
            Shape::Pointer(_) => !ty.name.starts_with("&mut "),
            Shape::Scalar | Shape::Other => true,
        }
    })
}

fn concrete(values: &Values<'_, '_>, future: Value) -> Value {
    let object = values.ty(future).and_then(|ty| trait_object(values, future, &ty));
    object.ok().flatten().unwrap_or(future)
}

/// Adds the value if it is a future, and otherwise the futures inside it.
fn search(
    values: &Values<'_, '_>,
    value: Value,
    (depth, pointers): (u32, Pointers),
    found: &mut Vec<Value>,
) -> Result<(), Unknown> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
    if found.len() >= MAX_CHILDREN {
        return Ok(());
    }
    let ty = values.ty(value)?;
    if add_collection(values, value, &ty, found) {
        return Ok(());
    }
    if is_future(values, value.ty, &ty) {
        found.push(value);
        return Ok(());
    }
    search_inside(values, value, &ty, (depth, pointers), found)
}

/// Adds the members of a collection. Returns false if the value is not a collection.
fn add_collection(values: &Values<'_, '_>, value: Value, ty: &Type, found: &mut Vec<Value>) -> bool {
    let members = collections::members(values, value, &ty.name);
    let is_collection = members.is_some();
    let left = MAX_CHILDREN.saturating_sub(found.len());
    found.extend(members.into_iter().flatten().take(left));
    is_collection
}

fn search_inside(
    values: &Values<'_, '_>,
    value: Value,
    ty: &Type,
    (depth, pointers): (u32, Pointers),
    found: &mut Vec<Value>,
) -> Result<(), Unknown> {
    let owned = pointers == Pointers::Owned;
    match &ty.shape {
        Shape::Structure(_) if is_trait_object(ty) => found.extend(is_dyn_future(&ty.name).then_some(value)),
        Shape::Structure(members) => {
            let pointers = pointers.inside(ty, is_wrapper(ty) || owned && is_pointer_part(&ty.name));
            for member in members {
                if pointers != Pointers::Mutable || !has_none(values, member.ty, MAX_DEPTH) {
                    search(values, value.part(member), (depth, pointers), found)?;
                }
            }
        }
        Shape::Variants { .. } => {
            let active = values.active_variant(value)?;
            search(values, active.content, (depth, pointers.inside(ty, owned)), found)?;
        }
        Shape::Pointer(Some(_)) if pointers != Pointers::Mutable || ty.name.starts_with("&mut ") => {
            let target = values.pointee(value)?;
            if values.ty(target).is_ok_and(|ty| ty.size > 0) {
                // A reference may point to anything. What cannot be read is not a future.
                let _unreadable = search(values, target, (depth, Pointers::Mutable), found);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The concrete value of a `dyn Future`. `None` if the type is not a trait object.
pub(super) fn trait_object(values: &Values<'_, '_>, value: Value, ty: &Type) -> Result<Option<Value>, Unknown> {
    if !is_trait_object(ty) {
        return Ok(None);
    }
    let data = values.word(values.member(value, "pointer")?.address)?;
    let vtable = values.word(values.member(value, "vtable")?.address)?;
    let concrete = values.program.concrete_type(values.file_address(vtable));
    let ty = concrete.ok_or_else(|| Unknown::new("the concrete type of a `dyn` is not described"))?;
    Ok(Some(Value { ty, address: data }))
}

/// Whether the search ends at a value of this type, because it is a future and no wrapper.
fn is_future(values: &Values<'_, '_>, id: TypeId, ty: &Type) -> bool {
    values.fact(id, IS_FUTURE, || {
        let is_future = is_coroutine(values, id, ty) || values.program.is_polled(&ty.name);
        (is_future || wait_reasons::is_leaf(&ty.name)) && !is_wrapper(ty)
    })
}

/// Whether this is the coroutine of an `async fn`, block or closure. The name of a pointer to an `async fn` ends the same.
pub(super) fn is_coroutine(values: &Values<'_, '_>, id: TypeId, ty: &Type) -> bool {
    values.fact(id, IS_COROUTINE, || {
        matches!(ty.shape, Shape::Variants { .. }) && last_segment(&ty.name).starts_with("{async_")
    })
}

/// Whether the trait of a trait object is `Future`. `dyn Service<Future = …>` is not.
fn is_dyn_future(name: &str) -> bool {
    name.split_once("dyn ").is_some_and(|(_, of)| of.starts_with("core::future::future::Future"))
}

/// Whether this is a trait object: a pointer to data and a pointer to a vtable.
fn is_trait_object(ty: &Type) -> bool {
    let Shape::Structure(members) = &ty.shape else { return false };
    members.len() == 2 && ["pointer", "vtable"].iter().all(|name| members.iter().any(|member| &*member.name == *name))
}

/// Whether this is a type that only wraps its content, and is not shown.
pub(super) fn is_wrapper(ty: &Type) -> bool {
    const WRAPPERS: [&str; 6] = [
        "core::pin::Pin<",
        "alloc::boxed::Box<",
        "core::mem::manually_drop::ManuallyDrop<",
        "core::panic::unwind_safe::AssertUnwindSafe<",
        "tokio::future::maybe_done::MaybeDone<",
        "futures_util::future::maybe_done::MaybeDone<",
    ];
    WRAPPERS.iter().any(|wrapper| ty.name.starts_with(wrapper))
        || (ty.name.starts_with("&mut ") && matches!(ty.shape, Shape::Pointer(_)))
}

/// Whether this is one of the types that a `Box` consists of.
fn is_pointer_part(name: &str) -> bool {
    name.starts_with("core::ptr::unique::Unique<") || name.starts_with("core::ptr::non_null::NonNull<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_returns_futures_is_not_a_future() {
        let boxed = "alloc::boxed::Box<(dyn core::future::future::Future<Output=()> + core::marker::Send), alloc::alloc::Global>";
        assert!(is_dyn_future(boxed) && is_dyn_future("&mut dyn core::future::future::Future<Output=u8>"));
        assert!(!is_dyn_future(&format!("alloc::boxed::Box<dyn app::Service<u8, Future=core::pin::Pin<{boxed}>>>")));
        assert!(!is_dyn_future("alloc::boxed::Box<u8>"));
    }
}
