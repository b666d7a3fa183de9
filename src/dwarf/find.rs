//! Searches for a part of a value. Where the part is does not depend on memory unless the search enters an enum, so that the
//! outcome of most searches is the same for all values of a type. Such outcomes are kept.

use std::collections::HashMap;

use super::program::Program;
use super::types::{Shape, Type};
use super::units::TypeId;
use crate::model::address_hash::BuildAddressHasher;

/// The part that a search ends at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// A type with this prefix in its qualified name.
    Named(&'static str),
    Pointer,
    /// A number or a pointer.
    Number,
}

impl Wanted {
    fn is(self, ty: &Type) -> bool {
        match self {
            Self::Named(prefix) => ty.name.starts_with(prefix),
            Self::Pointer => matches!(ty.shape, Shape::Pointer(_)),
            Self::Number => matches!(ty.shape, Shape::Scalar | Shape::Pointer(_)),
        }
    }

    /// Differs between texts at different places. A text of the program itself stays in its place.
    fn key(self) -> (u8, usize, usize) {
        match self {
            Self::Named(prefix) => (0, prefix.as_ptr().addr(), prefix.len()),
            Self::Pointer => (1, 0, 0),
            Self::Number => (2, 0, 0),
        }
    }
}

/// The outcome of a search in all values of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A part of this type at this offset.
    Part(u64, TypeId),
    Nothing,
    /// It depends on the variant of an enum.
    ByVariant,
}

/// What a search is for: the type, the depth and the wanted part.
type SearchKey = (TypeId, u32, (u8, usize, usize));

/// The outcomes of searches so far.
#[derive(Default)]
pub(super) struct Searches(HashMap<SearchKey, Outcome, BuildAddressHasher>);

impl Searches {
    pub(super) fn outcome(&mut self, program: &Program<'_>, ty: TypeId, depth: u32, wanted: Wanted) -> Outcome {
        let key = (ty, depth, wanted.key());
        if let Some(known) = self.0.get(&key) {
            return *known;
        }
        let found = self.search(program, ty, depth, wanted);
        self.0.insert(key, found);
        found
    }

    fn search(&mut self, program: &Program<'_>, id: TypeId, depth: u32, wanted: Wanted) -> Outcome {
        let Some(ty) = program.ty(id) else { return Outcome::Nothing };
        if wanted.is(&ty) {
            return Outcome::Part(0, id);
        }
        let Some(depth) = depth.checked_sub(1) else { return Outcome::Nothing };
        match &ty.shape {
            Shape::Structure(members) => {
                for member in members {
                    match self.outcome(program, member.ty, depth, wanted) {
                        Outcome::Part(offset, ty) => return Outcome::Part(member.offset.wrapping_add(offset), ty),
                        Outcome::Nothing => {}
                        Outcome::ByVariant => return Outcome::ByVariant,
                    }
                }
                Outcome::Nothing
            }
            Shape::Variants { variants, .. } => {
                let mut contents = variants.iter().map(|variant| variant.content.ty);
                match contents.all(|ty| self.outcome(program, ty, depth, wanted) == Outcome::Nothing) {
                    true => Outcome::Nothing,
                    false => Outcome::ByVariant,
                }
            }
            Shape::Pointer(_) | Shape::Scalar | Shape::Other => Outcome::Nothing,
        }
    }
}
