//! The starts of functions. Unwind tables contain them, also in stripped programs.

use std::ops::Range;
use std::sync::Arc;

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, UnwindSection};

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
