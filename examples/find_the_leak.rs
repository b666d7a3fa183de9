//! Find the leak: a service whose memory grows for no visible reason. holdup names the line that keeps it.
//!
//! The service answers `/product/ID`, two hundred times per second, and each request comes with a connection of its own. It
//! holds a catalogue of 40 MiB, and a limiter that rejects clients with too many requests. Memory grows by a megabyte and
//! more per second, and never shrinks.
//!
//! **1. See the complaint.** Client and service are in this one program. It prints its memory every five seconds.
//!
//! ```console
//! $ cargo run --release --features cli,heap --example find_the_leak
//! ```
//! holdup's part of the service is two places in the code: the global allocator, and `heap(…)` of the watch. Both stay in
//! production.
//!
//! **2. Ask what lives**, in a second terminal, while it runs (five minutes):
//!
//! ```console
//! $ cargo run --release --features cli,heap -- record --mode heap -o heap.json
//! $ cargo run --release --features cli,heap -- top heap.json
//! ```
//! In the first minute `load_catalogue` is on top. That is right, and no leak: it was allocated at the start.
//!
//! **3. Ask what is new and stays.** The mode `leaks` shows memory that was allocated in the first half of the window, and
//! lives at its end:
//!
//! ```console
//! $ cargo run --release --features cli,heap -- record --mode leaks -d 20s -o leaks.json
//! $ cargo run --release --features cli,heap -- top leaks.json
//! $ cargo run --release --features cli,heap -- convert leaks.json leaks.svg
//! ```
//! Nearly everything is `Limiter::recent_of`, which the task `GET /product/{id}` calls. Its line in `leaks.json` is the one
//! that makes an entry for a new key. Why is there ever a new key? The key is the client's address with its port, and every
//! connection has another port. Nothing removes an entry.
//!
//! **4. Fix it and compare.** `--fixed` takes the address without the port as the key:
//!
//! ```console
//! $ cargo run --release --features cli,heap --example find_the_leak -- --fixed
//! $ cargo run --release --features cli,heap -- record --mode leaks -d 20s -o fixed.json
//! $ cargo run --release --features cli,heap -- diff leaks.json fixed.json
//! ```
//! Memory stays where it is, so the second file may have no samples. And the limiter does what it is for: it counts the
//! requests of a client.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{
    Router,
    extract::{ConnectInfo, Path, State},
    http::StatusCode,
    routing::get,
};
use clap::Parser;
use holdup::heap::{Allocator, Sampling};
use holdup::requests::NameRequests;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

/// A service with a leak, and its fixed version.
#[derive(Parser, Debug)]
pub(crate) struct Options {
    /// Know clients by their address without the port
    #[arg(long)]
    fixed: bool,

    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    run_for: Duration,

    /// Address of holdup's diagnostics; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6060")]
    diagnostics: String,
}

const REQUEST_EVERY: Duration = Duration::from_millis(5);

/// Pause between two lines with memory.
const PRINT_EVERY: Duration = Duration::from_secs(5);

const PRODUCTS: usize = 20_000;

/// Bytes of a product's description.
const DESCRIPTION: usize = 2048;

/// Requests of one client in a second at most.
const MOST_PER_SECOND: usize = 400;

#[allow(dead_code, reason = "the test of this lesson has a main function of its own")]
fn main() -> anyhow::Result<()> {
    run(&Options::parse())
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let watch = holdup::Watch::builder()
        .print(holdup::Print::Never)
        // One sample per 64 KiB, instead of 512 KiB: more of them in a short hunt.
        .heap(Sampling::bytes(64 << 10))
        .listen(&options.diagnostics)
        .start()?;
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let shop = Arc::new(Shop { catalogue: load_catalogue(), limiter: Limiter::new(options.fixed) });
    if let Some(endpoint) = watch.endpoint() {
        println!("diagnostics  {endpoint}/");
    }
    let routes = Router::new()
        .route("/product/{id}", get(product))
        .layer(NameRequests::by_matched_path())
        .with_state(shop)
        .into_make_service_with_connect_info::<SocketAddr>();
    runtime.spawn(async move { axum::serve(listener, routes).await });
    // The clients are not what is watched.
    let run_for = options.run_for;
    let clients = thread::Builder::new().name("clients".to_owned()).spawn(move || ask(address, run_for))?;
    clients.join().ok().context("the clients ended early")?
}

/// What a request needs.
struct Shop {
    catalogue: Vec<String>,
    limiter: Limiter,
}

#[inline(never)]
fn load_catalogue() -> Vec<String> {
    let describe = |number: usize| format!("product {number}: {}", "good ".repeat(DESCRIPTION / 5));
    (0..PRODUCTS).map(describe).collect()
}

async fn product(
    State(shop): State<Arc<Shop>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    Path(id): Path<usize>,
) -> Result<String, StatusCode> {
    if !shop.limiter.admits(client) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    shop.catalogue.get(id).cloned().ok_or(StatusCode::NOT_FOUND)
}

/// Who a client is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Connection(SocketAddr),
    Address(IpAddr),
}

/// Rejects clients with too many requests in the last second.
struct Limiter {
    recent: Mutex<HashMap<Client, VecDeque<Instant>>>,
    by_address: bool,
}

impl Limiter {
    fn new(by_address: bool) -> Self {
        Self { recent: Mutex::default(), by_address }
    }

    fn admits(&self, client: SocketAddr) -> bool {
        let client = if self.by_address { Client::Address(client.ip()) } else { Client::Connection(client) };
        let mut clients = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let (recent, now) = (Self::recent_of(&mut clients, client), Instant::now());
        while recent.front().is_some_and(|past| now - *past > Duration::from_secs(1)) {
            recent.pop_front();
        }
        let admitted = recent.len() < MOST_PER_SECOND;
        if admitted {
            recent.push_back(now);
        }
        admitted
    }

    /// The times of a client's requests. With a port in the key, nearly every request makes an entry, and keeps it.
    #[inline(never)]
    fn recent_of(clients: &mut HashMap<Client, VecDeque<Instant>>, client: Client) -> &mut VecDeque<Instant> {
        clients.entry(client).or_insert_with(|| VecDeque::with_capacity(MOST_PER_SECOND))
    }
}

/// Sends requests at their due times, and prints the memory of the process.
fn ask(address: SocketAddr, run_for: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let mut requests = interval(REQUEST_EVERY);
        requests.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut print = interval(PRINT_EVERY);
        let (mut asked, mut number, mut failed) = (JoinSet::new(), 0, 0);
        while started.elapsed() < run_for {
            tokio::select! {
                _ = requests.tick() => {
                    number += 1;
                    asked.spawn(answer(address, number % PRODUCTS));
                }
                Some(answered) = asked.join_next() => failed += usize::from(answered?.is_err()),
                _ = print.tick() => {
                    let memory = memory().map_or_else(|| "unknown".to_owned(), |kib| format!("{} MiB", kib / 1024));
                    println!("memory       {memory}, {number} requests, {failed} failed");
                }
            }
        }
        Ok(())
    })
}

async fn answer(address: SocketAddr, product: usize) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /product/{product} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "the answer is not what it should be");
    Ok(())
}

/// The memory of this process in KiB, as Linux tells it.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
