//! A program's types, by name and by number.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::index::{Index, TaskTypes, ThreadLocal};
use super::packed::{self, Packed, PackedTypes};
use super::roots::{self, Root};
use super::sections::Sections;
use super::types::{Shape, Type, TypeId, TypeReader};
use super::units::{Unit, Units};
use crate::model::type_name::arguments;

/// Types that are kept once they were read. Programs have fewer that matter; above this, they are read again.
const MAX_KEPT: usize = 200_000;

/// The types of one program.
pub(crate) struct Program<'d> {
    units: Units<'d>,
    index: Index,
    /// What was packed of another look at it; then there are no units.
    packed: Option<Packed>,
    types: RwLock<HashMap<TypeId, Option<Arc<Type>>>>,
    roots: OnceLock<Vec<Root>>,
}

impl std::fmt::Debug for Program<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("units", &self.units.list().len()).finish_non_exhaustive()
    }
}

impl<'d> Program<'d> {
    /// Reads the debug information once and makes the index. What is damaged is left out.
    pub(crate) fn of(sections: &'d Sections) -> Self {
        let units = Units::of(sections);
        let index = Index::build(&units);
        Self { units, index, packed: None, types: RwLock::default(), roots: OnceLock::new() }
    }

    /// From what [`Self::pack`] has made.
    pub(crate) fn unpacked(types: PackedTypes) -> Self {
        let PackedTypes { packed, index } = types;
        Self { units: Units::default(), index, packed: Some(packed), types: RwLock::default(), roots: OnceLock::new() }
    }

    /// All that is needed of it, without the debug information it was read from. `None` where it describes no runtime.
    pub(crate) fn pack(&self) -> Option<Vec<u8>> {
        if self.contexts().is_empty() || self.packed.is_some() {
            return None;
        }
        packed::pack(self, &self.index)
    }

    /// The folders that the program's own packages were compiled in.
    pub(crate) fn source_roots(&self) -> Vec<String> {
        if let Some(packed) = &self.packed {
            return packed.source_roots.clone();
        }
        let folder = |unit: &Unit<'_>| Some(unit.unit.comp_dir.as_ref()?.to_string_lossy().into_owned());
        let is_own = |folder: &String| !folder.contains("/registry/src/") && !folder.starts_with("/rustc/");
        let mut roots: Vec<String> = self.units.list().iter().filter_map(folder).filter(is_own).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// The types of the task that is polled by the function at an address of the file. Several, where the linker found
    /// the code of several tasks to be the same.
    pub(crate) fn tasks_polled_by(&self, address: u64) -> &[TaskTypes] {
        self.index.tasks.get(&address).map_or(&[], Vec::as_slice)
    }

    /// The names of the future and the scheduler of the task that is polled by the function at an address of the file.
    pub(crate) fn task_names(&self, address: u64) -> Option<(String, String)> {
        let name = self.index.polls.get(&address)?;
        let inside = name.split_once('<')?.1.strip_suffix('>')?;
        let mut types = arguments(inside);
        Some((types.next()?.to_owned(), types.next()?.to_owned()))
    }

    /// The type behind a trait object's table at an address of the file.
    pub(crate) fn behind_vtable(&self, address: u64) -> Option<TypeId> {
        self.index.vtables.get(&address).copied()
    }

    /// Where futures given to `block_on` are polled. Looked for when it is asked for, because few ask.
    pub(super) fn roots(&self) -> &[Root] {
        self.roots.get_or_init(|| match &self.packed {
            Some(packed) => packed.roots.clone(),
            None => roots::of(&self.units, &self.index.roots),
        })
    }

    /// The types of futures given to `block_on` that are polled by the code at an address of the file.
    pub(crate) fn polled_at(&self, address: u64) -> impl Iterator<Item = TypeId> {
        let holds = move |root: &&Root| (root.start..root.end).contains(&address);
        self.roots().iter().filter(holds).map(|root| root.future)
    }

    /// Where each thread has what Tokio knows about it.
    pub(crate) fn contexts(&self) -> &[ThreadLocal] {
        &self.index.contexts
    }

    /// Whether a type is polled anywhere in the program.
    pub(crate) fn is_polled(&self, name: &str) -> bool {
        match &self.packed {
            Some(packed) => packed.is_polled(name),
            None => self.index.futures.contains(name),
        }
    }

    /// A type by its qualified name.
    pub(crate) fn named(&self, name: &str) -> Option<TypeId> {
        match &self.packed {
            Some(packed) => packed.named(name),
            None => self.index.by_name.get(name).copied(),
        }
    }

    /// A type's qualified name.
    pub(crate) fn name(&self, id: TypeId) -> Arc<str> {
        let indexed = self.index.names.get(&id).map(Arc::clone);
        indexed.or_else(|| self.ty(id).map(|ty| Arc::clone(&ty.name))).unwrap_or_else(|| "".into())
    }

    /// What a type is made of.
    pub(crate) fn ty(&self, id: TypeId) -> Option<Arc<Type>> {
        if let Some(known) = self.types.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return known.clone();
        }
        let mut ty = self.read(id);
        // A unit may hold no more than name and size of what another one describes.
        if let Some(part) = &ty
            && matches!(&part.shape, Shape::Structure(members) if members.is_empty())
            && let Some(whole) = self.named(&part.name).filter(|whole| *whole != id)
        {
            ty = self.read(whole).or(ty);
        }
        let ty = ty.map(Arc::new);
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        if types.len() < MAX_KEPT {
            types.insert(id, ty.clone());
        }
        ty
    }

    fn read(&self, id: TypeId) -> Option<Type> {
        if let Some(packed) = &self.packed {
            return packed.ty(id);
        }
        let (unit, offset) = self.units.find(id)?;
        TypeReader { unit, units: &self.units }.read(offset, self.index.names.get(&id).map(Arc::clone))
    }
}
