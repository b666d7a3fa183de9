//! Values in the memory of a process: an address with a type.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::find::{Outcome, Searches, Wanted};
use super::names::last_segment;
use super::program::Program;
use super::types::{Member, Shape, Type};
use super::units::TypeId;
use crate::model::address_hash::BuildAddressHasher;
use crate::model::census::SourcePlace;

/// The maximum number of bytes that are kept near.
const MAX_NEAR: u64 = 4096;

/// Bytes at addresses: the memory of a process, a copy of it, or test data.
pub(crate) trait Memory: Sync {
    /// Fills `into` with the bytes at `address`. Returns false if some of them cannot be read.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;
}

/// The reason why something could not be read: the types are not as expected, or the bytes are invalid.
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

impl Value {
    /// A member of this structure.
    pub(crate) fn part(self, member: &Member) -> Self {
        Self { ty: member.ty, address: self.address.wrapping_add(member.offset) }
    }
}

/// The active variant of an enum or coroutine.
#[derive(Clone, Debug)]
pub(crate) struct ActiveVariant {
    pub(crate) name: Arc<str>,
    pub(crate) content: Value,
    /// For a coroutine: the await at which it is suspended.
    pub(crate) place: Option<SourcePlace>,
}

/// Reads values. Each step uses up some of a budget, which is set for each task, so that invalid memory cannot cause an
/// endless loop.
pub(crate) struct Values<'a, 'd> {
    pub(crate) program: &'a Program<'d>,
    pub(crate) memory: &'a dyn Memory,
    /// The difference between an address in memory and the same address in the program's file.
    pub(crate) bias: u64,
    budget: Cell<u32>,
    /// The names of types as a developer writes them. Many tasks have futures of the same types.
    names: RefCell<ByType<String>>,
    variant_names: RefCell<ByType<Arc<str>>>,
    /// Types that were looked up. The program's own table has a lock.
    types: RefCell<ByType<Option<Arc<Type>>>>,
    searches: RefCell<Searches>,
    facts: RefCell<HashMap<(TypeId, u8), bool, BuildAddressHasher>>,
    near: RefCell<Near>,
}

/// Something for each type.
type ByType<T> = HashMap<TypeId, T, BuildAddressHasher>;

/// Memory that is read at once, because most of what follows is there.
#[derive(Debug, Default)]
struct Near {
    start: u64,
    bytes: Vec<u8>,
}

impl fmt::Debug for Values<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("bias", &self.bias).finish_non_exhaustive()
    }
}

impl<'a, 'd> Values<'a, 'd> {
    pub(crate) fn new(program: &'a Program<'d>, memory: &'a dyn Memory, bias: u64) -> Self {
        Self {
            program,
            memory,
            bias,
            budget: Cell::new(0),
            names: RefCell::default(),
            variant_names: RefCell::default(),
            types: RefCell::default(),
            searches: RefCell::default(),
            facts: RefCell::default(),
            near: RefCell::default(),
        }
    }

    /// The name of a type as a developer writes it. `make` is called once for each type.
    pub(crate) fn display_name(&self, ty: TypeId, make: impl FnOnce() -> String) -> String {
        if let Some(known) = self.names.borrow().get(&ty) {
            return known.clone();
        }
        // Not borrowed meanwhile: it may read values too.
        let name = make();
        self.names.borrow_mut().insert(ty, name.clone());
        name
    }

    /// Sets how many steps are allowed from now on.
    pub(crate) fn set_budget(&self, steps: u32) {
        self.budget.set(steps);
    }

    fn step(&self) -> Result<(), Unknown> {
        let left = self.budget.get().checked_sub(1).ok_or_else(|| Unknown::new("it takes too many steps to read"))?;
        self.budget.set(left);
        Ok(())
    }

    /// The type of a value.
    pub(crate) fn ty(&self, value: Value) -> Result<Arc<Type>, Unknown> {
        self.step()?;
        let mut types = self.types.borrow_mut();
        let ty = types.entry(value.ty).or_insert_with(|| self.program.ty(value.ty));
        ty.clone().ok_or_else(|| Unknown::new("a type is not described"))
    }

