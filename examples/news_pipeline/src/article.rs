//! One article, as it passes through Kafka, the cache and the API. Plain data.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, Deserialize, ToSchema, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Article {
    /// Equal for the same article in every run, so that duplicates are recognized.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) link: String,
    /// The name of its feed.
    pub(crate) source: String,
    pub(crate) published_at: DateTime<Utc>,
}

/// An id of 16 hex digits, derived from the feed's own id of the article.
///
/// FNV-1a, because the hasher of the standard library may change with a new compiler.
pub(crate) fn stable_id(name_in_feed: &str) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = name_in_feed.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}
