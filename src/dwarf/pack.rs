//! Converts the types of a program to the compact form.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::index::Index;
use super::packed::{MemberRecord, ShapeRecord, Tables, TypeRecord};
use super::program::Program;
use super::types::{Member, Shape, Type};
use super::units::TypeId;

/// The maximum number of types that are packed. Types of tasks come first.
const MAX_TYPES: usize = 1_000_000;

/// Types with this prefix are always packed, because they are looked up by name.
const TOKIO: &str = "tokio::";

/// The number of a type that is not packed. No packed type has this number.
const ABSENT: u32 = u32::MAX;

/// Packs the types that tasks refer to, and Tokio's own types. `None` if the program describes no runtime, if it is
/// packed already, or if there are too many types.
pub(crate) fn pack(program: &Program<'_>) -> Option<Vec<u8>> {
    let index = program.dwarf()?.index();
    if program.contexts().is_empty() {
        return None;
    }
    let collected = CollectedTypes::of(program, index);
    let numbers = collected.text_numbers();
    let text = |text: &str| numbers.get(text).copied();
    let ty = |id: TypeId| collected.numbers.get(&id).copied();
    let mut types = Vec::new();
    let mut type_ends = Vec::new();
    for (_, collected) in &collected.list {
        types = postcard::to_extend(&record(collected, &text, &ty)?, types).ok()?;
        type_ends.push(u32::try_from(types.len()).ok()?);
    }
    let (mut texts, mut text_ends) = (Vec::new(), Vec::new());
    let mut sorted: Vec<&str> = numbers.keys().copied().collect();
    sorted.sort_unstable();
    for text in &sorted {
        texts.extend_from_slice(text.as_bytes());
        text_ends.push(u32::try_from(texts.len()).ok()?);
    }
    let addresses = &index.addresses;
    let tasks = addresses.tasks.iter().map(|(address, all)| {
        let types = all.iter().filter_map(|types| Some((ty(types.future)?, ty(types.scheduler)?)));
        (*address, types.collect())
    });
    let mut futures: Vec<u32> = index.futures.iter().filter_map(|name| text(name)).collect();
    futures.sort_unstable();
    let named = collected.list.iter().filter(|(id, ty)| program.named(&ty.name) == Some(*id));
    let mut named: Vec<(u32, u32)> = named.filter_map(|(id, named)| Some((text(&named.name)?, ty(*id)?))).collect();
    named.sort_unstable();
    let vtables = addresses.vtables.iter().filter_map(|(address, concrete)| Some((*address, ty(*concrete)?)));
    let contexts = addresses.contexts.iter().filter_map(|context| Some((context.offset, ty(context.ty)?)));
    let code = program.block_on_code().iter();
    let tables = Tables {
        source_roots: program.source_roots(),
        tasks: tasks.collect(),
        poll_names: addresses.poll_names.iter().map(|(address, name)| (*address, name.to_string())).collect(),
        vtables: vtables.collect(),
        contexts: contexts.collect(),
        block_on_code: code.filter_map(|code| Some((code.start, code.end, ty(code.future)?))).collect(),
        futures,
        named,
        text_ends,
        type_ends,
    };
    let mut bytes = postcard::to_allocvec(&tables).ok()?;
    bytes.extend(texts);
    bytes.extend(types);
    Some(bytes)
}

/// The types that are packed, with their numbers.
#[derive(Default)]
struct CollectedTypes {
    list: Vec<(TypeId, Arc<Type>)>,
    numbers: HashMap<TypeId, u32>,
}

impl CollectedTypes {
    fn of(program: &Program<'_>, index: &Index) -> Self {
        let addresses = &index.addresses;
        let mut roots: Vec<TypeId> = addresses.contexts.iter().map(|context| context.ty).collect();
        for types in addresses.tasks.values().flatten() {
            roots.extend([types.future, types.scheduler]);
        }
        roots.extend(index.by_name.iter().filter(|(name, _)| name.starts_with(TOKIO)).map(|(_, ty)| *ty));
        roots.extend(addresses.vtables.values());
        roots.extend(index.block_on_functions.values());
        // Sorted, so that the same program always gives the same bytes.
        let roots: BTreeSet<TypeId> = roots.into_iter().collect();
        let mut collected = Self::default();
        let mut waiting: Vec<TypeId> = roots.into_iter().rev().collect();
        while let Some(id) = waiting.pop() {
            if collected.numbers.contains_key(&id) || collected.list.len() >= MAX_TYPES {
                continue;
            }
            let Some(ty) = program.ty(id) else { continue };
            let Ok(number) = u32::try_from(collected.list.len()) else { break };
            match &ty.shape {
                Shape::Structure(members) => waiting.extend(members.iter().map(|member| member.ty)),
                Shape::Variants { variants, .. } => waiting.extend(variants.iter().map(|part| part.content.ty)),
                Shape::Pointer(target) => waiting.extend(target),
                Shape::Scalar | Shape::Other => {}
            }
            // Another unit may have the definition that is found by name.
            waiting.extend(program.named(&ty.name));
            collected.numbers.insert(id, number);
            collected.list.push((id, ty));
        }
        collected
    }

    /// All texts, numbered in alphabetical order.
    fn text_numbers(&self) -> HashMap<&str, u32> {
        let mut texts: BTreeSet<&str> = BTreeSet::new();
        for (_, ty) in &self.list {
            texts.insert(&ty.name);
            let members: Vec<&Member> = match &ty.shape {
                Shape::Structure(members) => members.iter().collect(),
                Shape::Variants { variants, .. } => variants.iter().map(|variant| &variant.content).collect(),
                _ => Vec::new(),
            };
            for member in members {
                texts.insert(&member.name);
                texts.extend(member.place.as_ref().map(|place| &*place.file));
            }
        }
        texts.into_iter().zip(0..).collect()
    }
}

fn record(
    ty: &Type,
    text_number: &dyn Fn(&str) -> Option<u32>,
    type_number: &dyn Fn(TypeId) -> Option<u32>,
) -> Option<TypeRecord> {
    let member = |member: &Member| {
        let place = match &member.place {
            Some(place) => Some((text_number(&place.file)?, place.line)),
            None => None,
        };
        let ty = type_number(member.ty).unwrap_or(ABSENT);
        Some(MemberRecord { name: text_number(&member.name)?, ty, offset: member.offset, place })
    };
    let shape = match &ty.shape {
        Shape::Structure(members) => ShapeRecord::Structure(members.iter().map(member).collect::<Option<_>>()?),
        Shape::Variants { discriminant, variants } => {
            let variants = variants.iter().map(|variant| Some((variant.discriminant, member(&variant.content)?)));
            ShapeRecord::Variants { discriminant: *discriminant, variants: variants.collect::<Option<_>>()? }
        }
        Shape::Pointer(target) => ShapeRecord::Pointer(target.and_then(type_number)),
        Shape::Scalar => ShapeRecord::Scalar,
        Shape::Other => ShapeRecord::Other,
    };
    Some(TypeRecord { name: text_number(&ty.name)?, size: ty.size, shape })
}
