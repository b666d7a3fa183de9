//! Requests of an axum service are named by method and route, in stalls, victims and the task table.

#[path = "../support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::routing::{any, get};
use holdup::requests::{NameRequests, other_requests};
use holdup::stall::Phase;
use holdup::tasks::TaskUse;
use holdup::{Hooks, Stall, Watch};
use support::{DEADLINE, Events, alone, function_of, wait_until};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

/// How long each slow handler sleeps.
const HELD: Duration = Duration::from_millis(60);

fn nap() {
    std::thread::sleep(HELD);
}

fn routes() -> Router {
    let slow = get(|| async {
        tokio::task::yield_now().await;
        nap();
        "slow"
    });
    Router::new()
        .route("/slow", slow)
        .route("/articles/{id}", get(|| async { nap() }).delete(|| async { nap() }))
        .route("/quick", any(|| async { "quick" }))
        .fallback(|| async { nap() })
        .layer(NameRequests::by_matched_path())
}

/// A service with one worker, and its address.
fn serve(watch: &Watch, hooks: Hooks, routes: Router) -> (holdup::Runtime, SocketAddr) {
    let runtime = watch.runtime_with(Builder::new_multi_thread().worker_threads(1).enable_all(), hooks);
    let runtime = runtime.expect("builds");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    runtime.spawn(async move { axum::serve(listener, routes).await });
    (runtime, address)
}

/// A connection that is kept alive.
struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("is set");
        Self(stream)
    }

    fn send(&mut self, method: &str, path: &str) {
        write!(self.0, "{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n").expect("is sent");
    }

    /// Reads one response. The handlers answer with short bodies in one packet.
    fn receive(&mut self) -> String {
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            let read = self.0.read(&mut part).expect("an answer");
            assert_ne!(read, 0, "the connection stays open");
            answer.extend_from_slice(&part[..read]);
        }
        String::from_utf8(answer).expect("it is text")
    }

    fn ask(&mut self, method: &str, path: &str) {
        self.send(method, path);
        let answer = self.receive();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    }
}

fn ways() -> [Hooks; 2] {
    [Hooks::new(), Hooks::new().without_task_hooks()]
}

fn ended(events: &Events, task: &str) -> Stall {
    events.wait_for(task, |phase, stall| phase == Phase::Ended && stall.task.name.as_deref() == Some(task))
}

#[test]
fn requests_on_one_connection_have_their_own_names() {
    let _alone = alone();
    for hooks in ways() {
        let events = Events::default();
        let watch = events.watch();
        let (_runtime, address) = serve(&watch, hooks, routes());
        let mut client = Client::connect(address);
        let requests = [
            ("GET", "/slow", "GET /slow"),
            ("GET", "/articles/17", "GET /articles/{id}"),
            ("DELETE", "/articles/18", "DELETE /articles/{id}"),
            ("GET", "/nothing/here", "GET (no route)"),
            ("GET", "/slow", "GET /slow"),
        ];
        let mut ids = Vec::new();
        for (method, path, name) in requests {
            client.ask(method, path);
            let stall = ended(&events, name);
            assert_eq!(function_of(&stall), "watch_requests::nap", "{name}");
            ids.push(stall.task.id);
        }
        assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "one connection is one task: {ids:?}");
        wait_until("every stall has ended", || {
            events.all().iter().filter(|(phase, _)| *phase == Phase::Ended).count() >= requests.len()
        });
        let unnamed: Vec<_> = events.all().into_iter().filter(|(_, stall)| stall.task.name.is_none()).collect();
        assert!(unnamed.is_empty(), "{unnamed:#?}");
        assert_eq!(other_requests(), 0);
    }
}

#[test]
fn without_task_hooks_the_layer_is_the_spawn_location() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let (_runtime, address) = serve(&watch, Hooks::new().without_task_hooks(), routes());
    Client::connect(address).ask("GET", "/slow");
    let stall = ended(&events, "GET /slow");
    let place = stall.task.spawned_at.expect("it is known");
    assert!(place.file().ends_with("tests/watch/requests.rs"), "{place}");
}

/// A service that works in `call`, before it returns its future.
struct Eager;

impl Service<Request<()>> for Eager {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        nap();
        ready(Ok(()))
    }
}

#[test]
fn work_before_the_future_has_the_name_and_work_after_it_has_not() {
    let _alone = alone();
    for hooks in ways() {
        let events = Events::default();
        let watch = events.watch();
        let runtime = watch.runtime_with(Builder::new_multi_thread().worker_threads(1), hooks).expect("builds");
        let layer = NameRequests::by(|request| request.uri.path().strip_suffix("/17"));
        let mut service = layer.layer(Eager);
        let task = spawn_connection(&runtime, async move {
            let request = Request::builder().uri("/articles/17").body(()).expect("is a request");
            service.call(request).await.expect("it cannot fail");
            tokio::task::yield_now().await;
            nap();
        });
        runtime.block_on(task).expect("it ends");
        ended(&events, "GET /articles");
        ended(&events, "connection");
    }
}

fn spawn_connection(runtime: &holdup::Runtime, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let _inside = runtime.enter();
    holdup::spawn_named("connection", task)
}

#[cfg(tokio_unstable)]
#[test]
fn a_request_that_waits_behind_another_one_is_its_victim() {
    use std::sync::{Arc, mpsc};

    use tokio::sync::Notify;

    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let released = Arc::new(Notify::new());
    let (begin, begun) = mpsc::channel();
    let (release, begins) = (Arc::clone(&released), begin.clone());
    let waits = get(async move || {
        begin.send(()).expect("the test waits");
        release.notified().await;
    });
    let holds = get(async move || {
        begins.send(()).expect("the test waits");
        nap();
    });
    let routes = Router::new().route("/wait/{for}", waits).route("/hold", holds);
    let (_runtime, address) = serve(&watch, Hooks::new(), routes.layer(NameRequests::by_matched_path()));
    let (mut first, mut second) = (Client::connect(address), Client::connect(address));
    first.send("GET", "/wait/long");
    begun.recv_timeout(DEADLINE).expect("the first request waits");
    second.send("GET", "/hold");
    begun.recv_timeout(DEADLINE).expect("the second request holds the worker");
    released.notify_one();
    first.receive();
    let stall = ended(&events, "GET /hold");
    let victims = stall.waiting.victims.expect("they are known");
    let names: Vec<_> = victims.tasks.iter().filter_map(|victim| victim.task.name.as_deref()).collect();
    assert_eq!(names, ["GET /wait/{for}"]);
}

#[test]
fn the_task_table_has_the_name() {
    let _alone = alone();
    for hooks in ways() {
        let watch = Events::default().watch();
        let (_runtime, address) = serve(&watch, hooks, routes());
        let stats = std::thread::scope(|scope| {
            let counting = scope.spawn(|| watch.count_tasks_blocking(Duration::from_secs(1)).expect("few ask"));
            std::thread::sleep(Duration::from_millis(200));
            Client::connect(address).ask("POST", "/quick");
            counting.join().expect("it counts")
        });
        let named = |task: &&TaskUse| task.name.as_deref() == Some("POST /quick");
        assert_eq!(stats.tasks.iter().filter(named).count(), 1, "{stats:#?}");
    }
}
