//! The code that polls futures given to `block_on`. Each type of future has its own function, which may be inlined into
//! others. An address on a thread's stack therefore reveals the type of the future that the thread polls.

use std::collections::HashMap;

use super::units::{TypeId, Unit, Units};

/// The maximum number of code ranges that are kept.
const MAX_RANGES: usize = 100_000;

/// The header of the file lies below this address. The linker gives removed functions addresses there.
const FIRST_CODE: u64 = 64;

/// The maximum length of a chain of references: inlined function, its definition, its declaration.
const MAX_REFERENCES: usize = 4;

/// A range of code, in addresses of the file, that polls a future of a certain type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockOnCode {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) future: TypeId,
}

/// The code of these functions, which are given by their entries, with the types of their futures. A damaged unit
/// contributes what comes before the damage.
pub(super) fn find(units: &Units<'_>, functions: &HashMap<TypeId, TypeId>) -> Vec<BlockOnCode> {
    let mut found = Vec::new();
    let mut relevant: Vec<&Unit<'_>> = Vec::new();
    for (unit, _) in functions.keys().filter_map(|entry| units.find(*entry)) {
        if !relevant.iter().any(|other| std::ptr::eq(*other, unit)) {
            relevant.push(unit);
        }
    }
    for unit in relevant {
        let _damaged = find_in_unit(unit, functions, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn find_in_unit(
    unit: &Unit<'_>,
    functions: &HashMap<TypeId, TypeId>,
    found: &mut Vec<BlockOnCode>,
) -> gimli::Result<()> {
    // The definition or declaration that each function refers to.
    let mut origins: HashMap<TypeId, TypeId> = HashMap::new();
    let mut with_code = Vec::new();
    let mut entries = unit.unit.entries();
    while let Some(entry) = entries.next_dfs()? {
        let inlined = match entry.tag() {
            gimli::DW_TAG_subprogram => false,
            gimli::DW_TAG_inlined_subroutine => true,
            _ => continue,
        };
        let id = unit.id(entry.offset());
        let references = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification];
        let origin = references.iter().find_map(|name| unit.reference(entry.attr_value(*name)?));
        if !inlined {
            origins.extend(origin.map(|origin| (id, origin)));
        }
        let has_code = [gimli::DW_AT_low_pc, gimli::DW_AT_ranges].iter().any(|name| entry.attr_value(*name).is_some());
        if has_code && (origin.is_some() || functions.contains_key(&id)) {
            with_code.push((id, origin.unwrap_or(id), entry.offset()));
        }
    }
    let future_of = |mut function: TypeId| {
        for _ in 0..MAX_REFERENCES {
            if let Some(future) = functions.get(&function) {
                return Some(*future);
            }
            function = *origins.get(&function)?;
        }
        None
    };
    for (id, origin, offset) in with_code {
        let Some(future) = future_of(id).or_else(|| future_of(origin)) else { continue };
        let mut ranges = unit.dwarf.die_ranges(&unit.unit, &unit.unit.entry(offset)?)?;
        while let Some(range) = ranges.next()? {
            if (FIRST_CODE..range.end).contains(&range.begin) && found.len() < MAX_RANGES {
                found.push(BlockOnCode { start: range.begin, end: range.end, future });
            }
        }
    }
    Ok(())
}
