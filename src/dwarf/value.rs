//! Values in a process's memory: an address, and the type of what lies there.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::program::Program;
use super::types::{Member, Shape, Type, TypeId};
use crate::model::census::SourcePlace;

/// Bytes at addresses: a process's memory, a copy of it, or what a test makes up.
pub(crate) trait Memory: Sync {
    /// Fills `into` with what lies at `address`; false where not all of it can be read.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;
}

/// Why something could not be read: the layout is not as expected, or the bytes make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown(String);

impl Unknown {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unknown {}

/// A value of a known type at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Value {
    pub(crate) ty: TypeId,
    pub(crate) address: u64,
}

/// The variant that an enum or a coroutine is in.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) name: String,
    pub(crate) content: Value,
    /// Of a coroutine: the await it is suspended at.
    pub(crate) place: Option<SourcePlace>,
}

/// Reads values. Each step costs one of a budget that is set per task, so that no bytes can make it go on for ever.
pub(crate) struct Values<'a, 'd> {
    pub(crate) program: &'a Program<'d>,
    pub(crate) memory: &'a dyn Memory,
    /// What to subtract from an address in memory to get the one that the program's file uses.
    pub(crate) bias: u64,
    budget: Cell<u32>,
}

impl fmt::Debug for Values<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("bias", &self.bias).finish_non_exhaustive()
    }
}

impl<'a, 'd> Values<'a, 'd> {
    pub(crate) fn new(program: &'a Program<'d>, memory: &'a dyn Memory, bias: u64) -> Self {
        Self { program, memory, bias, budget: Cell::new(0) }
    }

    /// How many steps may follow.
    pub(crate) fn allow(&self, steps: u32) {
        self.budget.set(steps);
    }

    fn step(&self) -> Result<(), Unknown> {
        let left = self.budget.get().checked_sub(1).ok_or_else(|| Unknown::new("it is too large to be read"))?;
        self.budget.set(left);
        Ok(())
    }

    /// A value's type.
    pub(crate) fn ty(&self, value: Value) -> Result<Arc<Type>, Unknown> {
        self.step()?;
        self.program.ty(value.ty).ok_or_else(|| Unknown::new("a type is not described"))
    }

    /// The bytes at an address as a number, the lowest byte first.
    pub(crate) fn number(&self, address: u64, size: u64) -> Result<u128, Unknown> {
        self.step()?;
        let mut bytes = [0; 16];
        let part = usize::try_from(size).ok().and_then(|size| bytes.get_mut(..size));
        let part = part.ok_or_else(|| Unknown::new(format!("a number of {size} bytes")))?;
        if !self.memory.read(address, part) {
            return Err(Unknown::new(format!("no memory at {address:#x}")));
        }
        Ok(u128::from_le_bytes(bytes))
    }

    /// The word at an address.
    pub(crate) fn word(&self, address: u64) -> Result<u64, Unknown> {
        let number = self.number(address, 8)?;
        u64::try_from(number).map_err(|_| Unknown::new("not a word"))
    }

    fn part(value: Value, member: &Member) -> Value {
        Value { ty: member.ty, address: value.address.wrapping_add(member.offset) }
    }

    /// A member by its name.
    pub(crate) fn member(&self, value: Value, name: &str) -> Result<Value, Unknown> {
        let ty = self.ty(value)?;
        let found = match &ty.shape {
            Shape::Structure(members) => members.iter().find(|member| &*member.name == name),
            _ => None,
        };
        let found = found.ok_or_else(|| Unknown::new(format!("{} has no member {name}", ty.name)))?;
        Ok(Self::part(value, found))
    }

    /// Every member of a structure; nothing of other types.
    pub(crate) fn members(&self, value: Value) -> Result<Vec<(Arc<str>, Value)>, Unknown> {
        let ty = self.ty(value)?;
        let Shape::Structure(members) = &ty.shape else { return Ok(Vec::new()) };
        Ok(members.iter().map(|member| (member.name.clone(), Self::part(value, member))).collect())
    }

