//! The heap: which code allocates, which task it runs in, and what lives.
//!
//! Make [`Allocator`] the program's global allocator. It is off until it is started: by
//! [`WatchBuilder::heap`](crate::WatchBuilder::heap), by the environment variable `HOLDUP_HEAP`, by
//! [`Watch::sample_heap`](crate::Watch::sample_heap), or by a request to the endpoint.
//!
//! Allocations are sampled: on average one for each [`Sampling`] distance of allocated bytes. Larger ones are more likely to
//! be sampled, and each sample stands for what was not. So numbers are estimates without bias. An estimate from `n` samples
//! is within 1.96/√n of the truth 95 times of 100; profiles have `n` as their value `samples`.
//!
//! ```
//! use holdup::heap::Sampling;
//!
//! #[global_allocator]
//! static ALLOCATOR: holdup::heap::Allocator = holdup::heap::Allocator::system();
//!
//! # #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use holdup::{ProfileMode, ProfileOptions};
//!
//! let watch = holdup::Watch::builder().heap(Sampling::default()).start()?;
//! let kept = vec![0_u8; 64 << 20];
//! let live = watch.profile_blocking(&ProfileOptions::new(ProfileMode::Heap))?;
//! assert!(live.total(2) >= 64 << 20);
//! # drop(kept);
//! # Ok(())
//! # }
//! # #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
//! # fn main() {}
//! ```

/// How often to sample.
mod sampling;

/// Sums by stack and labels.
mod ledger;

/// Names of threads and runtimes.
mod threads;

/// Reads what the allocator has sampled.
mod collector;

/// How live memory changes over a window.
mod growth;

/// Labels of sizes.
mod size_class;

/// What one watch allocates between two moments.
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "only guards of tests record"))]
mod recording;

/// Recordings for tests, as profiles without names.
#[cfg(feature = "testing")]
mod recorder;

/// The ledger at one moment.
mod snapshot;

/// The peak in a file.
mod peak;

/// Leaves out the allocator's own frames.
mod frames;

/// The profile that jemalloc takes itself.
mod jemalloc;

pub use crate::sys::heap::Allocator;
pub use sampling::{ParseSamplingError, Sampling};

pub(crate) use collector::{StartError, ensure_started, start, stop};
pub(crate) use frames::without_allocator;
pub(crate) use growth::Moments;
pub(crate) use jemalloc::{Dump, JemallocProfile};
pub(crate) use peak::keep as keep_peak;
#[cfg(feature = "cli")]
pub(crate) use peak::{FileError, SavedImage, SavedPeak, file_facts, newest as newest_peak};
#[cfg(feature = "testing")]
pub(crate) use recorder::{MemoryLimits, Recorded, Recorder};
#[cfg(feature = "testing")]
pub(crate) use recording::OtherThreads;
pub(crate) use snapshot::{Snapshot, View};
