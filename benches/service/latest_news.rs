//! The throughput of `/latest-news` compared with a bare axum handler that answers the same bytes.
//!
//! The `load` command of the reference service sends requests to both over [`CONNECTIONS`] open connections, each in a closed
//! loop. The service is complete and watched, with a cache of 100 unchanging articles. Load and server share the machine's
//! CPUs, so the bare handler's rate is the machine's limit. The result is the ratio of consecutive measurements.
//!
//! An iteration is 100 000 requests.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::{Router, body::Bytes, http::header, routing::get};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use support::load::{Measurement, load};
use support::rounds::{Rounds, in_turn, median};
use support::service::Service;
use tokio::runtime::Runtime;

const REQUESTS: u32 = 100_000;

const CONNECTIONS: &str = "16";

/// The duration of each measurement in a round.
const WINDOW: &str = "2s";

/// Articles in the cache.
const ARTICLES: usize = 100;

const DEADLINE: Duration = Duration::from_secs(30);

/// The complete service with all its articles. It gets no new ones.
fn service() -> (Service, Bytes) {
    let service = Service::start_for("1h", &["--readers", "0", "--feed-interval", "1h"]);
    let limit = Instant::now() + DEADLINE;
    let url = format!("http://{}/latest-news", service.address("news"));
    loop {
        let body = ureq::get(&url).call().expect("the API answers").body_mut().read_to_vec().expect("a body");
        let news: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
        if news["items"].as_array().map_or(0, Vec::len) == ARTICLES {
            // The last articles may replace others. The body is used for its size, which stays the same.
            return (service, body.into());
        }
        assert!(Instant::now() < limit, "there are no {ARTICLES} articles in {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A handler that only answers these bytes.
fn bare(runtime: &Runtime, body: Bytes) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let answer = move || std::future::ready(([(header::CONTENT_TYPE, "application/json")], body.clone()));
    let router = Router::new().route("/latest-news", get(answer));
    runtime.spawn(async move { axum::serve(listener, router).await });
    address
}

fn ask(address: SocketAddr) -> Measurement {
    let url = format!("http://{address}/latest-news");
    load(&["api", "--url", &url, "--connections", CONNECTIONS, "--duration", WINDOW])[0]
}

fn describe(name: &str, all: &[Measurement]) {
    let of = |value: fn(&Measurement) -> f64| median(&all.iter().map(value).collect::<Vec<_>>());
    let latency = |quantile: fn(&support::load::Latency) -> f64| {
        median(&all.iter().filter_map(|one| one.latency_us.as_ref()).map(quantile).collect::<Vec<_>>())
    };
    println!(
        "latest_news/{name}: {:.0} requests/s, p50 {:.0} µs, p99 {:.0} µs (medians of {} windows)",
        of(|one| one.per_second),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        all.len()
    );
}

fn latest_news(criterion: &mut Criterion) {
    let (service, body) = service();
    let bytes = body.len();
    let runtime = Runtime::new().expect("builds");
    let (bare, ours) = (bare(&runtime, body), service.address("news"));
    let (mut bare_ones, mut our_ones, mut rounds) = (Vec::new(), Vec::new(), Rounds::default());
    let mut group = criterion.benchmark_group("latest_news");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(u64::from(REQUESTS)));
    group.bench_function("service beside a bare handler", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = 0.0;
            for _ in 0..iterations {
                let (bare, ours) = in_turn(rounds.count(), || ask(bare), || ask(ours));
                rounds.add(bare.per_second, ours.per_second);
                bare_ones.push(bare);
                our_ones.push(ours);
                total += f64::from(REQUESTS) / ours.per_second;
            }
            Duration::from_secs_f64(total)
        });
    });
    group.finish();
    if rounds.count() > 0 {
        println!("latest_news: a body of {bytes} bytes, {CONNECTIONS} connections, closed loop");
        describe("bare axum handler", &bare_ones);
        describe("the service", &our_ones);
        println!("latest_news: requests/s of the service over those of the bare handler: {rounds}");
    }
}

criterion_group! {
    name = benches;
    config = support::by_runs();
    targets = latest_news
}
criterion_main!(benches);
