//! Accepts connections, within limits, until it is dropped.

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};

use super::routes;
use crate::error::Error;
use crate::inprocess::WatchState;
use crate::listen;
use crate::probe::hold_samples_while_parked;
use crate::threads::join_until;

/// Connections at a time. Further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 64;

/// A client has this long to send the head of a request, also on a connection that it keeps open.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// A connection takes no further request after this long.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);

/// The answer that is due then has this long: more than the longest profile takes, of which a client that asks for one
/// after the other would otherwise lose one every few minutes.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(360);

/// A failing accept (no file descriptors left) is tried again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the endpoint's thread may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Listens on an address, so that one that cannot be had is an error at start.
pub(crate) fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Error> {
    listen::bind(address).map_err(|source| Error::Listen { address: address.to_owned(), source })
}

/// The running endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    pub(crate) fn start(listener: TcpListener, address: SocketAddr, watch: Arc<WatchState>) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = hold_samples_while_parked(builder.enable_all()).build()?;
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, routes::router(watch)) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("holdup-endpoint".into()).spawn(serve)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            join_until(thread, Instant::now() + STOP_LIMIT);
        }
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(target: "holdup", %error, "the diagnostics endpoint cannot run");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(target: "holdup", %error, "the diagnostics endpoint could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            // However it ends, the client knows more about it than we do.
            if tokio::time::timeout(CONNECTION_LIMIT, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ended = tokio::time::timeout(LAST_ANSWER_LIMIT, connection).await;
            }
            drop(place);
        });
    }
}