    /// The variant that an enum or a coroutine is in.
    pub(crate) fn active(&self, value: Value) -> Result<Active, Unknown> {
        let ty = self.ty(value)?;
        let Shape::Variants { discriminant, variants } = &ty.shape else {
            return Err(Unknown::new(format!("{} is no enum", ty.name)));
        };
        let marker = match discriminant {
            Some((offset, size)) => Some(self.number(value.address.wrapping_add(*offset), *size)?),
            None => None,
        };
        let told = marker.and_then(|marker| variants.iter().find(|variant| variant.discriminant == Some(marker)));
        let found = told.or_else(|| variants.iter().find(|variant| variant.discriminant.is_none()));
        let found = found.ok_or_else(|| Unknown::new(format!("{} is in no known state", ty.name)))?;
        let name = super::last_segment(&self.program.name(found.content.ty)).to_owned();
        Ok(Active { name, content: Self::part(value, &found.content), place: found.content.place.clone() })
    }

    /// What a pointer points to.
    pub(crate) fn pointee(&self, value: Value) -> Result<Value, Unknown> {
        let ty = self.ty(value)?;
        match ty.shape {
            Shape::Pointer(Some(target)) => Ok(Value { ty: target, address: self.word(value.address)? }),
            _ => Err(Unknown::new(format!("{} is no pointer", ty.name))),
        }
    }

    /// The first part, of any depth but not behind pointers, that is of a wanted type. Of an enum, the active variant.
    pub(crate) fn find(&self, value: Value, depth: u32, wanted: &dyn Fn(&Type) -> bool) -> Option<Value> {
        let ty = self.ty(value).ok()?;
        if wanted(&ty) {
            return Some(value);
        }
        let depth = depth.checked_sub(1)?;
        match &ty.shape {
            Shape::Structure(members) => {
                members.iter().find_map(|member| self.find(Self::part(value, member), depth, wanted))
            }
            Shape::Variants { .. } => self.find(self.active(value).ok()?.content, depth, wanted),
            _ => None,
        }
    }

    /// The first part whose type has a qualified name that begins like this.
    pub(crate) fn find_named(&self, value: Value, depth: u32, prefix: &str) -> Result<Value, Unknown> {
        self.find(value, depth, &|ty| ty.name.starts_with(prefix)).ok_or_else(|| {
            Unknown::new(format!("no {} in {}", prefix.trim_end_matches('<'), self.program.name(value.ty)))
        })
    }

    /// The first number in a value, such as that of a `Cell<NonZero<Atomic<…>>>`.
    pub(crate) fn scalar(&self, value: Value) -> Result<u64, Unknown> {
        let found = self.find(value, 16, &|ty| matches!(ty.shape, Shape::Scalar | Shape::Pointer(_)));
        let found = found.ok_or_else(|| Unknown::new(format!("no number in {}", self.program.name(value.ty))))?;
        let number = self.number(found.address, self.ty(found)?.size)?;
        u64::try_from(number).map_err(|_| Unknown::new("a number of more than 64 bits"))
    }

    /// The address in a value that is one pointer, or none: an `Option<NonNull<…>>`, an `AtomicPtr`. 0 for none.
    pub(crate) fn address(&self, value: Value) -> Result<u64, Unknown> {
        match self.ty(value)?.size {
            8 => self.word(value.address),
            size => Err(Unknown::new(format!("{} of {size} bytes is no pointer", self.program.name(value.ty)))),
        }
    }

    /// What the first pointer in a value points to: of a `Box`, an `Arc`, a `NonNull`.
    pub(crate) fn behind(&self, value: Value) -> Result<Value, Unknown> {
        let found = self.find(value, 12, &|ty| matches!(ty.shape, Shape::Pointer(_)));
        self.pointee(found.ok_or_else(|| Unknown::new(format!("no pointer in {}", self.program.name(value.ty))))?)
    }

    /// An address in memory, as the program's file has it.
    pub(crate) fn in_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }
}
