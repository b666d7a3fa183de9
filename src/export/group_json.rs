//! Groups of stalls as JSON.

use serde::{Deserialize, Serialize};

use super::{to_ms as ms, unix_ms};
use crate::model::stall_group::{GroupPart, StallGroup};

/// The stalls of one function of the user's; see [`StallGroup`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StallGroupJson {
    /// The culprit's function, without closures; null for stalls without a culprit.
    pub function: Option<String>,
    /// What they are counted as: `stall`, `block_on`, `start_up` or `not_scheduled`. Empty from older versions, which have stalls only.
    #[serde(default)]
    pub counted_as: String,
    /// The number of stalls, those that still run included.
    pub count: u64,
    /// The number of stalls that still run.
    pub running: u64,
    /// The sum of their durations.
    pub total_ms: f64,
    /// The part of the time of all listed stalls, from 0 to 1.
    pub share: f64,
    /// The longest duration.
    pub longest_ms: f64,
    /// When the first one was noticed.
    pub first_noticed_unix_ms: u64,
    /// When the last one was noticed.
    pub last_noticed_unix_ms: u64,
    /// Its lines and causes, those that took most time first.
    pub parts: Vec<GroupPartJson>,
    /// The ids of its entries in `stalls`.
    pub stalls: Vec<u64>,
}

/// The stalls of a group with the same line and cause.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct GroupPartJson {
    /// `file:line` of the culprit; null without line tables.
    pub location: Option<String>,
    /// The word for the cause.
    pub cause: String,
    /// The words of its objects.
    #[serde(default)]
    pub objects: Vec<String>,
    /// The words in reports.
    #[serde(default)]
    pub title: String,
    /// The number of stalls.
    pub count: u64,
    /// The sum of their durations.
    pub total_ms: f64,
    /// The longest duration.
    pub longest_ms: f64,
}

impl From<&StallGroup> for StallGroupJson {
    fn from(group: &StallGroup) -> Self {
        Self {
            function: group.function.as_ref().map(ToString::to_string),
            counted_as: group.counted_as.as_str().to_owned(),
            count: group.count,
            running: group.running,
            total_ms: ms(group.total),
            share: group.share,
            longest_ms: ms(group.longest),
            first_noticed_unix_ms: unix_ms(group.first_noticed_at),
            last_noticed_unix_ms: unix_ms(group.last_noticed_at),
            parts: group.parts.iter().map(GroupPartJson::from).collect(),
            stalls: group.stalls.iter().map(|id| id.0).collect(),
        }
    }
}

impl From<&GroupPart> for GroupPartJson {
    fn from(part: &GroupPart) -> Self {
        Self {
            location: part.location.clone(),
            cause: part.cause.as_str().to_owned(),
            objects: part.objects.iter().map(ToString::to_string).collect(),
            title: part.title(),
            count: part.count,
            total_ms: ms(part.total),
            longest_ms: ms(part.longest),
        }
    }
}
