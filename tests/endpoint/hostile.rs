//! The endpoint under hostile load: any bytes, bodies that never end, and a thousand connections. It answers, and its memory
//! stays bounded.
#![allow(unsafe_code, reason = "raises the limit on open files")]

#[path = "../support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use holdup::{Print, Watch};
use support::http::{get, raw};
use support::{DEADLINE, address_of, alone, wait_until};

/// More memory than any of these may cost. What a connection may buffer is far less.
const MEMORY: u64 = 64 << 20;

/// The resident memory of this process.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let resident: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    resident * 4096
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc is mounted").count()
}

fn served() -> (Watch, SocketAddr) {
    let watch = Watch::builder().print(Print::Never).listen("127.0.0.1:0").start().expect("starts");
    let address = address_of(&watch);
    // What is read once is no growth.
    assert_eq!(get(address, "/debug/holdup/stalls.svg").status, 200);
    (watch, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("is set");
    stream
}

/// The answer, or what there is of it when the endpoint ends the connection.
fn read(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no end after {DEADLINE:?}: {bytes:?}"),
        _ => bytes,
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("is small")
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

const METHODS: [&str; 12] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "G\u{e9}T", ""];

const TARGETS: [&str; 18] = [
    "/",
    "*",
    "",
    "//",
    "/../../etc/passwd",
    "/debug/holdup/page/%2e%2e%2f",
    "/debug/holdup/stalls",
    "/debug/holdup/profile?seconds=1e999",
    "/debug/holdup/profile?mode=wall&seconds=0.01&rate=1000",
    "/debug/holdup/flamegraph.svg?include=((((((",
    "/debug/holdup/tasks?seconds=0.001&limit=10000",
    "/debug/holdup/profile/stop?name=%00",
    "/debug/pprof/symbol?0xffffffffffffffff+0x0+-1",
    "/debug/pprof/profile?seconds=301&seconds=-1",
    "/debug/pprof/heap?debug=99999999999999999999",
    "/%ff%fe%00",
    "http://[::1]:99999/",
    "/debug/holdup/live/../timeline",
];

const HEADERS: [&str; 14] = [
    "Host: localhost",
    "Host: [",
    "Host: \u{ff}",
    "Content-Length: 99999999999",
    "Content-Length: -1",
    "Content-Length: 3\r\nContent-Length: 4",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked, chunked\r\nContent-Length: 7",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Range: bytes=0-,0-,0-",
    "Authorization: Basic ====",
    ": no name",
    "Cookie: a=b",
];

/// A request with mistakes, cut or followed by anything.
fn request(dice: &mut Dice) -> Vec<u8> {
    let (method, target) = (dice.one_of(&METHODS), dice.one_of(&TARGETS));
    let version = dice.one_of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http", ""]);
    let mut bytes = format!("{method} {target} {version}\r\n").into_bytes();
    let right = dice.below(3) > 0;
    let given = if right { vec!["Host: localhost", "Connection: close"] } else { Vec::new() };
    for header in given {
        bytes.extend_from_slice(format!("{header}\r\n").as_bytes());
    }
    for _ in 0..dice.below(4) {
        bytes.extend_from_slice(format!("{}\r\n", dice.one_of(&HEADERS)).as_bytes());
    }
    match dice.below(40) {
        0 => bytes.extend_from_slice(format!("X: {}\r\n", "a".repeat(200_000)).as_bytes()),
        1 => bytes.extend_from_slice("X: a\r\n".repeat(500).as_bytes()),
        _ => {}
    }
    bytes.extend_from_slice(b"\r\n");
    for _ in 0..dice.below(30) {
        bytes.push(dice.next().to_le_bytes()[0]);
    }
    if dice.below(4) == 0 {
        let at = dice.below(bytes.len());
        bytes[at] = dice.next().to_le_bytes()[0];
    }
    if dice.below(8) == 0 {
        bytes.truncate(dice.below(bytes.len()) + 1);
    }
    bytes
}

#[test]
fn any_bytes_are_answered_or_end_the_connection() {
    let _alone = alone();
    let (_watch, address) = served();
    let before = memory();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut answered = 0;
    for round in 0..2_000 {
        let bytes = request(&mut dice);
        let mut stream = connect(address);
        // The endpoint may have ended the connection before all is sent.
        let _cut = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let answer = read(stream);
        let shown = String::from_utf8_lossy(&bytes);
        if !answer.is_empty() {
            let code =
                status(&answer).unwrap_or_else(|| panic!("{round}: {shown:?}: {:?}", String::from_utf8_lossy(&answer)));
            assert!((100..=599).contains(&code) && code != 500, "{round}: {code}: {shown:?}");
            answered += 1;
        }
    }
    assert!(answered > 500, "only {answered} of the requests had a form");
    assert_eq!(get(address, "/healthz").text(), "ok\n");
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY, "memory has grown by {} MiB", grown >> 20);
}

