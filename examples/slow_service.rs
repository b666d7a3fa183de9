//! The five-minute hunt: a service with a bad p99 for no visible reason. holdup finds the cause, and the fix removes it.
//!
//! The service answers `/price` immediately, two hundred times per second. Once per second a dashboard requests `/report`
//! three times at once, which is expected to be slow. Users complain about `/price`.
//!
//! **1. See the complaint.** Client and service are in this one program. The client has its own runtime and prints the
//! latency of `/price`, counted from the due time of each request, so that waiting requests count too.
//!
//! ```console
//! $ cargo run --release --example slow_service
//! ```
//! p50 is good, p99 is tens of milliseconds (hundreds without `--release`), although the CPUs are mostly idle and the
//! handler of `/price` does nothing.
//!
//! **2. Ask holdup**, in a second terminal, while it runs (60 s):
//!
//! ```console
//! $ cargo run --release --features cli -- stalls
//! ```
//! The report names the task `GET /report`, the culprit `render_report` with its line, the cause `computing`, and the
//! advice. Both workers render at the same time, and meanwhile no worker answers `/price`.
//!
//! **3. See it as a picture** before the fix:
//!
//! ```console
//! $ cargo run --release --features cli -- record --mode stalled -d 20 -o before.svg
//! ```
//!
//! **4. Fix it and compare.** `--fixed` renders on the blocking pool, one report at a time:
//!
//! ```console
//! $ cargo run --release --example slow_service -- --fixed
//! $ cargo run --release --features cli -- stalls
//! ```
//! Now p50 is the same, p99 is near it, and there are no stalls. The reports are rendered one after another, which is fine.
//!
//! `scripts/flamegraphs.sh hunt` does all of this by itself, and `flamegraphs/README.md` shows the pictures and latencies.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{Router, routing::get};
use clap::Parser;
use flate2::{Compression, write::GzEncoder};
use holdup::requests::NameRequests;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// A slow service, and its fixed version.
#[derive(Parser, Debug)]
struct Options {
    /// Render reports on the blocking pool
    #[arg(long)]
    fixed: bool,

    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    run_for: Duration,

    /// Address of holdup's diagnostics; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6060")]
    diagnostics: String,
}

const PRICE_EVERY: Duration = Duration::from_millis(5);
const REPORTS_EVERY: Duration = Duration::from_secs(1);
const REPORTS_AT_ONCE: usize = 3;

/// Pause between two lines with latencies.
const PRINT_EVERY: Duration = Duration::from_secs(5);

/// Rows of a report. A release build renders and compresses it in tens of milliseconds.
const REPORT_LINES: u32 = 60_000;

/// Limit of concurrently rendered reports. Further ones wait without a thread.
static RENDERERS: Semaphore = Semaphore::const_new(1);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let watch = holdup::Watch::builder().print(holdup::Print::Never).listen(&options.diagnostics).start()?;
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    if let Some(endpoint) = watch.endpoint() {
        println!("diagnostics  {endpoint}/");
    }
    // The clients' measurements must not depend on the measured runtime.
    let clients = thread::Builder::new().name("clients".to_owned()).spawn(move || ask(address, options.run_for))?;
    let report = if options.fixed { get(report_fixed) } else { get(report) };
    let routes = Router::new()
        .route("/price", get(|| async { "42\n" }))
        .route("/report", report)
        .layer(NameRequests::by_matched_path());
    runtime.spawn(async move { axum::serve(listener, routes).await });
    clients.join().ok().context("the clients ended early")??;
    println!("{} stalls", watch.counters().stalls);
    Ok(())
}

async fn report() -> Vec<u8> {
    render_report()
}

async fn report_fixed() -> Vec<u8> {
    // The semaphore is never closed, and rendering does not panic.
    let _turn = RENDERERS.acquire().await;
    tokio::task::spawn_blocking(render_report).await.unwrap_or_default()
}

// Not inlined, so that reports name it in builds without debug information too.
#[inline(never)]
fn render_report() -> Vec<u8> {
    let mut text = String::new();
    for line in 0..REPORT_LINES {
        // Writing to a String cannot fail, nor to a Vec.
        let _ = writeln!(text, "{line};{};{}", line.wrapping_mul(2_654_435_761), line.wrapping_mul(40_503) % 977);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let _ = packed.write_all(text.as_bytes());
    packed.finish().unwrap_or_default()
}

/// Sends requests for prices and reports at their due times, independent of earlier responses.
fn ask(address: SocketAddr, run_for: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let mut prices = interval(PRICE_EVERY);
        prices.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut reports = interval(REPORTS_EVERY);
        let mut print = interval(PRINT_EVERY);
        print.tick().await;
        let (mut asked, mut latencies) = (JoinSet::new(), Latencies::default());
        while started.elapsed() < run_for {
            tokio::select! {
                due = prices.tick() => { asked.spawn(question(address, "/price", due.into_std())); }
                due = reports.tick() => {
                    for _ in 0..REPORTS_AT_ONCE {
                        asked.spawn(question(address, "/report", due.into_std()));
                    }
                }
                Some(answer) = asked.join_next() => latencies.take(answer?),
                _ = print.tick() => latencies.print(),
            }
        }
        while let Some(answer) = asked.join_next().await {
            latencies.take(answer?);
        }
        latencies.print_all();
        Ok(())
    })
}

/// The latency of a response since its due time, if it came.
async fn question(address: SocketAddr, path: &'static str, due: Instant) -> (&'static str, anyhow::Result<Duration>) {
    (path, answer(address, path).await.map(|()| due.elapsed()))
}

async fn answer(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: news\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "the answer is not what it should be");
    Ok(())
}

#[derive(Default)]
struct Latencies {
    /// Since the last line.
    prices: Vec<Duration>,
    all_prices: Vec<Duration>,
    all_reports: Vec<Duration>,
    failed: u32,
}

impl Latencies {
    fn take(&mut self, (path, latency): (&str, anyhow::Result<Duration>)) {
        match latency {
            Ok(latency) if path == "/price" => self.prices.push(latency),
            Ok(latency) => self.all_reports.push(latency),
            Err(_) => self.failed += 1,
        }
    }

    fn print(&mut self) {
        println!("/price       {}", percentiles(&mut self.prices));
        self.all_prices.append(&mut self.prices);
    }

    fn print_all(&mut self) {
        self.all_prices.append(&mut self.prices);
        println!("all /price   {}", percentiles(&mut self.all_prices));
        println!("all /report  {}", percentiles(&mut self.all_reports));
        println!("failed       {}", self.failed);
    }
}

fn percentiles(latencies: &mut [Duration]) -> String {
    latencies.sort_unstable();
    let at = |percent: usize| {
        let place = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(place).copied().unwrap_or_default()
    };
    format!("{} answers, p50 {:.1?}, p99 {:.1?}, longest {:.1?}", latencies.len(), at(50), at(99), at(100))
}
