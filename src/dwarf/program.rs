//! The types of a program, by name and by id.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::block_on_code::BlockOnCode;
use super::dwarf_types::DwarfTypes;
use super::index::AddressIndex;
use super::packed::PackedTypes;
use super::sections::Sections;
use super::types::{Shape, TaskTypes, ThreadLocal, Type};
use super::units::TypeId;
use crate::model::type_name::arguments;

/// The maximum number of types in the cache. Programs have fewer types that matter; more types are read again.
const MAX_CACHED: usize = 200_000;

/// The types of one program.
pub(crate) struct Program<'d> {
    source: Source<'d>,
    /// Types that were read before.
    cache: RwLock<HashMap<TypeId, Option<Arc<Type>>>>,
}

/// The form of the program's types.
enum Source<'d> {
    Dwarf(DwarfTypes<'d>),
    Packed(PackedTypes),
}

impl std::fmt::Debug for Program<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = match &self.source {
            Source::Dwarf(_) => "DWARF",
            Source::Packed(_) => "packed",
        };
        f.debug_struct("Program").field("source", &source).finish_non_exhaustive()
    }
}

impl<'d> Program<'d> {
    /// Reads the debug information once and builds the index. Damaged units are left out.
    pub(crate) fn of(sections: &'d Sections) -> Self {
        Self::from_source(Source::Dwarf(DwarfTypes::read(sections)))
    }

    /// The program of types that [`super::pack`] packed.
    pub(crate) fn unpacked(types: PackedTypes) -> Self {
        Self::from_source(Source::Packed(types))
    }

    fn from_source(source: Source<'d>) -> Self {
        Self { source, cache: RwLock::default() }
    }

    /// The debug information, unless the types are packed.
    pub(super) fn dwarf(&self) -> Option<&DwarfTypes<'d>> {
        match &self.source {
            Source::Dwarf(types) => Some(types),
            Source::Packed(_) => None,
        }
    }

    fn addresses(&self) -> &AddressIndex {
        match &self.source {
            Source::Dwarf(types) => types.addresses(),
            Source::Packed(types) => types.addresses(),
        }
    }

    /// The directories in which the program's own packages were compiled.
    pub(crate) fn source_roots(&self) -> Vec<String> {
        match &self.source {
            Source::Dwarf(types) => types.source_roots(),
            Source::Packed(types) => types.source_roots().to_vec(),
        }
    }

    /// The types of the task that the function at an address of the file polls. There are several if the linker merged
    /// the functions of several types.
    pub(crate) fn tasks_polled_by(&self, address: u64) -> &[TaskTypes] {
        self.addresses().tasks.get(&address).map_or(&[], Vec::as_slice)
    }

    /// The names of the future and the scheduler of the task that the function at an address of the file polls.
    pub(crate) fn task_names(&self, address: u64) -> Option<(String, String)> {
        let name = self.addresses().poll_names.get(&address)?;
        let inside = name.split_once('<')?.1.strip_suffix('>')?;
        let mut types = arguments(inside);
        Some((types.next()?.to_owned(), types.next()?.to_owned()))
    }

    /// The concrete type of a trait object with its vtable at an address of the file.
    pub(crate) fn concrete_type(&self, vtable: u64) -> Option<TypeId> {
        self.addresses().vtables.get(&vtable).copied()
    }

    /// The code that polls futures given to `block_on`.
    pub(super) fn block_on_code(&self) -> &[BlockOnCode] {
        match &self.source {
            Source::Dwarf(types) => types.block_on_code(),
            Source::Packed(types) => types.block_on_code(),
        }
    }

    /// The types of futures given to `block_on` that the code at an address of the file polls.
    pub(crate) fn block_on_futures_at(&self, address: u64) -> impl Iterator<Item = TypeId> {
        let contains = move |code: &&BlockOnCode| (code.start..code.end).contains(&address);
        self.block_on_code().iter().filter(contains).map(|code| code.future)
    }

    /// Tokio's thread-local variable `CONTEXT`. Empty if the program's types are not described.
    pub(crate) fn contexts(&self) -> &[ThreadLocal] {
        &self.addresses().contexts
    }

    /// Whether the program has a poll function for the type.
    pub(crate) fn is_polled(&self, name: &str) -> bool {
        match &self.source {
            Source::Dwarf(types) => types.is_polled(name),
            Source::Packed(types) => types.is_polled(name),
        }
    }

    /// A type by its qualified name.
    pub(crate) fn named(&self, name: &str) -> Option<TypeId> {
        match &self.source {
            Source::Dwarf(types) => types.named(name),
            Source::Packed(types) => types.named(name),
        }
    }

    /// The qualified name of a type. Empty if it is unknown.
    pub(crate) fn name(&self, id: TypeId) -> Arc<str> {
        let indexed = self.dwarf().and_then(|types| types.name(id));
        indexed.or_else(|| self.ty(id).map(|ty| Arc::clone(&ty.name))).unwrap_or_else(|| "".into())
    }

    /// A type with its structure.
    pub(crate) fn ty(&self, id: TypeId) -> Option<Arc<Type>> {
        if let Some(cached) = self.cache.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return cached.clone();
        }
        let mut ty = self.read(id);
        // A unit may have only the name and size of a type that another unit describes.
        if let Some(part) = &ty
            && matches!(&part.shape, Shape::Structure(members) if members.is_empty())
            && let Some(complete) = self.named(&part.name).filter(|complete| *complete != id)
        {
            ty = self.read(complete).or(ty);
        }
        let ty = ty.map(Arc::new);
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() < MAX_CACHED {
            cache.insert(id, ty.clone());
        }
        ty
    }

    fn read(&self, id: TypeId) -> Option<Type> {
        match &self.source {
            Source::Dwarf(types) => types.ty(id),
            Source::Packed(types) => types.ty(id),
        }
    }
}
