//! The server: accepts connections within limits until it is dropped.

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};

use super::live::Live;
use super::routes;
use crate::inprocess::WatchState;
use crate::model::own_thread;
use crate::probe::hold_samples_while_parked;
use crate::report::News;
use crate::threads::{Ended, join_until, spawn_thread};

/// Concurrent connections. Further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 64;

/// Time for a client to send the head of a request, also on a connection it keeps open.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

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
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    watch: Arc<WatchState>,
}

impl Endpoint {
    pub(crate) fn start(listener: TcpListener, address: SocketAddr, watch: Arc<WatchState>) -> std::io::Result<Self> {
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
                    () = accept(listener, &served, &live) => {}
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
        Ok(Self { address, stop: Some(stop), thread: Some(thread), watch })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
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

async fn accept(listener: TcpListener, watch: &Arc<WatchState>, live: &Arc<Live>) {
    let router = routes::router(Arc::clone(watch), Arc::clone(live));
    let listener = match tokio::net::TcpListener::from_std(listener) {
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
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
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
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            // The client sees every error of the connection.
            if tokio::time::timeout(CONNECTION_LIMIT, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ended = tokio::time::timeout(LAST_ANSWER_LIMIT, connection).await;
            }
            drop(place);
        });
    }
}
