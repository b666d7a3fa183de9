//! `big-alloc`: a request assembles an export of everything in one buffer, and keeps it until a slow reader has it.

use std::{io, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::yield_now, time::sleep};

use super::CommitAwaited;

/// The size that an export may have, and so of its buffer.
const LARGEST: usize = 64 * 1024 * 1024;

/// Written between two yields. All at once would be a stall.
const PIECE: usize = 256 * 1024;

/// How long the reader takes.
const SENDING: Duration = Duration::from_millis(300);

pub(super) fn arm() -> io::Result<CommitAwaited> {
    // One export at a time, to protect the machine. Other requests go without.
    let turn = Arc::new(Semaphore::new(1));
    Ok(Box::new(move || {
        let turn = Arc::clone(&turn);
        Box::pin(async move {
            if let Ok(_turn) = turn.try_acquire() {
                export().await;
            }
            Ok(())
        })
    }))
}

async fn export() {
    let mut export = reserve_for_whole_export();
    while export.len() + PIECE <= LARGEST {
        export.resize(export.len() + PIECE, b' ');
        yield_now().await;
    }
    sleep(SENDING).await;
    drop(export);
}

// Not inlined, because the profile must name it. A stream would send each piece when it is made.
#[inline(never)]
fn reserve_for_whole_export() -> Vec<u8> {
    let mut export = Vec::with_capacity(LARGEST);
    export.extend_from_slice(b"[");
    export
}
