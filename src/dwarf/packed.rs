//! A program's types in a few megabytes that need no debug information: what is kept of it between two looks at the same
//! program, and taken along for one that was stripped.
//!
//! Tables come first, and are read as a whole. Texts and types follow, and each is read when it is needed. Numbers of texts
//! are in the order of the alphabet, so that names are found by halving. Nothing is believed: what does not fit is not
//! there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::index::{Index, TaskTypes, ThreadLocal};
use super::program::Program;
use super::roots::Root;
use super::types::{Member, Shape, Type, TypeId, Variant};
use crate::model::census::SourcePlace;

/// Types that are kept; those that tasks lead to come first.
const MAX_TYPES: usize = 1_000_000;

/// Where it begins with this, types that are looked for by name are kept too.
const LOOKED_FOR: &str = "tokio::";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tables {
    source_roots: Vec<String>,
    /// By the address of the function that polls it: future and scheduler.
    tasks: Vec<(u64, Vec<(u32, u32)>)>,
    polls: Vec<(u64, String)>,
    vtables: Vec<(u64, u32)>,
    contexts: Vec<(u64, u32)>,
    /// Beginnings and ends of code that polls a future given to `block_on`, with its type.
    roots: Vec<(u64, u64, u32)>,
    /// Numbers of the names of types that are polled, in order.
    futures: Vec<u32>,
    /// Numbers of names with the types that have them, in order.
    named: Vec<(u32, u32)>,
    /// Where each text and each type ends.
    text_ends: Vec<u32>,
    type_ends: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TypeRecord {
    name: u32,
    size: u64,
    shape: ShapeRecord,
}

#[derive(Debug, Serialize, Deserialize)]
enum ShapeRecord {
    Structure(Vec<MemberRecord>),
    Variants { discriminant: Option<(u64, u64)>, variants: Vec<(Option<u128>, MemberRecord)> },
    Pointer(Option<u32>),
    Scalar,
    Other,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberRecord {
    name: u32,
    ty: u32,
    offset: u64,
    /// File and line.
    place: Option<(u32, u32)>,
}

/// What is read of it when it is needed.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) source_roots: Vec<String>,
    pub(super) roots: Vec<Root>,
    futures: Vec<u32>,
    named: Vec<(u32, u32)>,
    text_ends: Vec<u32>,
    type_ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Where in the bytes they begin.
    texts: usize,
    types: usize,
}

/// The types of a program, packed.
#[derive(Debug)]
pub(crate) struct PackedTypes {
    pub(super) packed: Packed,
    pub(super) index: Index,
}

fn id(number: u32) -> TypeId {
    TypeId(number as usize)
}

impl PackedTypes {
    /// What [`Program::pack`] has made. `None` where it is something else.
    pub(crate) fn read(bytes: Vec<u8>) -> Option<Self> {
        let (tables, rest) = postcard::take_from_bytes::<Tables>(&bytes).ok()?;
        let texts = bytes.len() - rest.len();
        let types = texts.checked_add(tables.text_ends.last().map_or(0, |end| *end as usize))?;
        let mut index = Index::default();
        for (address, all) in tables.tasks {
            let types = |(future, scheduler)| TaskTypes { future: id(future), scheduler: id(scheduler) };
            index.tasks.insert(address, all.into_iter().map(types).collect());
        }
        index.polls = tables.polls.into_iter().map(|(address, name)| (address, name.into())).collect();
        index.vtables = tables.vtables.into_iter().map(|(address, ty)| (address, id(ty))).collect();
        index.contexts = tables.contexts.into_iter().map(|(offset, ty)| ThreadLocal { offset, ty: id(ty) }).collect();
        let root = |(start, end, future)| Root { start, end, future: id(future) };
        let packed = Packed {
            source_roots: tables.source_roots,
            roots: tables.roots.into_iter().map(root).collect(),
            futures: tables.futures,
            named: tables.named,
            text_ends: tables.text_ends,
            type_ends: tables.type_ends,
            bytes,
            texts,
            types,
        };
        Some(Self { packed, index })
    }
}

impl Packed {
    fn part(&self, start: usize, ends: &[u32], number: usize) -> Option<&[u8]> {
        let from = number.checked_sub(1).map_or(Some(&0), |before| ends.get(before))?;
        let range = start.checked_add(*from as usize)?..start.checked_add(*ends.get(number)? as usize)?;
        self.bytes.get(range)
    }

    fn text(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.part(self.texts, &self.text_ends, number as usize)?).ok()
    }

    fn number_of(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, u32::try_from(self.text_ends.len()).ok()?);
        while low < high {
            let middle = low.midpoint(high);
            match self.text(middle)?.cmp(text) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn record(&self, id: TypeId) -> Option<TypeRecord> {
        postcard::from_bytes(self.part(self.types, &self.type_ends, id.0)?).ok()
    }

    pub(super) fn is_polled(&self, name: &str) -> bool {
        self.number_of(name).is_some_and(|number| self.futures.binary_search(&number).is_ok())
    }

    pub(super) fn named(&self, name: &str) -> Option<TypeId> {
        let number = self.number_of(name)?;
        let found = self.named.binary_search_by_key(&number, |(name, _)| *name).ok()?;
        self.named.get(found).map(|(_, ty)| id(*ty))
    }

    pub(super) fn ty(&self, id: TypeId) -> Option<Type> {
        let record = self.record(id)?;
        let shape = match record.shape {
            ShapeRecord::Structure(members) => {
                Shape::Structure(members.into_iter().map(|member| self.member(&member)).collect::<Option<_>>()?)
            }
            ShapeRecord::Variants { discriminant, variants } => {
                let variant = |(discriminant, content): (Option<u128>, MemberRecord)| {
                    Some(Variant { discriminant, content: self.member(&content)? })
                };
                Shape::Variants { discriminant, variants: variants.into_iter().map(variant).collect::<Option<_>>()? }
            }
            ShapeRecord::Pointer(target) => Shape::Pointer(target.map(self::id)),
            ShapeRecord::Scalar => Shape::Scalar,
            ShapeRecord::Other => Shape::Other,
        };
        Some(Type { name: self.text(record.name)?.into(), size: record.size, shape })
    }

    fn member(&self, record: &MemberRecord) -> Option<Member> {
        let place = record.place.and_then(|(file, line)| Some(SourcePlace { file: self.text(file)?.into(), line }));
        Some(Member { name: self.text(record.name)?.into(), ty: id(record.ty), offset: record.offset, place })
    }
}

/// Packs what tasks lead to, and Tokio's own types. `None` where that is too much.
pub(super) fn pack(program: &Program<'_>, index: &Index) -> Option<Vec<u8>> {
    let collected = Collected::of(program, index);
    let texts = collected.texts();
    let number = |text: &str| texts.get(text).copied();
    let place = |ty: TypeId| collected.places.get(&ty).copied();
    let mut types = Vec::new();
    let mut type_ends = Vec::new();
    for (_, ty) in &collected.list {
        types = postcard::to_extend(&record(ty, &number, &place)?, types).ok()?;
        type_ends.push(u32::try_from(types.len()).ok()?);
    }
    let (mut bytes, mut text_ends) = (Vec::new(), Vec::new());
    let mut sorted: Vec<&str> = texts.keys().copied().collect();
    sorted.sort_unstable();
    for text in &sorted {
        bytes.extend_from_slice(text.as_bytes());
        text_ends.push(u32::try_from(bytes.len()).ok()?);
    }
    let tasks = index.tasks.iter().map(|(address, all)| {
        let types = all.iter().filter_map(|types| Some((place(types.future)?, place(types.scheduler)?)));
        (*address, types.collect())
    });
    let mut futures: Vec<u32> = index.futures.iter().filter_map(|name| number(name)).collect();
    futures.sort_unstable();
    let named = collected.list.iter().filter(|(id, ty)| program.named(&ty.name) == Some(*id));
    let mut named: Vec<(u32, u32)> = named.filter_map(|(id, ty)| Some((number(&ty.name)?, place(*id)?))).collect();
    named.sort_unstable();
    let vtables = index.vtables.iter().filter_map(|(address, ty)| Some((*address, place(*ty)?)));
    let contexts = index.contexts.iter().filter_map(|context| Some((context.offset, place(context.ty)?)));
    let tables = Tables {
        source_roots: program.source_roots(),
        tasks: tasks.collect(),
        polls: index.polls.iter().map(|(address, name)| (*address, name.to_string())).collect(),
        vtables: vtables.collect(),
        contexts: contexts.collect(),
        roots: program.roots().iter().filter_map(|root| Some((root.start, root.end, place(root.future)?))).collect(),
        futures,
        named,
        text_ends,
        type_ends,
    };
    let mut all = postcard::to_allocvec(&tables).ok()?;
    all.extend(bytes);
    all.extend(types);
    Some(all)
}

/// The types that are packed.
#[derive(Default)]
struct Collected {
    list: Vec<(TypeId, Arc<Type>)>,
    places: HashMap<TypeId, u32>,
}

impl Collected {
    fn of(program: &Program<'_>, index: &Index) -> Self {
        let mut roots: Vec<TypeId> = index.contexts.iter().map(|context| context.ty).collect();
        for types in index.tasks.values().flatten() {
            roots.extend([types.future, types.scheduler]);
        }
        roots.extend(index.by_name.iter().filter(|(name, _)| name.starts_with(LOOKED_FOR)).map(|(_, ty)| *ty));
        roots.extend(index.vtables.values());
        roots.extend(index.roots.values());
        // In order, so that the same program gives the same bytes.
        let roots: BTreeSet<TypeId> = roots.into_iter().collect();
        let mut collected = Self::default();
        let mut waiting: Vec<TypeId> = roots.into_iter().rev().collect();
        while let Some(id) = waiting.pop() {
            if collected.places.contains_key(&id) || collected.list.len() >= MAX_TYPES {
                continue;
            }
            let Some(ty) = program.ty(id) else { continue };
            let Ok(place) = u32::try_from(collected.list.len()) else { break };
            match &ty.shape {
                Shape::Structure(members) => waiting.extend(members.iter().map(|member| member.ty)),
                Shape::Variants { variants, .. } => waiting.extend(variants.iter().map(|part| part.content.ty)),
                Shape::Pointer(target) => waiting.extend(target),
                Shape::Scalar | Shape::Other => {}
            }
            // The type that is found by this name, where this is a part of it or the same in another unit.
            waiting.extend(program.named(&ty.name));
            collected.places.insert(id, place);
            collected.list.push((id, ty));
        }
        collected
    }

    /// All texts with their numbers.
    fn texts(&self) -> HashMap<&str, u32> {
        let mut all: BTreeSet<&str> = BTreeSet::new();
        for (_, ty) in &self.list {
            all.insert(&ty.name);
            let members: Vec<&Member> = match &ty.shape {
                Shape::Structure(members) => members.iter().collect(),
                Shape::Variants { variants, .. } => variants.iter().map(|variant| &variant.content).collect(),
                _ => Vec::new(),
            };
            for member in members {
                all.insert(&member.name);
                all.extend(member.place.as_ref().map(|place| &*place.file));
            }
        }
        all.into_iter().zip(0..).collect()
    }
}

/// What an absent type is called: there is no such number.
const ABSENT: u32 = u32::MAX;

fn record(ty: &Type, text: &dyn Fn(&str) -> Option<u32>, place: &dyn Fn(TypeId) -> Option<u32>) -> Option<TypeRecord> {
    let member = |member: &Member| {
        let source = match &member.place {
            Some(source) => Some((text(&source.file)?, source.line)),
            None => None,
        };
        let ty = place(member.ty).unwrap_or(ABSENT);
        Some(MemberRecord { name: text(&member.name)?, ty, offset: member.offset, place: source })
    };
    let shape = match &ty.shape {
        Shape::Structure(members) => ShapeRecord::Structure(members.iter().map(member).collect::<Option<_>>()?),
        Shape::Variants { discriminant, variants } => {
            let variants = variants.iter().map(|variant| Some((variant.discriminant, member(&variant.content)?)));
            ShapeRecord::Variants { discriminant: *discriminant, variants: variants.collect::<Option<_>>()? }
        }
        Shape::Pointer(target) => ShapeRecord::Pointer(target.and_then(place)),
        Shape::Scalar => ShapeRecord::Scalar,
        Shape::Other => ShapeRecord::Other,
    };
    Some(TypeRecord { name: text(&ty.name)?, size: ty.size, shape })
}
