//! Accepts connections, with limits that `axum::serve` lacks, and drains them.

use std::{net::TcpListener, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::Limits;
use crate::shutdown::Drain;

/// Limit of headers in a request, above that of any browser.
const MOST_HEADERS: usize = 100;

/// Pause after a failed accept, for example when there are no file descriptors left.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Time limit for the running requests during a drain. It leaves time for the rest of the drain.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

pub(super) async fn serve(listener: TcpListener, router: Router, limits: &Limits, drain: Drain) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let open = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &router, limits, &open) => {}
        () = drain.requested() => {}
    }
    drop(listener);
    if timeout(LAST_ANSWERS, open.shutdown()).await.is_err() {
        warn!("connections of the news API were still open {LAST_ANSWERS:?} after the drain began; they are cut off");
    }
    Ok(())
}

async fn accept(listener: &tokio::net::TcpListener, router: &Router, limits: &Limits, open: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(limits.connections));
    // Further clients wait in the kernel's backlog.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => start(stream, place, router.clone(), limits, open),
            Err(error) => {
                warn!("the news API could not accept a connection: {error}");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

fn start(stream: TcpStream, place: OwnedSemaphorePermit, router: Router, limits: &Limits, open: &GracefulShutdown) {
    // Small responses are sent at once.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("a connection keeps Nagle's algorithm: {error}");
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = open.watch(connection);
    // It has no name, because reports show the name of the request.
    holdup::spawn(async move {
        if let Err(error) = connection.await {
            debug!("a connection of the news API ended: {error}");
        }
        drop(place);
    });
}
