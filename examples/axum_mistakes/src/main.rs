//! An ordinary axum service with four mistakes: it sleeps, waits for a lock, writes a large JSON document and hashes a
//! password, each on a worker. The guide shows how its reports read in different builds (`docs/guide/an-axum-service.md`).
//!
//! ```console
//! $ cargo run -p axum_mistakes -- 127.0.0.1:3000 127.0.0.1:6060
//! $ curl 'http://127.0.0.1:3000/login?password=secret'
//! ```
//! Other paths: `/remind`, `/stock` and `/catalogue`. Without a second address, nothing watches the service. With `RUST_LOG`,
//! such as `RUST_LOG=info`, the service has a log, and reports are lines of it.

mod handlers;
mod shop;

use std::env;

use axum::{Router, routing::get};
use tokio::{net::TcpListener, runtime::Builder};

use handlers::{catalogue, login, remind, stock};
use shop::Shop;

fn main() -> anyhow::Result<()> {
    let mut addresses = env::args().skip(1);
    let api = addresses.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    // Opened here, where nothing waits: it takes as long as a mistake.
    let shop = Shop::open();
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    match addresses.next() {
        Some(diagnostics) => watched(&mut builder, diagnostics, serve(&api, shop)),
        None => builder.build()?.block_on(serve(&api, shop)),
    }
}

#[cfg(feature = "inside")]
fn watched(
    builder: &mut Builder,
    diagnostics: String,
    service: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    if env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt::init();
    }
    let watch = holdup::Watch::builder().listen(diagnostics).start()?;
    if let Some(address) = watch.endpoint() {
        println!("diagnostics on {address}/");
    }
    watch.runtime(builder)?.block_on(service)
}

#[cfg(not(feature = "inside"))]
fn watched(_: &mut Builder, diagnostics: String, _: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    anyhow::bail!("{diagnostics} cannot be served: this build is without the feature `inside`")
}

async fn serve(address: &str, shop: Shop) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/remind", get(remind))
        .route("/stock", get(stock))
        .route("/catalogue", get(catalogue))
        .route("/login", get(login))
        .with_state(shop);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}
