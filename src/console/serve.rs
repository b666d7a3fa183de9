//! The server of tokio-console's protocol, on a separate thread.

use std::net::TcpListener;
use std::time::Duration;

use console_subscriber::{Server, ServerParts};
use tonic::transport::server::TcpIncoming;

use super::listening::Listening;
use crate::model::own_thread;

/// The limit on concurrent requests of a connection. tokio-console uses three; one of them is for the task on screen.
const MAX_STREAMS: u32 = 64;

/// The interval of pings to an idle client, and the time limit for its answer.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves until the layer of `server` is dropped.
pub(super) fn start(listener: TcpListener, server: Server, listening: Listening) -> std::io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = crate::probe::hold_samples_while_parked(builder.enable_all()).build()?;
    let run = move || {
        // The endpoint must not collect its own tasks.
        let untraced = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
        let outcome = runtime.block_on(serve(listener, server));
        // Its tasks end while tracing is off.
        drop(runtime);
        drop(untraced);
        drop(listening);
        if let Err(error) = outcome {
            tracing::error!(target: "holdup", error, "the tokio-console endpoint failed and no longer serves; restart the service to use it again");
        }
    };
    std::thread::Builder::new().name(own_thread::CONSOLE.into()).spawn(run)?;
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
