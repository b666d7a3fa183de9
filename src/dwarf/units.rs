//! The units of a program's debug information, wherever each of them is, with one numbering for all their entries.

use std::sync::Arc;

use gimli::{AttributeValue, Section, UnitOffset};

use super::sections::{Sections, Slice};
use super::types::TypeId;

/// A unit, and what its attributes refer to.
#[derive(Debug)]
pub(super) struct Unit<'d> {
    /// The number of its first entry's place. Units of split files are numbered on behind those of the program's file.
    start: usize,
    /// What to add to places in the section that it is in.
    base: usize,
    pub(super) dwarf: Arc<gimli::Dwarf<Slice<'d>>>,
    pub(super) unit: gimli::Unit<Slice<'d>>,
    /// What the names of source files are read from, which split units share with the one they are split from.
    lines: Arc<gimli::Dwarf<Slice<'d>>>,
}

/// All of them, by where they begin.
#[derive(Debug, Default)]
pub(super) struct Units<'d>(Vec<Unit<'d>>);

impl<'d> Units<'d> {
    /// Those of a program. What is damaged is left out.
    pub(super) fn of(sections: &'d Sections) -> Self {
        let main = Arc::new(sections.dwarf());
        let package = sections.package();
        let (mut units, mut skeletons) = (Vec::new(), Vec::new());
        let mut end = main.debug_info.reader().slice().len();
        let mut headers = main.units();
        while let Ok(Some(header)) = headers.next() {
            let (Some(start), Ok(unit)) = (header.debug_info_offset(), main.unit(header)) else { continue };
            // What remains of a unit that was split says where the code is, and nothing about types.
            let list = if unit.dwo_id.is_some() { &mut skeletons } else { &mut units };
            list.push(Unit { start: start.0, base: 0, dwarf: Arc::clone(&main), unit, lines: Arc::clone(&main) });
        }
        for skeleton in skeletons {
            let Some(id) = skeleton.unit.dwo_id else { continue };
            let dwarf = match &package {
                Some(package) => package.find_cu(id, &main).ok().flatten(),
                None => sections.split(id),
            };
            let split = dwarf.and_then(|mut dwarf| {
                dwarf.make_dwo(&main);
                Self::split(dwarf, id, &skeleton, &mut end)
            });
            units.extend(split);
        }
        Self(units)
    }

    fn split(dwarf: gimli::Dwarf<Slice<'d>>, id: gimli::DwoId, from: &Unit<'d>, end: &mut usize) -> Option<Unit<'d>> {
        let mut headers = dwarf.units();
        let mut unit = loop {
            let unit = dwarf.unit(headers.next().ok()??).ok()?;
            // A file that was made by another build has another number.
            if unit.dwo_id.is_none_or(|found| found == id) {
                break unit;
            }
        };
        unit.copy_relocated_attributes(&from.unit);
        let dwarf = Arc::new(dwarf);
        let mut lines = Arc::clone(&dwarf);
        if unit.line_program.is_none() {
            unit.line_program.clone_from(&from.unit.line_program);
            lines = Arc::clone(&from.dwarf);
        }
        unit.comp_dir = unit.comp_dir.or(from.unit.comp_dir);
        let base = *end;
        let start = base.checked_add(unit.header.debug_info_offset()?.0)?;
        *end = base.checked_add(dwarf.debug_info.reader().slice().len())?;
        Some(Unit { start, base, dwarf, unit, lines })
    }

    pub(super) fn list(&self) -> &[Unit<'d>] {
        &self.0
    }

    /// The unit that an entry stands in, and where in it.
    pub(super) fn find(&self, id: TypeId) -> Option<(&Unit<'d>, UnitOffset)> {
        let behind = self.0.partition_point(|unit| unit.start <= id.0);
        let unit = self.0.get(behind.checked_sub(1)?)?;
        Some((unit, UnitOffset(id.0.checked_sub(unit.start)?)))
    }
}

impl<'d> Unit<'d> {
    /// The number of the entry at a place in this unit.
    pub(super) fn id(&self, offset: UnitOffset) -> TypeId {
        TypeId(self.start.saturating_add(offset.0))
    }

    /// What an attribute refers to.
    pub(super) fn reference(&self, value: AttributeValue<Slice<'d>>) -> Option<TypeId> {
        match value {
            AttributeValue::UnitRef(offset) => Some(self.id(offset)),
            AttributeValue::DebugInfoRef(offset) => Some(TypeId(self.base.saturating_add(offset.0))),
            _ => None,
        }
    }

    /// The text of an attribute.
    pub(super) fn text(&self, value: AttributeValue<Slice<'d>>) -> Option<Slice<'d>> {
        self.dwarf.attr_string(&self.unit, value).ok()
    }

    /// The path of a source file by its number, relative to where the package was compiled if it lies there.
    pub(super) fn source_file(&self, index: u64) -> Option<String> {
        let program = self.unit.line_program.as_ref()?.header();
        let file = program.file(index)?;
        let text = |value| Some(self.lines.attr_string(&self.unit, value).ok()?.to_string_lossy().into_owned());
        let path = text(file.path_name())?;
        // Folder 0 is where the package was compiled: paths in it are told relative to it.
        let folder = if file.directory_index() == 0 { None } else { file.directory(program).and_then(text) };
        Some(match folder {
            Some(folder) if !path.starts_with('/') => format!("{}/{path}", folder.trim_end_matches('/')),
            _ => path,
        })
    }
}
