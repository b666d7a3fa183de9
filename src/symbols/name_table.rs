//! The names and lines of a program in a separate table, for programs that are deployed stripped.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use addr2line::Loader;
use object::read::ReadCache;
use object::{Object, ObjectSymbol, SymbolKind};
use serde::{Deserialize, Serialize};

use super::debug_info::{find_frames, open, readable_symbol};

/// Ranges of code in one table. Code beyond the limit has no names.
const MAX_PIECES: usize = 50_000_000;

/// A frame as indices of its name and file, and its line. Indices and lines count from 1; 0 means unknown.
type FrameEntry = (u32, u32, u32);

/// A frame's name, file and line.
pub(super) type NamedFrame<'t> = (&'t str, Option<&'t str>, Option<u32>);

/// The names and lines of a program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NameTable {
    texts: Vec<String>,
    /// The frames of a range of code, innermost first. The first list is empty.
    frames: Vec<Vec<FrameEntry>>,
    /// Each range's distance from the start of the previous one, and the index of its frames.
    pieces: Vec<(u64, u32)>,
    /// The first address of each range.
    #[serde(skip)]
    starts: Vec<u64>,
}

impl NameTable {
    /// Builds a table from the symbols and debug information of a file, or of its debug files.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let loader = open(path).ok_or_else(|| io::Error::other("it is not a readable object file"))?;
        let mut builder = TableBuilder::default();
        builder.frames.insert(Vec::new(), 0);
        for (start, end, symbol) in functions(path)? {
            builder.add_function(&loader, start, end, &symbol);
        }
        Ok(builder.finish())
    }

    /// Reads the output of [`Self::to_bytes`]; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut table: Self = postcard::from_bytes(bytes).ok()?;
        let mut at = 0_u64;
        for (distance, _) in &table.pieces {
            at = at.checked_add(*distance)?;
            table.starts.push(at);
        }
        Some(table)
    }

    /// The table as bytes for a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// The frames of an address in the program's file, innermost first.
    pub(super) fn find(&self, address: u64) -> Vec<NamedFrame<'_>> {
        let count = self.starts.partition_point(|start| *start <= address);
        let piece = count.checked_sub(1).and_then(|position| self.pieces.get(position));
        let frames = piece.and_then(|(_, number)| self.frames.get(*number as usize));
        let text = |number: u32| Some(self.texts.get((number as usize).checked_sub(1)?)?.as_str());
        let named =
            |(name, file, line): &FrameEntry| Some((text(*name)?, text(*file), Some(*line).filter(|line| *line > 0)));
        frames.into_iter().flatten().filter_map(named).collect()
    }
}

/// Functions as start, end and symbol, in order and without overlap.
fn functions(path: &Path) -> io::Result<Vec<(u64, u64, String)>> {
    let best = crate::debug_files::best(path)?.0;
    let cache = ReadCache::new(File::open(best)?);
    let file = object::File::parse(&cache).map_err(io::Error::other)?;
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let mut all: Vec<(u64, u64, String)> = symbols
        .filter_map(|symbol| {
            Some((symbol.address(), symbol.address().checked_add(symbol.size())?, symbol.name().ok()?.to_owned()))
        })
        .collect();
    all.sort();
    let mut end = 0;
    all.retain(|(start, stop, _)| {
        let free = *start >= end;
        end = if free { *stop } else { end };
        free
    });
    Ok(all)
}

#[derive(Default)]
struct TableBuilder {
    texts: HashMap<String, u32>,
    frames: HashMap<Vec<FrameEntry>, u32>,
    pieces: Vec<(u64, u32)>,
}

impl TableBuilder {
    fn text(&mut self, text: &str) -> u32 {
        let next = u32::try_from(self.texts.len() + 1).unwrap_or(0);
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        self.texts.insert(text.to_owned(), next);
        next
    }

    fn add_function(&mut self, loader: &Loader, start: u64, end: u64, symbol: &str) {
        let mut places = vec![start];
        if let Ok(rows) = loader.find_location_range(start, end) {
            places.extend(rows.map(|(at, _, _)| at).filter(|at| (start..end).contains(at)));
        }
        places.sort_unstable();
        places.dedup();
        for at in places {
            let mut found = find_frames(loader, at);
            if found.is_empty() {
                found.push((readable_symbol(symbol), None, None));
            }
            let frames: Vec<FrameEntry> = found
                .iter()
                .map(|(name, file, line)| {
                    let file = file.map_or(0, |file| self.text(file));
                    (self.text(name), file, line.unwrap_or(0))
                })
                .collect();
            self.add(at, frames);
        }
        self.add(end, Vec::new());
    }

    fn add(&mut self, at: u64, frames: Vec<FrameEntry>) {
        let next = u32::try_from(self.frames.len()).unwrap_or(0);
        let number = *self.frames.entry(frames).or_insert(next);
        // The end of one function may be the start of the next.
        if self.pieces.last().is_some_and(|(last, _)| *last == at) {
            self.pieces.pop();
        }
        let same = self.pieces.last().is_some_and(|(_, last)| *last == number);
        if !same && self.pieces.len() < MAX_PIECES {
            self.pieces.push((at, number));
        }
    }

    fn finish(self) -> NameTable {
        let mut texts: Vec<(String, u32)> = self.texts.into_iter().collect();
        texts.sort_unstable_by_key(|(_, number)| *number);
        let mut frames: Vec<(Vec<FrameEntry>, u32)> = self.frames.into_iter().collect();
        frames.sort_unstable_by_key(|(_, number)| *number);
        let starts: Vec<u64> = self.pieces.iter().map(|(at, _)| *at).collect();
        let before = std::iter::once(0).chain(starts.iter().copied());
        let distances = before.zip(&self.pieces).map(|(before, (at, number))| (at - before, *number)).collect();
        NameTable {
            texts: texts.into_iter().map(|(text, _)| text).collect(),
            frames: frames.into_iter().map(|(frames, _)| frames).collect(),
            pieces: distances,
            starts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_names_of_the_program() {
        let program = std::env::current_exe().expect("it runs");
        let (start, end, symbol) = functions(&program)
            .expect("it can be read")
            .into_iter()
            .find(|(_, _, symbol)| symbol.contains("a_table_has_the_names_of_the_program"))
            .expect("this function has a symbol");
        let mut builder = TableBuilder::default();
        builder.frames.insert(Vec::new(), 0);
        builder.add_function(&open(&program).expect("it can be read"), start, end, &symbol);
        let table = NameTable::from_bytes(&builder.finish().to_bytes()).expect("it is whole");
        let found = table.find(start);
        let (name, file, line) = found.last().expect("it is named");
        assert!(name.contains("a_table_has_the_names"), "{name}");
        assert!(file.is_some_and(|file| file.ends_with("name_table.rs")) && line.is_some(), "{file:?} {line:?}");
        assert!(table.find(end).is_empty() && table.find(start - 1).is_empty() && table.find(u64::MAX).is_empty());
    }

    #[test]
    fn invalid_bytes_do_not_panic() {
        for length in 0..200_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(97) ^ length).collect();
            if let Some(table) = NameTable::from_bytes(&bytes) {
                let _no_panic = table.find(u64::from(length));
            }
        }
    }
}
