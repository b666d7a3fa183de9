//! The starts of functions. Unwind tables contain them, also in stripped programs. Symbols name the others.

use std::ops::Range;
use std::sync::Arc;

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, UnwindSection};
use object::read::ReadRef;
use object::{Object, ObjectSymbol, SymbolKind};

use crate::images::{Image, ObjectReader};
use crate::sys::Process;

/// The bytes of a section. They are kept as long as the unwinder lives.
pub(super) type Section = Arc<[u8]>;

/// The functions of one image.
#[derive(Debug)]
pub(super) struct Functions {
    pub(super) range: Range<u64>,
    pub(super) bias: u64,
    /// `.eh_frame_hdr` and `.eh_frame`, each with its address in the file.
    pub(super) index: (u64, Section),
    pub(super) table: (u64, Section),
}

impl Functions {
    /// The first address of the function that contains an address.
    pub(super) fn start_of(&self, address: u64) -> Option<u64> {
        let bases = BaseAddresses::default().set_eh_frame_hdr(self.index.0).set_eh_frame(self.table.0);
        let size = u8::try_from(size_of::<usize>()).ok()?;
        let index = EhFrameHdr::from(EndianSlice::new(&self.index.1, NativeEndian)).parse(&bases, size).ok()?;
        let frames = EhFrame::from(EndianSlice::new(&self.table.1, NativeEndian));
        let in_file = address.wrapping_sub(self.bias);
        let entry = index.table()?.fde_for_address(&frames, &bases, in_file, EhFrame::cie_from_offset).ok()?;
        Some(entry.initial_address().wrapping_add(self.bias))
    }
}

/// The named functions of one image, to find those that no unwind table covers.
#[derive(Debug)]
pub(super) struct TablelessFunctions {
    pub(super) process: Process,
    /// The first instruction of a program.
    pub(super) entry: Option<u64>,
    /// In the order of their addresses. The symbols of assembly have no size, so those functions end where the next begins.
    functions: Vec<Range<u64>>,
}

impl TablelessFunctions {
    /// Reads the symbols of an image. A large program has 100,000, so the table is asked about one of them at a time.
    pub(super) fn of(image: &Image) -> Self {
        let (entry, mut functions) = image.read(ReadFunctions).unwrap_or_default();
        functions.sort_unstable_by_key(|(start, size)| (*start, std::cmp::Reverse(*size)));
        functions.dedup_by_key(|(start, _)| *start);
        let starts = functions.iter().map(|(start, _)| *start).skip(1).chain([u64::MAX]);
        let ranges = functions.iter().zip(starts).map(|((start, size), next)| {
            let end = if *size == 0 { next } else { start.saturating_add(*size) };
            start.wrapping_add(image.bias)..end.saturating_add(image.bias)
        });
        Self {
            process: image.process(),
            entry: image.program.then(|| entry.wrapping_add(image.bias)),
            functions: ranges.collect(),
        }
    }

    /// The function that contains an address, unless a table has a function that begins there.
    pub(super) fn at(&self, address: u64, is_in_table: impl Fn(u64) -> bool) -> Option<Range<u64>> {
        let count = self.functions.partition_point(|range| range.start <= address);
        let function = self.functions.get(count.checked_sub(1)?)?;
        (function.contains(&address) && !is_in_table(function.start)).then(|| function.clone())
    }
}

/// Reads where a program starts, and its functions with their sizes.
struct ReadFunctions;

impl ObjectReader for ReadFunctions {
    type Output = (u64, Vec<(u64, u64)>);

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let symbols = file.symbols().chain(file.dynamic_symbols());
        let functions = symbols.filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
        (file.entry(), functions.map(|symbol| (symbol.address(), symbol.size())).collect())
    }
}
