//! Adopt holdup in an existing axum service.
//!
//! Shows the two changed places (marked `holdup:`) and their effect. Before, `main` was `#[tokio::main] async`. The
//! handlers do not change.
//!
//! Run it, and request both pages in a second terminal (other addresses: `… -- API DIAGNOSTICS`):
//!
//! ```console
//! $ cargo run --example adopt_axum
//! $ curl http://127.0.0.1:3000/quick
//! $ curl http://127.0.0.1:3000/version
//! ```
//! `/quick` causes no report. For `/version`, the first terminal shows a report with the task `GET /version`, and the
//! function `ask_uname` with its line. The cause is that it waits for a child process, and the remedy is below.
//! <http://127.0.0.1:6060/> shows the same with the history. Ctrl-C ends it.

use std::{env, process::Command};

use axum::{Router, routing::get};
use holdup::requests::NameRequests;

fn main() -> anyhow::Result<()> {
    let mut addresses = env::args().skip(1);
    let api = addresses.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let diagnostics = addresses.next().unwrap_or_else(|| "127.0.0.1:6060".to_owned());

    // holdup: the first place. Keep `watch` while the runtime runs.
    let watch = holdup::Watch::builder().listen(diagnostics).start()?;
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().enable_all())?;
    runtime.block_on(serve(&api))
}

async fn serve(address: &str) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/quick", get(|| async { "quick\n" }))
        .route("/version", get(version))
        // holdup: the second place. Without it the report does not name the request.
        .layer(NameRequests::by_matched_path());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

async fn version() -> String {
    ask_uname().unwrap_or_else(|error| format!("unknown: {error}\n"))
}

/// The mistake: the worker waits for another program. `tokio::process::Command` would not block it.
fn ask_uname() -> std::io::Result<String> {
    let output = Command::new("sh").args(["-c", "sleep 0.2; uname -sr"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn interrupted() {
    // If Ctrl-C cannot be caught, it ends the program by itself.
    let _caught = tokio::signal::ctrl_c().await;
}
