//! Memory for tests of the scans of programs without types.

use crate::dwarf::Memory;

/// Memory that starts at 0x1000.
pub(super) struct TestMemory(pub(super) Vec<u64>);

impl Memory for TestMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let start = address.checked_sub(0x1000).and_then(|start| usize::try_from(start).ok());
        let part = start.and_then(|start| bytes.get(start..start.checked_add(into.len())?));
        part.map(|part| into.copy_from_slice(part)).is_some()
    }
}