    /// Reads the memory of a task at once. It stays the same until the next call.
    pub(crate) fn keep_near(&self, start: u64, size: u64) {
        let mut near = self.near.borrow_mut();
        near.start = start;
        near.bytes.resize(usize::try_from(size.min(MAX_NEAR)).unwrap_or(0), 0);
        if !self.memory.read(start, &mut near.bytes) {
            near.bytes.clear();
        }
    }

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let near = self.near.borrow();
        let offset = address.checked_sub(near.start).and_then(|offset| usize::try_from(offset).ok());
        let part = offset.and_then(|offset| near.bytes.get(offset..offset.checked_add(into.len())?));
        match part {
            Some(part) => {
                into.copy_from_slice(part);
                true
            }
            None => self.memory.read(address, into),
        }
    }

    /// The bytes at an address as a little-endian number.
    pub(crate) fn number(&self, address: u64, size: u64) -> Result<u128, Unknown> {
        self.step()?;
        let mut bytes = [0; 16];
        let part = usize::try_from(size).ok().and_then(|size| bytes.get_mut(..size));
        let part = part.ok_or_else(|| Unknown::new(format!("a number of {size} bytes")))?;
        if !self.read(address, part) {
            return Err(Unknown::new(format!("the memory at {address:#x} cannot be read")));
        }
        Ok(u128::from_le_bytes(bytes))
    }

    /// The 64-bit word at an address.
    pub(crate) fn word(&self, address: u64) -> Result<u64, Unknown> {
        let number = self.number(address, 8)?;
        u64::try_from(number).map_err(|_| Unknown::new("not a word"))
    }

    /// A member by its name.
    pub(crate) fn member(&self, value: Value, name: &str) -> Result<Value, Unknown> {
        let ty = self.ty(value)?;
        let found = match &ty.shape {
            Shape::Structure(members) => members.iter().find(|member| &*member.name == name),
            _ => None,
        };
        let found = found.ok_or_else(|| Unknown::new(format!("{} has no member {name}", ty.name)))?;
        Ok(value.part(found))
    }

    /// All members of a structure. Empty for other types.
    pub(crate) fn members(&self, value: Value) -> Result<Vec<(Arc<str>, Value)>, Unknown> {
        let ty = self.ty(value)?;
        let Shape::Structure(members) = &ty.shape else { return Ok(Vec::new()) };
        Ok(members.iter().map(|member| (member.name.clone(), value.part(member))).collect())
    }

    /// The active variant of an enum or coroutine.
    pub(crate) fn active_variant(&self, value: Value) -> Result<ActiveVariant, Unknown> {
        let ty = self.ty(value)?;
        let Shape::Variants { discriminant, variants } = &ty.shape else {
            return Err(Unknown::new(format!("{} is not an enum", ty.name)));
        };
        let discriminant = match discriminant {
            Some((offset, size)) => Some(self.number(value.address.wrapping_add(*offset), *size)?),
            None => None,
        };
        let exact = discriminant.and_then(|value| variants.iter().find(|one| one.discriminant == Some(value)));
        let found = exact.or_else(|| variants.iter().find(|variant| variant.discriminant.is_none()));
        let found = found.ok_or_else(|| Unknown::new(format!("{} is in no known state", ty.name)))?;
        let name = self.variant_name(found.content.ty);
        let content = value.part(&found.content);
        Ok(ActiveVariant { name, content, place: found.content.place.clone() })
    }

    /// The target of a pointer.
    pub(crate) fn pointee(&self, value: Value) -> Result<Value, Unknown> {
        let ty = self.ty(value)?;
        match ty.shape {
            Shape::Pointer(Some(target)) => Ok(Value { ty: target, address: self.word(value.address)? }),
            _ => Err(Unknown::new(format!("{} is not a pointer", ty.name))),
        }
    }

    /// The first part of a wanted type. The search is depth-first, follows no pointers, and enters only the active variant
    /// of an enum.
    pub(crate) fn find(&self, value: Value, depth: u32, wanted: &dyn Fn(&Type) -> bool) -> Option<Value> {
        let ty = self.ty(value).ok()?;
        if wanted(&ty) {
            return Some(value);
        }
        let depth = depth.checked_sub(1)?;
        match &ty.shape {
            Shape::Structure(members) => members.iter().find_map(|member| self.find(value.part(member), depth, wanted)),
            Shape::Variants { .. } => self.find(self.active_variant(value).ok()?.content, depth, wanted),
            _ => None,
        }
    }

    /// The same, with the outcomes of earlier searches.
    fn find_known(&self, value: Value, depth: u32, wanted: Wanted) -> Option<Value> {
        self.step().ok()?;
        let outcome = self.searches.borrow_mut().outcome(self.program, value.ty, depth, wanted);
        match outcome {
            Outcome::Part(offset, ty) => Some(Value { ty, address: value.address.wrapping_add(offset) }),
            Outcome::Nothing => None,
            Outcome::ByVariant => {
                let ty = self.ty(value).ok()?;
                let depth = depth.checked_sub(1)?;
                match &ty.shape {
                    Shape::Structure(members) => {
                        members.iter().find_map(|member| self.find_known(value.part(member), depth, wanted))
                    }
                    Shape::Variants { .. } => self.find_known(self.active_variant(value).ok()?.content, depth, wanted),
                    _ => None,
                }
            }
        }
    }

    /// The first part of a type with this prefix in its qualified name.
    pub(crate) fn find_named(&self, value: Value, depth: u32, prefix: &'static str) -> Result<Value, Unknown> {
        self.find_known(value, depth, Wanted::Named(prefix)).ok_or_else(|| {
            Unknown::new(format!("no {} in {}", prefix.trim_end_matches('<'), self.program.name(value.ty)))
        })
    }

    /// The first pointer in a value.
    pub(crate) fn find_pointer(&self, value: Value, depth: u32) -> Option<Value> {
        self.find_known(value, depth, Wanted::Pointer)
    }

    /// The first number in a value, such as the number in a `Cell<NonZero<Atomic<…>>>`.
    pub(crate) fn scalar(&self, value: Value) -> Result<u64, Unknown> {
        let found = self.find_known(value, 16, Wanted::Number);
        let found = found.ok_or_else(|| Unknown::new(format!("no number in {}", self.program.name(value.ty))))?;
        let number = self.number(found.address, self.ty(found)?.size)?;
        u64::try_from(number).map_err(|_| Unknown::new("a number of more than 64 bits"))
    }

    /// The target of the first pointer in a value, such as a `Box`, an `Arc` or a `NonNull`.
    pub(crate) fn dereference(&self, value: Value) -> Result<Value, Unknown> {
        let found = self.find_pointer(value, 12);
        self.pointee(found.ok_or_else(|| Unknown::new(format!("no pointer in {}", self.program.name(value.ty))))?)
    }

    /// What is known of a type once and for all. `make` is called once for each type and question.
    pub(crate) fn fact(&self, ty: TypeId, question: u8, make: impl FnOnce() -> bool) -> bool {
        if let Some(known) = self.facts.borrow().get(&(ty, question)) {
            return *known;
        }
        // A damaged type may contain itself. While the answer is made, it is no.
        self.facts.borrow_mut().insert((ty, question), false);
        let fact = make();
        self.facts.borrow_mut().insert((ty, question), fact);
        fact
    }

    /// The name of a variant, by the type of its content.
    fn variant_name(&self, content: TypeId) -> Arc<str> {
        let mut names = self.variant_names.borrow_mut();
        let name = names.entry(content).or_insert_with(|| last_segment(&self.program.name(content)).into());
        Arc::clone(name)
    }

    /// The address in a value with the size of a pointer, such as an `Option<NonNull<…>>` or an `AtomicPtr`. 0 for null.
    pub(crate) fn address(&self, value: Value) -> Result<u64, Unknown> {
        match self.ty(value)?.size {
            8 => self.word(value.address),
            size => Err(Unknown::new(format!("{} of {size} bytes is not a pointer", self.program.name(value.ty)))),
        }
    }

    /// The address in the program's file, for an address in memory.
    pub(crate) fn file_address(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }
}
