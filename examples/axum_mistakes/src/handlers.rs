//! The four handlers. Each holds its worker in its own body, as most mistakes do.

use std::{thread, time::Duration};

use axum::extract::{Query, State};
use serde::Deserialize;
use sha2::Sha256;

use crate::shop::{PoisonedLock, Shop};

/// Rounds of the hash. OWASP recommends 600,000 for PBKDF2 with SHA-256. Fewer take as long without optimization.
const ROUNDS: u32 = if cfg!(debug_assertions) { 20_000 } else { 600_000 };

/// Sleeps with the standard library's function, not with Tokio's.
pub(crate) async fn remind() -> &'static str {
    thread::sleep(Duration::from_millis(80));
    "reminded\n"
}

/// Waits for a lock of the standard library that another thread holds for long.
pub(crate) async fn stock(State(shop): State<Shop>) -> Result<String, PoisonedLock> {
    let stock = shop.stock.lock()?;
    Ok(format!("{} articles\n", stock.len()))
}

/// Writes every article into one JSON document.
pub(crate) async fn catalogue(State(shop): State<Shop>) -> String {
    serde_json::to_string_pretty(&*shop.articles).unwrap_or_default()
}

/// The parameters of `/login`.
#[derive(Debug, Deserialize)]
pub(crate) struct Login {
    password: String,
}

/// Hashes a password, which is slow on purpose.
pub(crate) async fn login(State(shop): State<Shop>, Query(login): Query<Login>) -> &'static str {
    let hash: [u8; 32] = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(login.password.as_bytes(), &shop.salt, ROUNDS);
    if hash == shop.hash { "welcome\n" } else { "wrong password\n" }
}
