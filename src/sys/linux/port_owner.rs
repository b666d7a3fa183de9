//! The process that listens on a port: `/proc/net/tcp` has the socket, and `/proc/PID/fd` has its owner, as described in
//! proc(5).

use std::fs;
use std::path::Path;

use crate::sys::PortOwner;

/// Open files that are looked at in all. A machine with more may leave the owner unknown.
const MAX_FILES: usize = 200_000;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";

impl PortOwner {
    /// The process that listens on a TCP port of this machine. `None` if none does, or if it belongs to another user, whose
    /// open files cannot be listed.
    pub(crate) fn of(port: u16) -> Option<Self> {
        let sockets: Vec<String> = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
            .into_iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| table.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>())
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        if sockets.is_empty() {
            return None;
        }
        let mut files = MAX_FILES;
        let processes =
            fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pid = processes.into_iter().find(|pid| holds(*pid, &sockets, &mut files))?;
        let name =
            fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| String::new(), |name| name.trim().into());
        Some(Self { pid, name })
    }
}

/// The inode of a listening socket with this port, from a line of the table.
fn listening(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (_, local) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (u16::from_str_radix(local, 16) == Ok(port) && state == LISTENS).then_some(inode)
}

fn holds(pid: u32, sockets: &[String], files: &mut usize) -> bool {
    let Ok(entries) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else { return false };
    entries.flatten().take_while(|_| count_down(files)).any(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })
}

fn count_down(files: &mut usize) -> bool {
    *files = files.saturating_sub(1);
    *files > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_owns_its_ports() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let owner = PortOwner::of(port).expect("it is ours");
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.name.is_empty());
        drop(listener);
        assert_eq!(PortOwner::of(port), None);
    }

    #[test]
    fn a_line_of_the_table_is_parsed() {
        let line =
            "   0: 0100007F:17AC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100";
        assert_eq!(listening(line, 0x17AC), Some(4711));
        assert_eq!(listening(line, 80), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 0x17AC), None, "a connection");
        assert_eq!(listening("  sl  local_address rem_address   st", 80), None);
    }
}
