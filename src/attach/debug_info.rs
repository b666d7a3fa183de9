//! Where what is known of another program's types and names comes from: its debug information, a file of symbols that was
//! made of it, or the cache.

use std::fs::File;
use std::path::PathBuf;

use super::process::{AttachError, Attached};
use super::symbol_cache::IndexCache;
use super::symbol_file::Contents;
use crate::debug_files::Identity;
use crate::dwarf::{PackedTypes, Program, Sections};
use crate::images::Images;
use crate::symbols::NameTable;
use crate::sys::Permissions;

/// What may be used.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// What was kept of an earlier look.
    pub(crate) cache: bool,
    /// What `holdup symbols extract` has written.
    pub(crate) symbols: Option<PathBuf>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { cache: true, symbols: None }
    }
}

/// What is known of a process's program.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) images: Images,
    pub(crate) sections: Sections,
    /// Its types, where they did not have to be read from the sections.
    pub(crate) packed: Option<PackedTypes>,
    /// What could not be read.
    pub(crate) missing: Vec<String>,
    pub(crate) origin: Origin,
}

/// Where its types are from.
#[derive(Debug)]
pub(crate) struct Origin {
    /// In words.
    pub(crate) told: String,
    /// Where they may be kept, and under which name.
    keep: Option<(IndexCache, Identity)>,
}

impl Origin {
    /// Keeps what was read, where there is something to keep. What went wrong is no reason to stop.
    pub(crate) fn keep(&self, program: &Program<'_>) {
        let Some((cache, identity)) = &self.keep else { return };
        let Some(types) = program.pack() else { return };
        if let Err(why) = cache.store(identity, &Contents::of(identity, types, Vec::new())) {
            tracing::warn!(target: "holdup", "{why}");
        }
    }
}

/// The program by its types, wherever they are from.
pub(crate) fn described(packed: Option<PackedTypes>, sections: &Sections) -> Program<'_> {
    packed.map_or_else(|| Program::of(sections), Program::unpacked)
}

impl Attached {
    /// Uses these sources.
    ///
    /// # Errors
    /// When the file of symbols cannot be read, or belongs to another program.
    pub(crate) fn using(mut self, sources: Sources) -> Result<Self, AttachError> {
        if let Some(file) = &sources.symbols {
            let refused = |why| AttachError::Symbols { file: file.clone(), why };
            let mut images = Images::of(self.process);
            images.load_new().map_err(|error| self.failed(error))?;
            let path = images.program().and_then(|image| image.path.clone());
            let path = path.ok_or_else(|| refused("the program's own file is not there".to_owned()))?;
            let identity = Identity::of(&path).map_err(|error| refused(format!("the program's own file: {error}")))?;
            let opened = File::open(file).map_err(|error| refused(format!("it cannot be read: {error}")))?;
            let contents = Contents::read(opened, &identity).map_err(refused)?;
            let names = NameTable::from_bytes(&contents.names).ok_or_else(|| refused("it is damaged".to_owned()))?;
            self.symbolizer.use_names(names);
            self.types = Some(contents.types);
        }
        self.sources = sources;
        Ok(self)
    }

    /// What the process has loaded, and what is known of its program.
    pub(crate) fn read_program(&self) -> Result<Known, AttachError> {
        let pid = self.process.id();
        let mut images = Images::of(self.process);
        images.load_new().map_err(|error| self.failed(error))?;
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        if self.process.read_word(image.range.start).is_none() {
            return Err(AttachError::Closed { pid, reason: super::task_dump::remedy() });
        }
        let (path, name) = (image.path.clone(), image.name.clone());
        let mut known = Known {
            images,
            sections: Sections::default(),
            packed: None,
            missing: Vec::new(),
            origin: Origin { told: "read from debug information".to_owned(), keep: None },
        };
        if let Some(types) = self.types.as_ref().filter(|types| !types.is_empty()) {
            known.packed = PackedTypes::read(types.clone());
            known.origin.told = "read from the file of symbols".to_owned();
            return Ok(known);
        }
        if let Some(identity) = path.as_ref().and_then(|path| Identity::of(path).ok()).filter(|_| self.sources.cache) {
            known.look_in_cache(identity);
        }
        if known.packed.is_none() {
            let sections = path.as_deref().map_or_else(|| Ok(Sections::default()), Sections::read);
            known.sections = sections.unwrap_or_else(|error| {
                known.missing.push(format!("the debug information of {name} cannot be read: {error}"));
                Sections::default()
            });
            known.missing.extend(known.sections.missing.iter().cloned());
            if !known.missing.is_empty() {
                // There may be more the next time.
                known.origin.keep = None;
            }
        }
        Ok(known)
    }
}

impl Known {
    fn look_in_cache(&mut self, identity: Identity) {
        let cache = match IndexCache::open(Permissions::own().user) {
            Ok(cache) => cache,
            Err(why) => {
                self.origin.told = format!("read from debug information; {why}");
                return;
            }
        };
        match cache.load(&identity) {
            Ok(Some(contents)) => self.packed = PackedTypes::read(contents.types),
            Ok(None) => {}
            Err(why) => self.origin.told = format!("read from debug information; {why}"),
        }
        match self.packed {
            Some(_) => self.origin.told = "read from the cache".to_owned(),
            None => self.origin.keep = Some((cache, identity)),
        }
    }
}
