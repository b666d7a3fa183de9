//! Descriptions of a process's file descriptors: files, pipes, and sockets with their addresses, as in proc(5).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::Process;

/// Bytes that are read of each socket table at most; enough for more than 100,000 connections.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// The state of a listening socket (`TCP_LISTEN`).
const LISTENING: &str = "0A";

/// The file descriptors of one process. The socket tables are read once, for the first socket.
#[derive(Debug)]
pub(crate) struct Descriptors {
    process: Process,
    /// Descriptions by inode.
    sockets: Option<HashMap<u64, String>>,
}

impl Descriptors {
    pub(crate) fn of(process: Process) -> Self {
        Self { process, sockets: None }
    }

    /// A descriptor's description; `None` if it is closed by now.
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
        // The part before an error is valid.
        let _partly = file.take(MAX_TABLE_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Parses `SLOT: LOCAL REMOTE STATE …` with the inode as the tenth word.
fn internet(line: &str, kind: &str) -> Option<(u64, String)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    let inode = words.get(9)?.parse().ok()?;
    let text = match *words.get(3)? {
        LISTENING => format!("{kind}, listens on {local}"),
        _ if remote.port() == 0 => format!("{kind}, {local}"),
        _ => format!("{kind}, {local} to {remote}"),
    };
    Some((inode, text))
}

/// Parses `ADDRESS:PORT` in hexadecimal. The address consists of 32-bit words in native byte order.
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

/// Parses `NUMBER: REFERENCES PROTOCOL FLAGS TYPE STATE INODE [PATH]`.
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
    fn socket_tables_of_the_kernel_are_parsed() {
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
    fn our_own_listener_is_described() {
        use std::os::fd::AsRawFd;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let description = Descriptors::of(Process::own()).describe(listener.as_raw_fd());
        assert_eq!(description, Some(format!("TCP, listens on {address}")));
        assert_eq!(Descriptors::of(Process::own()).describe(1_000_000), None);
    }
}
