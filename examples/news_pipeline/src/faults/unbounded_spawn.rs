//! `unbounded-spawn`: every request spawns tasks, and nothing limits their number.

use std::{io, time::Duration};

use super::Commit;

const PER_REQUEST: usize = 200;

/// Lifetime of the spawned tasks and their memory.
const LIFE: Duration = Duration::from_secs(10);

const MEMORY: usize = 1024;

pub(super) fn arm() -> io::Result<Commit> {
    Ok(Box::new(|_| {
        spawn_without_limit();
        Ok(())
    }))
}

// With a bounded JoinSet or a Semaphore, the request would wait instead.
#[inline(never)]
fn spawn_without_limit() {
    for _ in 0..PER_REQUEST {
        holdup::spawn_named("read receipt", async {
            let receipt = vec![0_u8; MEMORY];
            tokio::time::sleep(LIFE).await;
            drop(receipt);
        });
    }
}
