//! A CPU quota, as in containers: the kernel stops the whole process after it has used its share of a period.
//!
//! The case moves its own process into a control group with a quota, and back. This needs permissions and a hierarchy
//! with the CPU controller. Without them the case prints `skipped` with the reason, and counts as not run.

use std::time::{Duration, Instant};

use super::healthy::{MOMENT, honest_polls};
use super::{Case, prepared};
use crate::quota::{PERIOD, Quota};

/// The quota of each period, in microseconds.
const SHARE: u32 = PERIOD / 5;

/// Number of stops by the kernel to wait for.
const STOPS: u64 = 5;

/// Time limit. One stop per period is expected.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] =
    &[Case::healthy("cpu-quota", "honest polls in a cgroup that may use a fifth of a CPU", |_| {
        Box::pin(async {
            let quota = prepared(|| Quota::impose(SHARE)).await?;
            let limit = Instant::now() + PATIENCE;
            while quota.stops()? < STOPS {
                anyhow::ensure!(Instant::now() < limit, "the kernel has not stopped us {STOPS} times in {PATIENCE:?}");
                honest_polls(10, MOMENT * 3).await;
            }
            prepared(move || quota.lift()).await
        })
    })];
