//! The cost of a request's name.
//!
//! One task sends [`REQUESTS`] requests per round to a service that answers at once. An iteration is one request. As in
//! `poll_cost`, the fastest of many rounds counts, and rounds with and without names alternate.
//!
//! - `bare`: the time of a request to the service alone.
//! - `added by the layer`: `NameRequests` around it. Budget: 100 ns.
//! - `added by a formatted name`: the same by hand, with `format!` and `watched_as`.
//! - `added by nothing`: bare against bare, which shows the noise of the other numbers.

mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::Request;
use criterion::{Criterion, criterion_group, criterion_main};
use holdup::WatchFutureExt;
use holdup::requests::NameRequests;
use support::profiler::Flamegraph;
use support::rounds::{Way, bench_added, bench_alone};
use tokio::runtime::{Builder, Handle};
use tower_layer::Layer;
use tower_service::Service;

/// Requests per round.
const REQUESTS: u32 = 2_000;

const ROUTE: &str = "/articles/{id}";

/// Answers at once.
#[derive(Clone)]
struct Answers;

impl Service<Request<()>> for Answers {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(request);
        ready(Ok(()))
    }
}

/// The time of all requests, in one task.
fn round<S>(runtime: &Handle, mut service: S) -> Duration
where
    S: Service<Request<()>, Future: Send> + Send + 'static,
{
    let task = runtime.spawn(async move {
        let began = Instant::now();
        for _ in 0..REQUESTS {
            let _answer = service.call(Request::new(())).await;
        }
        began.elapsed()
    });
    runtime.block_on(task).expect("the task ends")
}

fn round_by_hand(runtime: &Handle) -> Duration {
    let task = runtime.spawn(async move {
        let began = Instant::now();
        for _ in 0..REQUESTS {
            let request = Request::new(());
            let name = format!("{} {}", request.method(), black_box(ROUTE));
            let _answer = Answers.call(request).watched_as(&name).await;
        }
        began.elapsed()
    });
    runtime.block_on(task).expect("the task ends")
}

fn request_cost(criterion: &mut Criterion) {
    let watch = holdup::Watch::builder().print(holdup::Print::Never).start().expect("starts");
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1)).expect("builds");
    let runtime = runtime.handle().tokio();
    let layer = NameRequests::by(|_| Some(black_box(ROUTE)));
    let bare: Way<'_> = &|| round(runtime, Answers);
    let mut group = criterion.benchmark_group("request");
    bench_alone(&mut group, "bare", REQUESTS, bare);
    let mut added = |name: &str, way: Way<'_>| bench_added(&mut group, name, REQUESTS, bare, way);
    added("added by the layer", &|| round(runtime, layer.layer(Answers)));
    added("added by a formatted name", &|| round_by_hand(runtime));
    added("added by nothing", bare);
    group.finish();
}

criterion_group! {
    name = benches;
    // An iteration takes as long as its rounds, whatever time it reports. So few samples suffice.
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).without_plots().with_profiler(Flamegraph::new());
    targets = request_cost
}
criterion_main!(benches);
