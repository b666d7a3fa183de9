//! Where the code is that polls futures given to `block_on`: a function for each type of future, and wherever that was
//! inlined into another. So an address on a thread's stack tells what type of future the thread polls.

use std::collections::HashMap;

use super::types::TypeId;
use super::units::{Unit, Units};

/// Parts of code that are kept.
const MAX_PARTS: usize = 100_000;

/// Before this lies the head of the file. The linker gives functions that it left out addresses there.
const FIRST_CODE: u64 = 64;

/// An inlined function refers to its description, and that to its declaration.
const MAX_STEPS: usize = 4;

/// A part of the code that polls a future of this type, by addresses of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Root {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) future: TypeId,
}

/// All of them, for the functions with these entries. Units that are damaged end where they are.
pub(super) fn of(units: &Units<'_>, functions: &HashMap<TypeId, TypeId>) -> Vec<Root> {
    let mut found = Vec::new();
    let mut holding: Vec<&Unit<'_>> = Vec::new();
    for (unit, _) in functions.keys().filter_map(|entry| units.find(*entry)) {
        if !holding.iter().any(|other| std::ptr::eq(*other, unit)) {
            holding.push(unit);
        }
    }
    for unit in holding {
        let _damaged = parts(unit, functions, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn parts(unit: &Unit<'_>, functions: &HashMap<TypeId, TypeId>, found: &mut Vec<Root>) -> gimli::Result<()> {
    // What a function's description refers to.
    let mut origins: HashMap<TypeId, TypeId> = HashMap::new();
    let mut code = Vec::new();
    let mut entries = unit.unit.entries();
    while let Some(entry) = entries.next_dfs()? {
        let inlined = match entry.tag() {
            gimli::DW_TAG_subprogram => false,
            gimli::DW_TAG_inlined_subroutine => true,
            _ => continue,
        };
        let id = unit.id(entry.offset());
        let refers = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification];
        let origin = refers.iter().find_map(|name| unit.reference(entry.attr_value(*name)?));
        if !inlined {
            origins.extend(origin.map(|origin| (id, origin)));
        }
        let has_code = [gimli::DW_AT_low_pc, gimli::DW_AT_ranges].iter().any(|name| entry.attr_value(*name).is_some());
        if has_code && (origin.is_some() || functions.contains_key(&id)) {
            code.push((id, origin.unwrap_or(id), entry.offset()));
        }
    }
    let future_of = |mut function: TypeId| {
        for _ in 0..MAX_STEPS {
            if let Some(future) = functions.get(&function) {
                return Some(*future);
            }
            function = *origins.get(&function)?;
        }
        None
    };
    for (id, origin, offset) in code {
        let Some(future) = future_of(id).or_else(|| future_of(origin)) else { continue };
        let mut ranges = unit.dwarf.die_ranges(&unit.unit, &unit.unit.entry(offset)?)?;
        while let Some(range) = ranges.next()? {
            if (FIRST_CODE..range.end).contains(&range.begin) && found.len() < MAX_PARTS {
                found.push(Root { start: range.begin, end: range.end, future });
            }
        }
    }
    Ok(())
}
