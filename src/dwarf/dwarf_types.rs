//! The types of a program, read from DWARF when they are needed.

use std::sync::{Arc, OnceLock};

use super::block_on_code::{self, BlockOnCode};
use super::index::{AddressIndex, Index};
use super::sections::Sections;
use super::types::{Type, TypeReader};
use super::units::{TypeId, Unit, Units};

/// The debug information of a program, with its index.
pub(super) struct DwarfTypes<'d> {
    units: Units<'d>,
    index: Index,
    /// Found at the first request, because few callers need it.
    block_on_code: OnceLock<Vec<BlockOnCode>>,
}

impl<'d> DwarfTypes<'d> {
    /// Builds the index. Damaged units are left out.
    pub(super) fn read(sections: &'d Sections) -> Self {
        let units = Units::of(sections);
        let index = Index::build(&units);
        Self { units, index, block_on_code: OnceLock::new() }
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn addresses(&self) -> &AddressIndex {
        &self.index.addresses
    }

    /// The directories in which the program's own packages were compiled.
    pub(super) fn source_roots(&self) -> Vec<String> {
        let directory = |unit: &Unit<'_>| Some(unit.unit.comp_dir.as_ref()?.to_string_lossy().into_owned());
        let is_own = |path: &String| !path.contains("/registry/src/") && !path.starts_with("/rustc/");
        let mut roots: Vec<String> = self.units.list().iter().filter_map(directory).filter(is_own).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    pub(super) fn block_on_code(&self) -> &[BlockOnCode] {
        self.block_on_code.get_or_init(|| block_on_code::find(&self.units, &self.index.block_on_functions))
    }

    pub(super) fn is_polled(&self, name: &str) -> bool {
        self.index.futures.contains(name)
    }

    pub(super) fn named(&self, name: &str) -> Option<TypeId> {
        self.index.by_name.get(name).copied()
    }

    /// The qualified name of a type, if the index has one.
    pub(super) fn name(&self, id: TypeId) -> Option<Arc<str>> {
        self.index.names.get(&id).map(Arc::clone)
    }

    pub(super) fn ty(&self, id: TypeId) -> Option<Type> {
        let (unit, offset) = self.units.find(id)?;
        TypeReader { unit, units: &self.units }.read(offset, self.name(id))
    }
}
