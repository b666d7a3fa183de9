//! The server: accepts connections within limits until it is dropped.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::oneshot;

use super::access::Access;
use super::activity::Activity;
use super::connections::Connections;
use super::listening::{Listener, Listening};
use super::live::Live;
use super::routes;
use super::stream::{Duplex, Stream};
use crate::inprocess::WatchState;
use crate::listen::{EndpointAddress, SocketFile};
use crate::model::own_thread;
use crate::probe::hold_samples_while_parked;
use crate::report::News;
use crate::threads::{Ended, join_until, spawn_thread};

/// Time for a client to send the head of a request, also on a connection it keeps open.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes. The longest query of the page has a few hundred.
const HEAD_SIZE: usize = 64 << 10;

/// After this time a connection accepts no further request.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);

/// Time for the last response of a connection. It exceeds the longest profile: otherwise a client that requests profiles
/// one after another loses one every few minutes.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(360);

/// Time for the pages to be told that the watch ends.
const LAST_EVENT: Duration = Duration::from_millis(20);

/// Delay after a failed accept, such as one without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time limit for the endpoint's thread to end.
const SERVER_STOP_LIMIT: Duration = Duration::from_secs(1);

/// The running endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: EndpointAddress,
    /// The file of a Unix socket.
    file: Option<SocketFile>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    watch: Arc<WatchState>,
}

impl Endpoint {
    pub(crate) fn start(listening: Listening, watch: Arc<WatchState>) -> io::Result<Self> {
        let Listening { listener, address, access, file } = listening;
        let (stop, stopped) = oneshot::channel();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = hold_samples_while_parked(builder.enable_all()).build()?;
        let served = Arc::clone(&watch);
        let serve = move || {
            // Tokio may trace its tasks to the program's subscriber, which may be stuck.
            let untraced = tracing::dispatcher::set_default(&tracing::Dispatch::none());
            let live = Arc::new(Live::default());
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, access, &served, &live) => {}
                    () = live.run(&served) => {}
                    _ = stopped => {
                        live.end();
                        tokio::time::sleep(LAST_EVENT).await;
                    }
                }
            });
            // Its tasks end while tracing is off.
            drop(runtime);
            drop(untraced);
        };
        let thread = spawn_thread(own_thread::ENDPOINT, serve)?;
        Ok(Self { address, file, stop: Some(stop), thread: Some(thread), watch })
    }

    pub(crate) fn address(&self) -> &EndpointAddress {
        &self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // While the socket is open, no other file can have taken over its identity.
        drop(self.file.take());
        drop(self.stop.take());
        let ended = self.thread.take().map(|thread| join_until(thread, Instant::now() + SERVER_STOP_LIMIT));
        if ended == Some(Ended::Panicked) {
            say(&self.watch, "the diagnostics endpoint panicked; please report this".to_owned());
        }
    }
}

/// Tells the user, without a wait for the program's subscriber.
fn say(watch: &WatchState, sentence: String) {
    watch.log.sinks.say(News::Notice(sentence));
}

/// A listener that Tokio drives.
enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn accept(listener: Listener, access: Access, watch: &Arc<WatchState>, live: &Arc<Live>) {
    let router = routes::router(Arc::clone(watch), Arc::clone(live), access);
    let listener = match Acceptor::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            say(
                watch,
                format!("the diagnostics endpoint could not start: Tokio does not accept its listener: {error}"),
            );
            return;
        }
    };
    let mut refused = false;
    let connections = Connections::new();
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Once, because the next attempts may fail too.
                if !std::mem::replace(&mut refused, true) {
                    say(
                        watch,
                        format!("the diagnostics endpoint could not accept a connection: {error}; it tries again"),
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        refused = false;
        let place = connections.place().await;
        let activity = Activity::new();
        connections.run(place, activity.clone(), serve(stream, router.clone(), activity));
    }
}

/// Answers the requests of a connection.
async fn serve(stream: Box<dyn Duplex>, router: Router, activity: Activity) {
    let stream = TokioIo::new(Stream::new(stream, activity.clone()));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let answering = activity.begin();
        let response = router.call(request);
        async move { response.await.map(|response| answering.until_taken(response)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    // The client sees every error of the connection.
    if tokio::time::timeout(CONNECTION_LIMIT, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ended = tokio::time::timeout(LAST_ANSWER_LIMIT, connection).await;
    }
}
