//! How much memory each mapping uses: `/proc/PID/smaps`, as described in proc(5).

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use super::mappings;
use crate::model::memory::MemoryUse;
use crate::sys::{MappingUse, Process};

impl Process {
    /// All mappings with their use, in the order of addresses.
    ///
    /// # Errors
    /// When the process does not exist or may not be read.
    pub(crate) fn memory_use(self) -> io::Result<Vec<MappingUse>> {
        let mut found: Vec<MappingUse> = Vec::new();
        for line in BufReader::new(File::open(self.file("smaps"))?).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            match header(&line) {
                Some(mapping) => found.push(mapping),
                None => found.last_mut().into_iter().for_each(|mapping| fact(&line, mapping)),
            }
        }
        Ok(found)
    }
}

/// Parses the first line of a mapping, which is that of `maps`.
fn header(line: &str) -> Option<MappingUse> {
    let mapping = mappings::parse(line)?;
    let permissions = line.split(' ').nth(1)?;
    Some(MappingUse {
        start: mapping.start,
        end: mapping.end,
        accessible: permissions.contains(['r', 'w', 'x']),
        shared: permissions.ends_with('s'),
        reserved_only: false,
        path: mapping.path,
        of: MemoryUse { mappings: 1, size: mapping.end.saturating_sub(mapping.start), ..MemoryUse::default() },
    })
}

/// Takes over `Rss:     12 kB` and the like.
fn fact(line: &str, mapping: &mut MappingUse) {
    let Some((name, value)) = line.split_once(':') else { return };
    let bytes = || value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default().saturating_mul(1024);
    match name {
        "Rss" => mapping.of.resident = bytes(),
        "Pss" => mapping.of.proportional = bytes(),
        "Private_Dirty" => mapping.of.dirty = bytes(),
        "Swap" => mapping.of.swapped = bytes(),
        "VmFlags" => mapping.reserved_only = value.split(' ').any(|flag| flag == "nr"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_memory_is_resident_and_dirty() {
        let bytes = vec![1_u8; 8 << 20];
        let at = bytes.as_ptr().addr() as u64;
        let all = Process::own().memory_use().expect("/proc is mounted");
        let found = all.iter().find(|mapping| (mapping.start..mapping.end).contains(&at)).expect("it is mapped");
        assert!(found.accessible && !found.shared && found.path.is_empty(), "{found:?}");
        assert!(found.of.resident >= 8 << 20 && found.of.dirty >= 8 << 20, "{found:?}");
        assert!(found.of.proportional <= found.of.resident && found.of.size == found.end - found.start);
        drop(bytes);
    }

    #[test]
    fn facts_follow_their_mapping() {
        let mut mapping = header("7f10-8f10 ---s 00000000 00:01 9    /dev/shm/a b").expect("it is a header");
        assert_eq!((mapping.accessible, mapping.shared, &*mapping.path), (false, true, "/dev/shm/a b"));
        for line in ["Rss:                 12 kB", "Pss:  6 kB", "Swap: 1 kB", "VmFlags: rd wr mr nr ", "Rss", "a b"] {
            fact(line, &mut mapping);
        }
        assert_eq!((mapping.of.resident, mapping.of.proportional, mapping.of.swapped), (12_288, 6_144, 1_024));
        assert!(mapping.reserved_only);
        assert!(header("Rss:                 12 kB").is_none() && header("VmFlags: rd wr mr").is_none());
    }
}
