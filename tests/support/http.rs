//! An HTTP client with access to the whole response: status, every header, the bytes of the body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::DEADLINE;

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, if present.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request without reading the response. Dropping the connection simulates a client that disconnects.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("is set");
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("is taken");
    stream.write_all(body).expect("is taken");
    stream
}

/// Sends a whole request as it is written, and reads the response. It must end the connection.
pub(crate) fn raw(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("is set");
    stream.write_all(request.as_bytes()).expect("is taken");
    answer(stream)
}

/// Reads the response.
pub(crate) fn answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the endpoint answers");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the head ends");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("the head is text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("has a status");
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").expect("has a name and a value"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let answer = Answer { status, headers, body: bytes.split_off(end + 4) };
    assert_eq!(answer.header("transfer-encoding"), None, "this client does not put chunks together");
    answer
}

pub(crate) fn request(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Answer {
    answer(ask(address, method, path, body))
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, b"")
}

/// A server that sends one byte on each connection after this pause, and never stops.
pub(crate) fn slow_peer(pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::sleep(pause);
            if stream.write_all(&[1]).is_err() {
                return;
            }
        }
    });
    address
}
