//! Ctrl-C: the first one asks a verb to finish early, the second one ends the command.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;

/// The exit code after the second Ctrl-C, as shells report SIGINT.
const INTERRUPTED: i32 = 130;

/// A flag that the first Ctrl-C or SIGTERM sets.
pub(super) fn flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("the handler for Ctrl-C cannot be installed")?;
    }
    Ok(flag)
}
