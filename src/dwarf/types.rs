//! Types: size, members and variants. They are read from the debug information when they are needed.

use std::sync::Arc;

use gimli::{AttributeValue, DebuggingInformationEntry, UnitOffset};

use super::sections::Slice;
use super::units::{TypeId, Unit, Units};
use crate::model::census::SourcePlace;

/// The maximum number of members or variants that are read of one type.
const MAX_PARTS: usize = 4096;

/// The types of a task's future and scheduler: the type arguments of the function that polls the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskTypes {
    pub(crate) future: TypeId,
    pub(crate) scheduler: TypeId,
}

/// A thread-local variable of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadLocal {
    /// Its offset in the program's block of thread-local variables.
    pub(crate) offset: u64,
    pub(crate) ty: TypeId,
}

/// A type.
#[derive(Debug)]
pub(crate) struct Type {
    /// The qualified name with type arguments, as the compiler writes it.
    pub(crate) name: Arc<str>,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) shape: Shape,
}

/// The structure of a type.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A structure, tuple, union, closure, or the content of one variant.
    Structure(Vec<Member>),
    /// An enum, or a coroutine with its states as variants.
    Variants {
        /// Offset and size of the discriminant. `None` if there is only one variant.
        discriminant: Option<(u64, u64)>,
        variants: Vec<Variant>,
    },
    /// A thin pointer or reference.
    Pointer(Option<TypeId>),
    /// A number.
    Scalar,
    Other,
}

/// One variant of an enum.
#[derive(Debug)]
pub(crate) struct Variant {
    /// `None` for the default variant, which covers all other values of the discriminant.
    pub(crate) discriminant: Option<u128>,
    pub(crate) content: Member,
}

/// A member of a type.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    pub(crate) ty: TypeId,
    pub(crate) offset: u64,
    /// The line that declares it. For a coroutine's variant: the await at which it is suspended.
    pub(crate) place: Option<SourcePlace>,
}

/// Reads the types of one unit.
pub(super) struct TypeReader<'p, 'd> {
    pub(super) unit: &'p Unit<'d>,
    pub(super) units: &'p Units<'d>,
}

type Entry<'d> = DebuggingInformationEntry<Slice<'d>>;

impl<'d> TypeReader<'_, 'd> {
    /// The type with the entry at `offset`. `name` is its qualified name, if the index has one.
    pub(super) fn read(&self, offset: UnitOffset, name: Option<Arc<str>>) -> Option<Type> {
        let mut tree = self.unit.unit.entries_tree(Some(offset)).ok()?;
        let root = tree.root().ok()?;
        let entry = root.entry();
        let name = name.or_else(|| self.name(entry)).unwrap_or_else(|| "".into());
        let size = number(entry, gimli::DW_AT_byte_size);
        let target = self.reference(entry, gimli::DW_AT_type);
        let (size, shape) = match entry.tag() {
            gimli::DW_TAG_pointer_type => (Some(8), Shape::Pointer(target)),
            gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type => (size, Shape::Scalar),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => (size, self.structure(root)?),
            _ => (size, Shape::Other),
        };
        Some(Type { name, size: size.unwrap_or(0), shape })
    }

    fn structure(&self, root: gimli::EntriesTreeNode<'_, '_, Slice<'d>>) -> Option<Shape> {
        let mut members = Vec::new();
        let mut children = root.children();
        while let Some(child) = children.next().ok()? {
            match child.entry().tag() {
                gimli::DW_TAG_member if members.len() < MAX_PARTS => members.extend(self.member(child.entry())),
                gimli::DW_TAG_variant_part => return self.variants(child),
                _ => {}
            }
        }
        Some(Shape::Structure(members))
    }

    fn variants(&self, part: gimli::EntriesTreeNode<'_, '_, Slice<'d>>) -> Option<Shape> {
        let discriminant_entry = self.reference(part.entry(), gimli::DW_AT_discr);
        let (mut discriminant, mut variants) = (None, Vec::new());
        let mut children = part.children();
        while let Some(child) = children.next().ok()? {
            let entry = child.entry();
            match entry.tag() {
                gimli::DW_TAG_member if discriminant_entry == Some(self.unit.id(entry.offset())) => {
                    let member = self.member(entry)?;
                    discriminant = Some((member.offset, self.size(member.ty)?));
                }
                gimli::DW_TAG_variant if variants.len() < MAX_PARTS => {
                    let value = discriminant_value(entry);
                    let mut parts = child.children();
                    while let Some(part) = parts.next().ok()? {
                        if part.entry().tag() == gimli::DW_TAG_member {
                            let content = self.member(part.entry());
                            variants.extend(content.map(|content| Variant { discriminant: value, content }));
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Shape::Variants { discriminant, variants })
    }

    fn member(&self, entry: &Entry<'d>) -> Option<Member> {
        let ty = self.reference(entry, gimli::DW_AT_type)?;
        let name = self.name(entry).unwrap_or_else(|| "".into());
        let offset = number(entry, gimli::DW_AT_data_member_location).unwrap_or(0);
        Some(Member { name, ty, offset, place: self.place(entry) })
    }

    /// The size of a discriminant's type. Link-time optimization may have put its description in another unit.
    fn size(&self, id: TypeId) -> Option<u64> {
        let (unit, offset) = self.units.find(id)?;
        number(&unit.unit.entry(offset).ok()?, gimli::DW_AT_byte_size)
    }

    fn name(&self, entry: &Entry<'d>) -> Option<Arc<str>> {
        let name = self.unit.text(entry.attr_value(gimli::DW_AT_name)?)?;
        Some(name.to_string_lossy().into())
    }

    fn reference(&self, entry: &Entry<'d>, attribute: gimli::DwAt) -> Option<TypeId> {
        self.unit.reference(entry.attr_value(attribute)?)
    }

    fn place(&self, entry: &Entry<'d>) -> Option<SourcePlace> {
        let line = u32::try_from(number(entry, gimli::DW_AT_decl_line)?).ok()?;
        let index = match entry.attr_value(gimli::DW_AT_decl_file)? {
            AttributeValue::FileIndex(index) => index,
            value => value.udata_value()?,
        };
        Some(SourcePlace { file: self.unit.source_file(index)?.into(), line })
    }
}

fn number(entry: &Entry<'_>, attribute: gimli::DwAt) -> Option<u64> {
    entry.attr_value(attribute)?.udata_value()
}

fn discriminant_value(entry: &Entry<'_>) -> Option<u128> {
    match entry.attr_value(gimli::DW_AT_discr_value)? {
        // Values of 128 bits, in little-endian order.
        AttributeValue::Block(block) => {
            let bytes = block.slice().iter().take(16).enumerate();
            Some(bytes.fold(0, |value, (position, byte)| value | u128::from(*byte) << (8 * position)))
        }
        AttributeValue::Sdata(value) => Some(i128::from(value).cast_unsigned()),
        value => value.udata_value().map(u128::from),
    }
}