#[test]
fn bodies_have_limits() {
    let _alone = alone();
    let (_watch, address) = served();
    let before = memory();
    // A body that never comes, which ends after its time, while the others are tried.
    let mut waits = connect(address);
    let head = "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    waits.write_all(format!("{head}Content-Length: 10\r\n\r\n0x1").as_bytes()).expect("is sent");
    for path in ["/debug/pprof/symbol", "/debug/holdup/profile/stop?name=x", "/"] {
        let mut stream = connect(address);
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("is sent");
        let chunk = format!("10000\r\n{}\r\n", "1+".repeat(0x8000));
        let mut sent = 0;
        // It ends when the endpoint has closed the connection.
        while sent < 10_000 && stream.write_all(chunk.as_bytes()).is_ok() {
            sent += 1;
        }
        assert!(sent < 10_000, "{path}: 640 MB were taken");
    }
    let long = raw(address, &format!("{head}Content-Length: 70000\r\n\r\n{}", "0".repeat(70_000)));
    assert_eq!(long.status, 413, "{}", long.text());
    let answer = read(waits);
    assert_eq!(status(&answer), Some(408), "{}", String::from_utf8_lossy(&answer));
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY, "memory has grown by {} MiB", grown >> 20);
}

/// A thousand connections need as many open files, and here both sides are in one process.
fn allow_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limits go into a live struct.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limits come from a live struct.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert!(known == 0 && raised == 0 && limit.rlim_cur >= 2_000, "only {} files may be open", limit.rlim_cur);
}

#[test]
fn a_thousand_silent_connections_lock_nobody_out() {
    let _alone = alone();
    allow_files();
    let (_watch, address) = served();
    let (before, threads_before) = (memory(), threads());
    let starts = ["", "GET /healthz HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX-", "\r\n"];
    let silent: Vec<TcpStream> = (0..1_000)
        .map(|at| {
            let mut stream = connect(address);
            // The endpoint may have given its place to a later one.
            let _cut = stream.write_all(starts[at % starts.len()].as_bytes());
            stream
        })
        .collect();
    let asked = Instant::now();
    assert_eq!(get(address, "/healthz").text(), "ok\n");
    assert!(asked.elapsed() < Duration::from_secs(30), "it took {:?}", asked.elapsed());
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY && threads() <= threads_before + 1, "{} MiB, {} threads", grown >> 20, threads());
    drop(silent);
}

#[test]
fn a_thousand_requests_at_once_are_answered() {
    let _alone = alone();
    allow_files();
    let (_watch, address) = served();
    let before = memory();
    let paths =
        ["/healthz", "/", "/debug/holdup/workers", "/debug/holdup/page/uplot.js", "/debug/holdup/stalls", "/none"];
    let asked: Vec<(usize, TcpStream)> = (0..1_000)
        .map(|at| {
            let mut stream = connect(address);
            let path = paths[at % paths.len()];
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("is taken");
            (at, stream)
        })
        .collect();
    for (at, stream) in asked {
        let expected = if paths[at % paths.len()] == "/none" { 404 } else { 200 };
        assert_eq!(status(&read(stream)), Some(expected), "request {at}");
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY, "memory has grown by {} MiB", grown >> 20);
}

#[inline(never)]
fn somewhere() {}

/// A request that takes a while: names for addresses of this program.
fn names_of_addresses() -> String {
    let first = (somewhere as fn() as *const ()).addr();
    let addresses: Vec<String> = (0..3_000).map(|at| format!("{:#x}", first + at * 32)).collect();
    let body = addresses.join("+");
    let length = body.len();
    format!(
        "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn requests_that_need_a_thread_have_a_limit() {
    let _alone = alone();
    let (_watch, address) = served();
    let before = threads();
    let request = names_of_addresses();
    let mut asked = Vec::new();
    for _ in 0..60 {
        let mut stream = connect(address);
        stream.write_all(request.as_bytes()).expect("is taken");
        assert!(threads() <= before + 16, "{} threads were started", threads() - before);
        asked.push(stream);
    }
    // The work of a client that has gone keeps its place until it ends.
    drop(asked.split_off(40));
    let answers: Vec<Vec<u8>> = asked.into_iter().map(read).collect();
    let count = |code| answers.iter().filter(|answer| status(answer) == Some(code)).count();
    assert!(count(200) >= 16 && count(503) >= 1, "{} and {}", count(200), count(503));
    assert_eq!(count(200) + count(503), answers.len());
    wait_until("there is room again", || get(address, "/debug/holdup/stalls.svg").status == 200);
}
