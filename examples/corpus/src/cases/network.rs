//! Sockets of the standard library, a blocking HTTP client, and host names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use super::{Case, Scene};
use crate::truth::Cause;

/// Time limit of a connection that fills the backlog. Further ones never connect.
const PATIENCE: Duration = Duration::from_millis(50);

/// Connections to fill a backlog of 1, which holds two.
const CONNECTIONS: usize = 4;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnews";

pub(super) const CASES: &[Case] = &[
    Case::stall("connect", "connects to a peer that does not accept", Cause::Network, |scene| {
        Box::pin(async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            let listener = socket.listen(1)?;
            let peer = listener.local_addr()?;
            let mut connected = Vec::new();
            for _ in 0..CONNECTIONS {
                connected.push(tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(peer)).await);
            }
            connect(&scene, &peer);
            drop((connected, listener));
            Ok(())
        })
    }),
    Case::stall("socket-read", "reads from a peer that answers late", Cause::Network, |scene| {
        Box::pin(async move {
            let mut stream = TcpStream::connect(slow_peer(scene.length())?)?;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
            read(&scene, &mut stream)
        })
    }),
    Case::stall("http-client", "ureq requests a page of a slow peer", Cause::Network, |scene| {
        Box::pin(async move {
            let url = format!("http://{}/", slow_peer(scene.length())?);
            let agent = ureq::Agent::new_with_defaults();
            ask(&scene, &agent, &url)
        })
    }),
    Case::stall("name-lookup", "looks up names that do not exist", Cause::NameLookup, |scene| {
        Box::pin(async move {
            look_up(&scene);
            Ok(())
        })
    }),
];

/// Answers one request, `length` after it has come.
fn slow_peer(length: Duration) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let peer = listener.local_addr()?;
    std::thread::Builder::new().name("slow-peer".to_owned()).spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        if stream.read(&mut [0; 4096]).is_ok() {
            std::thread::sleep(length);
            // The client is gone only if the case has failed.
            let _gone = stream.write_all(ANSWER);
        }
    })?;
    Ok(peer)
}

#[inline(never)]
fn connect(scene: &Scene, peer: &SocketAddr) {
    let connected = held!(scene.log, TcpStream::connect_timeout(peer, scene.length()));
    // Success or error does not matter, only the duration.
    std::hint::black_box(connected.is_ok());
}

#[inline(never)]
fn read(scene: &Scene, stream: &mut TcpStream) -> anyhow::Result<()> {
    Ok(held!(scene.log, stream.read_exact(&mut [0]))?)
}

#[inline(never)]
fn ask(scene: &Scene, agent: &ureq::Agent, url: &str) -> anyhow::Result<()> {
    let answer = held!(scene.log, agent.get(url).call())?;
    anyhow::ensure!(answer.status() == 200, "the peer answers {}", answer.status());
    Ok(())
}

/// The duration depends on the machine: without a network it fails at once.
#[inline(never)]
fn look_up(scene: &Scene) {
    let (mut found, length) = (0_usize, scene.length());
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        found += usize::from(("corpus.invalid", 80).to_socket_addrs().is_ok());
    }
    begun.end(line!());
    std::hint::black_box(found);
}
