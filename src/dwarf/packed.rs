//! The types of a program in a compact form that needs no debug information. It is cached on disk, and can be extracted
//! for a stripped program.
//!
//! The tables come first and are read as a whole. The texts and types follow; each is read when it is needed. Texts are
//! numbered in alphabetical order, so that names are found by binary search. The bytes may be damaged: what does not
//! fit is treated as absent.

use serde::{Deserialize, Serialize};

use super::block_on_code::BlockOnCode;
use super::index::AddressIndex;
use super::types::{Member, Shape, TaskTypes, ThreadLocal, Type, Variant};
use super::units::TypeId;
use crate::model::census::SourcePlace;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tables {
    pub(super) source_roots: Vec<String>,
    /// Addresses of functions that poll tasks, with the types of future and scheduler.
    pub(super) tasks: Vec<(u64, Vec<(u32, u32)>)>,
    pub(super) poll_names: Vec<(u64, String)>,
    pub(super) vtables: Vec<(u64, u32)>,
    pub(super) contexts: Vec<(u64, u32)>,
    /// Start and end of code that polls a future given to `block_on`, with the type of the future.
    pub(super) block_on_code: Vec<(u64, u64, u32)>,
    /// The names of types that are polled, in order.
    pub(super) futures: Vec<u32>,
    /// Names with the types that have them, in order.
    pub(super) named: Vec<(u32, u32)>,
    /// The end of each text.
    pub(super) text_ends: Vec<u32>,
    /// The end of each type.
    pub(super) type_ends: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TypeRecord {
    pub(super) name: u32,
    pub(super) size: u64,
    pub(super) shape: ShapeRecord,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ShapeRecord {
    Structure(Vec<MemberRecord>),
    Variants { discriminant: Option<(u64, u64)>, variants: Vec<(Option<u128>, MemberRecord)> },
    Pointer(Option<u32>),
    Scalar,
    Other,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MemberRecord {
    pub(super) name: u32,
    pub(super) ty: u32,
    pub(super) offset: u64,
    /// File and line.
    pub(super) place: Option<(u32, u32)>,
}

/// The types of a program in the compact form.
#[derive(Debug)]
pub(crate) struct PackedTypes {
    addresses: AddressIndex,
    source_roots: Vec<String>,
    block_on_code: Vec<BlockOnCode>,
    futures: Vec<u32>,
    named: Vec<(u32, u32)>,
    text_ends: Vec<u32>,
    type_ends: Vec<u32>,
    bytes: Vec<u8>,
    /// The offset of the first text in the bytes.
    texts: usize,
    /// The offset of the first type in the bytes.
    types: usize,
}

fn id(number: u32) -> TypeId {
    TypeId(number as usize)
}

impl PackedTypes {
    /// Reads bytes that [`super::pack`] made. `None` if they are something else.
    pub(crate) fn read(bytes: Vec<u8>) -> Option<Self> {
        let (tables, rest) = postcard::take_from_bytes::<Tables>(&bytes).ok()?;
        let texts = bytes.len() - rest.len();
        let types = texts.checked_add(tables.text_ends.last().map_or(0, |end| *end as usize))?;
        let mut addresses = AddressIndex::default();
        for (address, all) in tables.tasks {
            let types = |(future, scheduler)| TaskTypes { future: id(future), scheduler: id(scheduler) };
            addresses.tasks.insert(address, all.into_iter().map(types).collect());
        }
        let names = tables.poll_names.into_iter();
        addresses.poll_names = names.map(|(address, name)| (address, name.into())).collect();
        addresses.vtables = tables.vtables.into_iter().map(|(address, ty)| (address, id(ty))).collect();
        let contexts = tables.contexts.into_iter();
        addresses.contexts = contexts.map(|(offset, ty)| ThreadLocal { offset, ty: id(ty) }).collect();
        let code = |(start, end, future)| BlockOnCode { start, end, future: id(future) };
        Some(Self {
            addresses,
            source_roots: tables.source_roots,
            block_on_code: tables.block_on_code.into_iter().map(code).collect(),
            futures: tables.futures,
            named: tables.named,
            text_ends: tables.text_ends,
            type_ends: tables.type_ends,
            bytes,
            texts,
            types,
        })
    }

    pub(super) fn addresses(&self) -> &AddressIndex {
        &self.addresses
    }

    pub(super) fn source_roots(&self) -> &[String] {
        &self.source_roots
    }

    pub(super) fn block_on_code(&self) -> &[BlockOnCode] {
        &self.block_on_code
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

    /// The bytes of one text or type, by its number.
    fn part(&self, start: usize, ends: &[u32], number: usize) -> Option<&[u8]> {
        let from = number.checked_sub(1).map_or(Some(&0), |before| ends.get(before))?;
        let range = start.checked_add(*from as usize)?..start.checked_add(*ends.get(number)? as usize)?;
        self.bytes.get(range)
    }

    fn text(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.part(self.texts, &self.text_ends, number as usize)?).ok()
    }

    /// The number of a text, found by binary search.
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
}
