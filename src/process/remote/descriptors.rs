//! What the file descriptors of a process are: files, pipes, and sockets with their addresses, as proc(5) tells.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::Process;

/// The kernel's tables of sockets are read up to this many bytes each; more than 100,000 connections.
const MAX_TABLE: u64 = 16 << 20;

/// A connection's state in which it waits for others (`TCP_LISTEN`).
const LISTENS: &str = "0A";

/// The file descriptors of one process. Tables are read once, when the first socket is asked for.
#[derive(Debug)]
pub(crate) struct Descriptors {
    process: Process,
    /// By inode.
    sockets: Option<HashMap<u64, String>>,
}

impl Descriptors {
    pub(crate) fn of(process: Process) -> Self {
        Self { process, sockets: None }
    }

    /// What a descriptor is, in words; `None` where it is closed by now.
    pub(crate) fn describe(&mut self, descriptor: i32) -> Option<String> {
        let link = std::fs::read_link(self.process.file(&format!("fd/{descriptor}"))).ok()?;
        let link = link.to_string_lossy();
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        let Some(inode) = inode.and_then(|inode| inode.parse::<u64>().ok()) else { return Some(link.into_owned()) };
        let process = self.process;
        let sockets = self.sockets.get_or_insert_with(|| sockets(process));
        Some(sockets.get(&inode).cloned().unwrap_or_else(|| "a socket".to_owned()))
    }
}

fn sockets(process: Process) -> HashMap<u64, String> {
    let mut all = HashMap::new();
    for (table, kind) in [("tcp", "TCP"), ("tcp6", "TCP"), ("udp", "UDP"), ("udp6", "UDP")] {
        all.extend(read(process, table).lines().filter_map(|line| internet(line, kind)));
    }
    all.extend(read(process, "unix").lines().filter_map(unix));
    all
}

fn read(process: Process, table: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(process.file(&format!("net/{table}"))) {
        // What was read before an error is right as well.
        let _partly = file.take(MAX_TABLE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `SLOT: LOCAL REMOTE STATE …`, the inode as the tenth word.
fn internet(line: &str, kind: &str) -> Option<(u64, String)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    let inode = words.get(9)?.parse().ok()?;
    let text = match *words.get(3)? {
        LISTENS => format!("{kind}, listens on {local}"),
        _ if remote.port() == 0 => format!("{kind}, {local}"),
        _ => format!("{kind}, {local} to {remote}"),
    };
    Some((inode, text))
}

/// `ADDRESS:PORT` in hexadecimal, the address as words of 32 bits in the order of this machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let word = u32::from_str_radix(address.get(8 * index..8 * index + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// `NUMBER: REFERENCES PROTOCOL FLAGS TYPE STATE INODE [PATH]`.
fn unix(line: &str) -> Option<(u64, String)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let inode = words.get(6)?.parse().ok()?;
    let path = words.get(7).map_or_else(String::new, |path| format!(" {path}"));
    Some((inode, format!("Unix socket{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_the_kernel_writes_them() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100";
        assert_eq!(internet(line, "TCP"), Some((4242, "TCP, listens on 127.0.0.1:8080".to_owned())));
        let line = " 1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000200007F:0050 01 0:0 0:0 0 0 0 7";
        assert_eq!(internet(line, "TCP"), Some((7, "TCP, 127.0.0.1:8080 to 127.0.0.2:80".to_owned())));
        assert_eq!(internet("  sl  local_address rem_address   st", "TCP"), None);
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 1234 /run/some.sock";
        assert_eq!(unix(line), Some((1234, "Unix socket /run/some.sock".to_owned())));
        for bad in ["", ":", "a b c d e f g h i j k", "0: 01:1 zz:zz 0A"] {
            assert_eq!((internet(bad, "TCP"), unix(bad)), (None, None), "{bad:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_listener_of_ours_is_described() {
        use std::os::fd::AsRawFd;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        let told = Descriptors::of(Process::own()).describe(listener.as_raw_fd());
        assert_eq!(told, Some(format!("TCP, listens on {address}")));
        assert_eq!(Descriptors::of(Process::own()).describe(1_000_000), None);
    }
}
