//! The mappings of a process's address space: `/proc/PID/maps`, as described in proc(5).

use std::io;

use crate::sys::{Mapping, Process};

impl Process {
    /// All mappings, in the order of addresses. Anonymous memory has an empty path.
    ///
    /// # Errors
    /// When `/proc` is not mounted, or the process does not exist or may not be read.
    pub(crate) fn mappings(self) -> io::Result<Vec<Mapping>> {
        let text = std::fs::read(self.file("maps"))?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
    }
}

/// Parses `START-END PERMS OFFSET MAJOR:MINOR INODE PATH`. Any number of spaces precedes the path.
pub(super) fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let device = libc::makedev(u32::try_from(hex(major)?).ok()?, u32::try_from(hex(minor)?).ok()?);
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        executable: permissions.contains('x'),
        offset: hex(offset)?,
        file: (device, inode),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_this_function_is_mapped() {
        let here = the_code_of_this_function_is_mapped as *const () as u64;
        let found = Process::own().mappings().expect("/proc is mounted");
        let mine = found.iter().find(|mapping| mapping.start <= here && here < mapping.end).expect("code is mapped");
        assert!(mine.executable && mine.path.starts_with('/'), "{mine:?}");
    }

    #[test]
    fn paths_with_spaces_and_anonymous_memory_are_parsed() {
        let line = "7f10-7f20 r-xp 00001000 fd:01 42                    /tmp/my program (deleted)";
        assert_eq!(
            parse(line).map(|m| (m.start, m.end, m.path)),
            Some((0x7f10, 0x7f20, "/tmp/my program (deleted)".to_owned()))
        );
        let anonymous = parse("7f10-7f20 rw-p 00000000 00:00 0 ");
        assert_eq!(anonymous.map(|m| (m.end, m.executable, m.path)), Some((0x7f20, false, String::new())));
        assert_eq!(parse("garbage"), None);
    }
}
