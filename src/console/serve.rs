//! Speaks tokio-console's protocol, on a thread of its own.

use std::net::TcpListener;
use std::time::Duration;

use console_subscriber::{Server, ServerParts};
use tonic::transport::server::TcpIncoming;

use super::listen::Listening;

/// Requests that one connection may have under way; tokio-console uses three, one of them per task that is looked at.
const MAX_STREAMS: u32 = 64;

/// A client that does not answer is asked after this long, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves until the layer that belongs to `server` is dropped.
pub(super) fn start(listener: TcpListener, server: Server, listening: Listening) -> std::io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = crate::probe::hold_samples_while_parked(builder.enable_all()).build()?;
    let run = move || {
        // Or it would collect its own tasks.
        let unseen = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
        let outcome = runtime.block_on(serve(listener, server));
        // Its tasks end before anybody could see them.
        drop(runtime);
        drop(unseen);
        drop(listening);
        if let Err(error) = outcome {
            tracing::error!(target: "holdup", error, "tokio-console cannot be served any more");
        }
    };
    std::thread::Builder::new().name("holdup-console".into()).spawn(run)?;
    Ok(())
}

async fn serve(listener: TcpListener, server: Server) -> Result<(), Box<dyn std::error::Error + 'static>> {
    let ServerParts { instrument_server, aggregator, .. } = server.into_parts();
    let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?).with_nodelay(Some(true));
    let served = tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(instrument_server)
        .serve_with_incoming(incoming);
    tokio::select! {
        () = aggregator.run() => Ok(()),
        outcome = served => Ok(outcome?),
    }
}
