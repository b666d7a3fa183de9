//! `network`: a handler calls another server through std::net and waits for the response on the worker.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use tracing::warn;

use super::{Commit, HELD};

/// Read timeout. A peer that never answers must not turn this fault into `never-ends`.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn arm() -> io::Result<Commit> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let peer = listener.local_addr()?;
    thread::Builder::new().name("slow-peer".to_owned()).spawn(move || answer_slowly(&listener))?;
    Ok(Box::new(move |_| {
        read_from_slow_peer(peer)?;
        Ok(())
    }))
}

fn answer_slowly(listener: &TcpListener) {
    for connection in listener.incoming() {
        thread::sleep(HELD);
        if let Err(error) = connection.and_then(|mut reader| reader.write_all(b"old news\n")) {
            warn!("the slow peer could not answer: {error}");
        }
    }
}

// Not inlined, because the report must name it.
#[inline(never)]
fn read_from_slow_peer(peer: SocketAddr) -> io::Result<usize> {
    let mut connection = TcpStream::connect_timeout(&peer, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)
}
