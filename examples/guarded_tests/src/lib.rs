//! A price list that is read from a file. One way of reading it holds up the runtime, the other does not.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The prices, one a line.
pub async fn prices(list: PathBuf) -> std::io::Result<Vec<u64>> {
    let text = tokio::task::spawn_blocking(move || read(&list)).await.map_err(std::io::Error::other)??;
    Ok(numbers(&text))
}

/// The same, as it is often written.
pub async fn prices_on_the_worker(list: PathBuf) -> std::io::Result<Vec<u64>> {
    Ok(numbers(&read(&list)?))
}

/// Stands for a disk or a network share that takes its time.
fn read(list: &Path) -> std::io::Result<String> {
    std::thread::sleep(Duration::from_millis(200));
    std::fs::read_to_string(list)
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
