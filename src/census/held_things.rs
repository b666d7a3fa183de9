//! What a suspended `async fn` keeps in its variables while others may wait for it: guards, permits, and ends of channels.

use crate::dwarf::{Shape, Type, TypeId, Unknown, Value, Values};
use crate::model::census::{Held, HeldKind};
use crate::tokio_internals::debug_info::{self as names, SEMAPHORE};

use super::channels::channel;
use super::future_parts::{HOLDS_THINGS, is_coroutine};

/// The maximum depth of the search in a variable.
const MAX_DEPTH: u32 = 6;

/// The maximum number of things that are remembered for one function.
const MAX_HELD: usize = 64;

/// What the variables of a suspended `async fn` hold. Futures among them are left out: they hold it, not the function.
pub(super) fn held_things(values: &Values<'_, '_>, state: Value) -> Box<[Held]> {
    let mut found = Vec::new();
    let Ok(ty) = values.ty(state) else { return Box::default() };
    let Shape::Structure(variables) = &ty.shape else { return Box::default() };
    // The awaited future has variables of its own.
    for variable in variables.iter().filter(|variable| &*variable.name != "__awaitee") {
        search(values, state.part(variable), MAX_DEPTH, &mut found);
    }
    // Variables may share memory with variables that live at other times.
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, held)| held).collect()
}

fn search(values: &Values<'_, '_>, value: Value, depth: u32, found: &mut Vec<(u64, Held)>) {
    let (Some(inner), Ok(ty)) = (depth.checked_sub(1), values.ty(value)) else { return };
    if found.len() >= MAX_HELD || !may_hold(values, value.ty, &ty) {
        return;
    }
    if let Some(kind) = kind_of(&ty.name) {
        if let Ok(held) = held(values, value, kind) {
            found.push((value.address, held));
        }
        return;
    }
    match &ty.shape {
        Shape::Structure(members) => {
            members.iter().for_each(|member| search(values, value.part(member), inner, found));
        }
        Shape::Variants { .. } => {
            if let Ok(active) = values.active_variant(value) {
                search(values, active.content, inner, found);
            }
        }
        _ => {}
    }
}

/// Whether a value of the type may contain a thing. Most types contain none, so that their values need not be read.
fn may_hold(values: &Values<'_, '_>, id: TypeId, ty: &Type) -> bool {
    values.fact(id, HOLDS_THINGS, || {
        let inside = |member| values.program.ty(member).is_some_and(|ty| may_hold(values, member, &ty));
        kind_of(&ty.name).is_some()
            || !is_coroutine(values, id, ty)
                && match &ty.shape {
                    Shape::Structure(members) => members.iter().any(|member| inside(member.ty)),
                    Shape::Variants { variants, .. } => variants.iter().any(|variant| inside(variant.content.ty)),
                    _ => false,
                }
    })
}

fn kind_of(type_name: &str) -> Option<HeldKind> {
    // All of these are types of Tokio.
    type_name.strip_prefix("tokio::sync::")?;
    let kinds: [(&[&str], HeldKind); 7] = [
        (&names::MUTEX_GUARDS, HeldKind::Mutex),
        (&names::READ_GUARDS, HeldKind::ReadLock),
        (&names::WRITE_GUARDS, HeldKind::WriteLock),
        (&names::PERMITS, HeldKind::Permit),
        (&names::RESERVED_ROOM, HeldKind::Reserved),
        (&[names::MPSC_RECEIVER], HeldKind::Receiver),
        (&[names::MPSC_SENDER, names::ONESHOT_SENDER], HeldKind::Sender),
    ];
    let (_, kind) =
        kinds.into_iter().find(|(prefixes, _)| prefixes.iter().any(|prefix| type_name.starts_with(prefix)))?;
    Some(kind)
}

fn held(values: &Values<'_, '_>, value: Value, kind: HeldKind) -> Result<Held, Unknown> {
    let address = match kind {
        HeldKind::Sender => channel(values, value)?.address,
        HeldKind::Receiver => {
            let semaphore = values.member(channel(values, value)?, "semaphore")?;
            // An unbounded channel has none: nobody waits for room in it.
            values.find_named(semaphore, 6, SEMAPHORE)?.address
        }
        _ => guarded(values, value)?,
    };
    Ok(Held { kind, address })
}

/// The address of a guard's semaphore.
fn guarded(values: &Values<'_, '_>, guard: Value) -> Result<u64, Unknown> {
    let found = values.members(guard)?.into_iter().find_map(|(_, member)| {
        let pointer = values.find_pointer(member, 6)?;
        let target = values.pointee(pointer).ok()?;
        Some(values.find_named(target, 6, SEMAPHORE).ok()?.address)
    });
    found.ok_or_else(|| Unknown::new("a guard without a semaphore"))
}
