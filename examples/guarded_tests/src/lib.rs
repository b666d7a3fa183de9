//! A price list in a file. One function holds up the runtime while it reads the file, the other does not.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The prices, one per line.
pub async fn prices(list: PathBuf) -> std::io::Result<Vec<u64>> {
    let text = tokio::task::spawn_blocking(move || read(&list)).await.map_err(std::io::Error::other)??;
    Ok(numbers(&text))
}

/// The common mistake: reads the file on the worker.
pub async fn prices_on_the_worker(list: PathBuf) -> std::io::Result<Vec<u64>> {
    Ok(numbers(&read(&list)?))
}

/// Simulates a slow disk or network share.
fn read(list: &Path) -> std::io::Result<String> {
    std::thread::sleep(Duration::from_millis(200));
    std::fs::read_to_string(list)
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
